"""Training pairs from tar shards and COCO captions, whole and damaged."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from papers.pacl.datasets import pairs
from papers.pacl.datasets.pairs import TextImages, check, index_shard, read
from shared import UserError
from shared.loading import Batches


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
    lines = "\n".join(check(root))
    assert "cc3m: 2 shards with 10 pairs, 0 unusable" in lines and "cc12m: missing" in lines
    assert "yfcc15m: 0 shards with 0 pairs, 1 unusable" in lines and "00000.tar" in lines
    assert "COCO captions: 1 images" in lines
