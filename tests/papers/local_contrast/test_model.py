"""The networks' sizes, how they begin, and what one stage hands to the next."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from papers.local_contrast.build import build, segmenter, transfer
from papers.local_contrast.config import PRESETS, VARIANTS, Config
from papers.local_contrast.datasets import DATASETS, mni_synth
from papers.local_contrast.model import GlobalHead, LocalHead, RegionProjector, SliceProjector, UNet

PAPER = Config().widths


def stage(variant: str, preset: str = "smoke") -> Config:
    return replace(PRESETS[preset], **VARIANTS[variant].changes)


@pytest.mark.parametrize("name", DATASETS)
def test_full_size(name: str) -> None:
    dataset = DATASETS[name]
    network = UNet(PAPER, len(dataset.classes)).eval()
    with torch.no_grad():
        logits = network(torch.zeros(1, 1, dataset.size, dataset.size))
    assert logits.shape == (1, len(dataset.classes), dataset.size, dataset.size)
    assert 2.0e6 < sum(x.numel() for x in network.parameters()) < 2.2e6
    head = build(stage("encoder-d", "paper"), dataset).head
    assert isinstance(head, GlobalHead)
    assert head.dense[0].in_features == {192: 4608, 160: 3200}[dataset.size]


@pytest.mark.parametrize(
    ("blocks", "size", "channels"), [(1, 12, 128), (2, 24, 128), (3, 48, 64), (4, 96, 32), (5, 192, 16)]
)
def test_decoder_maps_of_the_paper(blocks: int, size: int, channels: int) -> None:
    config = replace(stage("decoder-r", "paper"), decoder_blocks=blocks)
    projector = build(config, DATASETS["acdc"])
    assert isinstance(projector, RegionProjector)
    seen = []
    projector.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape))
    corners = torch.tensor([[0, 0], [2, 3]])
    assert projector(torch.zeros(1, 1, 192, 192), corners).shape == (1, 2, 128)
    assert seen == [(1, channels, size, size)]


def test_a_region_of_one_voxel_has_no_dense_layer() -> None:
    assert isinstance(LocalHead(4, region=1).dense, nn.Identity)
    assert LocalHead(4, region=1)(torch.zeros(2, 4, 8, 8), torch.tensor([[0, 7]])).shape == (2, 1, 4)


def test_initialisation() -> None:
    """He's for convolutions, their biases zero, batch normalisation the identity with the official constants."""
    network = UNet(PAPER, 4)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            assert layer.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.35)
            assert layer.bias is None or not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.eps, layer.momentum) == (1e-3, 0.01) and (layer.weight == 1).all()
    last = network.head[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is None and last.kernel_size == (3, 3)


def save(network: nn.Module, path: Path) -> Path:
    """Its weights after a training step's worth of statistics."""
    network.train()
    with torch.no_grad():
        for x in network.parameters():
            x.add_(torch.randn_like(x))
        for name, x in network.named_buffers():
            if "running" in name:
                x.add_(1)
    save_file({name: x.contiguous() for name, x in network.state_dict().items()}, path)
    return path


def test_stage_1_hands_on_the_encoder_alone(tmp_path: Path) -> None:
    first = build(stage("encoder-d"), mni_synth.DATASET)
    assert isinstance(first, SliceProjector)
    second = build(stage("decoder-r"), mni_synth.DATASET)
    before = {name: x.clone() for name, x in second.state_dict().items()}
    transfer(second, save(first, tmp_path / "a.safetensors"))
    given, after = first.state_dict(), second.state_dict()
    for name, x in after.items():
        taken = name.startswith("encoder.") and "running" not in name and "tracked" not in name
        assert torch.equal(x, given[name] if taken else before[name]), name


def test_stage_2_hands_on_encoder_and_blocks(tmp_path: Path) -> None:
    second, third = build(stage("decoder-r"), mni_synth.DATASET), build(stage("proposed-2"), mni_synth.DATASET)
    before = {name: x.clone() for name, x in third.state_dict().items()}
    transfer(third, save(second, tmp_path / "a.safetensors"))
    given, after = second.state_dict(), third.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name.partition(".")[0] for name in moved} == {"encoder", "decoder"}
    assert {name.split(".")[1] for name in moved if name.startswith("decoder")} == {"0", "1", "2"}
    assert all(torch.equal(after[name], given[name]) for name in moved)
    assert not any("running" in name for name in moved), "statistics begin anew"


def test_the_encoder_is_frozen_in_stage_2() -> None:
    projector = build(stage("decoder-r"), mni_synth.DATASET)
    assert not any(x.requires_grad for x in projector.encoder.parameters())
    projector(torch.randn(4, 1, 64, 64), torch.tensor([[0, 0]])).sum().backward()
    assert all(x.grad is not None for x in projector.decoder.parameters())


def test_the_number_of_classes_tells_the_data_set() -> None:
    every = (mni_synth.DATASET, *DATASETS.values())
    assert len({len(dataset.classes) for dataset in every}) == len(every)
    for dataset in every:
        weights = UNet(PRESETS["smoke"].widths, len(dataset.classes)).state_dict()
        network, found = segmenter(stage("scratch-2"), weights)
        assert found is dataset and not network.training
    with pytest.raises(ValueError, match="no data set has 9 classes"):
        segmenter(stage("scratch-2"), UNet(PRESETS["smoke"].widths, 9).state_dict())
