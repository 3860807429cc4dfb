"""shared/support/folders.py: hidden folders are left out, and files that cannot be read are named."""

from pathlib import Path

import pytest
from PIL import Image

from shared import UserError
from shared.support import folders, progress
from shared.support.folders import NAMED, ClassFolders, faults, named, visible


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_hidden_folders_are_no_classes_and_have_no_images(tmp_path: Path) -> None:
    root = tmp_path / ".cache" / "photos"  # a hidden folder above is the user's own choice
    for name in ("b/0.jpg", "a/deep/1.PNG", "a/.ipynb_checkpoints/1-checkpoint.jpg", "a/._1.jpg", ".git/2.jpg"):
        photo(root / name)
    (root / "a" / "notes.txt").write_text("no image")
    found = ClassFolders(root)
    assert found.classes == ["a", "b"] and found.targets == [0, 1]
    assert [path for path, _ in found.samples] == [str(root / "a/deep/1.PNG"), str(root / "b/0.jpg")]


def test_hidden_folders_alone_are_no_class_folders(tmp_path: Path) -> None:
    photo(tmp_path / ".ipynb_checkpoints/0.jpg")
    with pytest.raises(FileNotFoundError, match="no class folder"):
        ClassFolders(tmp_path)


def test_visible(tmp_path: Path) -> None:
    root = tmp_path / ".data"
    paths = [root / name for name in ("b/c.png", "a.png", ".x/a.png", "b/.a.png")]
    assert visible(paths, root) == [root / "a.png", root / "b/c.png"]


def test_faults_are_found_in_order_and_the_first_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(index: int) -> None:
        if index % 2:
            raise UserError(f"{index}.jpg is empty.")

    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "_listeners", [lambda *values: told.append(values)])
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    monkeypatch.setattr(folders, "CHUNK", 10)
    found = faults(read, 2 * (NAMED + 3), "reading photographs")
    assert told == [("reading photographs", done, 2 * (NAMED + 3)) for done in range(2 * (NAMED + 3))]
    assert faults(read, 2 * (NAMED + 3)) == found and len(told) == 2 * (NAMED + 3)
    assert found == [f"{index}.jpg is empty." for index in range(1, 2 * (NAMED + 3), 2)]
    assert named(found) == [*(f"  {fault}" for fault in found[:NAMED]), "  ... and 3 more"]
    assert named(found[:NAMED]) == [f"  {fault}" for fault in found[:NAMED]] and named([]) == []
