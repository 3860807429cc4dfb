"""The committed weights are those of a published row, and predict uses them at once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from papers.fastmim import data, predict
from papers.fastmim.build import PRETRAINED, pretrained_weights, trained_classifier
from papers.fastmim.claims import COLUMNS
from papers.fastmim.eval import EXAMPLES, evaluate, median_seed
from shared.run import Run
from shared.support.weights import committed_weights

RESULTS = Path(predict.__file__).parent / "results" / "cpu.json"


def test_committed_weights_give_the_published_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the seed with the median accuracy, to the printed digits; costs are not measured again."""
    described = json.loads(predict.COMMITTED.read_text())
    rows = json.loads(RESULTS.read_text())["rows"]
    metrics = {(row["variant"], row["seed"]): row["metrics"] for row in rows}
    assert described["seed"] == median_seed(metrics, described["variant"])
    published = metrics[described["variant"], described["seed"]]
    monkeypatch.setattr(data.scenes, "build", lambda: {"pretrain": np.zeros((1, 3, 2, 2), np.uint8)})  # not used
    config, _ = trained_classifier(predict.COMMITTED)
    run = Run(tmp_path / "run", tmp_path / "cache", seed=described["seed"])
    data.prepare(config, run.cache)
    run.weights.parent.mkdir()
    shutil.copy(committed_weights(predict.COMMITTED), run.weights)
    shutil.copy(committed_weights(predict.COMMITTED, PRETRAINED), pretrained_weights(run))
    found = evaluate(replace(config, compared_steps=()), run)
    assert (run.folder / EXAMPLES).exists()  # for the figures
    digits = {column.metric: column.digits for column in COLUMNS}
    assert len(found) == 3
    for name, value in found.items():
        assert f"{value:.{digits[name]}f}" == f"{published[name]:.{digits[name]}f}", name


def test_predict_needs_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it is called, on the test image that the committed network is surest of."""
    monkeypatch.chdir(tmp_path)
    built = data.digits.build()
    config, classifier = trained_classifier(predict.COMMITTED)
    images = [Image.fromarray(x.transpose(1, 2, 0)) for x in built["test"][:50]]
    batch = np.stack([predict.network_input(image, config, config.image_size).numpy() for image in images])
    shares = classifier(torch.from_numpy(batch)).softmax(1).max(1)
    best = int(shares.values.argmax())
    assert shares.indices[best] == built["test_labels"][best]
    images[best].save("digit.png")
    assert predict.main(["--image", "digit.png", "--out", "picture.png", "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(f"%  {built['test_labels'][best]}")
    assert np.asarray(Image.open("picture.png").convert("L")).std() > 20
