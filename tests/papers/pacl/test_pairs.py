"""Training pairs from tar shards and COCO captions, whole and damaged."""

import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from papers.pacl.config import PRESETS
from papers.pacl.data import prepare
from papers.pacl.datasets import pairs
from papers.pacl.datasets.pairs import TextImages, check, index_shard, read
from shared import UserError
from shared.loading import Batches
from shared.support import progress
from tests.damage import damaged_avif


def picture(shade: int, form: str = "JPEG") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(content, form)
    return content.getvalue()


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def whole(count: int, first: int = 0) -> dict[str, bytes]:
    members = {}
    for i in range(first, first + count):
        members |= {
            f"{i:05d}.jpg": picture(i),
            f"{i:05d}.json": b"{}",
            f"{i:05d}.txt": f" An owl, number {i}. ".encode(),
        }
    return members


def transform(image: Image.Image) -> torch.Tensor:
    return pil_to_tensor(image)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "größe und weiß"
    write_shard(root / "cc3m" / "gcc-train-000000.tar", whole(6))
    write_shard(root / "cc3m" / "gcc-train-000001.tar", whole(4, 6))
    write_shard(root / "yfcc15m" / "00000.tar", {"a.PNG": picture(99, "PNG"), "a.txt": b"ein Kauz"})
    return root


def coco(root: Path) -> Path:
    (root / "coco/annotations").mkdir(parents=True)
    (root / "coco/train2017").mkdir()
    (root / "coco/train2017/1.jpg").write_bytes(picture(50))
    path = root / pairs.COCO
    annotations = [{"image_id": 1, "caption": f"A cat {k}. "} for k in range(5)]
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": annotations}))
    return path


def loaded(root: Path, cache: Path, **changes: Any) -> TextImages:
    return read(root, cache, transform, **changes)


def test_every_source_is_read(root: Path, tmp_path: Path) -> None:
    coco(root)
    data = loaded(root, tmp_path / "cache")
    assert len(data) == 12 and data.sources == ["cc3m", "yfcc15m", "COCO captions"]
    rng = np.random.default_rng(0)
    samples = [data.sample(i, rng) for i in range(12)]
    assert [sample["text"] for sample in samples[:10]] == [f"An owl, number {i}." for i in range(10)]
    shades = [int(sample["image"][0].float().mean().round()) for sample in samples]
    assert all(abs(found - shade) <= 2 for found, shade in zip(shades, [*range(10), 99, 50], strict=True))
    assert samples[7]["name"] == "gcc-train-000001.tar:00007" and samples[11]["name"] == "1.jpg"
    assert {data.sample(11, rng)["text"] for _ in range(100)} == {f"A cat {k}." for k in range(5)}


def test_noun_prompts(root: Path, tmp_path: Path) -> None:
    data = loaded(root, tmp_path / "cache", noun_prompts=1.0)
    texts = {data.sample(0, np.random.default_rng(k))["text"] for k in range(60)}
    assert "art of the owl." in texts and not any("An owl, number" in text for text in texts)


def test_index_is_kept_until_a_shard_changes(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(root, tmp_path / "cache")
    walked = []
    original = index_shard
    monkeypatch.setattr(pairs, "index_shard", lambda shard: walked.append(shard.name) or original(shard))
    assert list(loaded(root, tmp_path / "cache").pairs) == list(first.pairs) and walked == []
    write_shard(root / "cc3m" / "gcc-train-000001.tar", whole(5, 6))
    changed = loaded(root, tmp_path / "cache")
    assert walked == ["gcc-train-000001.tar"] and len(changed) == 12 and changed.sha256 != first.sha256


def test_indexing_tells_how_far_it_is(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(progress, "_listeners", [lambda *what: told.append(what)])
    loaded(root, tmp_path / "cache")
    assert told == [("indexing shards", 0, 2), ("indexing shards", 0, 1)]


def test_workers_read_the_same(root: Path, tmp_path: Path) -> None:
    data = loaded(root, tmp_path / "cache", noun_prompts=0.5)
    streams = [Batches(data, 4, seed=1, accelerator=Accelerator(cpu=True), workers=workers) for workers in (0, 2)]
    for _ in range(3):
        one, two = (next(stream) for stream in streams)
        assert one["text"] == two["text"] and torch.equal(one["image"], two["image"])


@pytest.mark.parametrize(("member", "content"), [("00001.jpg", b"not an image"), ("00001.txt", b"caf\xe9")])
def test_a_damaged_sample_is_replaced_by_the_next(root: Path, tmp_path: Path, member: str, content: bytes) -> None:
    members = whole(3)
    members[member] = content
    write_shard(root / "cc12m" / "00000.tar", members)
    data = loaded(root, tmp_path / "cache")
    names = [pair.name for pair in data.pairs]
    broken = names.index("00000.tar:00001")
    assert data.sample(broken, np.random.default_rng(0))["name"] == "00000.tar:00002"


@pytest.mark.parametrize(
    ("kind", "content", "fault"), [("jpg", b"", "cannot be decoded"), ("txt", b"caf\xe9", "is not UTF-8")]
)
def test_many_damaged_samples_stop_the_run(tmp_path: Path, kind: str, content: bytes, fault: str) -> None:
    members = whole(30)
    members |= {f"{i:05d}.{kind}": content for i in range(1, 30)}
    write_shard(tmp_path / "data" / "cc3m" / "0.tar", members)
    data = loaded(tmp_path / "data", tmp_path / "cache")
    with pytest.raises(UserError, match=rf"0\.tar:000\d\d {fault} .*More than 10 of the last 100.*0\.tar"):
        data.sample(1, np.random.default_rng(0))


def test_check_counts_and_names_faults(root: Path) -> None:
    coco(root)
    shard = root / "yfcc15m" / "00000.tar"
    shard.write_bytes(shard.read_bytes()[:1200])
    write_shard(root / "cc12m" / "00000.tar", whole(3) | {"00001.jpg": b"garbage", "00002.txt": b" \n"})
    write_shard(root / "cc12m" / ".00001.tar", whole(3))
    (root / "coco/train2017/1.jpg").write_bytes(b"<html>")
    parts = {part.name: part for part in check(root)}
    lines = "\n".join(line for part in parts.values() for line in part.lines)
    assert "cc3m: 2 shards (0 unusable) with 10 pairs, 10 usable\n" in lines
    assert "cc12m: 1 shards (0 unusable) with 2 pairs, 1 usable; 1 with a blank text are left out\n" in lines
    assert "  The image of 00000.tar:00001 cannot be decoded" in lines
    assert "yfcc15m: 1 shards (1 unusable) with 0 pairs, 0 usable" in lines and str(shard) in lines
    assert "pairs: missing" in lines
    assert "COCO captions: 1 images, 0 usable" in lines and "The image of 1.jpg cannot be decoded" in lines
    assert [name for name, part in parts.items() if part.stops] == ["cc12m", "yfcc15m", "COCO captions"]
    assert sum(part.usable for part in parts.values()) == 11


# -- odd images and texts ---------------------------------------------------------------------------------------------


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def test_odd_images_are_as_predict_sees_them(tmp_path: Path) -> None:
    """16 bits scaled, what is transparent white, photos of phones upright."""
    turned = Image.Exif()
    turned[0x0112] = 6
    members = {
        "0.jpg": saved(Image.new("I;16", (4, 2), 100 * 256), "PNG"),
        "1.jpg": saved(Image.new("RGBA", (4, 2), (0, 0, 0, 0)), "PNG"),
        "2.jpg": saved(Image.new("RGB", (4, 2)), "JPEG", exif=turned),
    } | {f"{k}.txt": b"An owl." for k in range(3)}
    write_shard(tmp_path / "cc3m" / "0.tar", members)
    data = loaded(tmp_path, tmp_path / "cache")
    grey, clear, phone = (data.sample(k, np.random.default_rng(0))["image"] for k in range(3))
    assert (grey == 100).all() and (clear == 255).all() and phone.shape == (3, 4, 2)


def test_a_damaged_avif_is_one_damaged_sample(tmp_path: Path) -> None:
    """Web servers deliver such files under names with .jpg; Pillow raises RuntimeError for them."""
    members = whole(3) | {"00000.jpg": damaged_avif()}
    write_shard(tmp_path / "cc3m" / "0.tar", members)
    data = loaded(tmp_path, tmp_path / "cache")
    assert data.sample(0, np.random.default_rng(0))["name"] == "0.tar:00001"


def test_blank_captions_are_left_out(tmp_path: Path) -> None:
    """img2dataset writes such files; one of blanks that Unicode alone knows is taken for a damaged sample."""
    texts = [b"a dog", b"", b" \n", "\u00a0".encode(), b"a cat"]
    members = {f"{k}.jpg": picture(k) for k in range(5)} | {f"{k}.txt": text for k, text in enumerate(texts)}
    write_shard(tmp_path / "cc3m" / "0.tar", members)
    write_shard(tmp_path / "cc3m" / "1.tar", {"0.jpg": picture(0), "0.txt": b""})
    data = loaded(tmp_path, tmp_path / "cache")
    said = [data.sample(k, np.random.default_rng(0))["text"] for k in range(len(data))]
    assert said == ["a dog", "a cat", "a cat"]
    assert [part.blank for part in loaded(tmp_path, tmp_path / "cache").pairs.datasets] == [2, 1]


def test_blank_captions_of_coco_are_left_out(tmp_path: Path) -> None:
    path = coco(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][1:] = [{"image_id": 1, "caption": " "}] * 4
    path.write_text(json.dumps(content))
    data = loaded(tmp_path, tmp_path / "cache")
    assert {data.sample(0, np.random.default_rng(k))["text"] for k in range(20)} == {"A cat 0."}


@pytest.mark.parametrize("kind", ["shard", "coco", "table"])
def test_blank_captions_alone_are_told(tmp_path: Path, kind: str) -> None:
    if kind == "shard":
        write_shard(tmp_path / "cc3m" / "0.tar", {"0.jpg": picture(0), "0.txt": b" \n"})
    elif kind == "coco":
        path = coco(tmp_path)
        path.write_text(re.sub("A cat .. ", " ", path.read_text()))
    else:
        write_table(tmp_path / "pairs" / "0.parquet", [picture(0)], [" "])
    with pytest.raises(UserError, match="has image-text pairs, but every text of them is blank"):
        loaded(tmp_path, tmp_path / "cache")


# -- tables -----------------------------------------------------------------------------------------------------------


def write_table(
    path: Path, images: list[bytes], texts: list[Any], plain: bool = False, column: str = "caption"
) -> None:
    """As ``datasets`` writes them, or with the bytes of the images alone."""
    features = datasets.Features({"image": datasets.Value("binary") if plain else datasets.Image()})
    features[column] = (
        datasets.List(datasets.Value("string")) if isinstance(texts[0], list) else datasets.Value("string")
    )
    content = [x if plain else {"bytes": x, "path": None} for x in images]
    table = datasets.Dataset.from_dict({"image": content, column: texts}, features=features)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table.to_parquet(str(path))
    else:
        with datasets.arrow_writer.ArrowWriter(features=features, path=str(path)) as writer:
            writer.write_table(table.data.table)
            writer.finalize()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_tables_are_read_as_shards_are(tmp_path: Path, form: str, plain: bool) -> None:
    images = [picture(10), b"garbage", picture(30), damaged_avif()]
    write_table(tmp_path / f"pairs/0.{form}", images, ["An owl. ", "A bat.", " ", "A cat."], plain)
    write_table(tmp_path / f"pairs/1.{form}", [picture(50), picture(70)], [None, "A dog."], plain)
    (tmp_path / f"pairs/.2.{form}").write_bytes(b"left by another program")
    data = loaded(tmp_path, tmp_path / "cache")
    assert len(data) == 4 and data.sources == ["pairs"]
    found = [data.sample(k, np.random.default_rng(0)) for k in range(4)]
    assert [sample["text"] for sample in found] == ["An owl.", "A dog.", "A dog.", "A dog."]
    assert abs(int(found[0]["image"][0, 0, 0]) - 10) <= 2 and abs(int(found[3]["image"][0, 0, 0]) - 70) <= 2
    assert found[0]["name"] == f"row 0 of {tmp_path / 'pairs'}"
    again = loaded(tmp_path, tmp_path / "cache")
    assert [again.pairs[k] for k in range(4)] == [data.pairs[k] for k in range(4)] and again.sha256 == data.sha256
    (part,) = [part for part in check(tmp_path) if part.name == "pairs"]
    assert part.lines[0].startswith(f"pairs: 2 {form} files (0 unusable) with 4 pairs, 3 usable; 2 with a blank text")
    assert [line.partition(" cannot")[0] for line in part.lines[1:]] == [f"  The image of row 1 of 0.{form}"]


def test_workers_read_tables_alike(tmp_path: Path) -> None:
    write_table(
        tmp_path / "pairs/0.parquet", [picture(k) for k in range(8)], [[f"Owl {k}.", f"Bat {k}."] for k in range(8)]
    )
    data = loaded(tmp_path, tmp_path / "cache")
    streams = [Batches(data, 4, seed=1, accelerator=Accelerator(cpu=True), workers=workers) for workers in (0, 2)]
    for _ in range(3):
        one, two = (next(stream) for stream in streams)
        assert one["text"] == two["text"] and torch.equal(one["image"], two["image"])
    assert {data.sample(3, np.random.default_rng(k))["text"] for k in range(20)} == {"Owl 3.", "Bat 3."}


def test_tables_and_shards_are_joined(root: Path, tmp_path: Path) -> None:
    before = loaded(root, tmp_path / "cache")
    write_table(root / "cc3m" / "0.parquet", [picture(1)], ["An owl."], column="text")
    data = loaded(root, tmp_path / "cache")
    assert len(data) == len(before) + 1 and data.sources == before.sources and data.sha256 != before.sha256


def test_a_table_without_captions_is_told(tmp_path: Path) -> None:
    write_table(tmp_path / "pairs/0.parquet", [picture(1)], ["An owl."], column="title")
    expected = "has the columns image, title; expected image, and text or caption"
    with pytest.raises(UserError, match=f"pairs {expected}"):
        loaded(tmp_path, tmp_path / "cache")
    assert expected in check(tmp_path)[3].lines[1]


def test_tables_that_do_not_fit_together_are_told(tmp_path: Path) -> None:
    write_table(tmp_path / "pairs/0.parquet", [picture(1)], ["An owl."], column="text")
    write_table(tmp_path / "pairs/1.parquet", [picture(1)], ["An owl."], column="caption")
    with pytest.raises(UserError, match=r"parquet files of .*pairs are no table together .*write them with the same"):
        loaded(tmp_path, tmp_path / "cache")


def test_a_dataset_of_the_hub(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pairs take the place of those of the folder; without a network a sentence says so."""
    content = {"jpg": [{"bytes": picture(5), "path": None}] * 2, "txt": ["An owl.", ""]}
    features = datasets.Features({"jpg": datasets.Image(), "txt": datasets.Value("string")})
    asked = []

    def load_dataset(name: str, split: str) -> datasets.Dataset:
        asked.append((name, split))
        return datasets.Dataset.from_dict(content, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    data = loaded(root, tmp_path / "cache", hub="owls/in-words")
    assert asked == [("owls/in-words", "train")] and len(data) == 1 and data.sources == ["owls/in-words"]
    assert data.sample(0, np.random.default_rng(0))["text"] == "An owl."

    def no_network(name: str, split: str) -> None:
        raise ConnectionError("Couldn't reach the hub\nagain")

    monkeypatch.setattr(datasets, "load_dataset", no_network)
    with pytest.raises(
        UserError, match=r"--pairs owls cannot be loaded \(ConnectionError: Couldn't reach the hub again"
    ):
        loaded(root, tmp_path / "cache", hub="owls")
    with pytest.raises(UserError, match="--pairs owls needs the folder of the benchmarks, too"):
        prepare(replace(PRESETS["smoke"], pairs="owls"), tmp_path / "cache")
