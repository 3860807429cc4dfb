"""The networks of a variant, and the weights that fine-tuning starts from."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from shared import UserError
from shared.support.weights import UNREADABLE, finite_weights, load_checkpoint

from .baselines import MAE, SimMIM
from .classifier import HEADS, Classifier, load_official
from .cmt import CMT
from .config import Config
from .encoders import Swin, ViT
from .model import FastMIM
from .pvt import PVTv2


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


# -- weights to fine-tune ---------------------------------------------------------------------------------------------


def kept(config: Config, weights: dict[str, Tensor]) -> dict[str, Tensor]:
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
