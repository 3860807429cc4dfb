"""Image-text pairs in tables, parquet or arrow files or a dataset of the Hugging Face hub, read by ``datasets``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared import UserError
from shared.support import hub
from shared.support.folders import visible

from .pair import Pair

FORMS = ("parquet", "arrow")
IMAGES, TEXTS = ("image", "jpg"), ("text", "caption", "txt")
"""Columns of the images and of their texts; jpg and txt are those of webdatasets."""


class Table:
    """The rows of a table whose text is not blank, a sequence of :class:`Pair`.

    Args:
        rows: a ``datasets.Dataset``.
        source: what is told of a row beside its number.

    Raises:
        UserError: if a column is missing.
    """

    def __init__(self, rows: Any, source: str) -> None:
        from datasets import Image  # slow to import, and most data come without tables

        self.source, (self.image, self.text) = source, columns(rows.column_names, source)
        if isinstance(rows.features[self.image], Image):  # a damaged one would stop the run, and is decoded otherwise
            rows = rows.cast_column(self.image, Image(decode=False))
        self.rows = rows.filter(is_said, input_columns=[self.text])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Pair:
        row = self.rows[index]
        return as_pair(row[self.image], row[self.text], self.source, index)


def files(folder: Path, form: str) -> list[Path]:
    """The files of a form directly in a folder, in order."""
    return visible(folder.glob(f"*.{form}"), folder)


def open_files(paths: Sequence[Path], form: str, cache: Path) -> Table:
    """The pairs of local files, which ``datasets`` copies into ``cache`` once, as memory-mapped arrow.

    Raises:
        UserError: if a file cannot be read, or what :class:`Table` raises; names the file.
    """
    try:
        rows = _load(form, data_files=list(map(str, paths)), cache_dir=str(cache / "datasets"))
    except Exception as error:  # whatever datasets and pyarrow make of damaged files
        for path in paths:
            for _ in rows_of(path, form):  # tells which one it is
                pass
        cause = error.__cause__ or error
        if isinstance(cause, OSError):  # the cache cannot be written, for want of space, say
            raise cause from None
        raise UserError(
            f"The {form} files of {paths[0].parent} are no table together ({_reason(cause)}); "
            "write them with the same columns."
        ) from None
    return Table(rows, str(paths[0].parent))


def open_named(name: str) -> Table:
    """The pairs of a dataset of the Hugging Face hub, its split "train", downloaded once to the usual cache.

    Raises:
        UserError: if it cannot be loaded, or what :class:`Table` raises.
    """
    try:
        rows = _load(name)
    except Exception as error:  # no such dataset, no network, no such split, ...
        raise UserError(
            f"--pairs {name} cannot be loaded ({hub.failure(error) or _reason(error)}). Expected a dataset of the "
            "Hugging Face hub with the split train; check its name and the network, or leave out --pairs and put its "
            "files below --data."
        ) from None
    return Table(rows, name)


def rows_of(path: Path, form: str) -> Iterator[Pair]:
    """The rows of a local file one by one, blank texts among them; nothing is copied.

    Raises:
        UserError: if the file cannot be read, or has no column of images or texts.
    """
    try:
        rows = _load(form, data_files=[str(path)], streaming=True)
        for index, row in enumerate(rows.decode(False) if rows.features else rows):
            image, text = columns(list(row), str(path))
            yield as_pair(row[image], row[text], path.name, index)
    except UserError:
        raise
    except Exception as error:  # whatever datasets and pyarrow make of damaged files
        raise UserError(f"{path} cannot be read as {form} ({_reason(error)}); download it again.") from None


def columns(names: Sequence[str], source: str) -> tuple[str, str]:
    """The columns of the images and of the texts. Raises UserError if there are none."""
    found = [next((name for name in known if name in names), None) for known in (IMAGES, TEXTS)]
    if found[0] is None or found[1] is None:
        raise UserError(
            f"{source} has the columns {', '.join(names) or 'none'}; expected image, and text or caption. Rename them."
        )
    return found[0], found[1]


def is_said(text: Any) -> bool:
    """Whether a row has a text that is not blank."""
    return bool(texts_of(text))


def texts_of(text: Any) -> tuple[str, ...]:
    """The text of a row, or its texts, without blank ones."""
    return tuple(x for x in (text if isinstance(text, list) else [text]) if isinstance(x, str) and x.strip())


def as_pair(image: Any, text: Any, source: str, index: int) -> Pair:
    """A row, whose image is bytes, or a dictionary that holds them, as ``datasets`` keeps it."""
    content = image.get("bytes") if isinstance(image, dict) else image
    return Pair(
        source,
        f"row {index} of {source}",
        content if isinstance(content, bytes) else b"",
        texts_of(text) or ("",),
    )


def _load(*arguments: Any, **options: Any) -> Any:
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # an error is told in one sentence, by whoever catches it
    with hub.quiet():
        return datasets.load_dataset(*arguments, split="train", **options)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
