"""SOHO: a trainable CNN, the visual dictionary, and one Transformer over words and visual tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertModel

from .losses import code_scores
from .visual.dictionary import mask_codes
from .visual.embedding import RegionEmbedding, Visual, VisualEmbedding
from .visual.trunk import Trunk
from .wordpiece import PAD

HIDDEN = -10_000.0  # added to the attention of padding


@dataclass(frozen=True)
class Images:
    """B images as the network takes them.

    Attributes:
        pixels: (B, 3, H, W) normalised and padded, or their early maps (B, C, h, w); of boxes (B, R, ...) each.
        valid: (B, 2), the share of height and width that is no padding.
        boxes: (B, R, 4) xyxy as shares of the image, of the baseline of regions.
        real: (B, R) bool, the boxes that are there.
    """

    pixels: Tensor
    valid: Tensor
    boxes: Tensor | None = None
    real: Tensor | None = None


@dataclass(frozen=True)
class Predictions:
    """Scores of pre-training; R rows are the pairs of an image with one of its texts."""

    words: Tensor
    """(R, L, V) logits of the words at each place of the text."""
    match: Tensor
    """(R, 2) logits: no pair, a pair."""
    codes: Tensor | None
    """(R, P, K) logits of the codes; None without a dictionary."""
    code_labels: Tensor | None
    """(R, P) codes that were masked, -100 elsewhere."""


class SOHO(nn.Module):
    """The network below all heads.

    Args:
        trunk: the CNN.
        visual: whole image or boxes to tokens.
        bert: embeddings of words, and the Transformer.
    """

    def __init__(self, trunk: Trunk, visual: VisualEmbedding | RegionEmbedding, bert: BertModel) -> None:
        super().__init__()
        self.trunk, self.visual, self.bert = trunk, visual, bert

    def see(self, images: Images) -> Visual:
        """The visual embeddings; in training the dictionary follows them."""
        if images.boxes is None or images.real is None:
            assert isinstance(self.visual, VisualEmbedding)
            return self.visual(self.trunk(channels_last(images.pixels)), images.valid)
        assert isinstance(self.visual, RegionEmbedding)
        crops = self.trunk(channels_last(images.pixels[images.real])).mean((2, 3))
        features = crops.new_zeros(*images.real.shape, crops.shape[1])
        features[images.real] = crops
        return self.visual(features, images.boxes, images.real)

    def fuse(self, words: Tensor, visual: Visual, masked: Tensor | None = None) -> Tensor:
        """States (B, L + P, c) of words (B, L) and of the visual tokens that follow them."""
        tokens = self.visual.tokens(visual, masked)
        sequence = torch.cat([self.bert.embeddings(input_ids=words), tokens], 1)
        attended = torch.cat([words != PAD, visual.real], 1)
        bias = HIDDEN * (~attended).to(sequence.dtype)[:, None, None]
        states: Tensor = self.bert.encoder(sequence, attention_mask=bias).last_hidden_state
        return states


class Pretraining(nn.Module):
    """SOHO with the heads of masked words, masked codes and matching.

    Args:
        soho: the network.
        mask_probability: of an image with one of its texts to be masked.
        grouped: mask all positions of a code, not one alone.
    """

    def __init__(self, soho: SOHO, width: int, mask_probability: float, grouped: bool = True) -> None:
        super().__init__()
        self.soho, self.mask_probability, self.grouped = soho, mask_probability, grouped
        self.match = nn.Linear(width, 2, bias=False)

    def forward(self, images: Images, words: Tensor, of: Tensor) -> Predictions:
        """Score words (R, L) with the image ``of`` (R, 1) each; in training, codes are masked."""
        return self.score(self.soho.see(images).at(of[:, 0]), words)

    def score(self, visual: Visual, words: Tensor, labels: Tensor | None = None) -> Predictions:
        """Score R pairs of an image, seen before, with words (R, L); ``labels`` (R, P) are codes to mask."""
        if labels is None and self.training and visual.index is not None and self.mask_probability > 0:
            labels = self.masked_codes(visual.index, visual.real)
        states = self.soho.fuse(words, visual, None if labels is None else labels >= 0)
        of_text, of_image = states.split([words.shape[1], states.shape[1] - words.shape[1]], 1)
        codes = None
        if isinstance(self.soho.visual, VisualEmbedding) and self.soho.visual.dictionary is not None:
            codes = code_scores(of_image, self.soho.visual.dictionary.embed)
        return Predictions(
            words=of_text @ self.soho.bert.embeddings.word_embeddings.weight.T,  # tied, no bias (official head)
            match=self.match(of_text[:, 0]),
            codes=codes,
            code_labels=labels,
        )

    def masked_codes(self, index: Tensor, real: Tensor) -> Tensor:
        """Draw what is masked: one position for the batch, a coin for each row."""
        position = torch.randint(index.shape[1], (), device=index.device)
        chosen = torch.rand(len(index), device=index.device) < self.mask_probability
        return mask_codes(index, real, position, chosen, grouped=self.grouped)


class Downstream(nn.Module):
    """SOHO with the head of a task on the state of [CLS].

    Args:
        soho: the network.
        width: of the Transformer.
        classes: of the task.
        images: of a text, whose states are concatenated (NLVR2 has two).
        matching: a single linear layer without bias, as that of image-text matching, in place of two layers.
    """

    def __init__(self, soho: SOHO, width: int, classes: int, images: int, matching: bool = False) -> None:
        super().__init__()
        self.soho = soho
        self.head = nn.Linear(width, 2, bias=False) if matching else answer_head(images * width, 4 * width, classes)

    def forward(self, images: Images, words: Tensor, of: Tensor) -> Tensor:
        """Logits (R, classes) of words (R, L), each with the images ``of`` (R, images)."""
        return self.score(self.soho.see(images), words, of)

    def score(self, visual: Visual, words: Tensor, of: Tensor) -> Tensor:
        """Logits as above, of images that were seen before."""
        states = self.soho.fuse(words.repeat_interleave(of.shape[1], 0), visual.at(of.flatten()))
        logits: Tensor = self.head(states[:, 0].reshape(len(words), -1))
        return logits


def answer_head(width: int, hidden: int, classes: int) -> nn.Sequential:
    """Two layers with dropout between them (`soho_downstream_vqa_head.py`)."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, classes))


def channels_last(images: Tensor) -> Tensor:
    """The layout in which convolutions of few channels are fastest, on CPUs as on GPUs."""
    return images.contiguous(memory_format=torch.channels_last)
