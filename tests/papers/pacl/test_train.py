"""The offline experiment: what training may see, the frozen mini-CLIP, and that every kind of training learns."""

import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import Ridge

from papers.pacl.build import frozen_towers, trained_model
from papers.pacl.config import PRESETS, VARIANTS
from papers.pacl.data import prepare
from papers.pacl.datasets import scene_features, scenes
from papers.pacl.datasets.scene_features import ScenePairs, load_scenes, principal_components, stored_file
from papers.pacl.losses import pacl_loss
from papers.pacl.model import VisionEmbedder
from papers.pacl.texts import nouns as nouns_module
from papers.pacl.texts.nouns import nouns
from papers.pacl.texts.prompts import PACL_TEMPLATES
from papers.pacl.towers.miniclip import MiniCLIPTowers, trained_mini_clip
from papers.pacl.towers.packaged import UntrainedTowers
from papers.pacl.train import train
from shared import UserError
from shared.offline.towers import SentenceEncoder, efficientnet_lite0, imagenet_class_text
from shared.run import Run

CONFIG = PRESETS["smoke"]


def run_in(folder: Path, cache: Path, seed: int = 0) -> Run:
    return Run(folder, cache, seed=seed)


# -- scenes -----------------------------------------------------------------------------------------------------------


def test_held_out_concepts_and_places_stay_out_of_training() -> None:
    splits = scenes.splits(100, 20)
    seen, held_out, spare = (set(splits[name].names) for name in ("train", "held_out", "validation_held_out"))
    assert not seen & held_out and not seen & spare and not held_out & spare
    assert set(splits["seen"].names) == seen and len(held_out) == scenes.HELD_OUT
    places = {name: {place.name for place in split.backgrounds} for name, split in splits.items()}
    assert not places["train"] & (places["seen"] | places["validation_seen"])
    assert not places["validation_held_out"] & places["held_out"]
    for name in ("validation_seen", "validation_held_out", "seen", "held_out"):
        single = splits[f"single_{name}"]
        assert single.names == splits[name].names and {x.name for x in single.backgrounds} == places[name]


def test_training_holds_no_mask(cache: Path) -> None:
    data = load_scenes(CONFIG, cache)
    with np.load(data.path) as content:
        assert "train_maps" not in content.files and "seen_maps" in content.files
    pairs = ScenePairs(data.features, data.captions, 0.5, "lexicon")
    rng = np.random.default_rng(0)
    drawn = [pairs.sample(i, rng) for i in range(len(pairs))]
    assert all(set(sample) == {"tokens", "text", "name"} for sample in drawn)
    assert all(sample["text"] in data.sentences for sample in drawn), "every training text is embedded once"


def test_no_training_text_holds_a_word_of_a_held_out_name() -> None:
    """Captions of many scenes, what else their noun prompts say, and every name and kind of a seen concept."""
    splits = scenes.splits(300, 2)
    seen = splits["train"]
    rng = np.random.default_rng(0)
    captions = [text for scene in scenes.compose(seen, rng) for text in scenes.captions(seen, scene)]
    said = [*captions, *seen.names, *scenes.kinds(seen.stamps)]
    prompts = [template.format(noun) for text in said for noun in nouns(text) for template in PACL_TEMPLATES]
    words = {word for text in [*said, *prompts] for word in re.findall(r"\w+", text.lower())}
    assert {"photo", "origami", "there"} < words
    held_out = splits["held_out"].names + splits["validation_held_out"].names
    assert len(held_out) == scenes.HELD_OUT + scenes.HELD_OUT_VALIDATION
    for name in held_out:
        found = nouns(f"a photo of a {name}.")
        assert found, name
        assert not words & set(re.findall(r"\w+", " ".join([name, *found]))), name


def test_maps_hold_the_concepts_of_the_scene(cache: Path) -> None:
    data = load_scenes(CONFIG, cache)
    test = data.test("single_held_out")
    assert len(test.names) == scenes.HELD_OUT and test.maps.shape[1:] == (56, 56)
    assert [sorted(x.unique().tolist()) for x in test.maps] == [[0, k + 1] for k in range(len(test.maps))]
    assert all(len(x.unique()) <= 1 + scenes.OBJECTS[1] for x in data.test("seen").maps)


def test_captions_name_every_object_and_its_kind() -> None:
    split = scenes.splits(5, 2)["train"]
    for scene in scenes.compose(split, np.random.default_rng(0)):
        *named, kinds = scenes.captions(split, scene)
        assert len(named) == scenes.WORDINGS and all(tag in text for tag in scene.tags for text in named)
        for k in scene.classes:
            assert (split.stamps[k].kind or split.stamps[k].label) in kinds


def test_principal_components_keep_the_most_variance() -> None:
    x = torch.randn(500, 6) * torch.tensor([5.0, 1, 4, 0.1, 3, 2]) + 7
    mean, components = principal_components(x, 3)
    torch.testing.assert_close(components @ components.T, torch.eye(3), atol=1e-5, rtol=0)
    _, singular, directions = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    torch.testing.assert_close((components * directions[:3]).sum(1).abs(), torch.ones(3), atol=1e-4, rtol=0)
    kept = ((x - mean) @ components.T).square().sum()
    torch.testing.assert_close(kept, singular[:3].square().sum())


def test_what_is_evaluated_is_counted(cache: Path, tmp_path: Path) -> None:
    validation = replace(CONFIG, split="validation")
    assert prepare(CONFIG, cache)["test"] == 4 * CONFIG.test_scenes == 2 * prepare(validation, cache)["test"]


def test_options_that_need_photographs_or_their_absence(cache: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"split": "validation", "data": str(tmp_path)}, "--split validation is for the composed scenes alone"),
        ({"data": str(tmp_path)}, "--clip mini-clip is for the composed scenes alone; give PRESET=paper"),
        ({"method": "conse", "data": str(tmp_path), "clip": "ViT-B-16"}, "--method conse is for the composed scenes"),
        ({"clip": "ViT-B-16"}, "--clip ViT-B-16 needs photographs, --data"),
    ):
        with pytest.raises(UserError, match=message):
            prepare(replace(CONFIG, **options), cache)  # type: ignore[arg-type]


def test_nouns_of_either_parser_are_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training looks their prompts up; spaCy's nouns are others than the lexicon's."""
    texts = {"captions": np.array([["a photo of a shoelace."]]), "train_features": np.random.rand(1, 49, 1280)}
    splits = {f"{name}_features": texts["train_features"] for name in scenes.splits(1, 2)}
    monkeypatch.setattr(scenes, "build", lambda *_: splits | texts)
    monkeypatch.setattr(scene_features, "SentenceEncoder", lambda: lambda batch: torch.rand(len(batch), 384))
    monkeypatch.setattr(nouns_module, "_spacy_nouns", lambda caption: ["long shoelace"])
    found = scene_features._build(replace(CONFIG, mini_components=2, noun_parser="spacy"))["texts"]
    assert "art of the long shoelace." in found and "art of the shoelace." not in found


# -- the frozen model -------------------------------------------------------------------------------------------------


def test_mini_clip_is_the_same_for_every_variant_of_a_seed(cache: Path, tmp_path: Path) -> None:
    data = load_scenes(CONFIG, cache)

    def weights(folder: str, seed: int, cache: Path) -> dict[str, torch.Tensor]:
        return trained_mini_clip(CONFIG, run_in(tmp_path / folder, cache, seed), data).state_dict()

    first, again = weights("a", 5, tmp_path / "one"), weights("b", 5, tmp_path / "two")
    other = weights("c", 6, tmp_path / "one")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["project.weight"], other["project.weight"])
    weights("d", 5, tmp_path / "one")  # from the file
    after_loading = torch.get_rng_state()
    weights("e", 5, tmp_path / "three")  # trained
    assert torch.equal(torch.get_rng_state(), after_loading)


def test_towers_make_of_a_picture_what_the_cache_holds(cache: Path, tmp_path: Path) -> None:
    data = load_scenes(CONFIG, cache)
    towers = frozen_towers(CONFIG, run_in(tmp_path, cache), data)
    test = data.test("seen")
    pixels = torch.stack([towers.preprocess(Image.fromarray(image)) for image in test.images[:3].numpy()])
    tokens, grid = towers.patch_tokens(pixels)
    cached, _ = towers.patch_tokens(test.features[:3])
    assert grid == (7, 7) and tokens.shape == (3, 49, towers.width)
    torch.testing.assert_close(tokens, cached, rtol=0, atol=0.05)  # features are cached in half precision
    torch.testing.assert_close(towers.encode_image(pixels), towers.encode_image(test.features[:3]), rtol=0, atol=0.05)


def test_unknown_texts_are_embedded_like_known_ones(cache: Path, tmp_path: Path) -> None:
    data = load_scenes(CONFIG, cache)
    towers = frozen_towers(CONFIG, run_in(tmp_path, cache), data)
    fresh = MiniCLIPTowers(towers.model, CONFIG.scene_size)
    texts = list(data.sentences)[:3]
    torch.testing.assert_close(fresh.encode_text(texts), towers.encode_text(texts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bridge", ["conse", "ridge"])
def test_maps_that_take_no_training(cache: Path, bridge: str) -> None:
    data = load_scenes(CONFIG, cache)
    towers = UntrainedTowers(bridge, data.components, CONFIG.scene_size)  # type: ignore[arg-type]
    features, texts = data.features[:3], ["a photo of a tiger.", "a violin."]
    tokens, grid = towers.patch_tokens(features)
    cells, words = towers.project(tokens), towers.encode_text(texts)
    assert grid == (7, 7) and cells.shape == (3, 49, towers.joint) and words.shape == (2, towers.joint)
    names, classifier = imagenet_class_text(), efficientnet_lite0().classifier
    sentences = SentenceEncoder()(texts) - names.mean(0)
    if bridge == "conse":
        probability = classifier(features @ data.components["components"] + data.components["mean"]).softmax(-1)
        expected = sum(probability[..., k, None] * (names[k] - names.mean(0)) for k in range(1000))
        torch.testing.assert_close(cells, expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(words, sentences)
    else:
        weights = classifier.weight.detach()
        ridge = Ridge(alpha=1.0).fit(names.double().numpy(), weights.double().numpy())  # its intercept centres both
        prototypes = torch.from_numpy(sentences.double().numpy() @ ridge.coef_.T).float()
        torch.testing.assert_close(words, prototypes @ data.components["components"].T, rtol=1e-3, atol=1e-4)
        assert torch.equal(cells, features)
    whole = towers.encode_image(features)
    torch.testing.assert_close(whole, towers.project(features.mean(1, keepdim=True))[:, 0])


# -- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["pairwise", "diagonal", "mean", "sigmoid"])
def test_the_embedder_overfits_a_batch(pooling: str) -> None:
    torch.manual_seed(0)
    tokens, text = torch.randn(8, 9, 16), torch.randn(8, 12)
    embedder = VisionEmbedder(16, 12)
    optimizer = torch.optim.AdamW(embedder.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = pacl_loss(embedder(tokens), text, 20.0, pooling=pooling, weighting="dot", attn_scale=1.0)  # type: ignore[arg-type]
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0], losses


def test_a_trained_run_is_all_that_evaluation_and_prediction_need(cache: Path, tmp_path: Path) -> None:
    for name in ("pacl", "clip-patch", "conse", "ridge"):
        config = replace(CONFIG, epochs=1, **VARIANTS[name].changes)
        run = run_in(tmp_path / name, cache)
        train(config, run)
        towers, embedder = trained_model(config, run.weights)
        with_cache, _ = trained_model(config, run.weights, load_scenes(config, cache).sentences)
        assert (embedder is None) == (name != "pacl")
        features = load_scenes(config, cache).features[:2]
        assert torch.equal(towers.patch_tokens(features)[0], with_cache.patch_tokens(features)[0])


def test_patches_of_a_clip_that_is_there_need_no_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("papers.pacl.datasets.pairs.read", lambda *_: pytest.fail("the pairs were read"))
    run = run_in(tmp_path, tmp_path / "cache")
    train(replace(PRESETS["paper"], data=str(tmp_path), method="clip-patch"), run)
    assert load_file(run.weights) == {}


def test_frozen_weights_do_not_move(cache: Path, tmp_path: Path) -> None:
    run = run_in(tmp_path, cache, seed=3)
    before = trained_mini_clip(CONFIG, run, load_scenes(CONFIG, cache)).state_dict()
    train(CONFIG, run)
    towers, _ = trained_model(CONFIG, run.weights)
    assert all(torch.equal(before[name], x) for name, x in towers.model.state_dict().items())  # type: ignore[union-attr]


def test_the_cache_depends_on_what_it_holds() -> None:
    folder = Path("cache")
    changed = [replace(CONFIG, scenes=50), replace(CONFIG, scene_size=256), replace(CONFIG, mini_joint=64)]
    changed.append(replace(CONFIG, noun_parser="spacy"))
    assert len({stored_file(config, folder) for config in [CONFIG, *changed]}) == 5
    assert stored_file(replace(CONFIG, learning_rate=1.0), folder) == stored_file(CONFIG, folder)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_vit_of_open_clip_trains_on_tar_shards(tmp_path: Path, precision: str) -> None:
    """The paper preset on fixtures: frozen towers, pairs from a shard, and a loss that falls."""
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    (tmp_path / "tiny-vit.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(tmp_path)
    weights = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file({name: x.contiguous() for name, x in open_clip.create_model("tiny-vit").state_dict().items()}, weights)
    (tmp_path / "data" / "cc3m").mkdir(parents=True)
    with tarfile.open(tmp_path / "data" / "cc3m" / "0.tar", "w") as archive:
        for i, name in enumerate(["owl", "guitar", "rose", "boat"] * 2):
            picture = io.BytesIO()
            Image.new("RGB", (40, 40), (30 * i, 255 - 30 * i, 20 * i)).save(picture, "PNG")
            for suffix, content in (("png", picture.getvalue()), ("txt", f"photo {i} of a {name}".encode())):
                member = tarfile.TarInfo(f"{i:03d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    config = replace(
        PRESETS["paper"],
        data=str(tmp_path / "data"),
        clip="tiny-vit",
        clip_weights=str(weights),
        batch_size=8,
        epochs=60,
        learning_rate=1e-2,
        logit_scale=10.0,
        workers=0,
        chunk=3,
        precision=precision,
    )
    assert prepare(config, tmp_path / "cache")["train"] == 8
    AcceleratorState._reset_state()  # it keeps the precision of the first run in a process
    run = Run(tmp_path / "run", tmp_path / "cache", seed=0, precision=precision, log_every=1)
    train(config, run)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 60 and np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    towers, embedder = trained_model(config, run.weights)
    assert embedder is not None and towers.width == 64
    AcceleratorState._reset_state()
    assert set(load_file(run.weights)) == {f"embedder.{name}" for name in embedder.state_dict()}
