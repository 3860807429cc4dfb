"""papers/wfh/predict.py: rankings, and the picture of visual words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from papers.wfh import predict
from papers.wfh.model import Downstream
from shared import UserError
from tests.damage import build_run, photo

from .bad_input import RETRIEVAL, build_words_run, ranking


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("run", "words"):
        (tmp_path / name).mkdir()
    build_run(tmp_path / "run", "wfh-retrieval", RETRIEVAL, model=ranking())
    build_words_run(tmp_path / "words")
    for k, name in enumerate(("a", "b")):
        photo(tmp_path / f"{name}.png", (40 + k, 30))
    return tmp_path


def options(runs: Path, **changes: object) -> predict.Options:
    given = {"captions": ("a crow", "the castle"), "run": runs / "run", "words_run": runs / "words"} | changes
    return predict.Options(**given)  # type: ignore[arg-type]


def test_captions_and_images_are_ranked_by_their_scores(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The score of a pair is made the sum of its number of words and of what its image shows."""

    def score(self: Downstream, x: object) -> torch.Tensor:
        words, features = x.words_mask.sum(1), x.features.mean((1, 2))  # type: ignore[attr-defined]
        return torch.stack([torch.zeros(len(words)), words - 5 + features], 1)

    monkeypatch.setattr(Downstream, "forward", score)
    brighter = np.zeros((5, 320), np.float32), np.full((5, 320), 0.5, np.float32)
    monkeypatch.setattr(predict, "lite0_features", lambda pictures, boxes: np.concatenate(brighter))
    captions = ("a crow", "a crow near the castle", "the saw and a pig")
    predict.predict(options(runs, captions=captions, images=(runs / "a.png", runs / "b.png")))
    lines = capsys.readouterr().out.splitlines()
    names = [line.split("  ", 1)[1].strip() if line[0] in " 01" else line for line in lines]
    a, b = str(runs / "a.png"), str(runs / "b.png")
    by_image = [captions[1], captions[2], captions[0]]
    assert names[:8] == [a, *by_image, b, *by_image]
    assert names[8:] == [x for caption in captions for x in (caption, b, a)]
    assert all(0 <= float(line.split()[0]) <= 1 for line, name in zip(lines, names, strict=True) if line != name)


def test_unknown_words_are_told(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.predict(options(runs, captions=("a zeppelin and a crow",), out=runs / "x.png"))
    assert "never saw the words" in capsys.readouterr().err
    assert (runs / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"captions": ()}, "give --captions"),
        ({}, "give --images, --out or both"),
        ({"out": Path("x.jpg")}, "no name of a PNG file"),
        ({"captions": ("of the",), "out": Path("x.png")}, "name nothing that is hallucinated"),
        ({"images": ("a",), "run": "words"}, "expected retrieval"),
        ({"out": Path("x.png"), "words_run": "run"}, "expected pre-training with a visual vocabulary"),
    ],
)
def test_what_cannot_be_done_is_told(runs: Path, changes: dict[str, object], said: str) -> None:
    given: dict[str, object] = dict(changes)
    for name in ("run", "words_run"):
        if isinstance(given.get(name), str):
            given[name] = runs / str(given[name])
    if "images" in given:
        given["images"] = (runs / "a.png",)
    if isinstance(given.get("out"), Path):
        given["out"] = runs / str(given["out"])
    with pytest.raises(UserError, match=said):
        predict.predict(options(runs, **given))


def test_an_image_is_not_overwritten(runs: Path) -> None:
    with pytest.raises(UserError, match="would overwrite an image"):
        predict.predict(options(runs, images=(runs / "a.png",), out=runs / "a.png"))
