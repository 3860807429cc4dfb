"""The one place where a configuration and weights become a network: weights of a run, committed ones, the authors'."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared import UserError
from shared.run import Run
from shared.support.weights import (
    UNREADABLE,
    finite_weights,
    load_checkpoint,
    load_weights,
    open_trained_run,
    weights_file,
)

from .baselines import MAE, SimMIM
from .config import PRESETS, VARIANTS, Config
from .encoders import CMT, PVTv2, Swin, ViT
from .encoders.classifier import Classifier
from .encoders.official import HEADS, load_official
from .model import FastMIM

PRETRAINED = "pretrained.safetensors"  # beside model.safetensors

# A part of a published parameter's name -> the variant that has its encoder; others are ViT-B's.
PUBLISHED = {"relative_position_bias_table": "swin-b", "patch_embed1.": "pvtv2-b2", "stem_conv1.": "cmt-s"}


def build_encoder(config: Config, image_size: int, discard: int = 0, drop_path: float = 0.0, **vit: Any) -> nn.Module:
    """The variant's encoder without its last ``discard`` blocks; ``vit`` are further options of a ViT."""
    depths = list(config.depths)
    if not 0 <= discard <= sum(depths) - len(depths):
        raise UserError(f"discard is {discard}; of blocks {config.depths} at most {sum(depths) - len(depths)} can go.")
    for _ in range(discard):  # from the end, but never the whole of a stage
        stage = next(k for k in reversed(range(len(depths))) if depths[k] > 1)
        depths[stage] -= 1
    shape: dict[str, Any] = {"image_size": image_size, "drop_path": drop_path}
    if config.encoder != "cmt":
        shape["patch_size"] = config.patch_size
    if config.encoder == "vit":
        return ViT(**shape, **vit, width=config.widths[0], depth=depths[0], heads=config.heads[0])
    shape |= {"depths": tuple(depths), "heads": config.heads}
    if config.encoder == "swin":
        return Swin(**shape, width=config.widths[0])
    shape |= {"widths": config.widths, "reductions": config.reductions}
    return CMT(**shape) if config.encoder == "cmt" else PVTv2(**shape, mlp_ratios=config.mlp_ratios)


def build_pretraining(config: Config) -> nn.Module:
    """The variant's pre-training network at its first resolution."""
    encoder = build_encoder(config, config.resolutions[0], config.discard)
    match config.method:
        case "mae":
            return MAE(encoder, decoder_width=config.decoder_width, decoder_depth=config.decoder_depth)
        case "simmim":
            return SimMIM(encoder, block=config.block)
        case _:
            return FastMIM(
                encoder,
                target=config.target,
                block=config.block,
                cell=config.cell,
                decoder_width=config.decoder_width,
                decoder_depth=config.decoder_depth,
                normalize=config.normalize_target,
            )


def build_classifier(config: Config, classes: int, discard: int = 0) -> Classifier:
    """The variant's classifier at full resolution, without its last ``discard`` blocks."""
    encoder = build_encoder(config, config.image_size, discard, drop_path=config.drop_path, positions="trainable")
    return Classifier(encoder, classes)


# -- weights of a run --------------------------------------------------------------------------------------------------


def pretrained_weights(run: Run) -> Path:
    """Path of the encoder and decoder that pre-training left in a run."""
    return weights_file(run.folder, PRETRAINED)


def carried_over(config: Config, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The pre-trained encoder weights that a variant carries over: all, or those outside of the blocks and of half of
    the blocks, rounded down (ViT only, a control)."""
    encoder = {name.removeprefix("encoder."): x for name, x in weights.items() if name.startswith("encoder.")}
    if config.load == "all":
        return encoder
    if config.encoder != "vit":
        raise UserError(f"load is {config.load}, a control for ViT only; a {config.encoder} needs load all.")
    (depth,) = config.depths
    half = range(depth // 2) if config.load == "first" else range(depth - depth // 2, depth)
    return {
        name: value
        for name, value in encoder.items()
        if not name.startswith("blocks.") or int(name.split(".")[1]) in half
    }


def trained_classifier(run: Path) -> tuple[Config, Classifier]:
    """Configuration and fine-tuned classifier of a finished run, in evaluation mode.

    Args:
        run: its folder, or the ``.json`` file of committed weights.

    Raises:
        UserError: no finished run there, damaged, or of another version of the code.
    """
    with open_trained_run(run, "fastmim", Config) as (_, config, weights):
        state = load_weights(weights)
        classifier = build_classifier(config, len(state["head.bias"]))
        classifier.load_state_dict(state)
    return config, classifier.eval()


def trained_network(run: Path) -> tuple[Config, FastMIM]:
    """Configuration and pre-trained encoder with decoder of a run of FastMIM, at its last resolution.

    In evaluation mode; raises as :func:`trained_classifier` does.
    """
    with open_trained_run(run, "fastmim", Config, PRETRAINED) as (_, config, weights):
        network = build_pretraining(config)
        assert isinstance(network, FastMIM)
        network.encoder.set_image_size(config.resolutions[-1])  # type: ignore[operator]  # every encoder has it
        network.load_state_dict(load_weights(weights))
    return config, network.eval()


# -- weights of the authors -------------------------------------------------------------------------------------------


def official_encoder(checkpoint: Path, config: Config) -> dict[str, Tensor]:
    """The encoder that the authors pre-trained, under the names that pre-training here would have given its weights.

    Raises:
        UserError: the file is damaged, fine-tuned already, or of another encoder than the variant's.
    """
    content = load_checkpoint(checkpoint)
    classifier = build_classifier(config, 1, config.discard)
    try:
        weights = finite_weights(content.get("model", content))
        if "head.bias" in weights:
            raise UserError("It is fine-tuned already: classify with it, or transfer it.")
        load_official(classifier, weights, fresh=HEADS)
    except (UserError, *UNREADABLE) as error:
        raise UserError(
            f"{checkpoint} is no pre-trained encoder of the authors that fits this variant ({config.encoder}). {error}"
        ) from error
    return {f"encoder.{name}": x for name, x in classifier.encoder.state_dict().items()}


def official_classifier(checkpoint: Path) -> tuple[Config, Classifier]:
    """The encoder with fine-tuned weights that the authors published, found by its names, in evaluation mode."""
    content = load_checkpoint(checkpoint)
    weights: dict[str, Any] = content.get("model", content)
    if not isinstance(weights, dict) or not isinstance(weights.get("head.bias"), Tensor):
        raise UserError(
            f"{checkpoint} has no classification head (head.bias): it is a pre-trained file, or none of FastMIM's; "
            "give --checkpoint a fine-tuned one, or leave it away and give --run."
        )
    config = replace(PRESETS["paper"], data="ImageNet-1K")  # for its normalisation; the folder need not exist
    try:
        for part, variant in PUBLISHED.items():
            if any(part in name for name in weights):
                config = replace(config, **VARIANTS[variant].changes)
        classifier = build_classifier(config, len(weights["head.bias"]))
        unused = () if config.encoder == "pvtv2" else ("encoder.norm.",)
        load_official(classifier, finite_weights(weights), fresh=unused)
    except (UserError, *UNREADABLE) as error:
        raise UserError(
            f"{checkpoint} is no fine-tuned ViT-B, Swin-B, PVTv2-B2 or CMT-S of the authors. {error}"
        ) from error
    return config, classifier.eval()
