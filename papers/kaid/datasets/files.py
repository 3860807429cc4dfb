"""A user's own domains: tab-separated files."""

from pathlib import Path

from shared import UserError
from shared.support.progress import track

from ..acquisition.triples import read_triples, read_tsv
from .tasks import Domain, Example, Task

LAYOUT = """\
A folder for each domain (one or more), with
  triples.tsv                     head <tab> hypernym or synonym <tab> tail, a line a triple; see acquisition
  templates.txt                   optional: sentences with {} for a term, in which infusion sees it
  queries.txt                     optional: unlabelled sentences for distillation
  glosses.tsv                     optional: term <tab> definition, for the variant `entity`
  tasks/<name>/train.tsv          label <tab> sentence, or label <tab> sentence <tab> sentence
  tasks/<name>/test.tsv           the same; two sentences match where the label is 1
  tasks/<name>/validation.tsv     optional"""

TEMPLATES = ("I have a question about {}", "what is {} ?")


def read(root: Path) -> list[Domain]:
    """The domains below a folder, by name.

    Raises:
        UserError: there is none, or a file is missing or not as LAYOUT says.
    """
    return [_domain(folder) for folder in _folders(root)]


def check(root: Path) -> list[str]:
    """A line on every task and triples file, and on what is wrong with a domain.

    Raises:
        UserError: there is no domain.
    """
    lines = []
    for folder in track(_folders(root), "reading domains"):
        try:
            domain = _domain(folder)
        except UserError as error:
            lines.append(str(error))
            continue
        lines.append(f"{folder}: {len(domain.triples):,} triples, {len(domain.queries):,} unlabelled sentences")
        for task in domain.tasks:
            counts = ", ".join(f"{len(examples):,} {split}" for split, examples in task.splits.items() if examples)
            kind = "matching" if task.is_matching else f"{len(task.classes)} classes"
            lines.append(f"{folder / 'tasks' / task.name}: {kind}, {counts}")
    return lines


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise UserError(f"{root} is no folder. Expected there:\n{LAYOUT}")
    found = sorted(path for path in root.iterdir() if (path / "triples.tsv").exists() or (path / "tasks").exists())
    if not found:
        raise UserError(f"{root} holds no domain: no folder in it has triples.tsv. Expected there:\n{LAYOUT}")
    return found


def _domain(folder: Path) -> Domain:
    tasks = folder / "tasks"
    names = sorted(path.name for path in tasks.iterdir() if path.is_dir()) if tasks.is_dir() else []
    if not names:
        raise UserError(f"{tasks} holds no task; expected a folder for each.")
    optional = {name: folder / name for name in ("templates.txt", "queries.txt", "glosses.tsv")}
    templates = _sentences(optional["templates.txt"]) or TEMPLATES
    if wrong := next((x for x in templates if x.count("{}") != 1), None):
        raise UserError(f"{optional['templates.txt']}: {wrong!r} has not exactly one {{}} for the term.")
    triples = read_triples(folder / "triples.tsv")
    return Domain(
        folder.name,
        tuple(_task(tasks / name) for name in names),
        tuple(triples),
        tuple(templates),
        queries=tuple(_sentences(optional["queries.txt"])),
        glosses=_glosses(optional["glosses.tsv"]),
    )


def _sentences(path: Path) -> list[str]:
    return ["\t".join(fields) for _, fields in read_tsv(path)] if path.exists() else []


def _glosses(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = {}
    for number, fields in read_tsv(path):
        if len(fields) != 2:
            raise UserError(f"{path}, line {number}: found {len(fields)} fields; expected term and definition.")
        found[fields[0]] = fields[1]
    return found


def _task(folder: Path) -> Task:
    """A task; the classes are those of the training file."""
    rows = {
        split: _rows(folder / f"{split}.tsv", required=split != "validation")
        for split in ("train", "validation", "test")
    }
    classes = sorted({fields[0] for _, fields in rows["train"]})
    if len(classes) < 2:
        raise UserError(f"{folder / 'train.tsv'} has the label {classes[0]!r} alone; expected two or more classes.")
    width = len(rows["train"][0][1])
    splits = {}
    for split, found in rows.items():
        examples = []
        for number, fields in found:
            where = f"{folder / f'{split}.tsv'}, line {number}"
            if len(fields) != width or width not in (2, 3) or not all(fields):
                raise UserError(f"{where}: found {len(fields)} fields; expected a label and one sentence, or two.")
            if fields[0] not in classes:
                raise UserError(f"{where}: the label {fields[0]!r} is not in train.tsv ({', '.join(classes)}).")
            if width == 3 and classes != ["0", "1"]:
                raise UserError(f"{where}: a matching task has the labels 0 and 1; found {', '.join(classes)}.")
            examples.append(Example(classes.index(fields[0]), fields[1], fields[2] if width == 3 else None))
        splits[split] = tuple(examples)
    return Task(folder.name, tuple(classes), splits, is_matching=width == 3)


def _rows(path: Path, required: bool) -> list[tuple[int, list[str]]]:
    return read_tsv(path) if required or path.exists() else []
