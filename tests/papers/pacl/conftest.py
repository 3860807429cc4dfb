from pathlib import Path

import pytest

from papers.pacl.config import PRESETS
from papers.pacl.data import prepare
from shared.support import progress


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scenes of the smoke preset, made once."""
    folder = tmp_path_factory.mktemp("preset") / "cache"
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "_listeners", [lambda what, done, total: told.append(what)])
        described = prepare(PRESETS["smoke"], folder)
    assert {"composing train scenes", "encoding held out scenes", "embedding captions"} <= set(told)
    assert described["train"] == PRESETS["smoke"].scenes and described["test"] > 0
    assert prepare(PRESETS["smoke"], folder) == described  # from the cache
    return folder
