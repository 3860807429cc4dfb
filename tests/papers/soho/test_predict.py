"""papers/soho/predict.py: an image in; answers, ranked captions and a picture of codes out."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from papers.soho import build, predict
from papers.soho.config import PRESETS
from papers.soho.data import classes, vocabulary
from shared import UserError
from tests.damage import build_run, photo, state

PRETRAIN = PRESETS["smoke"]
VQA = replace(PRETRAIN, task="vqa")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An image, a run of pre-training that likes the second caption, and one whose answer is always "three"."""
    torch.manual_seed(0)
    network = build.pretraining(PRETRAIN, vocabulary(PRETRAIN))
    build_run(tmp_path / "run", "soho", PRETRAIN, model=state(network))
    answering = build.downstream(VQA, vocabulary(VQA), classes(VQA))
    with torch.no_grad():
        answering.head[3].bias[classes(VQA).index("three")] += 50  # type: ignore[index]
    build_run(tmp_path / "answers", "soho-vqa", VQA, model=state(answering))
    photo(tmp_path / "a.png", (150, 110))
    return tmp_path


def test_answers_ranks_and_draws(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--image", "a.png", "--questions", "how many things are there?", "where is it?"]
    arguments += ["--captions", "an owl by the castle", "a pig", "--out", "codes.png", "--run", "run"]
    paths = [str(folder / x) if (folder / x).exists() or x == "codes.png" else x for x in arguments]
    assert predict.main([*paths, "--answers-run", str(folder / "answers")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("how many things are there?  three (1.00), ")
    ranked = [(float(line.split()[0]), line[8:]) for line in printed[2:4]]
    assert ranked[0][0] >= ranked[1][0] and {text for _, text in ranked} == {"an owl by the castle", "a pig"}
    assert Image.open(folder / "codes.png").width > 600


def test_words_that_training_never_showed_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.predict(predict.Options(folder / "a.png", captions=("a helicopter",), run=folder / "run"))
    assert "never saw the words helicopter" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "nothing to do"),
        ({"out": "codes.jpg"}, "expected one that ends in .png"),
        ({"out": "a.png"}, "would overwrite the image"),
        ({"captions": ("a pig",), "run": "answers"}, "is a run of task vqa; expected pre-training"),
        ({"questions": ("where?",), "answers_run": "run"}, "is a run of task pretrain; expected task vqa"),
    ],
)
def test_wrong_options_are_told(folder: Path, options: dict[str, object], said: str) -> None:
    given = {name: folder / x if isinstance(x, str) else x for name, x in options.items()}
    with pytest.raises(UserError, match=said):
        predict.predict(predict.Options(folder / "a.png", **given))  # type: ignore[arg-type]


def test_a_run_without_a_dictionary_has_no_codes(folder: Path) -> None:
    config = replace(PRETRAIN, dictionary=False)
    build_run(folder / "plain", "no-dictionary", config, model=state(build.pretraining(config, vocabulary(config))))
    with pytest.raises(UserError, match="has no dictionary"):
        predict.predict(predict.Options(folder / "a.png", out=folder / "codes.png", run=folder / "plain"))
    assert not (folder / "codes.png").exists()
