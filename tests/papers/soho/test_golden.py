"""papers/soho against arrays of the official code: dictionary, tokens, positions, losses, Transformer, optimiser."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig, BertModel

from papers.soho.losses import answer_loss, code_scores, decayed, masked_loss, match_loss
from papers.soho.metrics import soft_score
from papers.soho.model import SOHO, answer_head
from papers.soho.train import optimizers
from papers.soho.visual.dictionary import VisualDictionary, mask_codes
from papers.soho.visual.embedding import Visual, VisualEmbedding, sine_position, valid_cells
from papers.soho.visual.trunk import build_trunk
from papers.soho.wordpiece import MASKED, RANDOM, Vocabulary, replace_words

GOLDEN = Path(__file__).parents[2] / "golden" / "soho"
NAMES = {
    "conv.conv.": "conv.", "conv.bn.": "bn.", "ln.": "norm.", "mask_emb.weight": "mask_token", "pos_line.": "line.",
    "vq.embed_avg": "dictionary.sums", "vq.embed": "dictionary.embed", "vq.cluster_size": "dictionary.counts",
    "gate_fc.conv.": "gate.0.", "gate_fc.bn.": "gate.1.",
}  # fmt: skip


def load(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) if stored[key].ndim else stored[key].item() for key in stored.files}


def close(found: Tensor, expected: Tensor | float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-4, atol=1e-5)


def weights(g: dict[str, Any], prefix: str = "w.") -> dict[str, Tensor]:
    """The official module's state under our names; the plain running count has no part in the method."""
    found = {}
    for key, x in g.items():
        if key.startswith(prefix) and "cluster_sum" not in key:
            name = key.removeprefix(prefix)
            for theirs, ours in NAMES.items():
                if name.startswith(theirs):
                    name = ours + name.removeprefix(theirs)
                    break
            found[name] = torch.as_tensor(x)[0] if name == "mask_token" else torch.as_tensor(x)
    return found


@pytest.mark.parametrize("name", ["vd_k8_c4", "vd_k16_c8_decay09"])
def test_dictionary_over_several_batches(name: str) -> None:
    g = load(name)
    dictionary = VisualDictionary(g["K"], g["C"], decay=g["decay"]).train()
    dictionary.embed.copy_(g["embed_0"])
    for step in range(sum(key.startswith("x_") for key in g) - 1):
        x = g[f"x_{step}"].requires_grad_()
        codes, index = dictionary(x)
        assert torch.equal(index, g[f"idx_{step}"][:, 0])
        close(codes, g[f"quant_{step}"])
        close(dictionary.embed, g[f"embed_{step + 1}"])
        close(dictionary.counts, g[f"cluster_size_{step + 1}"])
        close(dictionary.sums, g[f"embed_avg_{step + 1}"])
        codes.backward(g[f"gradw_{step}"])
        assert torch.equal(x.grad, g[f"gradx_{step}"]) and torch.equal(x.grad, g[f"gradw_{step}"])
    codes, index = dictionary.eval()(g["x_eval"])
    assert torch.equal(index, g["idx_eval"][:, 0])
    close(codes, g["quant_eval"])
    close(dictionary.embed, g["embed_after_eval"])


@pytest.mark.parametrize(("name", "mixture"), [("neck_gate_train", "gate"), ("neck_add_eval", "add")])
def test_tokens_with_masked_codes(name: str, mixture: Any) -> None:
    g = load(name)
    state = weights(g)
    dictionary = VisualDictionary(len(state["dictionary.embed"]), g["tokens"].shape[2], decay=g["decay"])
    embedding = VisualEmbedding(g["feat"].shape[1], g["tokens"].shape[2], dictionary, mixture)
    embedding.load_state_dict(state)
    embedding.train(name.endswith("train"))
    visual = embedding(g["feat"], g["img_shape"] / g["pad_shape"])
    assert visual.index is not None
    chosen = g["bernoulli"] == 1
    labels = mask_codes(visual.index, visual.real, torch.tensor(g["pos_index"]), chosen)
    assert torch.equal(visual.real.long(), g["visual_mask"])
    assert torch.equal(labels, g["labels"]) and (labels >= 0).any()
    close(embedding.tokens(visual, labels >= 0), g["tokens"])
    after = embedding.state_dict()
    for key, expected in weights(g, "after.").items():
        close(after[key], expected)


def test_tokens_without_dictionary() -> None:
    g = load("neck_vqa")
    embedding = VisualEmbedding(g["feat"].shape[1], g["tokens"].shape[2])
    embedding.load_state_dict(weights(g))
    visual = embedding.eval()(g["feat"], g["img_shape"] / g["pad_shape"])
    assert torch.equal(visual.real.long(), g["visual_mask"])
    close(embedding.tokens(visual), g["tokens"])


def test_positions() -> None:
    g = load("pos2d_c16")
    close(sine_position(g["mask"].bool(), 16), g["pos"])


def test_padding_is_counted_by_cells() -> None:
    """Height and width are not mixed up, as they are in the official code."""
    real = valid_cells(torch.tensor([[0.5, 1.0], [1.0, 0.26]]), 4, 8)
    assert real.sum((1, 2)).tolist() == [16, 12]
    assert real[0, :2].all() and not real[0, 2:].any() and real[1, :, :3].all()


@pytest.mark.parametrize("name", ["losses_all", "losses_no_mvm"])
def test_losses_of_pretraining(name: str) -> None:
    g = load(name)
    fusion = g["fusion"].requires_grad_()
    text, image = fusion[:, : g["L"]], fusion[:, g["L"] :]
    words, codes = text @ g["word_emb"].T, code_scores(image, g["vd_embed"])
    match = text[:, 0] @ g["match_weight"].T
    close(codes.flatten(0, 1), g["mvm_logits"])
    close(match, g["match_logits"])
    of_words, of_codes = masked_loss(words, g["mlm_labels"]), masked_loss(codes, g["mvm_labels"])
    of_match = match_loss(match, g["match_label"])
    close(of_words, g["loss_mlm"])
    close(of_codes, g["loss_mvm"])
    close(F.cross_entropy(match, g["match_label"], reduction="none"), g["loss_match_each"])
    masked = g["mvm_labels"] >= 0
    right = codes.argmax(-1)[masked] == g["mvm_labels"][masked]
    close(100 * right.sum() / masked.sum().clamp(min=1), g["acc_v"][0])
    close(100 * (match.argmax(1) == g["match_label"]).float().mean(), g["acc_match"][0])
    total = of_words + of_codes + of_match
    close(total, g["total"])
    total.backward()
    close(fusion.grad, g["grad_fusion"])


def test_answers() -> None:
    g = load("vqa_head")
    hidden, width = g["w.vqa.0.weight"].shape
    head = answer_head(width, hidden, len(g["w.vqa.3.bias"])).eval()
    head.load_state_dict({key.removeprefix("w.vqa."): x for key, x in g.items() if key.startswith("w.vqa.")})
    logits = head(g["fusion"][:, 0])
    close(logits, g["logits"])
    close(answer_loss(logits, g["target"]), g["loss"])
    close(soft_score(logits, g["target"]), g["score"])


def test_transformer() -> None:
    g = load("vlbert_tiny")
    state = {key.removeprefix("w.bert."): x for key, x in g.items() if key.startswith("w.bert.")}
    vocabulary, width = state["embeddings.word_embeddings.weight"].shape
    shape = BertConfig(
        vocab_size=vocabulary, hidden_size=width, num_hidden_layers=2, num_attention_heads=g["heads"],
        intermediate_size=32, max_position_embeddings=16,
    )  # fmt: skip
    bert = BertModel(shape, add_pooling_layer=False)
    assert bert.load_state_dict(state, strict=False).unexpected_keys == []
    soho = SOHO(build_trunk("small", None), VisualEmbedding(16, width), bert).eval()
    soho.visual.norm = torch.nn.Identity()  # type: ignore[assignment]
    words = g["input_ids"]
    assert torch.equal(words != 0, g["attention_mask"] > 0)
    tokens = g["visual_tokens"]
    found = soho.fuse(words, Visual(tokens, torch.zeros_like(tokens), g["visual_mask"] > 0))
    seen = torch.cat([g["attention_mask"], g["visual_mask"]], 1) > 0
    close(found[seen], g["out"][seen])


def test_two_rules_of_descent() -> None:
    g = load("adamwsgd")
    trunk, others = (
        torch.nn.ParameterList([torch.nn.Parameter(g[f"{name}0"].clone()) for name in names]) for names in ("a", "bc")
    )
    sgd, adamw = optimizers(
        trunk, others, sgd_rate=g["hp_lr"] * g["lr_mult"], rate=g["hp_lr"],
        sgd_decay=g["hp_sgd_weight_decay"], decay=g["hp_adamw_weight_decay"],
    )  # fmt: skip
    for step in range(g["steps"]):
        for parameter, name in zip([*trunk, *others], "abc", strict=True):
            parameter.grad = g[f"g{name}_{step}"]
        sgd.step()
        adamw.step()
        for parameter, name in zip([*trunk, *others], "abc", strict=True):
            close(parameter.detach(), g[f"{name}_{step + 1}"])


def test_learning_rate() -> None:
    g = load("lr_schedule")
    milestones = tuple(g["epoch_len"] * int(epoch) for epoch in g["step"])
    found = [
        g["base"] * decayed(k, warmup=g["warmup_iters"], warmup_ratio=g["warmup_ratio"], milestones=milestones)
        for k in range(len(g["lr"]))
    ]
    np.testing.assert_allclose(found, g["lr"].numpy(), rtol=1e-9)


def test_masked_words() -> None:
    g = load("mlm_masking")
    words, labels = replace_words(
        g["input_ids"].numpy()[None],
        Vocabulary(),
        g["u_select"].numpy() < g["mlm_prob"],
        g["u_mask80"].numpy() < MASKED,
        g["u_rand50"].numpy() < RANDOM,
        g["random_ids"].numpy(),
    )
    assert torch.equal(torch.from_numpy(words).flatten(), g["out_ids"].flatten())
    assert torch.equal(torch.from_numpy(labels).flatten(), g["labels"].flatten())
