"""The embedded recordings' splits, contamination and pictures, and how training draws its mixtures from clips."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from papers.clipsep.config import CPU
from papers.clipsep.data import MixAndSeparate, load
from papers.clipsep.datasets import recordings
from papers.clipsep.datasets.clips import Clip
from papers.clipsep.datasets.recordings import LOUDNESS, SPLITS, TEST_CONTAMINATED, VIDEOS
from shared.support.audio import resample

RATE = 1_000  # Hz


def shuffled_ramp(seconds: float, seed: int = 0) -> np.ndarray:
    """Every value occurs once, no stretch of it is a pause."""
    ramp = np.linspace(-1, 1, round(seconds * RATE))
    return np.random.default_rng(seed).permutation(ramp).astype(np.float32)


def stamp(name: str, seconds: float) -> Any:
    return SimpleNamespace(name=name, label=name, has_sound=seconds > 0, sound=lambda rate: shuffled_ramp(seconds))


def solo(name: str, split: str, seed: int) -> Any:
    return SimpleNamespace(stamp=name, split=split, sound=lambda rate: shuffled_ramp(1, seed))


# sounds


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [stamp("dog", 8), stamp("click", 0.5), stamp("table", 0), stamp("harp", 0)]
    solos = [solo("harp", split, seed) for seed, split in enumerate(SPLITS)]

    def load_cutouts(sounding: bool = False) -> list[Any]:
        return [stamp for stamp in stamps if stamp.has_sound or not sounding]

    monkeypatch.setattr(recordings, "load_cutouts", load_cutouts)
    monkeypatch.setattr(recordings, "load_solos", lambda: solos)


def test_parts_of_a_recording_are_apart_in_time(sounds: None) -> None:
    (_, parts), _ = recordings.classes(RATE)
    assert list(parts) == ["train", "validation", "test"]
    whole = recordings._levelled(shuffled_ramp(8), RATE)
    place = {value: i for i, value in enumerate(whole.tolist())}
    assert len(place) == len(whole)
    spans = []
    for part in parts.values():
        places = [place[value] for value in part.tolist()]
        assert places == list(range(places[0], places[-1] + 1))
        spans.append((places[0], places[-1]))
    guard = round(recordings.GUARD * RATE)
    assert all(end + guard < start for (_, end), (start, _) in pairwise(spans))
    lengths = [(end - start + 1 + guard) / len(whole) for start, end in spans]
    assert lengths == pytest.approx([0.6, 0.15, 0.25], abs=1e-3)


@pytest.mark.parametrize("recorded", [16_000, 22_050, 44_100])
def test_no_sample_of_a_recording_is_heard_in_two_parts(recorded: int) -> None:
    """The filter that resamples spreads a sample over less time than lies between two parts."""
    impulse = torch.zeros(1, recorded)
    impulse[0, recorded // 2] = 1
    heard = resample(impulse, recorded, CPU.rate)[0].abs()
    (places,) = (heard > 1e-5 * heard.max()).nonzero(as_tuple=True)
    assert 0.005 < (places.max() - places.min()) / CPU.rate < recordings.GUARD


def test_what_is_long_enough_or_has_a_solo_is_a_class(sounds: None) -> None:
    found = {stamp.name: parts for stamp, parts in recordings.classes(RATE)}
    assert list(found) == ["dog", "harp"]
    for seed, split in enumerate(SPLITS):
        assert torch.equal(found["harp"][split], torch.from_numpy(recordings._levelled(shuffled_ramp(1, seed), RATE)))
    (offscreen,) = recordings._offscreen(RATE)
    assert len(offscreen) < recordings.SHORTEST * RATE


# contamination


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    """Prepared data of 30 classes; a frame's embedding says from which split's views it is."""
    rng = np.random.default_rng(0)
    labels = [f"class {i}" for i in range(30)]
    content = {"labels": torch.tensor(list("\n".join(labels).encode()), dtype=torch.uint8)}
    content |= {name: torch.randn(30, 4) for name in ("text", "training_text", "sentence")}
    for number, (split, count) in enumerate({"train": 16, "test": 6}.items()):
        content[f"views.{split}"] = torch.full((30, count, 4), float(number))
    for split in SPLITS:
        parts = [torch.from_numpy(LOUDNESS * rng.standard_normal(900).astype(np.float32)) for _ in labels]
        content |= recordings._videos(split, parts, [], 6, RATE, rng)
    return content


def heard(clips: list[Clip], wave: Tensor) -> Tensor:
    """True for each clip that has more than its own sound."""
    return torch.tensor([not torch.equal(c.wave(), own) for c, own in zip(clips, wave.clamp(-1, 1), strict=True)])


def test_share_of_contaminated_clips(stored: dict[str, Tensor]) -> None:
    wave, labels = stored["train.wave"], [f"class {i}" for i in range(30)]
    assert len(wave) == 30 * VIDEOS["train"]
    found = {share: heard(recordings._clips(stored, labels, "train", share), wave) for share in (0.0, 0.5, 0.8, 1.0)}
    for share, contaminated in found.items():
        assert contaminated.float().mean().item() == pytest.approx(share, abs=0.06 * (0 < share < 1))
    assert (found[0.8] | ~found[0.5]).all()  # a larger share adds to a smaller one
    level = stored["train.offscreen"].square().mean(1).sqrt() / LOUDNESS
    assert 0.19 < level.min() < 0.25 and 0.55 < level.max() < 0.61


def test_held_out_targets_are_clean_and_interferers_are_not(stored: dict[str, Tensor], tmp_path: Path) -> None:
    path = recordings.stored_file(CPU, tmp_path)
    save_file(stored, path)
    data = load(CPU, tmp_path)
    for split, pairs in {"validation": data.validation, "test": data.tests["clean+"]}.items():
        wave = stored[f"{split}.wave"]
        names = [pair.target.name for pair in pairs]
        assert len(set(names)) == len(names) == len(wave) == 90
        assert not heard([pair.target for pair in pairs], wave).any()
        place = {name: i for i, name in enumerate(names)}
        drawn = [place[pair.interferer.name] for pair in pairs]
        contaminated = heard([pair.interferer for pair in pairs], wave[drawn])
        assert torch.equal(contaminated, stored[f"{split}.chance"][drawn] < TEST_CONTAMINATED)
        assert contaminated.any() and not contaminated.all()
        assert all(pair.interferer.label != pair.target.label for pair in pairs)
        assert all((pair.target.frames == 1).all() for pair in pairs)  # views.test
    assert all((clip.frames == 0).all() for clip in data.train)  # views.train
    assert heard(data.train, stored["train.wave"]).float().mean().item() == pytest.approx(CPU.contaminated, abs=0.06)
    sentence = data.queries.sentence
    torch.testing.assert_close(sentence.norm(dim=-1), torch.full((30,), 10.0))
    assert not torch.allclose(sentence, 10 * torch.nn.functional.normalize(stored["sentence"], dim=-1), atol=0.1)


# pictures


def test_training_and_test_never_share_a_monument(monkeypatch: pytest.MonkeyPatch) -> None:
    monuments = [f"monument {i}" for i in range(7)]
    monkeypatch.setattr(recordings, "load_backgrounds", lambda kind: monuments if kind == "monument" else [])
    monkeypatch.setattr(recordings, "render_cutout", lambda stamp, size, rng, background, scale: background)
    rng = np.random.default_rng(0)
    seen = {split: {recordings._frame(stamp("dog", 1), split, rng) for _ in range(400)} for split in ("train", "test")}
    behind = {split: {b for b in found if isinstance(b, str)} for split, found in seen.items()}
    assert not behind["train"] & behind["test"]
    assert behind["train"] | behind["test"] == set(monuments)
    assert all(len(found) > len(behind[split]) for split, found in seen.items())  # some are on plain paper


# mix and separate


def clip(number: int, frames: int) -> Clip:
    """Its wave is a ramp, its frames' embeddings are unit vectors: a segment and a query say where they are from."""
    ramp = torch.arange(frames * 100) / (frames * 400)  # 4 frames a second at 400 Hz
    return Clip(f"clip {number}", number, lambda: ramp, torch.eye(frames), 4.0)


@pytest.mark.parametrize("margin", [1, 3])
def test_segments_and_their_frames_are_drawn_inside_the_margins(margin: int) -> None:
    config = replace(CPU, rate=400, segment=41, frame_margin=margin)
    dataset = MixAndSeparate([clip(0, 9), clip(1, 9)], config)
    frames = set()
    for number in range(300):
        sample = dataset.sample(0, np.random.default_rng(number))
        assert sample["sources"].shape == (2, 41) and sample["image"].shape == (2, 9)
        for source, image in zip(sample["sources"], sample["image"], strict=True):
            (middle,) = [f for f in range(2, 9) if torch.equal(image.nonzero().flatten(), torch.arange(f - 2, f + 1))]
            assert image.sum().item() == pytest.approx(1)  # the mean of the frame and its two neighbours, from 1
            position = (source[20] / (source[21] - source[20])).item()  # a ramp's, whatever its gain
            assert position == pytest.approx((middle - 0.5) * 100, abs=1)
            frames.add(middle)
    assert frames == set(range(margin + 1, 9 - margin + 1))


@pytest.mark.parametrize("n", [2, 3])
def test_a_clip_is_mixed_with_any_other_but_never_with_itself(n: int) -> None:
    config = replace(CPU, rate=400, segment=41)
    dataset = MixAndSeparate([clip(i, 5) for i in range(5)], config, n)
    for index in range(5):
        partners = set()
        for number in range(60):
            sample = dataset.sample(index, np.random.default_rng(number))
            first, *others = sample["label"].tolist()
            assert first == index and index not in others and len(set(others)) == n - 1
            assert sample["name"] == " + ".join(f"clip {i}" for i in (first, *others))
            partners.update(others)
        assert partners == set(range(5)) - {index}


def test_gains_are_drawn_for_each_source() -> None:
    config = replace(CPU, rate=400, segment=41)
    flat = Clip("flat", 0, lambda: torch.full((900,), 0.5), torch.eye(9), 4.0)
    dataset = MixAndSeparate([flat, flat], config)
    gains = torch.stack([dataset.sample(0, np.random.default_rng(i))["sources"][:, 20] for i in range(300)]) / 0.25
    assert 0.5 <= gains.min() < 0.52 and 1.48 < gains.max() <= 1.5
    assert abs(np.corrcoef(gains.T)[0, 1]) < 0.2
