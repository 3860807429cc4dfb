"""Masking of words, tags and regions as the code of U-VisualBERT has it. The label -1 means "not predicted"."""

from collections.abc import Callable, Sequence

import numpy as np

IGNORED = -1
ZEROED, REPLACED = 0.8, 0.9
"""Masked ones below the first share become [MASK] or zero, those below the second another's, the rest stay."""


def mask_words(
    words: np.ndarray, uniforms: np.ndarray, other: np.ndarray, mask: int, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mask word pieces one by one.

    Args:
        words: (L,) int64.
        uniforms: (L,) in [0, 1), one a piece; equal numbers for the pieces of a word mask whole words.
        other: (L,) int64, the random word of each place, should it be needed.
        mask: number of [MASK].
        rate: share of the pieces that are masked.

    Returns:
        masked words and labels, (L,) int64 each.
    """
    chosen, share = uniforms < rate, uniforms / rate
    masked = np.where(chosen & (share < ZEROED), mask, words)
    masked = np.where(chosen & (share >= ZEROED) & (share < REPLACED), other, masked)
    return masked, np.where(chosen, words, IGNORED)


def whole_words(uniforms: np.ndarray, continues: np.ndarray) -> np.ndarray:
    """The uniform of each word's first piece for all its pieces; ``continues`` (L,) bool marks the other pieces."""
    first = np.maximum.accumulate(np.where(continues, 0, np.arange(len(uniforms))))
    return uniforms[first]


def mask_regions(features: np.ndarray, uniforms: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask region features.

    Args:
        features: (R, F) float32.
        uniforms: (R,) in [0, 1).

    Returns:
        features with zeros where they are hidden (R, F); which are predicted (R,) float32 of 0 and 1; which are still
        to be replaced by a feature of another image (R,) bool.
    """
    chosen, share = uniforms < rate, uniforms / rate
    hidden = np.where((chosen & (share < ZEROED))[:, None], 0, features).astype(np.float32)
    return hidden, chosen.astype(np.float32), chosen & (share >= ZEROED) & (share < REPLACED)


def mask_tags(
    tags: Sequence[Sequence[int]],
    region_masked: np.ndarray,
    draw: Callable[[], float],
    choose: Callable[[], int],
    *,
    mask: int,
    rate: float,
    joint_rate: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mask the tags of regions; a tag whose region is masked has a second, higher chance, or it would give it away.

    Args:
        tags: word pieces of each region's tag.
        region_masked: (R,), not 0 where the region is masked.
        draw: gives the next uniform in [0, 1): one for each tag, a second one for a masked region's tag that the first
            one spares, and one for each masked tag on how it is masked.
        choose: gives a random word.
        rate: probability that a tag is masked.
        joint_rate: probability that the tag of a masked region is masked nonetheless.

    Returns:
        (T,) int64 each: word pieces, labels, and the number of the region each belongs to.
    """
    words: list[int] = []
    labels: list[int] = []
    owners: list[int] = []
    for region, pieces in enumerate(tags):
        if draw() < rate or (region_masked[region] != 0 and draw() < joint_rate):
            how = draw()
            if how < ZEROED:
                words += [mask] * len(pieces)
            elif how < REPLACED:
                words += [choose() for _ in pieces]
            else:
                words += pieces
            labels += pieces
        else:
            words += pieces
            labels += [IGNORED] * len(pieces)
        owners += [region] * len(pieces)
    return tuple(np.array(x, np.int64) for x in (words, labels, owners))  # type: ignore[return-value]


def tag_pieces(
    objects: np.ndarray,
    attributes: np.ndarray,
    object_pieces: Sequence[Sequence[int]],
    attribute_pieces: Sequence[Sequence[int]],
    uniforms: np.ndarray,
    attribute_rate: float,
) -> list[list[int]]:
    """Word pieces of each region's tag: the name of its object, or of its attribute where the uniform is small.

    Args:
        objects, attributes: (R,) classes that the detector found.
        object_pieces, attribute_pieces: word pieces of each class.
        uniforms: (R,) in [0, 1).
    """
    return [
        list(attribute_pieces[a] if u < attribute_rate else object_pieces[o])
        for o, a, u in zip(objects.tolist(), attributes.tolist(), uniforms.tolist(), strict=True)
    ]
