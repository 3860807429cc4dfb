"""Tests run side by side, one process a core; those that share what is expensive to make stay in one process."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported; the commands that tests start inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A group is the folder of a paper's own tests, one paper's smoke reproduction, or a file."""
    for item in items:
        own = item.path.parent.parent.name == "papers"
        smoke = item.callspec.params.get("smoke", "") if hasattr(item, "callspec") else ""
        item.add_marker(pytest.mark.xdist_group(f"{item.path.parent if own else item.path}{smoke}"))
