"""papers/wfh/pretraining.py: which losses a batch has, and what they train."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.wfh import build
from papers.wfh import losses as functions
from papers.wfh.config import PRESETS, Config
from papers.wfh.data import Captions, Corpora, class_names, vocabulary
from papers.wfh.datasets.regions import Regions, SomeImages
from papers.wfh.model import Inputs
from papers.wfh.pretraining import WeaklySupervised
from papers.wfh.sampling.samples import Encoder, Interleaved, collate, sources

CONFIG = replace(PRESETS["smoke"], dropout=0.0, mask_rate=0.5)
TEXTS = [["a crow near the castle", "a pig near the gate"], ["a dog with a rose", "the violin"], ["a saw", "the tower"]]
REGIONS = {"tags", "objects", "attributes", "features"}


def features(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, CONFIG.features)).astype(np.float32)


class Images:
    """Three images with two to four regions."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Regions:
        count = index + 2
        ones = np.ones(count, np.float32)
        return Regions(
            features(index, count), np.full((count, 4), 0.5, np.float32), np.arange(count), ones, np.arange(count), ones
        )


def corpora() -> Corpora:
    images = SomeImages(Images(), np.arange(3))
    return Corpora(images, TEXTS, [["a b", "c d"]] * 3, Captions(images, TEXTS), ["0"], ["1"])


def model(**changes: Any) -> tuple[Config, WeaklySupervised]:
    config = replace(CONFIG, **changes)
    torch.manual_seed(0)
    found = build.pretraining(config, vocabulary(config), features(9, 40))
    return config, found.train()


def batch(config: Config, kind: str) -> dict[str, Any]:
    source = sources(config, corpora(), Encoder(config, vocabulary(config), class_names(config)))[kind]
    return collate([source.sample(k, np.random.default_rng(k)) for k in range(3)])


def losses(kind: str, hallucinate: bool = True, **changes: Any) -> dict[str, Tensor]:
    config, network = model(**changes)
    found: dict[str, Tensor] = network(kind, batch(config, kind), hallucinate)
    found.pop("nothing")
    return found


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("images", {"objective": "uvb"}, REGIONS),
        ("captions", {"objective": "uvb"}, {"words"}),
        ("captions", {"objective": "uvb", "text_match": True}, {"words", "match"}),
        ("passages", {"objective": "uvb"}, {"words", "match"}),
        ("paired", {"objective": "paired"}, REGIONS | {"words", "match"}),
        ("images", {}, REGIONS | {"tags_to_regions"}),
        ("images", {"tag_weight": 0.0, "stop_gradient": False}, REGIONS),
        ("captions", {}, {"words", "words_hallucinated", "match_hallucinated"}),
        ("captions", {"match_weight": 0.0}, {"words", "words_hallucinated"}),
        ("captions", {"shuffle": "words"}, {"words", "words_hallucinated"}),
        ("captions", {"vocabulary": "none"}, {"words", "words_hallucinated", "match_hallucinated"}),
    ],
)
def test_losses_of_a_batch(kind: str, changes: dict[str, Any], expected: set[str]) -> None:
    found = losses(kind, **changes)
    assert found.keys() == expected
    assert all(x.isfinite() and x > 0 for x in found.values())


def test_the_hallucinator_begins_alone() -> None:
    assert losses("captions", hallucinate=False).keys() == {"words"}


@pytest.mark.parametrize("stop", [True, False])
def test_hallucinations_train_the_hallucinator_only_without_the_stop(stop: bool) -> None:
    config, network = model(stop_gradient=stop)
    assert network.hallucinator is not None
    found = network("captions", batch(config, "captions"), True)
    (found["words_hallucinated"] + found["match_hallucinated"]).backward()
    trained = [x.grad is not None and bool(x.grad.abs().sum() > 0) for x in network.hallucinator.query.parameters()]
    assert trained == [not stop] * len(trained)
    fully_connected = network.network.bert.embeddings.visn_fc.weight.grad
    assert fully_connected is not None and fully_connected.abs().sum() > 0


def test_every_parameter_has_a_gradient_at_every_step() -> None:
    config, network = model()
    torch.stack(list(network("captions", batch(config, "captions"), False).values())).sum().backward()
    for name, x in network.named_parameters():
        assert x.requires_grad == (name != "hallucinator.words.weight") == (x.grad is not None), name
    unused = network.network.obj_predict_head.transform.dense.weight.grad
    assert unused is not None and unused.abs().sum() == 0


def test_shuffled_hallucinations_are_those_of_another_caption() -> None:
    seen: dict[str, Tensor] = {}
    for shuffle in ("no", "words", "yes"):
        config, network = model(shuffle=shuffle, sampling="soft")

        def keep(_: Any, inputs: tuple[Inputs], shuffle: str = shuffle) -> None:
            if inputs[0].hallucinated is not None:
                seen[shuffle] = inputs[0].hallucinated.detach()

        network.network.bert.register_forward_pre_hook(keep)
        network("captions", batch(config, "captions"), True)
    own = seen["no"][:3]
    assert (own[0] - own[1]).abs().max() > 1e-3
    torch.testing.assert_close(seen["no"], torch.cat([own, own.roll(1, 0)]))
    torch.testing.assert_close(seen["words"], own.roll(1, 0))
    torch.testing.assert_close(seen["yes"], torch.cat([own.roll(1, 0), own.roll(2, 0)]))


def test_aligned_pairs_are_told_from_captions_of_another_image() -> None:
    config, network = model(objective="paired")
    x = batch(config, "paired")
    seen: list[Inputs] = []
    network.network.bert.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network("paired", x, False)
    words, features = seen[0].words, seen[0].features
    assert words is not None and features is not None
    assert torch.equal(words, torch.cat([x["masked_words"], x["masked_words"].roll(1, 0)]))
    assert torch.equal(features, x["features"].repeat(2, 1, 1))


def test_the_weight_of_regions_is_theirs_alone() -> None:
    whole, half = (losses("images", objective="uvb", region_weight=weight) for weight in (1.0, 0.5))
    factors = {name: float(half[name].detach() / whole[name].detach()) for name in REGIONS}
    assert factors == pytest.approx({"tags": 1.0, "objects": 0.5, "attributes": 0.5, "features": 0.5})


def test_captions_of_one_image_match(monkeypatch: pytest.MonkeyPatch) -> None:
    config, network = model()
    x = batch(config, "captions")
    seen: list[list[int]] = []
    original = functions.match_loss

    def kept(scores: Tensor, match: Tensor) -> Tensor:
        seen.append(match.tolist())
        return original(scores, match)

    monkeypatch.setattr(functions, "match_loss", kept)
    network("captions", x, True)
    assert x["group"].tolist() == [0, 0, 1]
    assert seen == [[1, 1, 1, 0, 1, 0]]


def test_padding_of_regions_changes_no_loss() -> None:
    config, network = model(objective="uvb")
    x = batch(config, "images")
    short = {name: y[:1] for name, y in x.items() if name != "name"}
    count = int(short["regions_mask"].sum())
    regions = (
        "features", "regions_mask", "boxes", "targets", "predicted", "objects", "object_confidence", "attributes",
        "attribute_confidence",
    )  # fmt: skip
    cut = {name: y[:, :count] if name in regions else y for name, y in short.items()}
    assert short["features"].shape[1] > count
    padded, exact = network("images", short, False), network("images", cut, False)
    for name in REGIONS:
        torch.testing.assert_close(padded[name], exact[name])


def test_interleaving_gives_every_corpus_its_share_and_resumes() -> None:
    class Counted:
        taken = 0

        def __next__(self) -> dict[str, Any]:
            self.taken += 1
            return {"number": self.taken}

        def state_dict(self) -> dict[str, int]:
            return {"taken": self.taken}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.taken = state["taken"]

    def interleaved() -> Interleaved:
        return Interleaved({"images": Counted(), "captions": Counted()}, {"images": 3, "captions": 6}, 5)  # type: ignore[dict-item]

    whole = interleaved()
    kinds = [whole.at(step) for step in range(18)]
    assert [sum(kind == "images" for kind, _ in part) for part in (kinds[:9], kinds[9:])] == [3, 3]
    assert [kind for kind, _ in kinds[:9]] != [kind for kind, _ in kinds[9:]]
    first, again = interleaved(), interleaved()
    for step in range(7):
        first.at(step)
    again.load_state_dict(first.state_dict())
    assert [again.at(step) for step in range(7, 18)] == kinds[7:]
