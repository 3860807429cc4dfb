"""Running text, such as BookCorpus: a sentence a line, passages apart by empty lines."""

from pathlib import Path

from shared import UserError

from . import checks

LAYOUT = """\
  text/                       *.txt: running text such as BookCorpus, a sentence a line, an empty line between passages
                              (optional)"""
LEAST = 2  # sentences of a passage, of which two follow one another


def read(root: Path) -> list[list[str]]:
    """Passages of two sentences or more; none if there is no such folder.

    Raises:
        UserError: if a file is no text, or holds no passage of two sentences.
    """
    return [passage for path in sorted((root / "text").glob("*.txt")) for passage in read_file(path)]


def read_file(path: Path) -> list[list[str]]:
    """Passages of one file; see `read`."""
    try:
        blocks = path.read_text(encoding="utf-8").split("\n\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error.reason}); convert it first.") from error
    except PermissionError:
        raise UserError(f"No permission to read {path}; make it readable.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a file of text.") from None
    passages = [[line.strip() for line in block.splitlines() if line.strip()] for block in blocks]
    if not (found := [passage for passage in passages if len(passage) >= LEAST]):
        raise UserError(f"{path} holds no passage of {LEAST} sentences; expected a sentence a line.")
    return found


def check(root: Path) -> list[str]:
    """Lines on the files, if there are some."""
    return checks.counted("running text", sorted((root / "text").glob("*.txt")), read_file, "passages")
