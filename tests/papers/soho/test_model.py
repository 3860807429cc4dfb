"""Networks: what is frozen, what is masked, what stages hand on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from papers.soho import build
from papers.soho.config import PRESETS, Config
from papers.soho.data import vocabulary
from papers.soho.datasets import scenes
from papers.soho.model import Images
from papers.soho.train import optimizers, stage_of
from papers.soho.visual.boxes import detect
from papers.soho.visual.embedding import RegionEmbedding, VisualEmbedding
from papers.soho.visual.trunk import build_trunk
from shared import UserError

SMOKE = PRESETS["smoke"]
CAPTIONS = ["an owl by the castle", "a pig by the wall", "the gate"]


def whole(count: int = 2) -> Images:
    torch.manual_seed(1)
    return Images(torch.randn(count, 3, 128, 128), torch.ones(count, 2))


def boxes(count: int = 2) -> Images:
    real = torch.tensor([[True, True, False], [True, False, False]])[:count]
    places = torch.rand(count, 3, 2).sort(1).values.repeat(1, 1, 2)
    return Images(torch.randn(count, 3, 3, 64, 64), torch.ones(count, 2), places, real)


def words(config: Config, texts: list[str] = CAPTIONS) -> torch.Tensor:
    return vocabulary(config).encode(texts, config.length)


@pytest.mark.parametrize("name", ["resnet18", "lite0", "small"])
def test_the_early_part_of_the_cnn_never_moves(name: str) -> None:
    torch.manual_seed(0)
    trunk = build_trunk(name, None).train()  # type: ignore[arg-type]
    before = {key: x.clone() for key, x in trunk.state_dict().items()}
    trunk(torch.randn(2, 3, 64, 64)).square().mean().backward()
    trained = [x for x in trunk.parameters() if x.requires_grad]
    assert trained and all(x.grad is not None for x in trained)
    torch.optim.SGD(trained, 0.1).step()
    moved = {key for key, x in trunk.state_dict().items() if not torch.equal(x, before[key])}
    assert moved and all(key.startswith("late.") for key in moved)
    assert any("running_mean" in key for key in moved)


def test_a_frozen_cnn_has_nothing_to_train_and_fixed_statistics() -> None:
    trunk = build_trunk("small", None, trained=False).train()
    before = {key: x.clone() for key, x in trunk.state_dict().items()}
    trunk(torch.randn(2, 3, 64, 64))
    assert not any(x.requires_grad for x in trunk.parameters())
    assert all(torch.equal(x, before[key]) for key, x in trunk.state_dict().items())


def test_early_maps_take_the_place_of_pixels() -> None:
    trunk = build_trunk("lite0", None).eval()
    pixels = torch.randn(1, 3, 64, 64)
    assert trunk.early(pixels).shape == (1, 80, 4, 4)
    torch.testing.assert_close(trunk(trunk.early(pixels)), trunk(pixels))
    assert trunk(pixels).shape == (1, 80, 4, 4)


@pytest.mark.parametrize(
    "changes",
    [{}, {"dictionary": False}, {"mixture": "code"}, {"mixture": "add"}, {"regions": True}, {"mask_codes": 0.0}],
)
def test_every_parameter_has_a_gradient(changes: dict[str, object]) -> None:
    """Otherwise training over several processes stops."""
    config = replace(SMOKE, **({"mask_codes": 1.0} | changes))  # type: ignore[arg-type]
    torch.manual_seed(0)
    network = build.pretraining(config, vocabulary(config)).train()
    seen = boxes() if config.regions else whole()
    found = network(seen, words(config), torch.tensor([[0], [1], [1]]))
    total = found.words.square().mean() + found.match.square().mean()
    if found.codes is not None:
        total = total + found.codes.square().mean()
    total.backward()
    lacking = [name for name, x in network.named_parameters() if x.requires_grad and x.grad is None]
    assert lacking == []
    assert found.words.shape == (3, 16, len(vocabulary(config))) and found.match.shape == (3, 2)
    assert (found.codes is None) == (not config.dictionary or config.regions)


def test_words_depend_on_the_image_before_any_training() -> None:
    """With BERT's initial weights of 0.02 so few channels let nothing through, and the CNN has no gradient."""
    config = replace(PRESETS["cpu"], dictionary=False)
    torch.manual_seed(0)
    network = build.pretraining(config, vocabulary(config)).train()
    told, of = words(config, CAPTIONS[:1] * 2), torch.tensor([[0], [1]])
    logits = network(Images(torch.randn(2, 80, 8, 8), torch.ones(2, 2)), told, of).words
    assert (logits[0] - logits[1]).norm() > 0.1 * logits[0].norm()


def test_codes_are_masked_in_training_alone() -> None:
    config = replace(SMOKE, mask_codes=1.0)
    torch.manual_seed(0)
    network = build.pretraining(config, vocabulary(config)).train()
    found = network(whole(), words(config), torch.tensor([[0], [1], [1]]))
    assert found.code_labels is not None and (found.code_labels >= 0).any(1).all()
    before = network.soho.visual.dictionary.embed.clone()  # type: ignore[union-attr]
    assert network.eval()(whole(), words(config), torch.tensor([[0], [1], [1]])).code_labels is None
    assert torch.equal(before, network.soho.visual.dictionary.embed)  # type: ignore[union-attr]


def test_a_masked_position_keeps_its_place_and_loses_its_feature() -> None:
    config = SMOKE
    network = build.pretraining(config, vocabulary(config)).eval()
    visual = network.soho.see(whole())
    assert visual.index is not None and isinstance(network.soho.visual, VisualEmbedding)
    masked = torch.zeros_like(visual.real)
    masked[:, 3] = True
    tokens, others = network.soho.visual.tokens(visual, masked), network.soho.visual.tokens(visual)
    torch.testing.assert_close(tokens[0, 3], tokens[1, 3])
    assert not torch.allclose(tokens[0, 3], others[0, 3])
    torch.testing.assert_close(tokens[:, 4:], others[:, 4:])


def test_padding_of_words_images_and_boxes_changes_nothing() -> None:
    config = replace(SMOKE, regions=True)
    network = build.pretraining(config, vocabulary(config)).eval()
    told, of = words(config, CAPTIONS[:1]), torch.tensor([[1]])
    seen = boxes()
    expected = network(seen, told, of).match
    assert seen.boxes is not None and seen.real is not None
    fewer = Images(seen.pixels[1:, :1], seen.valid[1:], seen.boxes[1:, :1], seen.real[1:, :1])
    shorter = told[:, : int((told != 0).sum())]
    torch.testing.assert_close(network(fewer, shorter, torch.tensor([[0]])).match, expected)


def test_boxes_out_of_use_stay_out_of_the_statistics() -> None:
    torch.manual_seed(0)
    embedding = RegionEmbedding(4, 8).train()
    features, places = torch.randn(2, 3, 4), torch.rand(2, 3, 4)
    real = torch.tensor([[True, True, False], [True, False, False]])
    features[~real] = 1e6
    embedding(features, places, real)
    assert embedding.bn.running_mean is not None and embedding.bn.running_mean.abs().max() < 10


@pytest.mark.parametrize(
    ("task", "images", "classes"), [("vqa", 1, 5), ("nlvr2", 2, 2), ("snli-ve", 1, 3), ("retrieval", 1, 2)]
)
def test_a_downstream_network_begins_with_pretraining(tmp_path: Path, task: str, images: int, classes: int) -> None:
    torch.manual_seed(0)
    first = build.pretraining(SMOKE, vocabulary(SMOKE))
    state = {name: x.contiguous() for name, x in first.state_dict().items()}
    save_file(state, tmp_path / "start.safetensors")
    config = replace(SMOKE, task=task)  # type: ignore[arg-type]
    names = tuple(map(str, range(classes)))
    network = build.downstream(config, vocabulary(config), names, tmp_path / "start.safetensors").eval()
    own = network.state_dict()
    shared = [name for name in own if name in state]
    assert len(shared) > 20 and all(torch.equal(own[name], state[name]) for name in shared)
    assert not any("dictionary" in name or "gate" in name or "mask_token" in name for name in own)
    if task == "retrieval":
        assert torch.equal(own["head.weight"], state["match.weight"])
    of = torch.tensor([[0, 1], [1, 0], [0, 1]])[:, :images]
    logits = network(whole(), words(config), of)
    assert logits.shape == (3, classes)
    if images == 2:
        swapped = network(whole(), words(config), of.flip(1))
        assert not torch.allclose(logits, swapped)


def test_a_kept_dictionary_comes_along_and_does_not_move(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = build.pretraining(SMOKE, vocabulary(SMOKE))
    save_file({name: x.contiguous() for name, x in first.state_dict().items()}, tmp_path / "start.safetensors")
    config = replace(SMOKE, task="vqa", keep_dictionary=True)
    network = build.downstream(config, vocabulary(config), ("yes", "no"), tmp_path / "start.safetensors").train()
    embed = network.soho.visual.dictionary.embed  # type: ignore[union-attr]
    before = embed.clone()
    network(whole(), words(config), torch.tensor([[0], [1], [1]])).sum().backward()
    assert torch.equal(embed, before) and torch.equal(before, first.soho.visual.dictionary.embed)  # type: ignore[union-attr]
    lacking = [name for name, x in network.named_parameters() if x.requires_grad and x.grad is None]
    assert lacking == []


def test_the_transformer_begins_with_minilm() -> None:
    config = replace(SMOKE, bert="minilm", width=384, heads=12, layers=2)
    network = build.pretraining(config, vocabulary(config))
    from shared.offline.towers import SentenceEncoder

    published = SentenceEncoder().bert.state_dict()
    own = network.soho.bert.state_dict()
    assert all(torch.equal(x, published[name]) for name, x in own.items())
    assert sum("encoder.layer" in name for name in own) == 2 * 16
    with pytest.raises(UserError, match="--bert minilm does not fit"):
        build.pretraining(replace(config, width=64, heads=4), vocabulary(config))


def test_word_vectors_are_those_of_minilm_in_few_directions() -> None:
    torch.manual_seed(0)
    table = torch.randn(40, 3) @ torch.randn(3, 20)
    found = build.principal_components(table, 8)
    assert found.shape == (40, 8) and (found[:, 3:].abs() < 1e-5).all()
    centred = table - table.mean(0)
    inner, expected = found @ found.T, centred @ centred.T
    torch.testing.assert_close(inner / inner.norm(), expected / expected.norm(), rtol=1e-3, atol=1e-5)
    config = replace(SMOKE, word_vectors=True)
    names = vocabulary(config)
    vectors = build.pretraining(config, names).soho.bert.embeddings.word_embeddings.weight
    assert (
        vectors.shape[0]
        == len(names)
        == len(build.pretraining(SMOKE, names).soho.bert.embeddings.word_embeddings.weight)
    )


def test_stages_have_their_own_numbers() -> None:
    config = replace(Config(), steps=7, tuning_steps=9, trunk_rate=0.5)
    assert stage_of(config).steps == 7 and stage_of(config).trunk_rate == 0.5
    assert stage_of(replace(config, task="vqa")).steps == 9 and stage_of(replace(config, task="vqa")).clip == 4.0
    assert stage_of(config).accumulate == 2 and stage_of(replace(config, task="vqa")).accumulate == 1


def test_a_frozen_cnn_leaves_an_optimizer_without_work() -> None:
    others = [nn.Parameter(torch.ones(2))]
    sgd, adamw = optimizers([], others, sgd_rate=0.1, rate=0.1, sgd_decay=0.0, decay=0.0)
    others[0].grad = torch.ones(2)
    sgd.step()
    adamw.step()
    assert (others[0] < 1).all()


def test_boxes_are_shares_of_the_image() -> None:
    class Detector(nn.Module):
        def __init__(self, boxes: list[list[float]]) -> None:
            super().__init__()
            self.boxes = boxes

        def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            return [{"boxes": torch.tensor(self.boxes).view(-1, 4)}]

    pixels = torch.rand(3, 20, 40)
    assert detect(Detector([[10, 5, 20, 25], [0, 0, 40, 20]]), pixels, 1).tolist() == [[0.25, 0.25, 0.5, 1.0]]
    assert detect(Detector([]), pixels, 5).tolist() == [[0, 0, 1, 1]]


def test_every_answer_has_one_number() -> None:
    assert len(set(scenes.ANSWERS)) == len(scenes.ANSWERS)
