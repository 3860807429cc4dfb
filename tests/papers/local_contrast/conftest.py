"""What the tests of this paper share: the prepared volumes of the smoke preset."""

from pathlib import Path

import pytest

from papers.local_contrast.config import PRESETS
from papers.local_contrast.data import prepare


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local_contrast") / "cache"
    prepare(PRESETS["smoke"], folder)
    return folder
