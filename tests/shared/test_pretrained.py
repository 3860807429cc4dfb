"""Weights that a first run downloads."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from shared.support.pretrained import pretrained_clip

ABSENT = "not on this machine; the first run downloads them"


def test_weights_in_the_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert pretrained_clip("ViT-B-32", "openai") == f"weights of ViT-B-32, open_clip tag openai: {ABSENT}"
    repository = tmp_path / "models--timm--vit_base_patch32_clip_224.openai"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("0123")
    (repository / "snapshots/0123").mkdir(parents=True)
    assert pretrained_clip("ViT-B-32", "openai").endswith(ABSENT)
    (repository / "snapshots/0123/open_clip_model.safetensors").write_bytes(b"weights")
    assert pretrained_clip("ViT-B-32", "openai") == "weights of ViT-B-32, open_clip tag openai: at hand"
    assert pretrained_clip("ViT-B-16", "openai").endswith(ABSENT)


def test_weights_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "trained.safetensors"
    assert pretrained_clip("ViT-B-32", str(file)).endswith(ABSENT)
    file.write_bytes(b"weights")
    assert pretrained_clip("ViT-B-32", str(file)).endswith("at hand")
