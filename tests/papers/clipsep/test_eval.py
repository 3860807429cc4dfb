"""Metrics and masks of an evaluation, on known values; the towers and the data are stand-ins."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from papers.clipsep import eval as evaluation
from papers.clipsep.build import build_spectrogram
from papers.clipsep.claims import CLAIMS, COLUMNS
from papers.clipsep.config import PRESETS
from papers.clipsep.data import Data
from papers.clipsep.datasets.clips import Clip, Pair, Queries, scaled_as_queries
from papers.clipsep.datasets.videos import TESTS
from papers.clipsep.eval import evaluate, noise_activation, separate_all, separated, summary
from shared.run import Run

CONFIG = replace(PRESETS["smoke"], batch_size=2)
NAN = float("nan")
LABELS = ["dog", "harp", "rain"]


def values(**by_metric: list[float]) -> dict[str, Tensor]:
    given = {f"{metric}_db": torch.tensor(row, dtype=torch.float64) for metric, row in by_metric.items()}
    length = len(next(iter(given.values())))
    zeros = torch.zeros(length, dtype=torch.float64)
    return dict.fromkeys(("sdr_db", "sir_db", "sar_db", "si_sdr_db"), zeros) | given


def pairs(count: int, kind: str) -> list[Pair]:
    """Mixtures of noise; the query of clip i is i, in every frame."""
    clips = []
    for number in range(2 * count):
        generator = torch.Generator().manual_seed(number + 100 * len(kind))
        wave = 0.1 * torch.randn(2 * CONFIG.rate, generator=generator)
        frames = torch.full((8, 4), float(number))
        clips.append(Clip(f"{kind} {number}", number % len(LABELS), functools.partial(torch.clone, wave), frames, 4.0))
    return [Pair(target, interferer) for target, interferer in zip(clips[:count], clips[count:], strict=True)]


QUERIES = Queries(LABELS, torch.randn(3, 4), torch.randn(3, 4), torch.randn(3, 5))


# means, medians, standard errors


def test_own_query_and_others() -> None:
    rows = {
        "own": values(
            sdr=[1.0, 2.0, 6.0, 7.0],
            sir=[0.0, 4.0, 5.0, 3.0],
            sar=[10.0, 30.0, 20.0, 16.0],
            si_sdr=[-4.0, 1.0, 2.0, 9.0],
        ),
        "image": values(sdr=[0.0, 4.0, 2.0, 10.0], sir=[1.0, 1.0, 1.0, 5.0], si_sdr=[-1.0, -2.0, -3.0, -6.0]),
        "shuffled": values(sdr=[-4.0, -2.0, 0.0, 2.0]),
    }
    found = summary(rows)
    assert {name: found[name] for name in ("sdr_db", "sir_db", "sar_db", "si_sdr_db")} == {
        "sdr_db": 4.0, "sir_db": 3.0, "sar_db": 19.0, "si_sdr_db": 2.0,
    }  # fmt: skip
    medians = [found[f"{metric}_median_db"] for metric in ("sdr", "sir", "sar", "si_sdr")]
    assert medians == [4.0, 3.5, 18.0, 1.5]
    assert found["sdr_sem_db"] == pytest.approx(np.std([1, 2, 6, 7], ddof=1) / 2)
    assert found["sir_sem_db"] == pytest.approx(np.std([0, 4, 5, 3], ddof=1) / 2)
    assert found["sar_sem_db"] == pytest.approx(np.std([10, 30, 20, 16], ddof=1) / 2)
    assert found["si_sdr_sem_db"] == pytest.approx(np.std([-4, 1, 2, 9], ddof=1) / 2)
    assert (found["sdr_image_db"], found["sdr_image_median_db"]) == (4.0, 3.0)
    assert (found["sir_image_db"], found["si_sdr_image_db"], found["sdr_shuffled_db"]) == (2.0, -3.0, -1.0)
    assert not any("unselected" in name or name.startswith("sar_image") for name in found)


def test_silent_mixtures_are_left_out() -> None:
    own = values(sdr=[1.0, NAN, 3.0], sir=[2.0, NAN, 4.0], sar=[5.0, NAN, 7.0], si_sdr=[0.0, NAN, 1.0])
    found = summary({"own": own, "image": own, "shuffled": own})
    assert found == summary({k: {m: v[[0, 2]] for m, v in own.items()} for k in ("own", "image", "shuffled")})
    assert found["sdr_db"] == found["sdr_median_db"] == found["sdr_image_db"] == found["sdr_image_median_db"] == 2.0
    assert found["sdr_sem_db"] == pytest.approx(1.0)


def test_sar_that_is_round_off_is_dropped() -> None:
    found = summary({"own": values(sdr=[1.0, 2.0, 3.0], sar=[10.0, 101.0, 20.0])})
    assert (found["sar_db"], found["sar_median_db"], found["sar_sem_db"]) == (15.0, 15.0, pytest.approx(5.0))
    assert found["sdr_db"] == 2.0  # of all three
    without = summary({"own": values(sdr=[1.0, 2.0], sar=[110.0, 120.0])})
    assert not any(name.startswith("sar_") for name in without)
    one = summary({"own": values(sdr=[1.0, 2.0], sar=[30.0, 120.0])})
    assert one["sar_db"] == 30.0 and "sar_sem_db" not in one  # no spread in one value


def test_an_oracle_selects_pits_output() -> None:
    first = values(sdr=[5.0, 1.0, 3.0], sir=[50.0, 10.0, 30.0], si_sdr=[9.0, 0.0, 0.0])
    second = values(sdr=[4.0, 7.0, -3.0], sir=[40.0, 70.0, -30.0], si_sdr=[10.0, 4.0, 1.0])
    found = summary({"first": first, "second": second})
    assert found["sdr_db"] == 5.0
    assert found["sir_db"] == pytest.approx(50.0)  # of the output that has the better SDR
    assert found["si_sdr_db"] == pytest.approx(13 / 3)
    assert found["sdr_unselected_db"] == pytest.approx(17 / 6)
    assert found["si_sdr_unselected_db"] == pytest.approx(4.0)


# masks


def test_pits_candidates_are_the_first_mask_and_its_complement() -> None:
    class Model:
        def separate(self, log_mixture: Tensor) -> Tensor:
            return torch.full_like(log_mixture, 0.8)

    some, spectrogram = pairs(2, "test"), build_spectrogram(CONFIG)
    config = replace(CONFIG, model="pit")
    found = separate_all(config, Model(), spectrogram, some, QUERIES)
    at_half = replace(CONFIG, model="half-volume")
    half = separate_all(at_half, None, spectrogram, some, QUERIES)
    estimates = separated(config, Model(), spectrogram, some, QUERIES)[1]["first"]
    halves = separated(at_half, None, spectrogram, some, QUERIES)[1]["own"]
    assert list(found) == ["first", "second"] and list(half) == ["own"]
    assert (estimates - 1.6 * halves).abs().max() < 1e-5
    torch.testing.assert_close(found["first"]["si_sdr_db"], half["own"]["si_sdr_db"], atol=1e-3, rtol=0)
    sources = evaluation.mixtures(some, CONFIG)
    for i in range(2):
        expected = evaluation.bss_eval(sources[i, :, : halves.shape[-1]], 0.4 * halves[i : i + 1])["sdr_db"]
        assert found["second"]["sdr_db"][i].item() == pytest.approx(expected.item(), abs=1e-3)


def test_no_claim_is_tested_offline_and_on_videos_by_two_comparisons() -> None:
    """Each comparison on videos has a twin offline, with the same number, and no preset has both."""
    by_id = {claim.id: claim for claim in CLAIMS}
    videos = [claim for claim in CLAIMS if claim.id.endswith("-videos")]
    assert len(videos) == 6
    for claim in videos:
        twin = by_id[claim.id.removesuffix("-videos")]
        assert (twin.number, twin.direction) == (claim.number, claim.direction)
        assert not set(twin.presets) & set(claim.presets)
    assert all(set(claim.presets) <= set(PRESETS) for claim in CLAIMS)


def test_noise_activation_is_that_of_mixtures_asked_for_both_sources() -> None:
    asked = []

    def model(log_mixture: Tensor, queries: Tensor) -> tuple[None, Tensor]:
        """Head 1 is active by a tenth of the targets' numbers, head 2 by a fifth."""
        asked.append(queries)
        shape = log_mixture.shape
        of_target = queries[:, 0, 0].view(-1, 1, 1, 1).expand(shape)
        return None, torch.stack([of_target / 10 + 0.05, of_target / 5 + 0.05], dim=1).logit()

    some = pairs(3, "test")  # targets 0, 1, 2; interferers 3, 4, 5; batches of 2 and 1
    found = noise_activation(CONFIG, model, build_spectrogram(CONFIG), some)
    assert torch.equal(torch.cat(asked)[..., 0], torch.tensor([[0.0, 3], [1, 4], [2, 5]]))
    assert found == pytest.approx(0.1 + 0.3 * (0 + 1 + 2) / 3, abs=1e-5)


# which mixtures, which texts


@pytest.mark.parametrize(("split", "names"), [("test", ["test 0", "test 1"]), ("validation", ["validation 0"])])
def test_what_is_evaluated(split: Any, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = {"clean+": pairs(2, "test"), "music+": pairs(1, "more")}
    held_out = {"validation": {"validation": pairs(1, "validation")}, "test": test}
    given = Data([], held_out, {split: pairs(3, "example") for split in held_out}, QUERIES)
    monkeypatch.setattr(evaluation, "load", lambda config, cache: given)
    run = Run(tmp_path / "run", tmp_path / "cache", seed=100)
    metrics = evaluate(replace(CONFIG, model="half-volume", split=split), run)
    found = json.loads((tmp_path / "run/items.json").read_text())
    assert [item["target"] for item in found] == names
    assert metrics["sdr_db"] == pytest.approx(np.mean([item["sdr_db"]["own"] for item in found]))
    assert ("music+_sdr_db" in metrics) == (split == "test")
    assert "sir_db" in metrics and "music+_sir_db" not in metrics  # projections of the first set alone
    labels = json.loads((tmp_path / "run/examples/examples.json").read_text())["labels"]
    assert labels == [["dog", "dog"], ["harp", "harp"], ["rain", "rain"]]
    half, _ = soundfile.read(tmp_path / "run/examples/2-estimate.wav")
    mixture, _ = soundfile.read(tmp_path / "run/examples/2-mixture.wav")
    np.testing.assert_allclose(half, mixture[: len(half)] / 2, atol=1e-4)


def test_metrics_without_projections_are_the_same() -> None:
    config, spectrogram, some = replace(CONFIG, model="ideal-mask"), build_spectrogram(CONFIG), pairs(3, "test")
    few = separate_all(config, None, spectrogram, some, QUERIES, projected=False)["own"]
    all_ = separate_all(config, None, spectrogram, some, QUERIES)["own"]
    assert set(few) == {"sdr_db", "si_sdr_db"}
    for name, values_ in few.items():
        torch.testing.assert_close(values_, all_[name])
    assert {name for name in summary({"own": few}) if name.startswith(("sir", "sar"))} == set()


def test_columns_of_the_papers_scale_are_those_of_music() -> None:
    headline = {column.metric for column in COLUMNS if {"cpu", "paper"} <= set(column.presets)}
    further = [column.metric for column in COLUMNS if column.presets == ("paper",)]
    offline = [column.metric for column in COLUMNS if "paper" not in column.presets]
    assert len(headline) + len(further) + len(offline) == len(COLUMNS)
    assert all(metric.startswith(("recordings_", "recordings+_", "solos+_")) for metric in offline)
    names = {name for name in TESTS if all(metric.startswith(f"{name}_") for metric in further)}
    assert names == set(list(TESTS)[1:]) == {"music+"}  # the first set's metrics have no prefix
    assert "music+_sdr_db" in further and {metric.removeprefix("music+_") for metric in further} <= headline


@pytest.mark.parametrize("count", [2, 3, 65])
def test_shuffled_texts_belong_to_other_labels(count: int) -> None:
    text = torch.arange(count).float()[:, None]
    shuffled = Queries([""] * count, text, text, text).shuffled()
    assert (shuffled != text).all()
    assert sorted(shuffled.flatten().tolist()) == list(range(count))


def test_sentences_are_scaled_as_queries() -> None:
    sentence = torch.nn.functional.normalize(torch.randn(20, 384) + 3, dim=-1)  # most of it is common
    scaled = scaled_as_queries(sentence)
    torch.testing.assert_close(scaled.norm(dim=-1), torch.full((20,), 10.0))
    likeness = torch.nn.functional.cosine_similarity(scaled[:, None], scaled[None], dim=-1)
    assert (likeness.sum() - 20).abs() / (20 * 19) < 0.1  # mean of the others, 0.9 before
    torch.testing.assert_close(scaled_as_queries(sentence + 1), scaled, atol=1e-3, rtol=0)


# figures


def test_figures_show_the_median_seed(tmp_path: Path) -> None:
    runs = {}
    for variant, values in {"pit": (5.0, 6.0, 7.0, 8.0), "clipsep": (3.0, 1.0, 4.0, 2.0)}.items():
        for seed, value in enumerate(values):
            runs[variant, seed] = tmp_path / variant / str(seed)
            runs[variant, seed].mkdir(parents=True)
            (runs[variant, seed] / "result.json").write_text(json.dumps({"metrics": {"sdr_db": value}}))
    assert evaluation._median_seed(runs) == 3  # of four the lower of the two in the middle
    assert evaluation._median_seed({run: folder for run, folder in runs.items() if run != ("clipsep", 1)}) == 0
    assert evaluation._median_seed({run: folder for run, folder in runs.items() if run[0] == "pit"}) == 1


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """A run whose examples are tones of half a second, the estimates at a tenth of the target's distance."""
    rate, examples = 8_000, tmp_path / "clipsep" / "examples"
    examples.mkdir(parents=True)
    tone = (2 * torch.pi * 1_000 * torch.arange(4_000) / rate).sin() / 2
    for row in range(2):
        for kind, level in {"mixture": 1.0, "target": 0.5, "estimate": 0.45}.items():
            soundfile.write(examples / f"{row}-{kind}.wav", level * tone.numpy(), rate, "FLOAT")
    (examples / "examples.json").write_text(json.dumps({"labels": [["dog", "$5 harp"], ["harp", "dog"]]}))
    return tmp_path / "clipsep"


def test_spectrograms_have_axes_in_seconds_and_hertz(tones: Path) -> None:
    axes = evaluation._spectrograms({"clipsep": tones}, 0).axes
    assert [axis.get_title() for axis in axes[:3]] == ["mixture", "target", "clipsep"]
    assert axes[0].get_ylabel().endswith("\nHz") and axes[-1].get_xlabel() == "Time (seconds)"
    for axis in axes:
        mesh = axis.collections[0]
        level, places = np.asarray(mesh.get_array()), mesh.get_coordinates()
        row = level.mean(1).argmax()
        assert places[row, 0, 1] < 1_000 < places[row + 1, 0, 1]
        assert places[0, -1, 0] == pytest.approx(0.5, abs=0.01) and axis.get_ylim()[1] == pytest.approx(4_000, abs=20)


def test_the_separation_is_drawn_with_its_sdr(tones: Path) -> None:
    axes = evaluation._separation(tones, "clipsep", 3).axes
    assert len(axes) == 6
    assert [axis.get_title() for axis in axes[:3]] == [
        "heard: dog and $5 harp",
        'asked for: "dog"',
        "truth: dog alone",
    ]
    assert [[text.get_text() for text in axis.texts] for axis in axes[:3]] == [["SDR 0.0 dB"], ["SDR 20.0 dB"], []]


def test_examples_are_kept_small(tones: Path, tmp_path: Path) -> None:
    evaluation._keep_examples(tones, "clipsep", tmp_path / "sounds")
    names = sorted(path.name for path in (tmp_path / "sounds").iterdir())
    assert names[:3] == [f"1-dog-with-$5-harp-{part}.flac" for part in ("1-mixture", "2-clipsep", "3-target")]
    kept, rate = soundfile.read(tmp_path / "sounds" / names[1])
    np.testing.assert_allclose(kept, soundfile.read(tones / "examples/0-estimate.wav")[0], atol=1e-4)
    assert rate == 8_000


def test_classes_are_drawn_by_test_set(tmp_path: Path) -> None:
    runs = {}
    for variant, values_ in {"mixture": (0.0, 1.0), "clipsep": (5.0, 2.0)}.items():
        runs[variant, 0] = tmp_path / variant
        runs[variant, 0].mkdir()
        items = [{"label": label, "sdr_db": {"own": x}} for label, x in zip(("dog", "harp"), values_, strict=True)]
        (tmp_path / variant / "items.json").write_text(json.dumps(items))
    of_recordings = [{"label": "harp", "sdr_db": {"own": 3.0}}]
    (tmp_path / "clipsep" / "items-recordings.json").write_text(json.dumps(of_recordings))
    by_class = {file: evaluation._sdr_by_class(runs, file) for file in evaluation.ITEMS.values()}
    assert by_class["items.json"]["harp"] == {"mixture": 1.0, "clipsep": 2.0}
    assert by_class["items-recordings.json"]["harp"]["clipsep"] == 3.0
    assert "items.json,dog,0.00,5.00" in evaluation._csv({"items.json": by_class["items.json"]})
    panel = evaluation._classes({"new notes": by_class["items.json"]}).axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["harp", "dog"]  # the worst first
