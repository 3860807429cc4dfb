"""Model, losses, corruption and the server's arithmetic against arrays that the official code produced."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import BertConfig

from papers.atc import corruption, losses, metrics
from papers.atc.federation import client, server
from papers.atc.model import HeteroModel, MLMHead, encoder_decoder

GOLDEN = Path(__file__).parents[2] / "golden" / "atc"


def load(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as content:
        return {
            key: torch.from_numpy(np.asarray(content[key])) for key in content.files if content[key].dtype.kind != "U"
        }


def close(found: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-4, atol=atol)


# -- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["assign_cluster_18", "assign_cluster_outside"])
def test_clusters_and_their_aggregation(name: str) -> None:
    golden = load(name)
    distances = server.cosine_distances(golden["updates"])
    close(distances, golden["cosine_distance"])
    labels = server.clusters(distances, int(golden["n_clusters"]))
    assert labels.tolist() == golden["labels_canonical"].tolist()
    members = torch.from_numpy(labels[:, None] == labels)
    A = server.mixing(
        members, golden["sample_size"].tolist(), float(golden["inside_weight"]), float(golden["outside_weight"])
    )
    close(A, golden["weight_matrix"])
    copies, updates = ([{"w": row} for row in golden[key]] for key in ("base", "updates"))
    mixed = server.mix(copies, updates, A)
    close(torch.stack([x["w"] for x in mixed]), golden["new_params"])


def test_nearest_neighbours_and_their_aggregation() -> None:
    golden = load("contrast_topk_18")
    distances = server.cosine_distances(golden["updates"])
    close(distances, golden["cosine_distance"])
    nearest = server.nearest_first(distances)
    assert nearest == golden["all_ids"].tolist()
    neighbours = [row[:k] for row, k in zip(nearest, golden["topk"].tolist(), strict=True)]
    for found, expected in zip(neighbours, golden["topk_ids"].tolist(), strict=True):
        assert found == [i for i in expected if i >= 0]
    members = torch.tensor([[j in row for j in range(18)] for row in neighbours])
    A = server.mixing(members, golden["sample_size"].tolist())
    close(A, golden["weight_matrix"])
    copies, updates = ([{"w": row} for row in golden[key]] for key in ("base", "updates"))
    close(torch.stack([x["w"] for x in server.mix(copies, updates, A)]), golden["new_params"])


def test_plain_average() -> None:
    """Updates of copies that are equal, mixed over everyone, are FedAvg's weighted average."""
    golden = load("fedavg")
    params, everyone = golden["params"], torch.ones(4, 4, dtype=torch.bool)
    copies = [{"w": params[0]}] * 4
    updates = [{"w": x - params[0]} for x in params]
    for mixed in server.mix(copies, updates, server.mixing(everyone, golden["sample_size"].tolist())):
        close(mixed["w"], golden["average"])


def mlm_head_like(state: dict[str, Tensor]) -> MLMHead:
    words, hidden = state["decoder.weight"].shape
    head = MLMHead(BertConfig(hidden_size=hidden, vocab_size=words, layer_norm_eps=1e-12))
    head.load_state_dict(state)
    return head.eval()


def test_synthetic_items() -> None:
    golden = load("synthetic_data")
    hidden, lengths = golden["client_hidden"], golden["client_lengths"].tolist()
    weights = server.primary_weights(golden["prim_indices"], len(hidden), float(golden["prim_weight"]))
    own_length = ((x[:, :n], w) for x, n, w in zip(hidden, lengths, weights, strict=True))
    features = server.synthetic_features(own_length)
    close(features, golden["synth_features"])
    heads = [
        {
            key.removeprefix("lm_head."): x[i]
            for key, x in golden.items()
            if key.startswith("lm_head.") and key != "lm_head.bias"
        }
        for i in range(len(hidden))
    ]
    tokens = server.synthetic_tokens(features, mlm_head_like(server.mean_weights(heads)))
    assert torch.equal(tokens, golden["synth_tokens"])


# -- losses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basic", "outside_idx", "first_round_skipped"])
def test_contrastive_loss(name: str) -> None:
    golden = load(f"contrastive_loss_{name}")
    everyone = golden["all_group_ids"].long().sub(1).tolist()
    positives, negatives = losses.contrasted(
        int(golden["client_id"]) - 1,
        everyone,
        golden["topk_group_ids"].long().sub(1).tolist(),
        everyone,
        int(golden["contrast_topk"]),
    )
    if golden["contrastive_loss"].isnan():
        assert positives == []  # no loss at all
        return
    indices = golden["batch_indices"]
    kept = indices[indices < golden["num_synth"]]
    z = golden["z_local"].clone().requires_grad_()
    cached = golden["z_clients"][:, kept]
    loss = losses.contrastive_loss(z, cached[positives], cached[negatives], float(golden["temperature"]))
    close(loss.detach(), golden["contrastive_loss"])
    close(loss.detach() + golden["regular_loss"].float(), golden["total_loss"])
    loss.backward()
    assert z.grad is not None
    close(z.grad, golden["grad_z_local"])


def test_label_smoothing() -> None:
    golden = load("label_smoothing")
    loss = losses.label_smoothed_loss(golden["logits"], golden["target"], float(golden["eps"]), int(golden["pad_id"]))
    close(loss, golden["loss_per_token"])
    kept = (golden["target"] != golden["pad_id"]).sum()
    close(loss * kept, golden["loss_sum"])


def test_learning_rate() -> None:
    golden = load("lr_schedule")
    total = int(golden["total_steps"])
    warmup = int(golden["warmup_steps"]) / total
    found = [float(golden["base_lr"]) * client.schedule(step, total, warmup) for step in range(total + 3)]
    np.testing.assert_allclose(found, golden["lr_used_at_step"], rtol=1e-6, atol=1e-12)


# -- the model --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_model() -> tuple[HeteroModel, dict[str, Tensor]]:
    golden = load("model_forward")
    words = golden["sd_model.encoder.embeddings.word_embeddings.weight"]
    shape = BertConfig(
        vocab_size=len(words),
        hidden_size=int(golden["hidden"]),
        num_hidden_layers=2,
        num_attention_heads=int(golden["num_heads"]),
        intermediate_size=len(golden["sd_model.encoder.encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(golden["sd_model.encoder.embeddings.position_embeddings.weight"]),
        layer_norm_eps=1e-12,
    )
    network = HeteroModel(encoder_decoder(shape), labels=4).eval()
    state = {key.removeprefix("sd_"): x for key, x in golden.items() if key.startswith("sd_")}
    state["lm_head.decoder.bias"] = state.pop("lm_head.bias")
    own = dict(network.named_parameters())
    assert own.keys() == state.keys()
    with torch.no_grad():
        for name, x in state.items():
            own[name].copy_(x)
    return network, golden


@pytest.fixture
def states(golden_model: tuple[HeteroModel, dict[str, Tensor]]) -> Tensor:
    network, golden = golden_model
    return network.encode(golden["in_input_ids"], golden["in_attention_mask"], golden["in_token_type_ids"])


Golden = tuple[HeteroModel, dict[str, Tensor]]
FORWARD = 2e-5


def test_encoder_and_classifier(golden_model: Golden, states: Tensor) -> None:
    network, golden = golden_model
    close(states, golden["out_enc_last_hidden"], FORWARD)
    close(network.model.encoder.pooler(states), golden["out_enc_pooled"], FORWARD)
    logits = network.classify(states, golden["in_attention_mask"])
    close(logits, golden["out_cls_logits"], FORWARD)
    close(F.cross_entropy(logits, golden["in_cls_labels"]), golden["out_cls_loss"], FORWARD)


def test_spans(golden_model: Golden, states: Tensor) -> None:
    _network, golden = golden_model
    start, end = F.linear(states, golden["in_span_classifier_weight"], golden["in_span_classifier_bias"]).unbind(-1)
    close(start, golden["out_start_logits"], FORWARD)
    close(end, golden["out_end_logits"], FORWARD)
    loss = losses.span_loss(start, end, golden["in_start_positions"], golden["in_end_positions"])
    close(loss, golden["out_span_loss"], FORWARD)


def test_generation(golden_model: Golden, states: Tensor) -> None:
    network, golden = golden_model
    target = golden["in_target_ids"]
    logits = network.generate_logits(target, states, golden["in_attention_mask"])
    close(logits, golden["out_gen_logits"], FORWARD)
    flat = logits.flatten(0, 1), target[:, 1:].flatten()
    close(F.cross_entropy(*flat, ignore_index=0), golden["out_gen_loss_eval"], FORWARD)
    smoothed = losses.label_smoothed_loss(*flat, float(golden["label_smoothing"]), 0)
    close(smoothed, golden["out_gen_loss_train_smoothed"], FORWARD)


def test_masked_words_and_denoising(golden_model: Golden) -> None:
    network, golden = golden_model
    states = network.encode(golden["in_input_ids"], golden["in_attention_mask"])
    logits = network.lm_head(states)
    close(logits, golden["out_mlm_logits"], FORWARD)
    loss = F.cross_entropy(logits.flatten(0, 1), golden["in_mlm_labels"].flatten())
    close(loss, golden["out_mlm_loss"], FORWARD)
    target = golden["in_target_ids"]
    rebuilt = network.generate_logits(target, states, golden["in_attention_mask"])
    loss = F.cross_entropy(rebuilt.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)
    close(loss, golden["out_denoise_loss"], FORWARD)


def test_projection(golden_model: Golden) -> None:
    network, golden = golden_model
    z = network.project(golden["in_synth_tokens"], golden["in_synth_hidden"])
    close(z, golden["out_prep_hidden"], FORWARD)


# -- corruption -------------------------------------------------------------------------------------------------------


@pytest.fixture
def masking() -> tuple[dict[str, np.ndarray], corruption.Special]:
    golden = {key: x.numpy() for key, x in load("masking_b3").items()}
    names = ("pad", "bos", "eos", "eoq", "mask")
    ids = {name: int(golden[f"{name}_id"]) for name in names}
    return golden, corruption.Special(**ids, all=tuple(golden["special_ids"].tolist()))


def test_masking(masking: tuple[dict[str, np.ndarray], corruption.Special]) -> None:
    golden, special = masking
    may = ~np.isin(golden["token_ids"], special.all)
    np.testing.assert_allclose(golden["mlm_prob_matrix"], corruption.MASKED * may)
    corrupted, labels = corruption.mask_words(
        golden["token_ids"],
        golden["mlm_draw_select"].astype(bool),
        golden["mlm_draw_mask80"].astype(bool),
        golden["mlm_draw_random50"].astype(bool),
        golden["mlm_random_words"],
        special.mask,
    )
    np.testing.assert_array_equal(corrupted, golden["mlm_out_tokens"])
    np.testing.assert_array_equal(labels, golden["mlm_out_labels"])


def test_denoising(masking: tuple[dict[str, np.ndarray], corruption.Special]) -> None:
    golden, special = masking
    permutations = [row[row >= 0] for row in golden["dn_sentence_perms"]]
    orders = []
    for first, second in zip(permutations[::2], permutations[1::2], strict=True):
        order = np.arange(len(first))  # the official code composes two permutations into one
        order[first] = first[second]
        orders.append(order)
    permuted = corruption.permute_sentences(golden["token_ids"], orders, special)
    np.testing.assert_array_equal(permuted, golden["dn_permuted_only"])
    maskable = ~np.isin(permuted, special.all)
    lengths = corruption.span_lengths(
        int(np.ceil(float(golden["dn_mask_ratio"]) * maskable.sum())), lambda n: golden["dn_poisson"][:n]
    )
    starts = golden["dn_span_perm"][: len(lengths)]
    found = corruption.mask_spans(permuted, maskable, lengths, starts, special)
    np.testing.assert_array_equal(found, golden["dn_out_tokens"])
    np.testing.assert_array_equal(found != special.pad, golden["dn_out_attention"].astype(bool))
    np.testing.assert_array_equal(golden["token_ids"], golden["dn_out_labels"])  # the target is the text as it was


# -- metrics ----------------------------------------------------------------------------------------------------------


def test_exact_match_and_f1() -> None:
    with np.load(GOLDEN / "qa_em_f1.npz") as golden:
        answers = [[x for x in row if x != "<none>"] for row in golden["gold"].tolist()]
        pairs = list(zip(golden["prediction"].tolist(), answers, strict=True))
        assert [metrics.exact_match(*pair) for pair in pairs] == golden["exact"].tolist()
        np.testing.assert_allclose([metrics.f1(*pair) for pair in pairs], golden["f1"], rtol=1e-9)


def test_span_decoding() -> None:
    with np.load(GOLDEN / "span_decode.npz") as golden:
        cases = zip(
            golden["context"].tolist(),
            golden["question_len"],
            golden["start_logits"],
            golden["end_logits"],
            strict=True,
        )
        for (context, asked, start, end), expected in zip(cases, golden["answers"].tolist(), strict=True):
            words = context.split()
            allowed = np.zeros(len(start), bool)
            allowed[asked + 2 :][: len(words)] = True
            window = metrics.Window(start, end, allowed)
            found = metrics.best_span(
                [window], int(golden["n_best"]), int(golden["max_answer_len"]), float(golden["null_threshold"])
            )
            first, last = (found[1] - asked - 2, found[2] - asked - 2) if found else (0, -1)
            assert " ".join(words[first : last + 1]) == expected


def test_bleu() -> None:
    with np.load(GOLDEN / "bleu.npz") as golden:
        references = [[x for x in row if x != "<none>"] for row in golden["refs"].tolist()]
        found = metrics.bleu(golden["hyp"].tolist(), references)
        assert found == pytest.approx(golden["bleu_1_to_4"][3], rel=1e-6)
