"""A tiny federation that the paper's tests share."""

from dataclasses import replace
from pathlib import Path

import pytest

from papers.atc import data
from papers.atc.config import PRESETS, Config

TINY = replace(
    PRESETS["smoke"],
    clients=("movies", "topics", "spans", "definitions"),
    neighbours=(2, 2, 2, 2),
    clusters=2,
    rounds=3,
    assign_rounds=3,
)


@pytest.fixture(scope="session")
def config() -> Config:
    return TINY


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared data of all tests here."""
    folder = tmp_path_factory.mktemp("cache")
    data.prepare(TINY, folder)
    return folder
