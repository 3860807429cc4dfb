"""Image-text pairs of the paper's size: webdataset tar shards of CC3M, CC12M and YFCC15M, and COCO captions.

Shards are indexed once, by walking their tar headers; samples are then read by their place, so that order, sharding
over processes and exact resumption are those of :class:`shared.loading.Batches`.
"""

import hashlib
import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import ConcatDataset

from shared import UserError
from shared.support.files import write_atomic
from shared.support.images import UNDECODABLE

from ..config import Parser
from ..texts.prompts import training_text

SOURCES = ("cc3m", "cc12m", "yfcc15m")
COCO = Path("coco/annotations/captions_train2017.json")
IMAGES = ("jpg", "jpeg", "png", "webp")
LAYOUT = """\
DATA/                         (numbers of pairs and images unverified)
  cc3m/*.tar                  webdataset shards as img2dataset writes them: KEY.jpg, KEY.txt (and KEY.json)
  cc12m/*.tar                 of the 3.3, 12.4 and 14.8 million pairs 10 to 30 % can no longer be downloaded
  yfcc15m/*.tar               the part of YFCC100M with English titles or descriptions
  coco/annotations/captions_train2017.json, coco/train2017/*.jpg      118,287 images, a common small substitute
Any of the four will do; those that are there are joined."""
# Web images and texts are damaged here and there; a damaged disk or a wrong reader shows in a row.
WATCHED, TOLERATED = 100, 10
WEIGHED = 100  # one photograph of so many is known by its size, too

Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class Pair:
    """Place of a sample: the bytes of its image, and its texts or their bytes."""

    file: str
    name: str
    image: tuple[int, int]
    """Offset and length; (0, -1) for a whole file."""
    text: tuple[int, int] | tuple[str, ...]


class Shard:
    """The pairs of one tar file, a sequence of :class:`Pair`.

    In arrays, as tens of millions have to fit into memory: 32 bytes a pair and four a character of the longest name.
    That is 2 GB for 30 million with img2dataset's names, of nine.
    """

    def __init__(self, path: Path, stems: list[str], places: list[tuple[int, int, int, int]]) -> None:
        self.file, self.stems, self.places = str(path), np.array(stems), np.array(places, np.int64)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Pair:
        image, text = self.places[index].reshape(2, 2).tolist()
        return Pair(self.file, f"{Path(self.file).name}:{self.stems[index]}", tuple(image), tuple(text))


@dataclass
class TextImages:
    """All pairs found; a dataset for :class:`shared.loading.Batches`.

    A sample whose image or text cannot be decoded is replaced by the next one.
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
                image = self.transform(decode(read_part(pair.file, pair.image), pair.name))
                text = caption(pair, rng)
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


class DamagedSample(Exception):
    """Bytes that are no image, or no text in UTF-8; the message names the sample."""


def read(
    root: Path,
    cache: Path,
    transform: Transform | None = None,
    noun_prompts: float = 0.0,
    noun_parser: Parser = "lexicon",
) -> TextImages:
    """All pairs below ``root``, from the index in ``cache`` if the files have not changed.

    Raises:
        UserError: if there are none, or what :func:`index_shard` and :func:`coco_pairs` raise.
    """
    parts: list[Any] = []  # sequences of Pair
    sources, digest = [], hashlib.sha256()
    for source in SOURCES:
        shards = sorted((root / source).glob("*.tar"))
        for shard in shards:
            found = _indexed(shard, cache)
            parts.append(found)
            digest.update(f"{source}/{shard.name} {len(found)} {shard.stat().st_size}\n".encode())
        sources += [source] if shards else []
    if (root / COCO).exists():
        photos = coco_pairs(root)
        parts.append(photos)
        digest.update("\n".join(pair.name for pair in photos).encode())
        digest.update("\n".join(str(os.stat(pair.file).st_size) for pair in photos[::WEIGHED]).encode())
        sources.append("COCO captions")
    if not parts:
        raise UserError(f"{root} holds no image-text pairs. Expected:\n{LAYOUT}")
    return TextImages(ConcatDataset(parts), sources, digest.hexdigest(), transform, noun_prompts, noun_parser)


def index_shard(shard: Path) -> Shard:
    """The pairs of a tar file, by its headers alone. Members without a partner are left out.

    Raises:
        UserError: if it is no tar file, is truncated, or holds no pair, or one twice.
    """
    images: dict[str, tuple[int, int]] = {}
    texts: dict[str, tuple[int, int]] = {}
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
            if size < archive.offset + tarfile.BLOCKSIZE:
                raise UserError(f"{shard} has no end mark after its {size} bytes: it is truncated; download it again.")
    except tarfile.TarError as error:
        raise UserError(f"{shard} is not a tar file that can be read ({error}); download it again.") from None
    except OSError as error:
        raise UserError(f"{shard} cannot be read ({error.strerror or error}).") from None
    stems = [stem for stem in images if stem in texts]
    if not stems:
        raise UserError(
            f"{shard} holds {len(images)} images and {len(texts)} texts, but no pair of one name (KEY.jpg and KEY.txt)."
        )
    return Shard(shard, stems, [(*images[stem], *texts[stem]) for stem in stems])


def _indexed(shard: Path, cache: Path) -> Shard:
    """:func:`index_shard`, kept in the cache as long as the shard's size and time of change are the same."""
    status = shard.stat()
    key = hashlib.sha256(f"{shard.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:16]
    path = cache / "index" / f"{shard.stem}-{key}.json"
    if not path.exists():
        found = index_shard(shard)
        write_atomic(path, json.dumps({"stems": found.stems.tolist(), "places": found.places.tolist()}).encode())
    return Shard(shard, **json.loads(path.read_text()))


def coco_pairs(root: Path) -> list[Pair]:
    """COCO's training images with their captions, five each.

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


def caption(pair: Pair, rng: np.random.Generator) -> str:
    """The text of a pair, or one of several; raises :class:`DamagedSample` if it is not UTF-8."""
    if isinstance(pair.text[0], str):
        return str(pair.text[int(rng.integers(len(pair.text)))])
    start, length = int(pair.text[0]), int(pair.text[1])
    try:
        return read_part(pair.file, (start, length)).decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise DamagedSample(f"The text of {pair.name} is not UTF-8 ({error.reason}).") from None


def read_part(file: str, place: tuple[int, int]) -> bytes:
    """Bytes of a file from an offset on; a length of -1 reads to its end."""
    try:
        with open(file, "rb") as stream:
            stream.seek(place[0])
            return stream.read(place[1])
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}).") from None


def decode(content: bytes, name: str) -> Image.Image:
    """RGB image; raises :class:`DamagedSample`."""
    try:
        return Image.open(io.BytesIO(content)).convert("RGB")
    except UNDECODABLE as error:
        raise DamagedSample(f"The image of {name} cannot be decoded ({error}).") from None


def check(root: Path) -> list[str]:
    """How many pairs of each source are below ``root``, which are missing, and every file that cannot be used."""
    lines = []
    for source in SOURCES:
        counts, faults = [], []
        for shard in sorted((root / source).glob("*.tar")):
            try:
                counts.append(len(index_shard(shard)))
            except UserError as fault:
                faults.append(f"  {fault}")
        lines.append(
            f"{source}: {len(counts):,} shards with {sum(counts):,} pairs, {len(faults):,} unusable"
            if counts or faults
            else f"{source}: missing, no {root / source}/*.tar"
        )
        lines += faults
    try:
        lines.append(
            f"COCO captions: {len(coco_pairs(root)):,} images"
            if (root / COCO).exists()
            else f"COCO captions: missing, no {root / COCO}"
        )
    except UserError as fault:
        lines.append(f"COCO captions: {str(fault).splitlines()[0]}")
    return lines
