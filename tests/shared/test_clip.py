import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from ci.packs import classes
from ci.retrieval import retrieval
from shared import UserError
from shared.clip import CLIP, OpenCLIP, describe_weights, find_weights, load_clip
from shared.offline.cutouts import Cutout, load_cutouts
from shared.offline.towers import SentenceEncoder, efficientnet_lite0, imagenet_class_text, in_batches, package_folder

TINY = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def offline() -> Iterator[CLIP]:
    def refuse(*_: object) -> None:
        raise AssertionError("the offline towers reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield load_clip()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> CLIP:
    path = tmp_path_factory.mktemp("config") / "tiny-clip.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    return load_clip("tiny-clip")


@pytest.fixture(scope="module")
def checkpoint(tiny: OpenCLIP, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(tiny.model.state_dict(), path)
    return str(path)


def images(side: int, count: int = 3) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def stamp(name: str) -> Cutout:
    return next(stamp for stamp in load_cutouts() if stamp.name == name)


def test_offline_shapes_and_norms(offline: CLIP) -> None:
    assert (offline.width, offline.image_size) == (384, 224)
    image, text = offline.encode_image(images(224)), offline.encode_text(["a dog", "a photo of a trumpet."])
    assert image.shape == (3, 384) and text.shape == (2, 384)
    torch.testing.assert_close(torch.cat([image, text]).norm(dim=1), torch.full((5,), 10.0))
    torch.testing.assert_close(offline.encode_image(images(224), normalize=True), image / 10)
    torch.testing.assert_close(offline.encode_text(["a photo of a trumpet."], normalize=True), text[1:] / 10)
    tokens, grid = offline.patch_tokens(images(224))
    assert tokens.shape == (3, 49, 1280) and grid == (7, 7)
    assert tokens.min() == 0 and tokens.max() <= 6


@pytest.mark.parametrize("towers", ["offline", "tiny"])
def test_frozen(towers: str, request: pytest.FixtureRequest) -> None:
    clip = request.getfixturevalue(towers).train()
    assert not any(module.training for module in clip.modules())
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    photos = images(clip.image_size).requires_grad_()
    outputs = clip.encode_image(photos), clip.encode_text(["a dog"]), clip.patch_tokens(photos)[0]
    assert not any(output.requires_grad for output in outputs)


@pytest.mark.parametrize("towers", ["offline", "tiny"])
def test_independent_of_the_batch(towers: str, request: pytest.FixtureRequest) -> None:
    clip = request.getfixturevalue(towers)
    photos = images(clip.image_size)
    texts = ["a long sentence about a very small dog in a garden", "", "cat"] + [
        f"{i} cats" * (i % 5) for i in range(70)
    ]
    image, text = clip.encode_image(photos), clip.encode_text(texts)
    assert torch.equal(clip.encode_image(photos), image) and torch.equal(clip.encode_text(texts), text)
    for i, photo in enumerate(photos):
        torch.testing.assert_close(clip.encode_image(photo[None])[0], image[i], rtol=1e-4, atol=1e-4)
    for i in (0, 1, 2, 20, 72):
        torch.testing.assert_close(clip.encode_text([texts[i]])[0], text[i], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("towers", ["offline", "tiny"])
def test_patch_tokens_are_row_major(towers: str, request: pytest.FixtureRequest) -> None:
    clip = request.getfixturevalue(towers)
    side = clip.image_size
    photo = images(side, 1)
    tokens, (height, width) = clip.patch_tokens(photo)
    changed = photo.clone()
    changed[..., : side // height, -(side // width) :] = 1.0
    difference = (clip.patch_tokens(changed)[0] - tokens).norm(dim=2)[0]
    row, column = divmod(int(difference.argmax()), width)
    assert row == 0 and column >= width - 2


def test_prompts_are_averaged(offline: CLIP) -> None:
    labels, templates = ["dog", "trumpet"], ["a photo of a {}.", "{}", "the sound of a {}"]
    parts = torch.stack([offline.encode_text([template.format(label) for label in labels]) for template in templates])
    torch.testing.assert_close(offline.encode_prompts(labels, templates), parts.mean(0))


def test_one_text_is_not_a_list_of_letters(offline: CLIP) -> None:
    with pytest.raises(ValueError, match="'a tiger'"):
        offline.encode_text("a tiger")
    with pytest.raises(ValueError, match="'tiger'"):
        offline.encode_prompts("tiger", ["a {}"])
    with pytest.raises(ValueError, match=r"\[\]"):
        offline.encode_text([])


@pytest.mark.parametrize("towers", ["offline", "tiny"])
def test_tokens(towers: str, request: pytest.FixtureRequest) -> None:
    tokens = request.getfixturevalue(towers).tokenize(["a dog", "a photo of a trumpet."])
    assert tokens.dtype == torch.int64 and len(tokens) == 2 and tokens.shape[1] >= 8
    assert tokens[0, -1] == 0 and tokens[0, 0] == tokens[1, 0] != 0, "padded at the end"


def test_preprocess(offline: CLIP) -> None:
    wide = np.zeros((50, 100, 4), np.uint8)
    wide[:, 25:75] = (255, 0, 0, 255)  # the central square; transparent black beside it
    wide[:, 40:60, 3] = 0
    result = offline.preprocess(wide)
    assert result.shape == (3, 224, 224) and result.dtype == torch.float32
    assert result[:, 112, 112].tolist() == [1, 1, 1]
    assert result[:, 112, 20].tolist() == [1, -1, -1]
    assert torch.equal(offline.preprocess(Image.fromarray(wide)), result)
    assert torch.equal(offline.preprocess(Image.new("L", (300, 224), 255)), torch.ones(3, 224, 224))
    grey = Image.fromarray(np.full((224, 224), 30_000, np.uint16))
    assert offline.preprocess(grey).unique().item() == pytest.approx(2 * (30_000 >> 8) / 255 - 1)
    with pytest.raises(UserError, match="floating-point"):
        offline.preprocess(Image.new("F", (224, 224)))
    with pytest.raises(ValueError, match="float64"):
        offline.preprocess(np.zeros((4, 4, 3)))


def test_class_names_are_rebuilt() -> None:
    some = torch.tensor([0, 292, 999])
    texts = classes.texts()
    embedding = in_batches(SentenceEncoder(), [texts[1000 * part + int(i)] for part in range(3) for i in some])
    expected = F.normalize(embedding.view(3, 3, 384).mean(0), dim=-1)
    torch.testing.assert_close(imagenet_class_text()[some], expected, rtol=0, atol=1e-5)
    assert len(texts) == 3000 and texts[2292] == "a photo of a tiger."


def test_efficientnet_computes_what_the_published_model_does() -> None:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 224), torch.linspace(-1, 1, 224), indexing="ij")
    pattern = torch.stack([torch.sin(7 * x), torch.cos(9 * y), torch.sin(5 * x * y)])[None]
    with torch.no_grad():
        logits = efficientnet_lite0()(pattern)[0]
    # From PyPI's efficientnet-lite-pytorch 0.1.0 with the same file of weights.
    expected = {398: 4.799033, 885: 4.777842, 772: 4.072204, 906: 3.876956, 722: 3.803820, 999: -1.777210}
    assert logits.topk(5).indices.tolist() == list(expected)[:5]
    torch.testing.assert_close(logits[list(expected)], torch.tensor(list(expected.values())), rtol=0, atol=1e-4)


def test_sentences_are_those_of_sentence_transformers() -> None:
    # From sentence-transformers 6.2.0 with the same folder of weights; the shorter one is padded.
    expected = {
        "a photo of a tiger.": [-0.072774, 0.105485, 0.008138, 0.070197],
        "Der Hund bellt laut.": [-0.058540, 0.035769, 0.047659, -0.004697],
    }
    embedding = SentenceEncoder()(list(expected))
    torch.testing.assert_close(embedding[:, :4], torch.tensor(list(expected.values())), rtol=0, atol=1e-5)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_image_embedding_is_the_expected_class_name(offline: Any) -> None:
    """Centred ConSE, computed from the published parts: the tiger's class is its names, definition and prompt."""
    tiger = 292
    names = ["tiger, Panthera tigris", "a photo of a tiger."]
    definition = (
        "tiger, Panthera tigris: large feline of forests in most of Asia having a tawny coat with black stripes; "
        "endangered"
    )
    unit = F.normalize(SentenceEncoder()([*names, definition]).mean(0), dim=0)
    torch.testing.assert_close(offline.class_text[tiger] + offline.class_text_mean, unit, rtol=0, atol=1e-5)
    assert offline.class_text.sum(0).abs().max() < 1e-4

    photo = offline.preprocess(stamp("animals/mammals/cats/tiger").image())[None]
    probability = F.softmax(offline.image_tower(photo).double(), dim=1)
    assert probability.argmax() == tiger
    expected = sum(p * text for p, text in zip(probability[0], offline.class_text.double(), strict=True))
    torch.testing.assert_close(
        offline.encode_image(photo)[0].double(), 10 * expected / expected.norm(), rtol=0, atol=1e-4
    )


def test_photographs_and_captions_find_each_other(offline: CLIP) -> None:
    stamps = load_cutouts(sounding=True)[::2]
    photos = torch.stack([offline.preprocess(stamp.image()) for stamp in stamps])
    image = offline.encode_image(photos, normalize=True)
    text = offline.encode_text([stamp.caption for stamp in stamps], normalize=True)
    scores = retrieval(image, text)
    assert scores["chance"]["r1_percent"] < 4
    assert scores["i2t"]["r1_percent"] > 40 and scores["t2i"]["r1_percent"] > 40

    tiger = offline.encode_image(offline.preprocess(stamp("animals/mammals/cats/tiger").image())[None])
    texts = ["a goose", "a tiger", "a house cat", "a trumpet", "a zebra", "a fire engine", "an orange"]
    assert (tiger @ offline.encode_text(texts).T).argmax() == 1


def test_retrieval_by_hand() -> None:
    image = torch.eye(4)
    text = torch.tensor([[0.9, 0.0, 0.0, 0.1], [0.8, 0.5, 0.0, 0.0], [0.0, 0.6, 0.7, 0.0], [1.0, 0.7, 0.8, 0.2]])
    # image x text = text.T: image 0 ranks its own text second, 1 third, 2 second, 3 first
    scores = retrieval(image, text)
    assert scores["n"] == 4 and scores["chance"]["r1_percent"] == 25
    assert scores["i2t"] == {"r1_percent": 25, "r5_percent": 100, "r10_percent": 100, "median_rank": 2}
    # text 0 ranks its own image first, 1 second, 2 first, 3 fourth
    assert scores["t2i"] == {"r1_percent": 50, "r5_percent": 100, "r10_percent": 100, "median_rank": 1}


def test_open_clip_model(tiny: OpenCLIP) -> None:
    photos, texts = images(64), ["a dog", "a photo of a trumpet."]
    assert (tiny.width, tiny.image_size) == (12, 64)
    assert tiny.logit_scale == pytest.approx(1 / 0.07)
    tokenizer = open_clip.get_tokenizer("tiny-clip")
    torch.testing.assert_close(tiny.encode_image(photos), tiny.model.encode_image(photos))
    torch.testing.assert_close(
        tiny.encode_text(texts, normalize=True), tiny.model.encode_text(tokenizer(texts), normalize=True)
    )
    tokens, grid = tiny.patch_tokens(photos)
    assert grid == (4, 4)
    tiny.model.visual.output_tokens = True
    torch.testing.assert_close(tokens, tiny.model.visual(photos)[1])
    tiny.model.visual.output_tokens = False


def test_patch_tokens_beside_an_attention_pool(tmp_path: Path) -> None:
    """The final norm then belongs to the pooled tokens, which are wider than these."""
    vision = TINY["vision_cfg"] | {"attentional_pool": True, "attn_pooler_heads": 2}
    (tmp_path / "tiny-pooled.json").write_text(json.dumps(TINY | {"embed_dim": 24, "vision_cfg": vision}))
    open_clip.add_model_config(tmp_path / "tiny-pooled.json")
    tokens, grid = load_clip("tiny-pooled").patch_tokens(images(64))
    assert tokens.shape == (3, 16, 16) and grid == (4, 4)


def test_local_checkpoint(tiny: OpenCLIP, checkpoint: str, tmp_path: Path) -> None:
    torch.save({"state_dict": tiny.model.state_dict()}, tmp_path / "tiny.pt")
    for path in (checkpoint, str(tmp_path / "tiny.pt")):
        clip = load_clip("tiny-clip", pretrained=path)
        assert torch.equal(clip.encode_image(images(64)), tiny.encode_image(images(64)))
        assert torch.equal(clip.encode_text(["a dog"]), tiny.encode_text(["a dog"]))
    assert not torch.equal(load_clip("tiny-clip").encode_text(["a dog"]), tiny.encode_text(["a dog"]))


def test_mistakes_are_explained(tiny: CLIP, checkpoint: str, tmp_path: Path) -> None:
    foreign, empty = tmp_path / "foreign.safetensors", tmp_path / "empty.pt"
    save_file({"weight": torch.zeros(2)}, foreign)
    torch.save({}, empty)
    mistakes: dict[str, dict[str, Any]] = {
        "no model 'ViT-B-33'": {"name": "ViT-B-33"},
        r"/nowhere/clip.safetensors is neither .*\bopenai\b": {
            "name": "ViT-B-32",
            "pretrained": "/nowhere/clip.safetensors",
        },
        "tiny.safetensors into ViT-S-32-alt: .* changed": {"name": "ViT-S-32-alt", "pretrained": checkpoint},
        "foreign.safetensors into tiny-clip: .*Missing key": {"name": "tiny-clip", "pretrained": str(foreign)},
        "empty.pt into tiny-clip": {"name": "tiny-clip", "pretrained": str(empty)},
        "offline has its own weights": {"name": "offline", "pretrained": checkpoint},
        "local-dir:.* has its own weights": {"name": f"local-dir:{tmp_path}", "pretrained": checkpoint},
        "local-dir:.*config": {"name": f"local-dir:{tmp_path}"},
    }
    for message, arguments in mistakes.items():
        with pytest.raises(UserError, match=message):
            load_clip(**arguments)
    with pytest.raises(UserError, match="pip install no-such-wheel"):
        package_folder("no_such_module", "no-such-wheel")


def test_a_checkpoint_of_more_than_tensors_is_refused_in_our_words(tiny: OpenCLIP, tmp_path: Path) -> None:
    """PyTorch's own words, which advise to unpickle it all the same, are not passed on."""
    content = {"state_dict": tiny.model.state_dict(), "beside": np.float64(0.5)}
    torch.save(content, tmp_path / "trained.pt")
    with pytest.raises(UserError) as error:
        load_clip("tiny-clip", pretrained=str(tmp_path / "trained.pt"))
    assert "it holds more than tensors and would have to be unpickled. Expected the state dict" in str(error.value)
    assert "weights_only" not in str(error.value) and "\x1b" not in str(error.value)


def test_weights_are_found_where_open_clip_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights("ViT-B-16", "openai") is None and find_weights("RN50", "yfcc15m") is None
    repository = tmp_path / "models--timm--vit_base_patch16_clip_224.openai"
    weights = repository / "snapshots" / "0123" / "open_clip_model.safetensors"
    weights.parent.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    weights.write_bytes(b"")
    assert find_weights("ViT-B-16", "openai") == weights and find_weights("ViT-B-32", "openai") is None
    assert find_weights("ViT-B-16", str(weights)) == weights
    assert describe_weights("ViT-B-16", "openai") == f"weights of ViT-B-16, open_clip tag openai: at hand in {weights}"
    assert describe_weights("ViT-B-32", "openai").endswith("not on this machine; the first run downloads them")


def test_tag_decides_the_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def create_model(*_: object, force_quick_gelu: bool, **__: object) -> None:
        asked.append(force_quick_gelu)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    for tag in ("openai", "laion2b_s34b_b79k"):
        with pytest.raises(UserError, match=f"{tag} .*no route to host"):
            load_clip("ViT-B-32", pretrained=tag)
    assert asked == [True, False]


def test_import_is_cheap() -> None:
    heavy = "{'transformers', 'open_clip', 'timm', 'torchvision'} & set(sys.modules)"
    command = [sys.executable, "-c", f"import sys; sys.path = {sys.path!r}; import shared.clip; print({heavy})"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "set()"
