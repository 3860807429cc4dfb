"""ImageNet weights of torchvision's classifiers: downloaded once to torch's cache, or from a file."""

from pathlib import Path
from typing import Any

from shared import UserError
from shared.support.weights import load_checkpoint

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def imagenet_weights(which: str, published: Any) -> dict[str, Any]:
    """A state dict: torchvision's ``published`` weights if ``which`` is "imagenet", else that of the file it names.

    Raises:
        UserError: if there is no such file, it holds more than tensors, or the download fails.
    """
    if which == "imagenet":
        try:
            state: dict[str, Any] = published.get_state_dict(check_hash=True, weights_only=True)
        except (OSError, RuntimeError) as error:  # no network, or a file that was cut short
            raise UserError(
                f"--backbone-weights imagenet: {published.url} cannot be downloaded ({error}); check the network, or "
                "give the file."
            ) from error
        return state
    if not Path(which).is_file():
        raise UserError(
            f"--backbone-weights {which} is missing or no file; expected one, imagenet, or None for no weights."
        )
    return load_checkpoint(Path(which))
