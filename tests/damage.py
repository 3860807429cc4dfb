"""What damages a file, what is said of it then, and whole examples that several papers read.

``bad_input.py`` of every paper, and of shared, joins these to its own readers and command lines:

* ``READERS``: how to write a whole example, and how to read it, by a name that begins with the paper's;
* ``TABLE``: reader, file and `Kind` of damage, a row each, which `damages` makes; ten kinds a reader or more, but for
  the paper's ``--run``, which shared opens: what the paper itself makes of a run's configuration and weights;
* ``COMMANDS``: command lines, by names that begin with the paper's;
* ``CHECKPOINTS``, if there are weights that no row of the table damages: a reader and its file, by such a name.

``tests/papers/test_bad_input.py`` collects and tests them.
"""

import contextlib
import ctypes
import functools
import io
import json
import os
import re
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

GOLDEN = Path(__file__).with_name("golden")
FOLDER = "größe und weiß, 写真 (1)"  # of every example: spaces and what is not ASCII have to work

Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """How to write a whole example into a folder, and how to read all of it."""

    build: Callable[[Path], object]
    read: Callable[[Path], object]
    check: Callable[[Path], list[str]] | None = None
    """What `make check-data` calls, if the reader is of a dataset."""
    count: Callable[[Path], int] | None = None
    """How many samples there are, if `check` counts them and does not open every file."""
    alike: str = ""
    """A reader of the same class, whose rows of the table stand for this one."""


@dataclass(frozen=True)
class Kind:
    """How to damage a file, a pattern of what is said then, and who is named if it is not the file itself."""

    damage: Damage
    said: str
    named: str = ""


Kinds = dict[str, tuple[Damage, str] | tuple[Damage, str, str]]
Row = tuple[str, str, str, Kind]
"""Reader, name of the kind, file below the reader's folder, kind."""


def damages(reader: str, path: str, kinds: Kinds) -> list[Row]:
    return [(reader, name, path, Kind(*kind)) for name, kind in kinds.items()]


@dataclass(frozen=True)
class Command:
    """A command line on whole examples, which are built together in one folder."""

    main: Callable[[list[str]], int]
    builds: dict[str, str]
    """Readers whose examples it needs, and the folder of each."""
    options: str
    """Split at spaces; what begins with ./ is below the example's folder."""
    files: dict[str, tuple[Damage, ...]]
    """What it reads, and how that is damaged: BINARY or PLAIN_TEXT."""
    computed: tuple[str, ...]
    """What it writes."""
    spared: tuple[str, ...] = ()
    """What it is asked for and does not write."""

    def run(self, root: Path) -> int:
        return self.main([str(root / word) if word.startswith("./") else word for word in self.options.split()])


# -- what damages a file ----------------------------------------------------------------------------------------------


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut(share: float) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("<html>404 not found</html>\n" * 40)


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("a file")


def emptied(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def loop(path: Path) -> None:
    gone(path)
    path.symlink_to(path.name)


def locked(path: Path) -> None:
    path.chmod(0)


def not_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes() + "\nGröße".encode("latin-1"))


def nested(path: Path) -> None:
    path.write_text("[" * 200_000)


def flipped(path: Path) -> None:
    """Its second half is other bytes."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(255 - x for x in content[middle:]))


def replaced(old: str, new: str) -> Damage:
    def damage(path: Path) -> None:
        content = path.read_text(encoding="utf-8")
        assert old in content
        path.write_text(content.replace(old, new, 1), encoding="utf-8")

    return damage


def edited(change: Callable[[Any], object]) -> Damage:
    """Change the content of a JSON file; NaN and infinity may be in it."""

    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def picture(mode: str = "RGB", size: tuple[int, int] = (8, 9), value: Any = 1) -> Damage:
    """Another image in its place; modes that PNG and JPEG do not have are written as TIFF."""

    def damage(path: Path) -> None:
        Image.new(mode, size, value).save(path, "TIFF" if mode == "F" else None)

    return damage


def bomb(path: Path) -> None:
    """A PNG whose header announces a picture of 400 gigapixels."""
    Image.new("L", (8, 8)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[16:24] = (650_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


def damaged_avif() -> bytes:
    """An image of which Pillow's plug-in says with a RuntimeError, unlike the others, that it cannot be decoded."""
    content = io.BytesIO()
    Image.new("RGB", (16, 16)).save(content, "AVIF")
    return content.getvalue()[:-30] + bytes(255 - x for x in content.getvalue()[-30:])


NAN = picture("F", value=float("nan"))


def sound(samples: Any, rate: int = 16_000, subtype: str = "PCM_16") -> Damage:
    return lambda path: soundfile.write(path, np.asarray(samples), rate, subtype)


def half_sound(form: str) -> Damage:
    def damage(path: Path) -> None:
        soundfile.write(path, noise(1), 16_000, format=form)
        half(path)

    return damage


def lied(path: Path) -> None:
    """The first chunk of a WAV file announces 4 GB."""
    content = bytearray(path.read_bytes())
    content[16:20] = b"\xff" * 4
    path.write_bytes(content)


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(save(change(load_file(path))))  # read before it is written: the file may be mapped

    return damage


def spoilt(value: float) -> Damage:
    """The first number of the first tensor becomes NaN or infinite."""

    def change(state: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(k for k, x in state.items() if x.is_floating_point() and x.numel())
        state[name] = state[name].clone()
        state[name].view(-1)[0] = value
        return state

    return weights(change)


def truncated_shapes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x[:1].clone() if x.ndim else x for name, x in state.items()}


def pickled(content: object) -> Damage:
    return lambda path: torch.save(content, path)


def tar(members: dict[str, bytes] | list[tuple[str, bytes]]) -> Damage:
    def damage(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for name, content in members.items() if isinstance(members, dict) else members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))

    return damage


# Of the files of a command.
BINARY: tuple[Damage, ...] = (half, text, locked)
PLAIN_TEXT: tuple[Damage, ...] = (empty, not_utf8, locked)


# -- whole examples ---------------------------------------------------------------------------------------------------


def photo(path: Path, size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def labels(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def jpeg() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "JPEG")
    return content.getvalue()


@functools.cache
def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, round(16_000 * seconds)).astype(np.float32)


def golden(path: str, prefix: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / path, allow_pickle=False) as stored:
        return {key[len(prefix) :]: torch.tensor(stored[key]) for key in stored.files if key.startswith(prefix)}


def state(network: nn.Module) -> bytes:
    return save({name: x.detach().contiguous() for name, x in network.state_dict().items()})


def build_run(root: Path, variant: str, config: Any, **weights: bytes) -> None:
    """What a finished run leaves: its configuration, and files of weights by their names."""
    write_json(root / "config.json", {"variant": variant, "config": asdict(config)})
    (root / "checkpoint").mkdir()
    for name, content in weights.items():
        (root / f"checkpoint/{name}.safetensors").write_bytes(content)


IMAGENET = "train/n01440764/1.JPEG"


def build_imagenet(root: Path) -> None:
    for split in ("train", "val"):
        for name in ("n01440764", "n01443537"):
            photo(root / split / name / "1.JPEG")


# -- kinds of damage, and what is said --------------------------------------------------------------------------------

MISSING = "missing|No such file|no trained model|cannot be read|neither a checkpoint|There is no image"
ANY_FILE: Kinds = {
    "missing": (gone, MISSING),
    "a folder": (folder, f"a folder|directory|{MISSING}"),
    "a symlink loop": (loop, f"symbolic links|not a checkpoint|{MISSING}"),
    "no permission": (locked, "[Pp]ermission|not audio that can be read"),
}
DAMAGED = (
    "not an? |not audio|not a whole|damaged|truncated|cut short|cannot be (read|decoded|used)|is empty|no file of|"
    "Cannot load|no samples|missing|holds no"
)
ANY_CONTENT: Kinds = {
    "truncated": (half, DAMAGED),
    "empty": (empty, DAMAGED),
    "text": (text, DAMAGED),
}
ANYTHING = ANY_FILE | ANY_CONTENT
LAST_OF_A_CLASS: Kinds = {
    "missing": (gone, "no valid file", "n01440764"),
    "a folder": (folder, "no valid file", "n01440764"),
}
JSON = ANYTHING | {"not UTF-8": (not_utf8, "utf-8"), "nested too deep": (nested, "recursion")}
WEIGHTS = ANYTHING | {
    "of other shapes": (weights(truncated_shapes), "another version|cannot be used|Cannot load"),
    "NaN": (spoilt(float("nan")), "NaN or infinite"),
    "infinite": (spoilt(float("inf")), "NaN or infinite"),
    "a pickle": (pickled({"head.bias": torch.zeros(3)}), "header|damaged|Cannot load"),
}
PICKLED = ANYTHING | {
    "a list": (pickled([torch.zeros(3)]), "holds a list, expected a dictionary"),
    "a tensor": (pickled(torch.zeros(3)), "holds a Tensor, expected a dictionary"),
    "an object": (pickled({"model": Path("x")}), "not a checkpoint this code can trust"),
}


def no_run(weights: str = "model") -> Kinds:
    """What is said of a run without its configuration or weights: both, the run's folder, and what makes a run."""
    said = f"no trained model in .*{re.escape(FOLDER)} .*`make reproduce PAPER="
    named = f"(config.json and {weights}.safetensors)"
    return {kind: (ANY_FILE[kind][0], said, named) for kind in ("missing", "a folder", "a symlink loop")}


# Of a paper's run; the other kinds are told by `shared.support.weights.open_trained_run`, whatever the paper.
RUN_CONFIG: Kinds = {
    "missing": no_run()["missing"],
    "truncated": (half, "another version"),
    "of another version": (edited(lambda c: c["config"].update(colour=1)), "another version"),
}
RUN_WEIGHTS: Kinds = {"missing": no_run()["missing"]} | {
    kind: WEIGHTS[kind] for kind in ("truncated", "of other shapes", "NaN")
}


# -- what tests of them need ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Root may read what it likes; here this thread gives that up, so that a mode of 000 means what it says."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None)
    if os.geteuid() or not sys.platform.startswith("linux") or libc.capget(header, sets):
        yield
        return
    before = sets[0]
    sets[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc.capset(header, sets)
    try:
        yield
    finally:
        sets[0] = before
        libc.capset(header, sets)


def may_read(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def contents(folder: Path) -> dict[str, bytes]:
    readable = (path for path in folder.rglob("*") if path.is_file() and may_read(path))
    return {str(path): path.read_bytes() for path in readable}
