"""The federation's data: the embedded tasks by default, or the paper's six data sets from a folder or from the hub."""

import functools
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from shared import UserError
from shared.loading import cache_file
from shared.offline.towers import SentenceEncoder
from shared.support.files import write_atomic
from shared.support.progress import track

from . import texts
from .config import Config
from .datasets import embedded, examples, files
from .datasets.examples import Example, Kind

LAYOUT = files.LAYOUT
PARTS = ("train", "test")
HIDDEN = 128  # width of the offline model
EMBEDDING_STD = 0.05  # of the projected word embeddings
IN_MEMORY = 20_000  # rows of a client that are kept as a list; more stay in their file
HUB = "hub"  # --data hub: load_dataset by name


@dataclass(frozen=True)
class Shard:
    """A client's rows, in a fixed order: the item with index k is paired with synthetic item k."""

    kind: Kind
    labels: int
    rows: Sequence[dict[str, Any]]
    pad: int

    def __len__(self) -> int:
        return len(self.rows)

    def some(self, indices: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """The rows with these indices."""
        return [self.rows[int(i)] for i in indices]


def task_of(config: Config, name: str) -> tuple[Kind, int]:
    """Kind and number of labels of a data set. Raises UserError if there is no such data set."""
    known = embedded.TASKS if config.data is None else files.TASKS
    if name not in known:
        raise UserError(
            f"--clients names {name!r}; expected {', '.join(known)}{'' if config.data else ', or give --data'}."
        )
    return known[name]


def labels_of(config: Config, name: str) -> tuple[str, ...]:
    """Names of a classification data set's labels."""
    return (embedded.LABELS if config.data is None else files.LABELS)[name]


def read(config: Config, name: str, part: str) -> list[Example]:
    """All items of a data set. Raises UserError if it is missing or damaged."""
    if config.data is None:
        return embedded.read(name, part)
    return list(files.read(name, None if config.data == HUB else Path(config.data), part))


def check(root: Path) -> list[str]:
    """Read every data set of a folder: how many items it has, or what is wrong."""
    found = []
    for name in track(list(files.TASKS), "reading the data sets"):
        for part in PARTS:
            try:
                found.append(f"{name}, {part}: {sum(1 for _ in files.read(name, root, part)):,} items")
            except (UserError, PermissionError) as error:
                found.append(f"{name}, {part}: {str(error).splitlines()[0]}")
    return found


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Turn every data set into word pieces, once for all runs; describe the data.

    Returns: ``{"name", "train", "test", "sha256", "scale"}`` for the results file.

    Raises:
        UserError: if ``config.data`` does not hold what LAYOUT says, or the settings do not fit one another.
    """
    if len(config.neighbours) != len(config.clients):
        raise UserError(
            f"--neighbours has {len(config.neighbours)} numbers for {len(config.clients)} clients; give one each."
        )
    for name in config.clients:
        task_of(config, name)
    if config.checkpoint == "offline":
        write_embeddings(config, cache)
    tokenizer = tokenizer_of(config, cache)
    digest = hashlib.sha256()
    for name in sorted(set(config.clients)):
        for part in PARTS:
            folder = rows_folder(config, cache, name, part)
            if not folder.exists():
                write_rows(texts.rows_of(read(config, name, part), config, tokenizer), folder)
            for path in sorted(folder.glob("*.arrow")):
                digest.update(path.read_bytes())
    sizes = [
        len(shard(config, cache, 0, i, split)) for split in ("train", config.split) for i in range(len(config.clients))
    ]
    clients = len(config.clients)
    return {
        "name": "six embedded tasks" if config.data is None else "the paper's six data sets",
        "train": sum(sizes[:clients]),
        "test": sum(sizes[clients:]),
        "sha256": digest.hexdigest(),
        "scale": f"{clients} clients, "
        + ("BERT-tiny's shape with MiniLM's word embeddings" if config.checkpoint == "offline" else config.checkpoint)
        + f", Assign {config.assign_rounds} rounds of {config.assign_steps} local steps, then {config.rounds} rounds "
        f"of {config.local_steps}, batches of {config.batch_size}, learning rate {config.learning_rate:g}",
    }


# -- prepared files ---------------------------------------------------------------------------------------------------


@functools.cache  # reading the code of the modules takes a while
def stored(cache: Path, name: str, *settings: object) -> Path:
    """Where prepared data is kept: in another place for other settings, or other code that makes it."""
    return cache_file(cache, name, sys.modules[__name__], texts, embedded, files, examples, *settings)


def rows_folder(config: Config, cache: Path, name: str, part: str) -> Path:
    """Where the rows of a data set are kept: another folder if the sizes of the files read differ, too."""
    sizes: list[object] = []
    if config.data not in (None, HUB):
        paths = sorted(path for path in (Path(str(config.data)) / name).rglob("*") if path.is_file())
        sizes = [(path.name, path.stat().st_size) for path in paths]
    settings: list[object] = [config.data, config.checkpoint, config.vocabulary, config.text_length, config.span_length]
    settings += [config.question_length, config.stride, config.source_length, config.target_length]
    return stored(cache, f"{name}-{part}.rows", *settings, *sizes)


def write_rows(rows: list[dict[str, Any]], folder: Path) -> None:
    begun = folder.with_name(f"{folder.name}{os.getpid()}.partial")
    shutil.rmtree(begun, ignore_errors=True)
    begun.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    datasets.Dataset.from_list(rows).save_to_disk(str(begun))
    try:
        begun.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(begun)


def embeddings_file(config: Config, cache: Path) -> Path:
    """Word embeddings of the offline model; the file beside it, ``.json``, names the word pieces."""
    return stored(cache, "words.safetensors", config.vocabulary)


def write_embeddings(config: Config, cache: Path) -> None:
    """The commonest word pieces of the training texts, and MiniLM's embeddings of them, projected by PCA."""
    path = embeddings_file(config, cache)
    if path.exists():
        return
    minilm = SentenceEncoder()
    sources = [
        text for name in embedded.TASKS for example in embedded.read(name, "train") for text in words_of(example)
    ]
    pieces = texts.common_pieces(minilm.tokenizer, sources, config.vocabulary)
    ids = minilm.tokenizer.convert_tokens_to_ids(pieces)
    wide = minilm.bert.embeddings.word_embeddings.weight.detach()[ids]
    centred = (wide - wide.mean(0)).double()
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    # The sign of a direction is arbitrary: its largest entry is made positive.
    largest = directions.abs().argmax(1, keepdim=True)
    directions = directions * directions.gather(1, largest).sign()
    words = centred @ directions[:HIDDEN].T
    words = (words * EMBEDDING_STD / words.std()).float()
    write_atomic(path.with_suffix(".json"), json.dumps(pieces).encode())
    write_atomic(path, save({"words": words.contiguous()}))


def words_of(example: Example) -> tuple[str, ...]:
    """All texts of an item."""
    match example:
        case examples.Pair():
            return example.source, example.target
        case _:
            return (example.source,)


def tokenizer_of(config: Config, cache: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a run, offline that of :func:`write_embeddings`."""
    if config.checkpoint != "offline":
        return texts.hub_tokenizer(config.checkpoint)
    return texts.pruned_tokenizer(json.loads(embeddings_file(config, cache).with_suffix(".json").read_text()))


# -- a client's part --------------------------------------------------------------------------------------------------


def shard(config: Config, cache: Path, seed: int, client: int, split: str) -> Shard:
    """A client's rows of a split: "train", "validation" or "test".

    Clients of one data set get consecutive equal parts of it; the last tenth of a training part, or the ``test_items``
    after the training items, is for validation. The embedded items are in another order for every seed.
    """
    name = config.clients[client]
    kind, labels = task_of(config, name)
    part = "test" if split == "test" else "train"
    rows = datasets.load_from_disk(str(rows_folder(config, cache, name, part)))
    item_of = rows.data.column("example").to_numpy()
    order = np.arange(item_of.max() + 1)
    if config.data is None:
        order = np.random.default_rng((seed, zlib.crc32(name.encode()), part == "test")).permutation(order)
    sharing = [i for i, other in enumerate(config.clients) if other == name]
    own = np.array_split(order, len(sharing))[sharing.index(client)]
    if split == "test":
        own = own[: config.test_items]
    else:
        train = len(own) * 9 // 10 if config.train_items is None else config.train_items
        own = own[:train] if split == "train" else own[train:][: config.test_items]
    place = np.full(len(order), -1)
    place[own] = np.arange(len(own))
    chosen = np.flatnonzero(place[item_of] >= 0)
    selected = rows.select(chosen[place[item_of[chosen]].argsort(kind="stable")])
    content: Any = selected.to_list() if len(selected) <= IN_MEMORY else selected
    if not len(content):
        raise UserError(
            f"Client {client} ({name}) has no {split} items; lower train_items, or have fewer clients of {name}."
        )
    return Shard(kind, labels, content, pad=0)


def padded(lists: Sequence[Sequence[int]], pad: int) -> np.ndarray:
    """(B, longest) int64."""
    longest = max(map(len, lists))
    return np.array([[*x, *[pad] * (longest - len(x))] for x in lists])


def collate(shard: Shard, indices: Sequence[int] | np.ndarray, device: torch.device) -> dict[str, Tensor]:
    """A batch: ids, mask and types (B, S); by kind label (B,), start and end (B,), or target (B, T); and index (B,)."""
    rows = shard.some(indices)
    ids = padded([row["ids"] for row in rows], shard.pad)
    lengths = np.array([len(row["ids"]) for row in rows])
    places = np.arange(ids.shape[1])
    batch = {"ids": ids, "mask": (places < lengths[:, None]).astype(np.int64), "index": np.asarray(indices)}
    batch["types"] = np.zeros_like(ids)
    match shard.kind:
        case "classification":
            batch["label"] = np.array([row["label"] for row in rows])
        case "span":
            batch |= {name: np.array([row[name] for row in rows]) for name in ("start", "end")}
            context = np.array([row["context"] for row in rows])
            batch["types"] = ((places >= context[:, None]) * batch["mask"]).astype(np.int64)
        case "generation":
            batch["target"] = padded([row["target"] for row in rows], shard.pad)
    return {name: torch.from_numpy(x).to(device) for name, x in batch.items()}
