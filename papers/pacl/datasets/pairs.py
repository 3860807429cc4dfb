"""Image-text pairs of the paper's size: CC3M, CC12M and YFCC15M in tar shards or tables, and COCO captions.

Shards are indexed once, by walking their tar headers; samples are then read by their place, so that order, sharding
over processes and exact resumption are those of :class:`shared.loading.Batches`.
"""

import hashlib
import json
import os
import tarfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset

from shared import UserError
from shared.support.files import write_atomic
from shared.support.folders import faults, named, visible
from shared.support.progress import track

from ..config import Parser
from ..texts.prompts import training_text
from . import tables
from .pair import DamagedSample, Pair
from .part import Part, faulty, missing

SOURCES = ("cc3m", "cc12m", "yfcc15m", "pairs")
COCO = Path("coco/annotations/captions_train2017.json")
IMAGES = ("jpg", "jpeg", "png", "webp")
LAYOUT = """\
DATA/                         (numbers of pairs and images unverified)
  cc3m/*.tar                  webdataset shards as img2dataset writes them: KEY.jpg, KEY.txt (and KEY.json)
  cc12m/*.tar                 of the 3.3, 12.4 and 14.8 million pairs 10 to 30 % can no longer be downloaded
  yfcc15m/*.tar               the part of YFCC100M with English titles or descriptions
  pairs/*.tar                 pairs of your own
  (any of these: *.parquet or *.arrow, too, with the columns image, and text or caption)
  coco/annotations/captions_train2017.json, coco/train2017/*.jpg      118,287 images, a common small substitute
Any of the five will do; those that are there are joined."""
# Web images and texts are damaged here and there; a damaged disk or a wrong reader shows in a row.
WATCHED, TOLERATED = 100, 10
WEIGHED = 100  # one photograph of so many is known by its size, too

Transform = Callable[[Image.Image], Tensor]


class Shard:
    """The pairs of one tar file, a sequence of :class:`Pair`.

    In arrays, as tens of millions have to fit into memory: 32 bytes a pair and four a character of the longest name.
    That is 2 GB for 30 million with img2dataset's names, of nine.
    """

    def __init__(self, path: Path, stems: list[str], places: list[tuple[int, int, int, int]], blank: int) -> None:
        self.file, self.stems, self.places = str(path), np.array(stems), np.array(places, np.int64)
        self.blank = blank  # pairs that were left out, as their text is blank

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Pair:
        image, text = self.places[index].reshape(2, 2).tolist()
        return Pair(self.file, f"{Path(self.file).name}:{self.stems[index]}", tuple(image), tuple(text))


@dataclass
class TextImages:
    """All pairs found; a dataset for :class:`shared.loading.Batches`.

    A sample whose image or text cannot be decoded, or whose text is blank, is replaced by the next one.
    """

    pairs: ConcatDataset[Pair]
    sources: list[str]
    sha256: str
    """Hash of the index."""
    transform: Transform | None = None
    noun_prompts: float = 0.0
    noun_parser: Parser = "lexicon"
    recent: deque[bool] = field(default_factory=lambda: deque(maxlen=WATCHED))

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """``image`` by the transform, ``text``: a caption or a noun prompt, and ``name``.

        Raises:
            UserError: if more than 10 of the last 100 samples were damaged; names the last.
        """
        assert self.transform is not None
        while True:
            pair = self.pairs[index % len(self.pairs)]
            try:
                image, text = self.transform(pair.decode()), pair.caption(rng)
            except DamagedSample as error:
                self.recent.append(False)
                if self.recent.count(False) > TOLERATED:
                    raise UserError(
                        f"{error} More than {TOLERATED} of the last {WATCHED} samples were damaged; look at "
                        f"{pair.file}."
                    ) from None
                index += 1
                continue
            self.recent.append(True)
            return {
                "image": image,
                "text": training_text(text, rng, self.noun_prompts, self.noun_parser),
                "name": pair.name,
            }


def read(
    root: Path,
    cache: Path,
    transform: Transform | None = None,
    noun_prompts: float = 0.0,
    noun_parser: Parser = "lexicon",
    hub: str | None = None,
) -> TextImages:
    """All pairs below ``root``, from the index in ``cache`` if the files have not changed.

    Args:
        hub: name of a dataset of the Hugging Face hub, whose pairs take the place of those below ``root``.

    Raises:
        UserError: if there are none, or what :func:`index_shard`, :func:`coco_pairs` and :mod:`.tables` raise.
    """
    parts: list[Any] = []  # sequences of Pair
    sources: list[str] = []
    digest = hashlib.sha256()
    if hub is not None:
        table = tables.open_named(hub)
        digest.update(f"{hub} {len(table)} {table.rows.info.dataset_size}".encode())
        parts, sources = [table], [hub]
    for source in () if hub else SOURCES:
        before = len(parts)
        shards = _shards(root / source)
        for shard in track(shards, "indexing shards"):
            found = _indexed(shard, cache)
            parts.append(found)
            digest.update(f"{source}/{shard.name} {len(found)} {shard.stat().st_size}\n".encode())
        for form in tables.FORMS:
            if paths := tables.files(root / source, form):
                table = tables.open_files(paths, form, cache)
                parts.append(table)
                digest.update(f"{source} {form} {len(table)}\n".encode())
                digest.update("".join(f"{path.name} {path.stat().st_size}\n" for path in paths).encode())
        sources += [source] if len(parts) > before else []
    if not hub and (root / COCO).exists():
        photos = coco_pairs(root)
        parts.append(photos)
        digest.update("\n".join(pair.name for pair in photos).encode())
        digest.update("\n".join(str(os.stat(pair.file).st_size) for pair in photos[::WEIGHED]).encode())
        sources.append("COCO captions")
    if not parts:
        raise UserError(f"{root} holds no image-text pairs. Expected:\n{LAYOUT}")
    if not any(map(len, parts)):
        raise UserError(f"{hub or root} has image-text pairs, but every text of them is blank; give other texts.")
    return TextImages(ConcatDataset(parts), sources, digest.hexdigest(), transform, noun_prompts, noun_parser)


def index_shard(shard: Path) -> Shard:
    """The pairs of a tar file, by its headers and texts. Members without a partner and blank texts are left out.

    Raises:
        UserError: if it is no tar file, is truncated, or holds no pair, or one twice.
    """
    images: dict[str, tuple[int, int]] = {}
    texts: dict[str, tuple[int, int]] = {}
    blank: set[str] = set()
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                stem, _, extension = member.name.rpartition(".")
                place = (member.offset_data, member.size)
                if sum(place) > size:
                    raise UserError(
                        f"{shard} ends at byte {size}, within {member.name} (bytes {place[0]} to {sum(place)}): it is "
                        "truncated; download it again."
                    )
                kind = images if extension.lower() in IMAGES else texts if extension == "txt" else {}
                if stem in kind:
                    raise UserError(
                        f"{shard} holds {member.name}, or another image of its name, twice; write it again."
                    )
                kind[stem] = place
                if kind is texts and not _content(archive, member).strip():
                    blank.add(stem)
            if size < archive.offset + tarfile.BLOCKSIZE:
                raise UserError(f"{shard} has no end mark after its {size} bytes: it is truncated; download it again.")
    except tarfile.TarError as error:
        raise UserError(f"{shard} is not a tar file that can be read ({error}); download it again.") from None
    except OSError as error:
        raise UserError(f"{shard} cannot be read ({error.strerror or error}).") from None
    pairs = [stem for stem in images if stem in texts]
    if not pairs:
        raise UserError(
            f"{shard} holds {len(images)} images and {len(texts)} texts, but no pair of one name (KEY.jpg and KEY.txt)."
        )
    stems = [stem for stem in pairs if stem not in blank]
    return Shard(shard, stems, [(*images[stem], *texts[stem]) for stem in stems], len(pairs) - len(stems))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None  # a file has content
    return stream.read()


def _shards(folder: Path) -> list[Path]:
    return visible(folder.glob("*.tar"), folder)


def _indexed(shard: Path, cache: Path) -> Shard:
    """:func:`index_shard`, kept in the cache as long as the shard's size and time of change are the same."""
    status = shard.stat()
    name = f"{shard.resolve()} {status.st_size} {status.st_mtime_ns} without blank texts"
    key = hashlib.sha256(name.encode()).hexdigest()[:16]
    path = cache / "index" / f"{shard.stem}-{key}.json"
    if not path.exists():
        found = index_shard(shard)
        content = {"stems": found.stems.tolist(), "places": found.places.tolist(), "blank": found.blank}
        write_atomic(path, json.dumps(content).encode())
    return Shard(shard, **json.loads(path.read_text()))


def coco_pairs(root: Path) -> list[Pair]:
    """COCO's training images with their captions, five each; blank captions are left out.

    Raises:
        UserError: if the file of captions is malformed, or names an image that is not there.
    """
    path = root / COCO
    folder = path.parents[1] / "train2017"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = {image["id"]: image["file_name"] for image in content["images"]}
        if len(files) < len(content["images"]):
            raise ValueError("an image id is there twice")
        captions: dict[int, list[str]] = {}
        for annotation in content["annotations"]:
            if not isinstance(annotation["caption"], str):
                raise ValueError(f"a caption is {annotation['caption']}")
            if annotation["caption"].strip():
                captions.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
        missing = next((files[key] for key in captions if not (folder / files[key]).is_file()), None)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a file of COCO captions ({type(error).__name__}: {error}); expected images with id and "
            "file_name, and annotations with image_id and caption."
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from None
    if missing is not None:
        raise UserError(f"{folder / missing} is missing, but {path} has captions of it. Expected:\n{LAYOUT}")
    return [Pair(str(folder / files[key]), files[key], (0, -1), tuple(texts)) for key, texts in captions.items()]


def check(root: Path) -> list[Part]:
    """How many pairs each source has below ``root``, and every file and pair that cannot be used.

    Opens each text and the header of each image; pixels are decoded by training alone.
    """
    return [*(_check_source(source, root / source) for source in SOURCES), _check_coco(root)]


def _check_source(source: str, folder: Path) -> Part:
    shards = _shards(folder)
    files = {form: tables.files(folder, form) for form in tables.FORMS}
    count, blank = 0, 0
    unusable: list[str] = []
    broken: list[str] = []
    for shard in track(shards, f"opening the shards of {source}"):
        try:
            found = index_shard(shard)
            broken += faults(partial(_open, found), len(found))
            count, blank = count + len(found), blank + found.blank
        except UserError as fault:
            unusable.append(str(fault))
    for form, paths in files.items():
        for path in track(paths, f"opening the {form} files of {source}"):
            try:
                for pair in tables.rows_of(path, form):
                    if pair.text == ("",):
                        blank += 1
                        continue
                    count += 1
                    try:
                        pair.open_image()
                    except DamagedSample as fault:
                        broken.append(str(fault))
            except UserError as fault:
                unusable.append(str(fault))
    kinds = {"shards": len(shards)} | {f"{form} files": len(paths) for form, paths in files.items() if paths}
    if not sum(kinds.values()):
        return missing(source, f"no {folder}/*.tar, *.parquet or *.arrow")
    line = (
        f"{source}: {' and '.join(f'{number:,} {kind}' for kind, number in kinds.items() if number)} "
        f"({len(unusable):,} unusable) with {count:,} pairs, {count - len(broken):,} usable"
    )
    left_out = f"; {blank:,} with a blank text are left out" if blank else ""
    stops = bool(unusable) or len(broken) * WATCHED > count * TOLERATED
    return Part(source, [f"{line}{left_out}", *named([*unusable, *broken])], count - len(broken), stops)


def _check_coco(root: Path) -> Part:
    if not (root / COCO).exists():
        return missing("COCO captions", f"no {root / COCO}")
    try:
        found = coco_pairs(root)
    except UserError as fault:
        return faulty("COCO captions", fault)
    broken = faults(partial(_open, found), len(found), "opening the images of COCO captions")
    usable = len(found) - len(broken)
    stops = len(broken) * WATCHED > len(found) * TOLERATED
    line = f"COCO captions: {len(found):,} images, {usable:,} usable"
    return Part("COCO captions", [line, *named(broken)], usable, stops)


def _open(pairs: Sequence[Pair] | Shard, index: int) -> None:
    try:
        pairs[index].open_image()
        pairs[index].caption(np.random.default_rng(0))
    except DamagedSample as error:
        raise UserError(str(error)) from None
