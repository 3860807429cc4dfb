"""Equations and inference against arrays that were computed independently in float64."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from papers.pacl.losses import pacl_loss
from papers.pacl.model import VisionEmbedder, diagonal, mean_pooled, pairwise, sigmoid_diagonal, sigmoid_pairwise
from papers.pacl.segment import class_embeddings, cosine_maps, entropy, label_map, probabilities, upsample
from papers.pacl.towers.clip import Towers, resize_positions, strided_tokens
from shared.losses import symmetric_info_nce

GOLDEN = Path(__file__).parents[2] / "golden" / "pacl"
TOLERANCES = {torch.float64: (1e-9, 1e-10), torch.float32: (2e-4, 2e-5)}
MODES = {"dot": ("dot", 1.0), "cos": ("cos", 1.0), "cos10": ("cos", 10.0)}
both_types = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
compatibility_cases = pytest.mark.parametrize("case", ["compat_a", "compat_b_b16dims"])
inference_cases = pytest.mark.parametrize("case", ["seg_infer_a", "seg_infer_b_nonsquare"])


def load(name: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as content:
        arrays = {key: torch.from_numpy(content[key]) for key in content.files if content[key].dtype.kind in "fiub"}
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in arrays.items()}


def close(found: Tensor, expected: Tensor) -> None:
    rtol, atol = TOLERANCES[found.dtype]
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


def embedder_of(golden: dict[str, Tensor]) -> VisionEmbedder:
    width, joint = golden["x"].shape[2], golden["t"].shape[1]
    embedder = VisionEmbedder(width, joint).to(golden["x"].dtype)
    embedder.load_state_dict(
        {
            "main.0.weight": golden["W1"], "main.0.bias": golden["b1"],
            "main.2.weight": golden["W2"], "main.2.bias": golden["b2"],
            "skip.weight": golden["Wr"], "skip.bias": golden["br"],
        }
    )  # fmt: skip
    return embedder


# -- the compatibility function and the loss --------------------------------------------------------------------------


@both_types
@compatibility_cases
@pytest.mark.parametrize("mode", MODES)
def test_compatibility(case: str, mode: str, dtype: torch.dtype) -> None:
    golden = load(case, dtype)
    weighting, scale = MODES[mode]
    patches, text = embedder_of(golden)(golden["x"]), golden["t"]
    close(patches, golden["patches"])
    for chunk in (None, 1, 2, 100):
        phi = pairwise(patches, text, weighting=weighting, attn_scale=scale, chunk=chunk)  # type: ignore[arg-type]
        close(phi, golden[f"{mode}_phi_pair"])
    own = diagonal(patches, text, text, weighting=weighting, attn_scale=scale)  # type: ignore[arg-type]
    close(own, golden[f"{mode}_phi_diag"])
    for i, logit_scale in enumerate(golden["logit_scales"].tolist()):
        close(symmetric_info_nce(phi, logit_scale), golden[f"{mode}_loss_pair"][i, 2])
        for pooling, name in (("pairwise", "pair"), ("diagonal", "diag")):
            loss = pacl_loss(
                patches, text, logit_scale, pooling=pooling, weighting=weighting, attn_scale=scale  # type: ignore[arg-type]
            )  # fmt: skip
            close(loss, golden[f"{mode}_loss_{name}"][i, 2])


@both_types
@compatibility_cases
@pytest.mark.parametrize("mode", ["dot", "cos10"])
@pytest.mark.parametrize("chunk", [None, 2])
def test_gradients(case: str, mode: str, chunk: int | None, dtype: torch.dtype) -> None:
    golden = load(case, dtype)
    weighting, scale = MODES[mode]
    embedder, x = embedder_of(golden), golden["x"].requires_grad_()
    loss = pacl_loss(
        embedder(x), golden["t"], float(golden["logit_scales"][-1]), weighting=weighting, attn_scale=scale, chunk=chunk  # type: ignore[arg-type]
    )  # fmt: skip
    loss.backward()
    assert embedder.main is not None
    first, last = embedder.main[0], embedder.main[2]
    parameters = {
        "W1": first.weight, "b1": first.bias, "W2": last.weight, "b2": last.bias,
        "Wr": embedder.skip.weight, "br": embedder.skip.bias, "x": x,
    }  # fmt: skip
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        close(parameter.grad, golden[f"{mode}_grad_{name}"])  # type: ignore[arg-type]


@both_types
@compatibility_cases
def test_sigmoid_pooling_of_a_third_party(case: str, dtype: torch.dtype) -> None:
    golden = load(case, dtype)
    pooled, text = golden["nms05_pooled"], golden["t"]
    expected = pooled @ F.normalize(text, dim=1).T
    close(sigmoid_diagonal(golden["patches"], text, text), expected)
    close(sigmoid_pairwise(golden["patches"], text).diagonal(), expected.diagonal())
    close(pacl_loss(golden["patches"], text, 10.0, pooling="sigmoid"), golden["nms05_loss_tau0.1"])


@both_types
def test_zero_shot_classification(dtype: torch.dtype) -> None:
    golden = load("zeroshot_a", dtype)
    classes = golden["class_emb"]
    for mode, (weighting, scale) in MODES.items():
        phi = pairwise(golden["patches"], classes, weighting=weighting, attn_scale=scale)  # type: ignore[arg-type]
        close(phi, golden[f"{mode}_phi"])
        assert torch.equal(phi.argmax(1), golden[f"{mode}_pred"])
    close(mean_pooled(golden["patches"], classes), golden["meanpool_phi"])


class Prompts(Towers):
    """Text embeddings that are given."""

    def __init__(self, embeddings: Tensor) -> None:
        super().__init__()
        self.embeddings = embeddings

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.stack([self.embeddings[tuple(int(k) for k in text.split("/"))] for text in texts])


@both_types
def test_prompt_ensemble(dtype: torch.dtype) -> None:
    golden = load("zeroshot_a", dtype)
    classes, prompts, _ = golden["prompt_emb"].shape
    found = class_embeddings(
        Prompts(golden["prompt_emb"]), [str(k) for k in range(classes)], [f"{{}}/{k}" for k in range(prompts)]
    )
    close(found, golden["class_emb"])


def test_one_image_and_zero_vectors_are_no_special_case() -> None:
    patches = torch.randn(1, 5, 4, requires_grad=True)
    assert pairwise(patches, torch.randn(3, 4)).shape == (1, 3)
    assert diagonal(patches, torch.randn(1, 4), torch.randn(1, 4)).shape == (1, 1)
    zero = torch.zeros(2, 3, 4, requires_grad=True)
    for weighting in ("dot", "cos"):
        phi = pairwise(zero, torch.zeros(2, 4), weighting=weighting)  # type: ignore[arg-type]
        assert torch.equal(phi, torch.zeros(2, 2))
        (gradient,) = torch.autograd.grad(phi.sum(), zero)
        assert gradient.isfinite().all()


def test_autocast_leaves_the_compatibility_in_float32() -> None:
    patches, text = torch.randn(3, 7, 8).bfloat16(), torch.randn(3, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pairwise(patches, text)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pairwise(patches.float(), text.float()), rtol=0, atol=0)


def test_embedder_has_the_size_that_is_quoted() -> None:
    for width, joint, count in ((768, 512, 1_050_112), (1024, 768, 2_164_992)):
        assert sum(p.numel() for p in VisionEmbedder(width, joint).parameters()) == count
    assert isinstance(VisionEmbedder(4, 3, "linear").skip, nn.Linear) and VisionEmbedder(4, 3, "linear").main is None


# -- inference --------------------------------------------------------------------------------------------------------


@both_types
@inference_cases
@pytest.mark.parametrize("order", ["upsample-softmax", "softmax-upsample"])
def test_segmentation(case: str, order: str, dtype: torch.dtype) -> None:
    golden = load(case, dtype)
    height, width = (int(x) for x in golden["grid"])
    size = (int(golden["size"][0]), int(golden["size"][1]))
    maps = cosine_maps(golden["patches"][None], golden["class_emb"], (height, width))
    close(maps[0], golden["cos"])
    close(upsample(maps, size)[0], golden["cos_up"])
    probability = probabilities(maps, size, float(golden["scale"]), order)  # type: ignore[arg-type]
    prefix = {"upsample-softmax": "up_then_softmax", "softmax-upsample": "softmax_then_up"}[order]
    close(probability[0], golden[f"{prefix}_prob"])
    close(entropy(probability)[0], golden[f"{prefix}_entropy"])
    threshold = float(golden["entropy_threshold"])
    first, second = probability[0].topk(2, dim=0).values
    sure = first - second > 1e-6
    near = (entropy(probability)[0] - threshold).abs() < 1e-5
    assert torch.equal(label_map(probability)[0][sure], golden[f"{prefix}_pred_nobg"][sure])
    found = label_map(probability, threshold)[0]
    assert torch.equal(found[sure & ~near], golden[f"{prefix}_pred_bg"][sure & ~near])
    assert (found == 0).any() or (golden[f"{prefix}_pred_bg"] > 0).all()


@both_types
@pytest.mark.parametrize("stride", [8, 4, 2])
def test_stride_trick(stride: int, dtype: torch.dtype) -> None:
    golden = load("stride_a", dtype)
    tokens, grid = strided_tokens(golden["img"], golden["conv_w"], golden["conv_b"], stride)
    assert grid == tuple(golden[f"grid_s{stride}"].tolist())
    close(tokens, golden[f"tokens_s{stride}"])
    close(resize_positions(golden["pos"], (4, 4), grid), golden[f"pos_plain_s{stride}"])
