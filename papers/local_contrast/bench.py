"""Comparisons of ``make bench``: the contrastive losses against loops over their terms, and training steps."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .build import build
from .config import PRESETS, VARIANTS, Config
from .datasets import DATASETS
from .losses import global_loss_d, global_loss_d_minus, local_loss_d, local_loss_r, segmentation_loss
from .model import LEVELS
from .regions import Regions, regions

TAU = 0.1
WIDTH = 128  # of the vectors
VOLUMES, PARTITIONS = 6, 4  # of a batch of the paper: 12 slices of each of two sets of volumes
PAIRS = 10  # slices of a batch of stage 2


def bench() -> Iterator[dict[str, Any]]:
    """Losses at the paper's sizes, forward and backward, and steps of the three stages."""
    torch.manual_seed(0)
    partition = torch.arange(PARTITIONS).expand(VOLUMES, -1)
    slices = torch.randn(VOLUMES, 2, PARTITIONS, WIDTH)
    versions = torch.randn(VOLUMES // 2, 3, PARTITIONS, WIDTH)
    grid = regions(48)
    corners = len(grid.corners)
    cases: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Tensor]] = {
        "G^D, 48 images": (
            lambda z: global_loss_d(z, partition, temperature=TAU),
            lambda z: loop_global_d(z, partition),
            slices,
        ),
        "G^D-, 36 images": (
            lambda z: global_loss_d_minus(z, partition[: len(z)], temperature=TAU),
            lambda z: loop_global_d_minus(z, partition),
            versions,
        ),
        "L^R, 20 maps, 13 regions": (
            lambda z: local_loss_r(z, grid, temperature=TAU),
            lambda z: loop_local_r(z, grid),
            torch.randn(PAIRS, 2, corners, WIDTH),
        ),
        "L^D, 24 maps, 13 regions": (
            lambda z: local_loss_d(z, grid, temperature=TAU),
            lambda z: loop_local_d(z, grid),
            torch.randn(VOLUMES // 2, 2, PARTITIONS, corners, WIDTH),
        ),
    }
    for name, (ours, reference, vectors) in cases.items():
        torch.testing.assert_close(ours(vectors), reference(vectors), rtol=1e-5, atol=1e-6)
        yield {
            "name": name,
            "detail": "forward and backward; reference: a loop over the terms",
            "ours": step(ours, vectors),
            "reference": step(reference, vectors),
        }
    for stage, variant in (("1", "encoder-d"), ("2", "decoder-r"), ("3", "scratch-2")):
        yield {
            "name": f"a step of stage {stage}, ACDC",
            "detail": "192 x 192 px, full width, the paper's batch; nothing to compare with",
            "ours": training_step(Config(**{**vars(PRESETS["paper"]), **VARIANTS[variant].changes})),
            "memory": True,
        }


def step(loss: Callable[[Tensor], Tensor], vectors: Tensor) -> Callable[[], None]:
    """Value and gradient of a loss; the gradient is thrown away."""
    leaf = vectors.detach().requires_grad_()

    def run() -> None:
        torch.autograd.grad(loss(leaf), leaf)

    return run


# -- the losses, term by term -----------------------------------------------------------------------------------------


def term(anchor: Tensor, positive: Tensor, negatives: list[Tensor]) -> Tensor:
    """l(a -> p) of three vectors or lists of vectors (D,)."""
    similar = torch.stack([F.cosine_similarity(anchor, x, dim=0) for x in (positive, *negatives)]) / TAU
    return similar.logsumexp(0) - similar[0]


def loop_global_d_minus(z: Tensor, partition: Tensor) -> Tensor:
    volumes, versions, slices = z.shape[:3]
    terms = []
    for v in range(volumes):
        for s in range(slices):
            negatives = of_other_partitions(z, partition, v, s)
            for a in range(versions):
                terms += [term(z[v, a, s], z[v, b, s], negatives) for b in range(versions) if b != a]
    return torch.stack(terms).mean()


def loop_global_d(z: Tensor, partition: Tensor) -> Tensor:
    volumes, _, slices = z.shape[:3]
    terms = []
    for v in range(volumes):
        following = (v + 1) % volumes
        for s in range(slices):
            here, there = (of_other_partitions(z, partition, k, s) for k in (v, following))
            x, view, x_next, view_next = z[v, 0, s], z[v, 1, s], z[following, 0, s], z[following, 1, s]
            for a, b, negatives_a, negatives_b in (
                (x, view, here, here), (x, x_next, here, there),
                (x_next, view_next, there, there), (view, view_next, here, there),
            ):  # fmt: skip
                terms += [term(a, b, negatives_a), term(b, a, negatives_b)]
    return torch.stack(terms).mean()


def of_other_partitions(z: Tensor, partition: Tensor, volume: int, slice_: int) -> list[Tensor]:
    """All vectors of z (V, n, S, D) whose partition is not that of one slice."""
    volumes, versions, slices = z.shape[:3]
    return [
        z[v, a, s]
        for v in range(volumes)
        for a in range(versions)
        for s in range(slices)
        if partition[v, s] != partition[volume, slice_]
    ]


def loop_local_r(vectors: Tensor, grid: Regions) -> Tensor:
    terms = []
    for pair in vectors:
        for own, other in ((pair[0], pair[1]), (pair[1], pair[0])):
            for anchor, listed in zip(grid.anchors.tolist(), grid.negatives.tolist(), strict=True):
                negatives = [x[k] for x in (own, other) for k in listed]
                terms.append(term(own[anchor], other[anchor], negatives))
    return torch.stack(terms).mean()


def loop_local_d(vectors: Tensor, grid: Regions) -> Tensor:
    terms = []
    volumes, _, slices = vectors.shape[:3]
    for v in range(volumes):
        for s in range(slices):
            own = vectors[v, 0, s]
            for other in (vectors[v, 1, s], *(vectors[(v + k) % volumes, 0, s] for k in (1, 2))):
                for anchor, listed in zip(grid.anchors.tolist(), grid.negatives.tolist(), strict=True):
                    negatives = [x[k] for x in (own, other) for k in listed[:4]]
                    terms.append(term(own[anchor], other[anchor], negatives))
    return torch.stack(terms).mean()


# -- steps of training ------------------------------------------------------------------------------------------------


def training_step(config: Config) -> Callable[[], None]:
    """Forward, backward and Adam's step of a stage on random slices of ACDC's size."""
    dataset = DATASETS["acdc"]
    network = build(config, dataset).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam([x for x in network.parameters() if x.requires_grad], fused=True)
    loss = partial(STAGES[config.stage], network, config, dataset.size)

    def run() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return run


def encoder_loss(network: nn.Module, config: Config, size: int) -> Tensor:
    images = random_images(4 * config.slices, size)
    z = network(images).view(-1, 2, config.partitions, WIDTH)
    return global_loss_d(z, torch.arange(config.partitions).expand(len(z), -1), temperature=TAU)


def decoder_loss(network: nn.Module, config: Config, size: int) -> Tensor:
    grid = regions(size >> (LEVELS - config.decoder_blocks))
    vectors = network(random_images(2 * config.local_slices, size), grid.corners)
    return local_loss_r(vectors.unflatten(0, (-1, 2)), grid, temperature=TAU)


def segmentation_step_loss(network: nn.Module, config: Config, size: int) -> Tensor:
    logits = network(random_images(config.batch_size, size))
    labels = F.one_hot(torch.randint(logits.shape[1], (len(logits), size, size)), logits.shape[1])
    return segmentation_loss(logits, labels.permute(0, 3, 1, 2).float())


STAGES = {"encoder": encoder_loss, "decoder": decoder_loss, "segmentation": segmentation_step_loss}


def random_images(count: int, size: int) -> Tensor:
    return torch.randn(count, 1, size, size).contiguous(memory_format=torch.channels_last)
