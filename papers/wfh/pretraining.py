"""The losses of one batch of pre-training: those of U-VisualBERT, and those of hallucinations."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from shared.losses import all_gather

from . import losses
from .config import Config
from .hallucination.hallucinator import Hallucinator
from .model import Encoded, Inputs, Pretraining
from .sampling.samples import IMAGE, inputs


class WeaklySupervised(nn.Module):
    """U-VisualBERT, with a hallucinator or without.

    Args:
        network: U-VisualBERT with its heads.
        hallucinator: H; None trains U-VisualBERT alone.
    """

    def __init__(self, network: Pretraining, hallucinator: Hallucinator | None, config: Config) -> None:
        super().__init__()
        self.network, self.hallucinator, self.config = network, hallucinator, config

    def forward(self, kind: str, batch: Mapping[str, Tensor], hallucinate: bool) -> dict[str, Tensor]:
        """Weighted losses of a batch of one kind, whose sum is minimised.

        Args:
            kind: "images", "captions", "passages" or "paired".
            hallucinate: let captions see their hallucinations.
        """
        text, image = kind != "images", kind in ("images", "paired")
        found: dict[str, Tensor] = {}
        if kind == "paired":
            encoded, found["match"] = self.pair(batch)
        else:
            encoded = self.network(inputs(batch, "masked_words" if text else None, image))
        if text:
            found["words"] = self._words(encoded.words, batch["word_labels"])
        if "match" in batch:
            found["match"] = losses.match_loss(self.network.match(encoded.pooled), batch["match"])
        if image:
            found |= self.region_losses(encoded, batch)
        if self.hallucinator is not None:
            if kind == "images" and self.config.tag_weight:
                found["tags_to_regions"] = self.config.tag_weight * self.hallucinator.supervise(
                    batch["sentence"], batch["sentence_mask"], batch["owner"], batch["targets"],
                    batch["regions_mask"], self.config.regression_weight,
                )  # fmt: skip
            if kind == "captions" and hallucinate:
                found |= self.hallucination_losses(batch)
        # Every parameter has a gradient at every step, as in the official code: it may be zero, and decay still acts.
        trained = [x.sum() for x in self.parameters() if x.requires_grad]
        return found | {"nothing": 0 * torch.stack(trained).sum()}

    def pair(self, batch: Mapping[str, Tensor]) -> tuple[Encoded, Tensor]:
        """Images beside their own captions, and matching of them against captions of another image.

        The others are captions of the image before, in a circle over the images of all processes.

        Returns: states of the images with their own captions, and the loss of matching.
        """
        count, length = batch["words"].shape
        texts = {name: of_all_processes(batch[name]) for name in ("masked_words", "words_mask")}
        words = {name: torch.cat([rows_before(x, 0), rows_before(x, 1)]) for name, x in texts.items()}
        images = {name: torch.cat([batch[name], batch[name]]) for name in IMAGE}
        encoded: Encoded = self.network(inputs(words | images, "masked_words"))
        match = torch.tensor([1, 0], device=batch["words"].device).repeat_interleave(count)
        loss = losses.match_loss(self.network.match(encoded.pooled), match)
        own = Encoded(*(None if x is None else x[:count] for x in encoded))
        return own._replace(words=None if own.words is None else own.words[:, :length]), loss

    def _words(self, states: Tensor | None, labels: Tensor) -> Tensor:
        assert states is not None
        return losses.masked_loss(*self.network.predict_words(states, labels))

    def region_losses(self, encoded: Encoded, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masked tags, and objects, attributes and features of regions; padding has no part in them."""
        assert encoded.regions is not None
        predicted, present = self.network.obj_predict_head(encoded.regions), batch["regions_mask"]
        regions = {
            "objects": losses.detector_loss(predicted["obj"], batch["objects"], batch["object_confidence"], present),
            "attributes": losses.detector_loss(
                predicted["attr"], batch["attributes"], batch["attribute_confidence"], present
            ),
            "features": losses.feature_loss(predicted["feat"], batch["targets"], batch["predicted"], present),
        }
        found = {name: self.config.region_weight * x for name, x in regions.items()}
        return {"tags": self._words(encoded.tags, batch["tag_labels"])} | found

    def hallucination_losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masked words beside the hallucinations of the whole caption, and matching of captions with hallucinations.

        The first rows see their own hallucinations, the others those of the caption before, in a circle over the
        captions of all processes; both have masked words.
        """
        assert self.hallucinator is not None
        config = self.config
        with torch.set_grad_enabled(not config.stop_gradient and torch.is_grad_enabled()):
            seen, mask, _ = self.hallucinator(batch["words"], batch["words_mask"])
        first = 0 if config.shuffle == "no" else 1  # whose hallucinations a caption is said to have
        matching = bool(config.match_weight) and config.shuffle != "words"
        shifts = (first, first + 1) if matching else (first,)
        rows = len(shifts)
        seen, mask = of_all_processes(seen), of_all_processes(mask)
        encoded = self.network(
            Inputs(
                batch["masked_words"].repeat(rows, 1),
                batch["words_mask"].repeat(rows, 1),
                hallucinated=torch.cat([rows_before(seen, shift) for shift in shifts]),
                hallucinated_mask=torch.cat([rows_before(mask, shift) for shift in shifts]),
            )
        )
        assert encoded.words is not None
        own = encoded.words[: len(batch["words"])]
        found = {"words_hallucinated": config.word_weight * self._words(own, batch["word_labels"])}
        if matching:
            # Two captions of one image may meet in a batch: they match.
            same = (batch["group"] == rows_before(all_gather(batch["group"]), shifts[-1])).long()
            match = torch.cat([torch.ones_like(same), same])
            found["match_hallucinated"] = config.match_weight * losses.match_loss(
                self.network.match(encoded.pooled), match
            )
        return found


def of_all_processes(x: Tensor) -> Tensor:
    """(B, M, ...) of each process as (processes * B, M', ...); shorter rows are padded with zeros to the longest."""
    longest = int(all_gather(torch.tensor([x.shape[1]], device=x.device)).max())
    return all_gather(F.pad(x, (0, 0) * (x.ndim - 2) + (0, longest - x.shape[1])))


def rows_before(everyone: Tensor, shift: int) -> Tensor:
    """For each row of this process the row ``shift`` places before, in a circle over the rows of all processes."""
    rank, processes = (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)
    return everyone.roll(shift, 0).unflatten(0, (processes, -1))[rank]
