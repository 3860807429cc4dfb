"""papers/wfh against reference arrays of U-VisualBERT's official code: forward passes, losses, masking, BertAdam."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.wfh import losses
from papers.wfh.model import Inputs, Pretraining, Size
from papers.wfh.optimizer import BertAdam
from papers.wfh.sampling import masking

GOLDEN = Path(__file__).parents[2] / "golden" / "wfh"
CASES = ("uvb_text_tags_regions", "uvb_image_only", "uvb_text_only")


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as stored:
        return {key: stored[key] if stored[key].ndim else stored[key].item() for key in stored.files}


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=1e-4, atol=1e-5)


def official(name: str) -> tuple[dict[str, Tensor], Pretraining]:
    """The arrays, and the network with the official weights."""
    stored = load(name)
    g = {key: torch.as_tensor(x) for key, x in stored.items()}
    weights = {key[2:]: g.pop(key) for key in list(g) if key.startswith("w.")}
    words, width = weights["bert.embeddings.word_embeddings.weight"].shape
    layers = 1 + max(int(key.split(".")[3]) for key in weights if ".layer." in key)
    size = Size(
        words, weights["bert.embeddings.visn_fc.weight"].shape[1], width, layers, int(g["heads"]),
        len(weights["bert.encoder.layer.0.intermediate.dense.bias"]),
        len(weights["bert.embeddings.position_embeddings.weight"]), 0.1,
    )  # fmt: skip
    decoders = "obj_predict_head.decoder_dict"
    network = Pretraining(size, len(weights[f"{decoders}.obj.bias"]), len(weights[f"{decoders}.attr.bias"]))
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert (missing, unexpected) == (["bert.embeddings.no_box"], [])
    return g, network.eval()


def inputs(g: dict[str, Tensor]) -> Inputs:
    seen = g.get("feats")
    return Inputs(
        g.get("input_ids"), g["input_mask"].bool() if "input_mask" in g else None,
        g.get("tags"), g["tags_mask"].bool() if "tags_mask" in g else None, g.get("tags_box"),
        seen, None if seen is None else torch.ones(seen.shape[:2], dtype=torch.bool), g.get("boxes"),
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_forward_pass(name: str) -> None:
    g, network = official(name)
    close(network.bert.embeddings(inputs(g)), g["embeddings"])
    encoded = network(inputs(g))
    for key, states, mask in (
        ("lang_out", encoded.words, "input_mask"), ("tag_out", encoded.tags, "tags_mask"),
        ("vis_out", encoded.regions, None), ("pooled", encoded.pooled, None),
    ):  # fmt: skip
        assert (key in g) == (states is not None)
        if states is not None:
            there = g[mask].bool() if mask else ...
            close(states[there], g[key][there])


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_losses(name: str) -> None:
    g, network = official(name)
    encoded = network(inputs(g))
    found: dict[str, Tensor] = {}
    if encoded.words is not None and encoded.pooled is not None:
        alone = "Text_Only_" if encoded.regions is None else ""
        found[f"loss_{alone}Masked_LM"] = losses.masked_loss(*network.predict_words(encoded.words, g["lm_labels"]))
        found["loss_Matches"] = losses.match_loss(network.match(encoded.pooled), g["matched_label"])
    if encoded.tags is not None and encoded.regions is not None:
        found["loss_Masked_Tags"] = losses.masked_loss(*network.predict_words(encoded.tags, g["tags_labels"]))
        predicted = network.obj_predict_head(encoded.regions)
        present = torch.ones(g["obj_labels"].shape, dtype=torch.bool)
        for key in ("obj", "attr"):
            found[f"loss_{key}"] = losses.detector_loss(predicted[key], g[f"{key}_labels"], g[f"{key}_conf"], present)
        found["loss_feat"] = losses.feature_loss(predicted["feat"], g["feat_target"], g["feat_mask"], present)
    assert found.keys() == {key for key in g if key.startswith("loss_")}
    for key, loss in found.items():
        close(loss, g[key])
    close(torch.stack(list(found.values())).sum(), g["total_loss"])


def test_word_masking() -> None:
    g = load("word_masking")
    other = np.full(len(g["input_ids"]), -7)  # none is used in this case
    words, labels = masking.mask_words(g["input_ids"], g["u"], other, g["mask_id"], g["rate"])
    assert (words == g["out_ids"]).all() and (labels == g["labels"]).all()


def test_region_masking() -> None:
    g = load("feat_masking")
    hidden, predicted, replaced = masking.mask_regions(g["feats"], g["u"], g["mask_rate"])
    assert (hidden == g["masked_feats"]).all()
    assert (predicted + replaced == g["feat_mask"]).all()


def test_tag_masking() -> None:
    g = load("tag_masking")
    regions = len(g["boxes"])
    pieces = [[int(piece) for piece in row if piece >= 0] for row in g["obj_token_ids"]]
    tags = masking.tag_pieces(
        g["obj_labels"], g["attr_labels"], pieces, g["attr_token_ids"][:, None].tolist(), g["u"][:regions],
        g["insert_attr_ratio"],
    )  # fmt: skip
    draws, choices = iter(g["u"][regions:].tolist()), iter(g["choice"])
    words, labels, owners = masking.mask_tags(
        tags, g["feat_mask"], draws.__next__, choices.__next__, mask=g["mask_id"], rate=g["tag_mask_ratio"],
        joint_rate=g["tag_joint_mask_ratio"],
    )  # fmt: skip
    assert (words == g["tag_ids"]).all() and (labels == g["tag_labels"]).all()
    assert (g["boxes"][owners] == g["tag_boxes"]).all()
    assert list(draws) == [], "the official code draws as often"


def test_bert_adam() -> None:
    g = load("bertadam")
    parameters = [torch.nn.Parameter(torch.tensor(g[key])) for key in ("p0", "q0")]
    optimizer = BertAdam(parameters, g["hp_lr"], warmup=g["hp_warmup"], total=g["hp_t_total"])
    for step, (parameter, key) in itertools.product(range(g["steps"]), zip(parameters, "pq", strict=True)):
        parameter.grad = torch.tensor(g[f"g{key}_{step}"])
        if key == "q":
            optimizer.step()
            for x, name in zip(parameters, "pq", strict=True):
                close(x.detach(), g[f"{name}_{step + 1}"])
