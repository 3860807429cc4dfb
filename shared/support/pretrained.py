"""Weights that a first run downloads: their names, and whether they are on this machine already."""

import os
from pathlib import Path

import open_clip
from huggingface_hub import try_to_load_from_cache
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME


def pretrained_clip(name: str, pretrained: str | None) -> str:
    """One line for `make check-data`: the weights of an open_clip model, and whether they are at hand.

    Args:
        name, pretrained: as of `shared.clip.load_clip`.
    """
    where = "at hand" if _at_hand(name, pretrained) else "not on this machine; the first run downloads them"
    return f"weights of {name}, open_clip tag {pretrained}: {where}"


def _at_hand(name: str, pretrained: str | None) -> bool:
    tag = open_clip.get_pretrained_cfg(name, pretrained) if pretrained else {}
    if not tag:
        return pretrained is None or Path(pretrained).is_file()
    if hub := tag.get("hf_hub"):  # open_clip prefers it to the address
        repository, file = os.path.split(hub)
        files = [file, f"{Path(file).stem}.safetensors"] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
        return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)
    return Path("~/.cache/clip", os.path.basename(tag["url"])).expanduser().is_file()
