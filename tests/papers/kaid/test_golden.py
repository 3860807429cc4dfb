"""papers/kaid against reference arrays: K-Adapter's modules and TextBrewer's losses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.kaid.losses import attention_loss, hidden_loss, logit_loss
from papers.kaid.model import Adapter, AdapterStack, ClassificationHead, Fusion, RelationHead

GOLDEN = Path(__file__).parents[2] / "golden" / "kaid"
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) if stored[key].ndim else stored[key].item() for key in stored.files}


def weights(golden: dict[str, Any], renamed: dict[str, str]) -> dict[str, Tensor]:
    """The official weights under some prefixes, by our names."""
    return {
        ours + key.removeprefix(f"w.{official}"): x
        for official, ours in renamed.items()
        for key, x in golden.items()
        if key.startswith(f"w.{official}")
    }


def sizes(golden: dict[str, Any], prefix: str = "adapter.0.") -> dict[str, int]:
    return {
        "size": golden[f"w.{prefix}down_project.weight"].shape[0],
        "heads": golden["heads"],
        "layers": golden["layers"],
        "feed_forward": golden[f"w.{prefix}encoder.layer.0.intermediate.dense.weight"].shape[0],
    }


def at(tokens: Tensor, onehot: Tensor) -> Tensor:
    return (tokens * onehot[..., None]).sum(1)


def test_one_adapter() -> None:
    g = load("adapter_single")
    adapter = Adapter(g["hidden"].shape[-1], **sizes(g, "")).eval()
    adapter.load_state_dict(weights(g, {"": ""}))
    torch.testing.assert_close(adapter(g["hidden"], None), g["out"], **CLOSE)
    everything = torch.ones(g["hidden"].shape[:2])
    torch.testing.assert_close(adapter(g["hidden"], everything), g["out"], **CLOSE)


def test_chain_of_adapters_with_the_relation_head() -> None:
    g = load("adapter_relation_model")
    width = g["hidden_states"].shape[-1]
    stack = AdapterStack(width, g["adapter_list"].tolist(), adapter_mask="official", skip=g["skip"], **sizes(g)).eval()
    fusion, head = Fusion(width, ["k"], "concat"), RelationHead(width, g["logits"].shape[1]).eval()
    stack.load_state_dict(weights(g, {"adapter.": "adapter."}))
    fusion.load_state_dict(weights(g, {"com_dense.": "project.k."}))
    head.load_state_dict(weights(g, {"dense.": "dense.", "out_proj.": "out_proj."}))
    states = dict(enumerate(g["hidden_states"]))
    z = stack(states, torch.ones(g["subj_onehot"].shape))
    torch.testing.assert_close(z, g["adapter_last"], **CLOSE)
    tokens = fusion(g["hidden_states"][-1], {"k": z})
    logits = head(at(tokens, g["subj_onehot"]), at(tokens, g["obj_onehot"]))
    torch.testing.assert_close(logits, g["logits"], **CLOSE)
    loss = F.cross_entropy(logits, g["labels"])
    assert loss.item() == pytest.approx(g["loss"], rel=1e-4)
    loss.backward()
    first, project = stack.adapter[0].up_project, fusion.project["k"]
    assert isinstance(first, nn.Linear) and isinstance(project, nn.Linear)
    torch.testing.assert_close(first.weight.grad, g["grad_up0"], **CLOSE)
    torch.testing.assert_close(project.weight.grad, g["grad_com"], **CLOSE)


def test_the_skip_adds_an_output_to_itself() -> None:
    """K-Adapter's index is k / s after counting: with s = 2 the second output counts twice."""
    g = load("adapter_relation_model")
    width = g["hidden_states"].shape[-1]
    states = dict(enumerate(g["hidden_states"]))
    mask = torch.ones(g["subj_onehot"].shape)
    outputs = {}
    for skip in (0, 2):
        stack = AdapterStack(width, [0, 3], skip=skip, **sizes(g)).eval()
        stack.load_state_dict({k: x for k, x in weights(g, {"adapter.": "adapter."}).items() if "adapter.2" not in k})
        outputs[skip] = stack(states, mask)
    torch.testing.assert_close(outputs[2], 2 * outputs[0])


@pytest.mark.parametrize("mode", ["concat", "add"])
def test_fusion_of_two_stacks(mode: Any) -> None:
    g = load(f"fusion_{mode}_two_adapters")
    width = g["hidden_states"].shape[-1]
    states, mask = dict(enumerate(g["hidden_states"])), torch.ones(g["start_onehot"].shape)
    knowledge = {}
    for name in ("fac", "lin"):
        prefix = f"{name}_adapter."
        stack = AdapterStack(width, g["adapter_list"].tolist(), **sizes(g, f"{prefix}adapter.0.")).eval()
        stack.load_state_dict(weights(g, {prefix: ""}))
        knowledge[name] = stack(states, mask)
    fusion = Fusion(width, ["fac", "lin"], mode)
    if mode == "concat":
        renamed = {"task_dense_fac.": "project.fac.", "task_dense_lin.": "project.lin.", "task_dense.": "join."}
        fusion.load_state_dict(weights(g, renamed))
    head = ClassificationHead(width, g["logits"].shape[1], dense=True).eval()
    head.load_state_dict(weights(g, {"dense.": "dense.0.", "out_proj.": "out_proj."}))
    logits = head(at(fusion(g["hidden_states"][-1], knowledge), g["start_onehot"]))
    torch.testing.assert_close(logits, g["logits"], **CLOSE)
    assert F.binary_cross_entropy_with_logits(logits, g["labels"]).item() == pytest.approx(g["loss"], rel=1e-4)


@pytest.mark.parametrize("name", ["kd_losses_masked", "kd_losses_nomask"])
def test_distillation_losses(name: str) -> None:
    g = load(name)
    mask, logits = g.get("mask"), g["logits_S"].clone().requires_grad_()
    soft = logit_loss(logits, g["logits_T"], g["temperature"])
    soft.backward()
    torch.testing.assert_close(logits.grad, g["grad_kd_ce"], **CLOSE)
    student, teacher = g["hid_S"], g["hid_T"]
    scores = g["att_scores_S"], g["att_scores_T"]
    probabilities = scores[0].softmax(-1), scores[1].softmax(-1)
    found = {
        "kd_ce": soft,
        "kd_mse": logit_loss(logits, g["logits_T"], g["temperature"], "mse"),
        "hid_mse": hidden_loss(student, teacher, mask, "mse"),
        "cos": hidden_loss(student, teacher, mask, "cos"),
        "pkd": hidden_loss(student, teacher, mask, "pkd"),
        "mmd": hidden_loss(student, teacher, mask, "mmd"),
        "att_mse_scores": attention_loss(*scores, mask, "mse"),
        "att_mse_probs": attention_loss(*probabilities, mask, "mse"),
        "att_mse_sum": attention_loss(*scores, mask, "mse_sum"),
        "att_ce": attention_loss(*scores, mask, "ce"),
    }
    assert {key: x.item() for key, x in found.items()} == pytest.approx({key: g[key] for key in found}, rel=1e-4)
