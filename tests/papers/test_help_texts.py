"""Every option of a command has a help text that stands alone."""

import contextlib
import importlib
import io
import re
import sys

import pytest

COMMANDS = (
    "papers.clipsep.predict",
    "papers.clipsep.train",
    "papers.fastmim.predict",
    "papers.fastmim.train",
    "papers.fastmim.transfer.detect",
    "papers.fastmim.transfer.segment",
    "papers.featreg.predict",
    "papers.featreg.train",
    "papers.local_contrast.data",
    "papers.local_contrast.predict",
    "papers.local_contrast.train",
    "papers.pacl.predict",
    "papers.pacl.train",
    "papers.structcomp.predict",
    "papers.structcomp.train",
)


def help_texts(module: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Option -> what `--help` prints of it, without the default."""
    monkeypatch.setenv("COLUMNS", "400")  # an option a line
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        if module.endswith(".train"):
            importlib.import_module("shared.reproduce.train").train_one(module.rpartition(".")[0])
        else:
            importlib.import_module(module).main(["--help"])
    lines = "\n".join(line.strip("│| ") for line in printed.getvalue().splitlines())
    found = re.findall(r"^(--[a-z][\w-]*)(?:, --no-[\w-]+)?(.*?)(?=^[-─╰+]|\Z)", lines, re.DOTALL | re.MULTILINE)
    assert found, printed.getvalue()
    return {name: " ".join(text.rpartition("(")[0].split()) for name, text in found}


@pytest.mark.parametrize("module", COMMANDS)
def test_every_option_has_a_text(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = help_texts(module, monkeypatch)
    assert len(texts) >= 4 and "--debug" in texts
    kinds = r"(\[?(\{[\w,.-]+\}|PATH|STR|INT|FLOAT|[|.\[\]\s])+)?\s*"
    told = {name: re.sub(f"^{kinds}", "", text) for name, text in texts.items()}
    assert {name: text for name, text in told.items() if not re.match(r"(?!Of |What )[A-Z].{10,}\.$", text)} == {}
