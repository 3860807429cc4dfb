"""The paper's data: VGGSound and MUSIC, on disk as the official preprocessing leaves them.

Sounds stay files. Frames are embedded once, and the embeddings of all videos are mapped into memory. A video that
cannot be used is named and left out, never replaced by silence. The paper's "VGGSound+None" takes one noisy clip as the
mixture and has no reference; it needs no list: ``predict.py`` separates any file and writes what the noise heads take.
"""

import csv
import functools
import hashlib
import json
import os
import random
import re
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from shared import UserError
from shared.clip import CLIP, describe_weights, load_clip
from shared.loading import cache_file
from shared.offline.towers import SentenceEncoder, in_batches
from shared.support.audio import mean_is_silent, read_audio, resample
from shared.support.files import write_atomic
from shared.support.images import UNDECODABLE, decode_image
from shared.support.progress import track

from ..audio import centre_sample, crop_segment
from ..config import PRESETS, Config
from .clips import PROMPTS, TRAINING_PROMPT, Clip, Pair, Queries, interference_index, scaled_as_queries

LAYOUT = """\
DATA/vggsound/
  train.csv                                   lists without a header, one video a row:
  val.csv                   7,271 rows          sound, folder of frames, number of frames, label
  test-good.csv               100 rows        VGGSound-Clean, the targets of VGGSound-Clean+
  test-no-music.csv         5,322 rows        their interference, of which 96 are drawn
  test-good-no-music.csv       75 rows        the interference of MUSIC+, of which 37 are drawn
  audio/6/e/6efVaN-dhzY.wav                   16 kHz, mono, 16 bit
  preprocessed/6/e/6efVaN-dhzY/000001.jpg     one frame a second, counted from 1, 224 x 224
DATA/MUSIC/solo/
  test.csv                     46 rows        the targets of MUSIC+
  train.csv, val.csv      364, 92 rows        only to train on MUSIC (--train-set music)
  audio/accordion/Q-Jkk6mJ8AI.wav
  preprocessed/accordion/Q-Jkk6mJ8AI/000001.jpg
The lists are in https://github.com/sony/CLIPSep below clipsep/data; its vggsound/test.csv (7,270 rows) is not needed,
as the other test lists are parts of it. The videos have to be obtained from YouTube: the scripts in that repository's
vggsound/ and music/ download them and make the sounds and frames. A leading data/ of the lists' paths is dropped.
MUSIC's train.csv, three columns with frames/ in place of preprocessed/, is read as it is. MUSIC's lists share videos:
those of test.csv are left out of val.csv, and those of both out of train.csv."""

LISTS = {
    "vggsound/train.csv": None,
    "vggsound/val.csv": 7271,
    "vggsound/test-good.csv": 100,
    "vggsound/test-no-music.csv": 5322,
    "vggsound/test-good-no-music.csv": 75,
    "MUSIC/solo/train.csv": 364,
    "MUSIC/solo/val.csv": 92,
    "MUSIC/solo/test.csv": 46,
}
"""Lists below DATA with the number of rows of the official ones, where known."""
TO_TRAIN_ON_MUSIC = ("MUSIC/solo/train.csv", "MUSIC/solo/val.csv")
TESTS = {
    "vggsound-clean+": ("vggsound/test-good.csv", "vggsound/test-no-music.csv"),
    "music+": ("MUSIC/solo/test.csv", "vggsound/test-good-no-music.csv"),
}
"""The paper's test sets: list of targets, list of interferers."""
NEEDED = {
    "vggsound": ("vggsound/train.csv", "vggsound/val.csv", *chain(*TESTS.values())),
    "music": (*TO_TRAIN_ON_MUSIC, "MUSIC/solo/test.csv"),
}
"""Lists that each training set needs, with those of its test sets."""
NAMES: dict[Literal["vggsound", "music"], str] = {"vggsound": "VGGSound", "music": "MUSIC solos"}

RATE = 16_000  # Hz, of the sound files
FRAMES_PER_SECOND = 1.0
SHARD_FRAMES = 8192  # what an interrupted embedding pass can lose
LISTED = 20  # unusable videos that `check` names in each list
NOT_UTF8 = re.compile("[\udc80-\udcff]")  # the lone surrogates that `surrogateescape` leaves

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Video:
    """One row of a list."""

    row: str
    """List and line."""
    sound: Path
    frames: Path
    n_frames: int
    label: str
    fault: str = ""
    """Fault of the row itself; the other fields are then empty."""

    @property
    def key(self) -> tuple[str, str, int]:
        """Name of its stored embeddings."""
        return str(self.sound), str(self.frames), self.n_frames


VideoPair = tuple[Video, Video]
"""Target and interferer."""


# -- the interface of data.py -----------------------------------------------------------------------------------------


def check(path: Path) -> list[str]:
    """Contents of ``path`` by :data:`LAYOUT`, list by list; every unusable video is named with the reason.

    Reads every sound and decodes every frame, which takes its time for all of VGGSound. The last two lines name the
    weights of the paper's image-text model, and say which training sets are complete enough.

    Raises:
        UserError: if there is not one list.
    """
    if not any((path / name).is_file() for name in LISTS):
        raise UserError(f"{path} has none of the lists of CLIPSep's data. Expected there:\n{LAYOUT}")
    path = path.absolute()
    config = replace(PRESETS["paper"], data=str(path))
    lines: list[str] = []
    lists: dict[str, list[Video]] = {}
    unusable: set[Video] = set()
    for name, expected in LISTS.items():
        rows = f" ({expected:,} expected)" if expected else ""
        if not (path / name).is_file():
            lines.append(f"{name}: missing{rows}" + ", needed only to train on MUSIC" * (name in TO_TRAIN_ON_MUSIC))
            continue
        try:
            videos = lists[name] = read_list(path, name)
        except OSError as error:
            lines.append(f"{name}: {path / name} cannot be read ({error.strerror or error})")
            continue
        examine = functools.partial(_examine, config=config, training=name.endswith("train.csv"))
        found = list(zip(videos, _read_ahead(examine, videos, os.cpu_count() or 1, f"reading {name}"), strict=True))
        faults = [fault for _, (fault, _) in found if fault]
        notes = [note for _, (_, of_video) in found for note in of_video]
        unusable.update(video for video, (fault, _) in found if fault)
        lines.append(f"{name}: {len(videos):,} rows{rows}, {len(videos) - len(faults):,} usable")
        for remarks in (faults, notes):
            lines += [f"  {remark}" for remark in remarks[:LISTED]]
            lines += [f"  ... and {len(remarks) - LISTED:,} more"] * (len(remarks) > LISTED)
    for name, (targets, interferers) in TESTS.items():
        if lists.get(targets) and lists.get(interferers):
            pairs = _test_pairs(lists[targets], lists[interferers])
            complete = sum(not unusable.intersection(pair) for pair in pairs)
            lines.append(f"{name}: {complete:,} of {len(pairs):,} mixtures can be made")
    lines.append(describe_weights(config.clip, str(config.clip_weights)))
    reasons = {NAMES[x]: _lacking(replace(config, train_set=x), lists.keys(), unusable) for x in NAMES}
    able = ", ".join(name for name, reason in reasons.items() if not reason)
    unable = ", ".join(f"{name} ({reason})" for name, reason in reasons.items() if reason)
    if not able:
        return [*lines, f"Now no training can start: {unable}."]
    return [*lines, f"Now training and testing on {able} can start{f'; on {unable} it cannot' if unable else ''}."]


def _lacking(config: Config, lists: Collection[str], unusable: set[Video]) -> str:
    """The reason why :func:`prepare` would refuse data of which ``lists`` are there and some videos unusable."""
    if missing := [name for name in NEEDED[config.train_set] if name not in lists]:
        return f"{', '.join(dict.fromkeys(missing))} missing"
    try:
        train, validation, tests = read_lists(config)
    except UserError as error:
        return str(error).partition(". Expected")[0]
    for split, videos in {
        "test": _both(chain(*tests.values())),
        "validation": _both(validation),
        "train": train,
    }.items():
        if len(unusable.intersection(videos)) > len(videos) // 2:
            return f"over half of the {len(videos):,} {split} videos cannot be used"
    mixtures = {"validation": validation, **tests}
    usable = {name: sum(not unusable.intersection(pair) for pair in pairs) for name, pairs in mixtures.items()}
    return _too_few(config, len(train) - len(unusable.intersection(train)), usable)


def _too_few(config: Config, clips: int, mixtures: Mapping[str, int]) -> str:
    """The reason why usable training videos and mixtures are not enough; empty if they are."""
    if clips < config.batch_size:
        return f"{clips} usable training videos are less than a batch of {config.batch_size}"
    return next((f"not one mixture of {name} has both its videos" for name, n in mixtures.items() if not n), "")


def prepare(config: Config, cache: Path) -> dict[str, Any]:
    """Embed every frame and every label with the frozen towers, once.

    A pass that is interrupted continues where it stopped, and every later call looks again at the videos that could
    not be used. These are left out: ``bad_rows.txt`` in the cache names each with the reason. After them it names the
    sounds whose channels are averaged, which stay.

    Raises:
        UserError: if a list is missing, if over half of the videos of a split cannot be used, or if what is left is
            not enough for a batch or for a test set.
    """
    train, validation, tests = read_lists(config)
    folder = _folder(config, cache)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clip = functools.cache(lambda: load_clip(config.clip, pretrained=config.clip_weights, device=device))

    splits = {"test": _both(chain(*tests.values())), "validation": _both(validation), "train": train}
    report, faults, notes, digest = cache / "bad_rows.txt", list[str](), list[str](), hashlib.sha256()
    for split, videos in splits.items():
        stored = _stored(folder / split)
        missing = [video for video in videos if video.key not in stored]
        found = _embed(missing, folder / split, clip(), config, split == "train", len(videos) // 2) if missing else []
        faults += found
        stored = _stored(folder / split)
        for video in videos:
            if video.key in stored:
                _, sha256, of_video = stored[video.key]
                notes += of_video
                digest.update(f"{split} {video.label} {sha256}\n".encode())
        _write_lines(report, faults + notes)
        if len(found) > len(videos) // 2:
            raise UserError(
                f"Over half of the {len(videos):,} {split} videos below {config.data} cannot be used, for example: "
                f"{found[0]}. {report} names them; `make check-data PAPER=clipsep DATA='{config.data}'` checks all."
            )
    if faults:
        total = sum(map(len, splits.values()))
        print(f"{len(faults):,} of {total:,} videos cannot be used and are left out; see {report}.", file=sys.stderr)

    labels = _labels(train, validation, tests)
    if not _texts(folder, labels).exists():
        texts = {
            "text": clip().encode_prompts(labels, PROMPTS).float().cpu(),
            "training_text": clip().encode_prompts(labels, [TRAINING_PROMPT]).float().cpu(),
            "sentence": in_batches(SentenceEncoder(), labels),
        }
        content = save(texts)
        write_atomic(_texts(folder, labels), content)

    clips, validation_pairs, test_pairs, _ = load(config, cache)
    mixtures = {"validation": validation_pairs, **test_pairs}
    if reason := _too_few(config, len(clips), {name: len(pairs) for name, pairs in mixtures.items()}):
        raise UserError(f"The data are not enough: {reason}; see {report}.")
    return {
        "name": NAMES[config.train_set],
        "train": len(clips),
        "test": sum(map(len, test_pairs.values())),
        "sha256": digest.hexdigest(),
    }


def load(config: Config, cache: Path) -> tuple[list[Clip], list[Pair], dict[str, list[Pair]], Queries]:
    """Training clips, validation pairs, test sets and label texts, from what :func:`prepare` left.

    All lists share one numbering of labels, those of the training list first. A label index that no training clip has
    is a class that a model with learned label embeddings (LabelSep) never saw: none of MUSIC's are among VGGSound's.
    """
    train, validation, tests = read_lists(config)
    folder = _folder(config, cache)
    labels = _labels(train, validation, tests)
    number = {label: i for i, label in enumerate(labels)}

    def clips(videos: list[Video], split: str) -> dict[tuple[str, str, int], Clip]:
        stored = _stored(folder / split)
        return {
            video.key: Clip(
                video.sound.stem,
                number[video.label],
                functools.partial(read_sound, video.sound, config.rate),
                stored[video.key][0],
                FRAMES_PER_SECOND,
            )
            for video in videos
            if video.key in stored
        }

    def pairs(of: list[VideoPair], split: str) -> list[Pair]:
        usable = clips(_both(of), split)
        return [Pair(usable[a.key], usable[b.key]) for a, b in of if {a.key, b.key} <= usable.keys()]

    texts = load_file(_texts(folder, labels))
    return (
        list(clips(train, "train").values()),
        pairs(validation, "validation"),
        {name: pairs(of, "test") for name, of in tests.items()},
        Queries(labels, texts["text"], texts["training_text"], scaled_as_queries(texts["sentence"])),
    )


# -- lists ------------------------------------------------------------------------------------------------------------


def read_lists(config: Config) -> tuple[list[Video], list[VideoPair], dict[str, list[VideoPair]]]:
    """Training videos, validation pairs and test sets, unusable videos included.

    Pairs are drawn from whole lists, as the official code draws them: an unusable video costs the mixtures it is in and
    leaves all others as they are in the paper. Models trained on MUSIC are validated and tested on pairs within MUSIC.
    Its lists share videos: those of test are left out of validation, those of either out of training.

    Raises:
        UserError: if a list is missing, or has fewer than two videos left to mix.
    """
    assert config.data is not None
    root = Path(config.data).absolute()

    def rows(name: str, held_out: Sequence[Video] = ()) -> list[Video]:
        videos = read_list(root, name)
        ids = {video.sound.stem for video in held_out if not video.fault}
        left = [video for video in videos if video.sound.stem not in ids]
        if len(left) < 2:
            shared = f", {len(videos) - len(left)} of them held out for validation or test" if held_out else ""
            raise UserError(
                f"{root / name} has {len(videos)} rows{shared}; at least 2 videos to mix are needed. "
                f"Expected:\n{LAYOUT}"
            )
        return left

    if config.train_set == "music":
        test = rows("MUSIC/solo/test.csv")
        validation = rows("MUSIC/solo/val.csv", test)
        train = rows("MUSIC/solo/train.csv", validation + test)
        return train, _validation_pairs(validation), {"music": _validation_pairs(test)}
    tests = {name: _test_pairs(rows(targets), rows(interferers)) for name, (targets, interferers) in TESTS.items()}
    return rows("vggsound/train.csv"), _validation_pairs(rows("vggsound/val.csv")), tests


def read_list(root: Path, name: str) -> list[Video]:
    """The rows of a list; what cannot be understood is kept as a :class:`Video` with a fault.

    The label has VGGSound's ", " replaced by " ". MUSIC's are its folder names, whose underscores stay (official code).

    Raises:
        UserError: if there is no such list.
    """
    path = root / name
    if not path.is_file():
        raise UserError(f"{path} is missing. Expected:\n{LAYOUT}")
    videos = []
    # What is not UTF-8 is decoded to lone surrogates, so that one bad name costs one row.
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file)
        try:
            for fields in reader:
                if fields:
                    videos.append(_video(root, name, f"{path}, line {reader.line_num}", fields))
        except csv.Error as error:
            fault = f"{path}, line {reader.line_num}: {error}; is there a quotation mark that is never closed?"
            videos.append(Video(fault, Path(), Path(), 0, "", fault))
    return videos


def _video(root: Path, name: str, row: str, fields: list[str]) -> Video:
    fields = [field.strip() for field in fields]
    # The training list of MUSIC that the official repository ships has three columns, which its own loader refuses, and
    # names the frames as they were before they were resized.
    if name.startswith("MUSIC") and len(fields) == 3:
        sound, frames, n_frames = fields
        fields = [sound, frames.replace("solo/frames/", "solo/preprocessed/"), n_frames, Path(sound).parent.name]
    if NOT_UTF8.search("".join(fields)):
        fault = "not UTF-8; save the list as UTF-8"
    elif "\0" in "".join(fields):
        fault = "a NUL character, which no text has; copy the list again"
    elif len(fields) != 4:
        fault = f"{len(fields)} columns, expected 4: sound, folder of frames, number of frames, label"
    elif not all(fields):
        fault = "an empty column"
    elif not fields[2].isdecimal():
        fault = f"{fields[2]!r} is not a number of frames"
    else:
        sound, frames, n_frames, label = fields
        return Video(row, _below(root, sound), _below(root, frames), int(n_frames), label.replace(", ", " "))
    return Video(row, Path(), Path(), 0, "", f"{row}: {fault}")


def _below(root: Path, text: str) -> Path:
    """The file a list names: below root without a leading ``data/``, or an absolute path.

    An absolute path of another machine, as in MUSIC's training list, counts from its last ``data/``.
    """
    if os.path.isabs(text) and not os.path.exists(text):
        text = text.rpartition("/data/")[2]
    return root / text.removeprefix("data/")


def _test_pairs(targets: list[Video], interferers: list[Video]) -> list[VideoPair]:
    count = len(interferers)
    return [(target, interferers[interference_index(item, count)]) for item, target in enumerate(targets)]


def _validation_pairs(videos: list[Video]) -> list[VideoPair]:
    """Each video with one other, drawn as the official validation draws it: one seeded sample an item."""
    partners = [random.Random(item).sample(range(len(videos) - 1), 1)[0] for item in range(len(videos))]
    return [(video, videos[j + (j >= i)]) for i, (video, j) in enumerate(zip(videos, partners, strict=True))]


def _both(pairs: Iterable[VideoPair]) -> list[Video]:
    """Every video of some pairs, once, whichever lists it is in."""
    return list({(video.key, video.fault): video for pair in pairs for video in pair}.values())


def _labels(train: list[Video], validation: list[VideoPair], tests: dict[str, list[VideoPair]]) -> list[str]:
    trained = {video.label for video in train if not video.fault}
    others = {video.label for video in _both(chain(validation, *tests.values())) if not video.fault}
    return sorted(trained) + sorted(others - trained)


# -- files ------------------------------------------------------------------------------------------------------------


def read_sound(path: Path, rate: int = RATE) -> Tensor:
    """A whole sound file, float32 (N,) in [-1, 1] at ``rate`` Hz; channels are averaged. Raises as `read_channels`."""
    return resample(read_channels(path).mean(0, keepdim=True), RATE, rate)[0].clamp(-1, 1)


def read_channels(path: Path) -> Tensor:
    """A whole sound file, float32 (C, N) in [-1, 1] at :data:`RATE`.

    Raises:
        UserError: if the file is missing, unreadable, cut short or silent, or is not 16-bit PCM at 16 kHz.
    """
    samples, found, encoding = read_audio(path)
    if encoding != "PCM_16":
        raise UserError(f"{path} holds {encoding} samples, expected 16-bit PCM (PCM_16)")
    if found != RATE:
        raise UserError(f"{path} is sampled at {found} Hz, expected {RATE} Hz")
    if mean_is_silent(samples):
        raise UserError(f"{path} is silent{', as its channels cancel each other' if samples.any() else ''}")
    return samples


def read_frames(video: Video) -> Iterator[Image.Image]:
    """The decoded frames of a video, RGB, as many as its list says.

    Raises:
        UserError: if one is missing or cannot be decoded.
    """
    for number in range(1, video.n_frames + 1):
        path = video.frames / f"{number:06d}.jpg"
        try:
            frame = decode_image(path)
        except FileNotFoundError:
            if not video.frames.is_dir():
                raise UserError(f"{video.frames}, a folder of frames, is missing") from None
            found = len(list(video.frames.glob("*.jpg")))
            raise UserError(f"{path} is missing: the folder has {found} frames, {video.n_frames} expected") from None
        except UNDECODABLE as error:
            reason = getattr(error, "strerror", None) or "damaged, or not a JPEG image"
            raise UserError(f"{path}: {reason}") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        yield frame


def _sound_of(video: Video, config: Config, training: bool) -> tuple[Tensor, list[str]]:
    """Samples (C, N) of a video that is long enough, in frames and seconds, for every segment to be drawn from it.

    And remarks on them.

    Raises:
        UserError: if it is not, or if :func:`read_channels` does.
    """
    if video.fault:
        raise UserError(video.fault)
    fewest = 2 * config.frame_margin + 1 if training else 4  # tests: the middle frame and its neighbours
    if video.n_frames < fewest:
        raise UserError(
            f"{video.row}: {video.n_frames} frames are too few for {video.sound.name}, at least {fewest} needed"
        )
    samples = read_channels(video.sound)
    last = video.n_frames - config.frame_margin if training else video.n_frames // 2
    centre = centre_sample(last, FRAMES_PER_SECOND, RATE)
    if not crop_segment(torch.ones(samples.shape[1]), centre, round(config.segment / config.rate * RATE)).any():
        seconds = samples.shape[1] / RATE
        raise UserError(f"{video.sound} ends after {seconds:.1f} s, long before its {video.n_frames} frames do")
    channels = len(samples)
    return samples, [f"{video.sound} has {channels} channels, which are averaged"] if channels > 1 else []


def _examine(video: Video, config: Config, training: bool) -> tuple[str, list[str]]:
    """The fault that makes a video unusable, and remarks on a usable one."""
    try:
        _, notes = _sound_of(video, config, training)
        deque(read_frames(video), maxlen=0)
    except UserError as fault:
        return str(fault), []
    return "", notes


# -- embeddings -------------------------------------------------------------------------------------------------------


def _embed(
    videos: list[Video], folder: Path, clip: CLIP, config: Config, training: bool, most_faults: int
) -> list[str]:
    """Embed videos, a shard at a time; give back why some could not be, and give up when these are too many."""

    def read(video: Video) -> tuple[Tensor, str, list[str]] | UserError:
        try:
            samples, notes = _sound_of(video, config, training)
            frames = torch.stack([clip.preprocess(frame) for frame in read_frames(video)])
        except UserError as fault:
            return fault
        return frames, hashlib.sha256(samples.numpy().tobytes()).hexdigest(), notes

    faults: list[str] = []
    shard: list[tuple[Video, str, list[str], Tensor]] = []
    contents = _read_ahead(read, videos, max(1, config.workers), f"embedding {folder.name} videos")
    for video, found in zip(videos, contents, strict=True):
        if isinstance(found, UserError):
            faults.append(str(found))
            if len(faults) > most_faults:
                break
            continue
        frames, sha256, notes = found
        shard.append((video, sha256, notes, clip.encode_image(frames.to(clip.device)).float().cpu()))
        if sum(len(embedding) for *_, embedding in shard) >= SHARD_FRAMES:
            _write_shard(folder, shard)
            shard = []
    if shard:
        _write_shard(folder, shard)
    return faults


def _write_lines(path: Path, lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    write_atomic(path, content)


def _write_shard(folder: Path, shard: list[tuple[Video, str, list[str], Tensor]]) -> None:
    videos = json.dumps([[*video.key, sha256, *notes] for video, sha256, notes, _ in shard])
    content = save({"frames": torch.cat([embedding for *_, embedding in shard])}, {"videos": videos})
    name = hashlib.sha256(videos.encode()).hexdigest()[:16]
    write_atomic(folder / f"{name}.safetensors", content)


def _stored(folder: Path) -> dict[tuple[str, str, int], tuple[Tensor, str, list[str]]]:
    """Frame embeddings (F, D), mapped rather than read, the sound's hash and notes, of every embedded video."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as shard:
            videos = json.loads(shard.metadata()["videos"])
            embeddings = shard.get_tensor("frames").split([n_frames for _, _, n_frames, *_ in videos])
        for (sound, images, n_frames, sha256, *notes), embedding in zip(videos, embeddings, strict=True):
            found[sound, images, n_frames] = embedding, sha256, notes
    return found


def _folder(config: Config, cache: Path) -> Path:
    """Folder of all that one model embeds of one place; that can take days, so changed code keeps the folder's name."""
    assert config.data is not None
    weights: list[Any] = [config.clip, config.clip_weights]
    if config.clip_weights and (file := Path(config.clip_weights)).is_file():
        weights += [file.stat().st_size, file.stat().st_mtime_ns]
    settings = (weights, os.path.abspath(config.data), config.frame_margin)
    return cache_file(cache, "videos.folder", *settings).with_suffix("")


def _texts(folder: Path, labels: list[str]) -> Path:
    """File of the label texts, beside the frames: other prompts cost no new pass over these."""
    return cache_file(folder, "texts.safetensors", labels, PROMPTS, TRAINING_PROMPT)


def _read_ahead(read: Callable[[In], Out], items: Sequence[In], threads: int, what: str) -> Iterator[Out]:
    """``read`` of every item, in order, by threads that are one item a thread ahead; ``what`` names the work."""
    waiting: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in track(items, what):
            waiting.append(pool.submit(read, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
