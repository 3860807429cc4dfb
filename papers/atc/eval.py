"""Metrics of a course: every client's own task, whose updates were alike, and what was sent; and the figures."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch

from shared.run import Run
from shared.support.files import write_json
from shared.support.weights import load_weights, weights_file

from . import metrics
from .build import client_file, trained
from .config import Config
from .data import Shard, collate, shard, task_of, tokenizer_of
from .figures import figures
from .model import HeteroModel
from .predictions import answers, generated, token_hits

__all__ = ["evaluate", "figures"]
AT_ONCE = 64  # items of a batch
MIDDLE = (
    0.25,
    0.75,
)  # rounds that count for the likeness of updates, as shares: near the ends the learning rate is near 0


def evaluate(config: Config, run: Run) -> dict[str, float]:
    """Metrics of every data set, means over its clients, and of the course.

    Returns, on the main process:
        by data set ``<name>_accuracy_percent`` (classification), ``<name>_f1_percent`` and ``<name>_exact_percent``
        (span), or ``<name>_token_percent``, ``<name>_rouge_l_percent`` and ``<name>_bleu_percent`` (generation; the
        first is the share of the target's word pieces that are the most probable ones, given those before);
        ``score_percent``, the geometric mean over the data sets of the first of these, so that a ratio of two scores is
        the geometric mean of the data sets' ratios; ``understanding_percent`` and ``generation_percent``, the same over
        the data sets of either kind; ``<name>_chance_percent``, see :func:`chance`; ``same_task_percent``,
        ``same_data_percent`` and ``same_data_chance_percent``, see :func:`likeness`; ``round_megabytes`` and
        ``official_round_megabytes``, see :func:`traffic`.
    """
    if not run.accelerator.is_main_process:
        return {}
    found = likeness(config, run.folder) | traffic(run.folder)
    if config.method == "assign":
        return found
    by_data: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number, name in enumerate(config.clients):
        own = load_weights(weights_file(run.folder, client_file(number)))
        network = trained(config, own, run.cache).to(run.device)
        items = shard(config, run.cache, run.seed, number, config.split)
        by_data[name].append(client_metrics(config, run, network, items) | {"chance_percent": 100 * chance(items)})
    first: dict[str, float] = {}
    for name, rows in by_data.items():
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        found |= {f"{name}_{key}": x for key, x in means.items()}
        first[name] = next(iter(means.values()))
    writes = {name: task_of(config, name)[0] == "generation" for name in first}
    write_json(run.folder / "scores.json", first)
    found["score_percent"] = geometric_mean(list(first.values()))
    for kind, wanted in (("understanding", False), ("generation", True)):
        if scores := [x for name, x in first.items() if writes[name] == wanted]:
            found[f"{kind}_percent"] = geometric_mean(scores)
    return found


def geometric_mean(scores: list[float]) -> float:
    """At least 0.01 % each: a data set on which nothing is right does not make the others worthless."""
    return float(np.exp(np.mean(np.log(np.maximum(scores, 0.01)))))


@torch.no_grad()
def client_metrics(config: Config, run: Run, network: HeteroModel, items: Shard) -> dict[str, float]:
    """Metrics of one client's items; the first is its score."""
    batches = [range(len(items))[start:][:AT_ONCE] for start in range(0, len(items), AT_ONCE)]
    match items.kind:
        case "classification":
            hits = []
            for indices in batches:
                batch = collate(items, indices, run.device)
                states = network.encode(batch["ids"], batch["mask"], batch["types"])
                hits += (network.classify(states, batch["mask"]).argmax(-1) == batch["label"]).tolist()
            return {"accuracy_percent": 100 * float(np.mean(hits))}
        case "span":
            given = answers(config, network, items, run.device)
            known = {row["example"]: row["references"] for row in items.some(range(len(items)))}
            pairs = [(text, known[number]) for number, text in given.items()]
            return {
                "f1_percent": 100 * float(np.mean([metrics.f1(*pair) for pair in pairs])),
                "exact_percent": 100 * float(np.mean([metrics.exact_match(*pair) for pair in pairs])),
            }
        case "generation":
            counts = np.sum([token_hits(network, collate(items, indices, run.device)) for indices in batches], axis=0)
            chosen = range(len(items))[: config.generated]
            tokenizer = tokenizer_of(config, run.cache)
            written = generated(config, network, items, chosen, tokenizer, run.device)
            references = [row["references"] for row in items.some(chosen)]
            return {
                "token_percent": 100 * counts[0] / counts[1],
                "rouge_l_percent": 100 * metrics.rouge_l(written, [row[0] for row in references]),
                "bleu_percent": 100 * metrics.bleu(written, references),
            }


def chance(items: Shard) -> float:
    """Score of knowing nothing: the largest class, a word of the passage at random, or the commonest word piece."""
    rows = items.some(range(len(items)))
    match items.kind:
        case "classification":
            return max(Counter(row["label"] for row in rows).values()) / len(rows)
        case "span":
            guesses = [[metrics.f1(word, row["references"]) for word in row["passage"].split()] for row in rows]
            return float(np.mean([np.mean(row) for row in guesses]))
        case "generation":
            counts = Counter(piece for row in rows for piece in row["target"][1:])
            return max(counts.values()) / counts.total()


def likeness(config: Config, folder: Path) -> dict[str, float]:
    """Shares of clients whose nearest other client, by the cosine of updates, has the same kind of task, or data set.

    ``same_data_chance_percent`` is the second for a nearest client at random. All are means over the middle rounds;
    clients that are alone with their kind, or with their data set, do not count. Empty if nothing was shared.
    """
    with np.load(folder / "rounds.npz") as content:
        distances = content["distances"]
    middle = distances[int(MIDDLE[0] * len(distances)) : max(int(MIDDLE[1] * len(distances)), 1)]
    if not np.isfinite(middle).any():
        return {}
    kinds = [task_of(config, name) for name in config.clients]
    found = {}
    for label, groups in (
        ("same_task", [f"{kind} {labels}" for kind, labels in kinds]),
        ("same_data", list(config.clients)),
    ):
        hits = [
            groups[nearest] == group
            for matrix in middle
            for i, group in enumerate(groups)
            if groups.count(group) > 1 and (nearest := nearest_other(matrix, i)) is not None
        ]
        if hits:
            found[f"{label}_percent"] = 100 * float(np.mean(hits))
    twins = [config.clients.count(name) - 1 for name in config.clients if config.clients.count(name) > 1]
    if twins:
        found["same_data_chance_percent"] = 100 * float(np.mean(twins)) / (len(config.clients) - 1)
    return found


def nearest_other(distances: np.ndarray, client: int) -> int | None:
    """The client with the nearest update in a round, None for one that was left out."""
    row = np.where(np.arange(len(distances)) == client, np.nan, distances[client])
    return int(np.nanargmin(row)) if np.isfinite(row).any() else None


def traffic(folder: Path) -> dict[str, float]:
    """Megabytes a client and round, both ways, without what is sent once: as measured, and in the official design.

    ``round_megabytes`` is the mean over the second half of a course. In the official design both orders of a round of
    the Contrast stage carry all synthetic features, and the projections of all clients; every number is a float32.
    """
    with np.load(folder / "rounds.npz") as content:
        measured = content["megabytes"][len(content["megabytes"]) // 2 :].mean()
        clients, (items, length, hidden) = len(content["clients"]), content["synthetic"].tolist()
        weights = 2 * int(content["shared_bytes"])
    features, projections = 4 * items * length * hidden, 4 * items * hidden
    official = weights + 2 * (features + clients * projections) + projections
    return {"round_megabytes": float(measured), "official_round_megabytes": official / 1e6}
