"""Predictions on a user's own text, for every kind of task."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from papers.atc import predict
from papers.atc.build import build, client_file
from papers.atc.config import Config
from tests.damage import write_json

TEXTS = {
    "movies": "a wonderful film",
    "topics": "a bird that hunts at night",
    "spans": "a bird\tThe owl is a bird.",
    "definitions": "owl : the owl hunts",
}


@pytest.fixture
def run(tmp_path: Path, cache: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with untrained networks, beside prepared data."""
    monkeypatch.setattr(predict, "cache_folder", lambda *_: cache)
    write_json(tmp_path / "config.json", {"variant": "atc", "config": asdict(replace(config, null_threshold=None))})
    (tmp_path / "checkpoint").mkdir()
    for i, labels in enumerate((2, 8, 2, 2)):
        network = build(config, labels, 0, cache)
        own = {name: x.detach().contiguous().half() for name, x in network.named_parameters()}
        (tmp_path / "checkpoint" / client_file(i)).write_bytes(save(own))
    return tmp_path


@pytest.mark.parametrize("number", range(4))
def test_every_kind_of_client(run: Path, config: Config, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    name, out = config.clients[number], run / "out" / "lines.txt"
    torch.manual_seed(0)
    arguments = ["--text", TEXTS[name], "--run", str(run), "--client", str(number), "--out", str(out)]
    assert predict.main(arguments) == 0
    found = out.read_text().splitlines()
    assert len(found) == 1 and capsys.readouterr().out == f"{found[0]}\t{TEXTS[name]}\n"
    if name == "movies":
        assert found[0] in ("negative", "positive")
    if name == "spans":
        assert found[0] and found[0] in "The owl is a bird."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Give --text or --input"),
        (["--text", "a", "--input", "b"], "Give --text or --input"),
        (["--text", " "], "--text is empty"),
        (["--text", "no passage", "--client", "2"], "has no context"),
        (["--text", "a", "--client", "9"], "There is no trained model"),
    ],
)
def test_what_makes_no_sense_is_told(
    run: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([*arguments, "--run", str(run)]) == 1
    assert said in capsys.readouterr().err
