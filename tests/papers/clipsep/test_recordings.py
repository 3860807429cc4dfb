"""The embedded sounds' splits, contamination and pictures, and how training draws its mixtures from clips."""

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
from papers.clipsep.datasets.recordings import EXAMPLES, LOUDNESS, OFFSCREEN, PCM, PLAYERS, SPLITS, VIDEOS
from shared.support.audio import resample

RATE = 1_000  # Hz
SETS = ("solos", "recordings", "solos+", "recordings+")


def shuffled_ramp(seconds: float, seed: int = 0) -> np.ndarray:
    """Every value occurs once, no stretch of it is a pause."""
    ramp = np.linspace(-1, 1, round(seconds * RATE))
    return np.random.default_rng(seed).permutation(ramp).astype(np.float32)


def stamp(name: str, seconds: float) -> Any:
    category = tuple(name.split("/")[:-1])
    return SimpleNamespace(name=name, label=name, category=category, sound=lambda rate: shuffled_ramp(seconds))


def solo(name: str, split: str, seed: int) -> Any:
    return SimpleNamespace(instrument=name, split=split, sound=lambda rate: shuffled_ramp(1, seed))


# sounds


@pytest.fixture
def sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [stamp("dog", 8), stamp("hobbies/music/drum", 3), *(stamp(f"thing {i}", 1) for i in range(10))]
    harp = SimpleNamespace(name="harp", label="harp", recording=lambda rate: shuffled_ramp(4, 7))
    solos = [solo("harp", split, seed) for seed, split in enumerate((*SPLITS, "train"))]
    monkeypatch.setattr(recordings, "ANIMALS", ("dog",))
    monkeypatch.setattr(recordings, "load_cutouts", lambda sounding: stamps)
    monkeypatch.setattr(recordings, "load_instruments", lambda: [harp])
    monkeypatch.setattr(recordings, "load_solos", lambda: solos)


def levelled(seconds: float, seed: int = 0) -> Tensor:
    return torch.from_numpy(recordings._levelled(shuffled_ramp(seconds, seed), RATE))


def test_an_instrument_has_solos_and_a_recording_that_no_training_hears(sounds: None) -> None:
    harp, _ = recordings.classes(RATE)
    assert set(harp.parts) == {f"solos.{split}" for split in SPLITS} | {f"recordings.{split}" for split in PLAYERS}
    assert torch.equal(harp.parts["solos.train"], torch.cat([levelled(1, 0), levelled(1, 3)]))
    assert torch.equal(harp.parts["solos.test"], levelled(1, 2))
    heard = torch.cat([harp.parts["recordings.validation"], harp.parts["recordings.test"]])
    assert set(heard.tolist()) <= set(levelled(4, 7).tolist())
    assert "recordings.train" not in harp.parts


@pytest.mark.parametrize(
    ("number", "seconds", "seed", "name", "shares"),
    [(1, 8, 0, "solos", SPLITS), (0, 4, 7, "recordings", PLAYERS)],
    ids=["animal", "player"],
)
def test_parts_of_a_recording_are_apart_in_time(
    sounds: None, number: int, seconds: float, seed: int, name: str, shares: dict[str, tuple[float, float]]
) -> None:
    whole = levelled(seconds, seed)
    place = {value: i for i, value in enumerate(whole.tolist())}
    assert len(place) == len(whole)
    spans = []
    for split in shares:
        places = [place[value] for value in recordings.classes(RATE)[number].parts[f"{name}.{split}"].tolist()]
        assert places == list(range(places[0], places[-1] + 1))
        spans.append((places[0], places[-1]))
    guard = round(recordings.GUARD * RATE)
    assert all(end + guard < start for (_, end), (start, _) in pairwise(spans))
    lengths = [(end - start + 1 + guard) / len(whole) for start, end in spans]
    assert lengths == pytest.approx([end - start for start, end in shares.values()], abs=1e-3)


@pytest.mark.parametrize("recorded", [8_000, 22_050, 44_100])
def test_no_sample_of_a_recording_is_heard_in_two_parts(recorded: int) -> None:
    """The filter that resamples spreads a sample over less time than lies between two parts."""
    impulse = torch.zeros(1, recorded)
    impulse[0, recorded // 2] = 1
    heard = resample(impulse, recorded, CPU.rate)[0].abs()
    (places,) = (heard > 1e-5 * heard.max()).nonzero(as_tuple=True)
    assert 0.001 < (places.max() - places.min()) / CPU.rate < recordings.GUARD


def test_pauses_are_cut_out() -> None:
    tone = np.sin(np.arange(2 * RATE)).astype(np.float32)
    paused = np.concatenate([tone, np.zeros(RATE, np.float32), 0.5 * tone])
    found = recordings._levelled(paused, RATE)
    assert 4 * RATE <= len(found) < 4.2 * RATE
    assert np.sqrt(np.mean(found**2)) == pytest.approx(LOUDNESS, rel=0.01)


def test_nobody_asks_for_what_is_off_screen_and_each_split_has_its_own(sounds: None) -> None:
    found = recordings._offscreen(RATE)
    assert {split: len(waves) for split, waves in found.items()} == {"train": 6, "validation": 2, "test": 2}
    assert all(len(wave) == RATE for waves in found.values() for wave in waves)  # neither the dog nor the drum


def test_another_room_changes_the_sound_but_not_its_length() -> None:
    wave = recordings._loud(np.random.default_rng(0).standard_normal(3 * RATE))
    rooms = [recordings._in_another_room(wave, RATE, np.random.default_rng(seed)) for seed in range(4)]
    for one, other in pairwise(rooms):
        likeness = np.corrcoef([wave, one, other])
        assert len(one) == len(wave) and 0.3 < likeness[0, 1] < 0.999 and likeness[1, 2] < 0.999


# contamination


@pytest.fixture(scope="module")
def stored() -> dict[str, Tensor]:
    """Prepared data of 30 classes, 20 of them instruments; a frame's embedding says from which split's views it is."""
    rng = np.random.default_rng(0)
    labels = [f"class {i}" for i in range(30)]
    for number, name in enumerate(dict.fromkeys(name for _, *pair in EXAMPLES for name in pair)):
        labels[number] = name
    content = {"labels": torch.tensor(list("\n".join(labels).encode()), dtype=torch.uint8)}
    content |= {name: torch.randn(30, 4) for name in ("text", "training_text", "sentence")}
    for number, (split, count) in enumerate({"train": 16, "test": 6}.items()):
        content[f"views.{split}"] = torch.full((30, count, 4), float(number))
    parts = [f"solos.{split}" for split in SPLITS] + [f"recordings.{split}" for split in PLAYERS]
    for part in parts:
        sounds = {i: noise(rng, 900) for i in range(30 if part.startswith("solos") else 20)}
        made = recordings._videos(part.rpartition(".")[2], sounds, [noise(rng, 700)], 6, RATE, rng)
        content |= {f"{part}.{name}": column for name, column in made.items()}
    return content


def noise(rng: np.random.Generator, length: int) -> Tensor:
    return torch.from_numpy(LOUDNESS * rng.standard_normal(length).astype(np.float32))


def heard(clips: list[Clip], wave: Tensor) -> Tensor:
    """True for each clip that has more than its own sound."""
    return torch.tensor([not torch.equal(c.wave(), own / PCM) for c, own in zip(clips, wave, strict=True)])


def test_share_of_contaminated_clips(stored: dict[str, Tensor]) -> None:
    wave, labels = stored["solos.train.wave"], [f"class {i}" for i in range(30)]
    assert len(wave) == 30 * VIDEOS["train"]
    shares = (0.0, 0.5, 0.8, 1.0)
    found = {share: heard(recordings._clips(stored, labels, "solos.train", share), wave) for share in shares}
    for share, contaminated in found.items():
        assert contaminated.float().mean().item() == pytest.approx(share, abs=0.06 * (0 < share < 1))
    assert (found[0.8] | ~found[0.5]).all()  # a larger share adds to a smaller one
    level = stored["solos.train.offscreen"].float().div(PCM).square().mean(1).sqrt() / LOUDNESS
    low, high = OFFSCREEN
    assert low - 0.01 < level.min() < low + 0.05 and high - 0.05 < level.max() < high + 0.01


def test_held_out_targets_are_clean_and_so_is_interference_but_in_the_sets_for_it(
    stored: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(stored, recordings.stored_file(CPU, tmp_path))
    data = load(CPU, tmp_path)
    assert not heard(data.train, stored["solos.train.wave"]).any() and CPU.contaminated == 0
    for split, sets in data.held_out.items():
        assert tuple(sets) == SETS
        for name, pairs in sets.items():
            wave = stored[f"{name.removesuffix('+')}.{split}.wave"]
            names = [pair.target.name for pair in pairs]
            assert len(set(names)) == len(names) == len(wave) == VIDEOS[split] * (30 if "solos" in name else 20)
            assert not heard([pair.target for pair in pairs], wave).any()
            place = {target: i for i, target in enumerate(names)}
            drawn = [place[pair.interferer.name] for pair in pairs]
            contaminated = heard([pair.interferer for pair in pairs], wave[drawn])
            assert contaminated.all() if name.endswith("+") else not contaminated.any()
            assert all(pair.interferer.label != pair.target.label for pair in pairs)
            assert all((pair.target.frames == 1).all() for pair in pairs)  # views.test
        partners = {name: [(p.target.name, p.interferer.name) for p in pairs] for name, pairs in sets.items()}
        assert partners["solos"] == partners["solos+"] and partners["recordings"] == partners["recordings+"]
        labels, shown = data.queries.labels, data.examples[split]
        asked = [(labels[pair.target.label], labels[pair.interferer.label]) for pair in shown]
        assert asked == [(wanted, other) for _, wanted, other in EXAMPLES]
        assert all(f"({name}.{split} 0)" in pair.target.name for (name, *_), pair in zip(EXAMPLES, shown, strict=True))
    assert all((clip.frames == 0).all() for clip in data.train)  # views.train
    noisy = load(replace(CPU, contaminated=0.8), tmp_path).train
    assert heard(noisy, stored["solos.train.wave"]).float().mean().item() == pytest.approx(0.8, abs=0.06)
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
