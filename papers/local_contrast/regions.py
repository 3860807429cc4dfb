"""Where the regions of the local loss lie on a decoder map, and which regions are each one's negatives.

Source: official code (`models.decoder_pretrain_net`). A map of n x n has a lattice of 5 x 5 corners, at 0, ¼, ½, ¾ and
all of the way to the last one. A corner is written here as two letters, row and column, of 0 q h t e in that order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LATTICE = "0qhte"

# Region: its five negatives. The lists are the authors' own, with no rule behind them; the local loss between
# different volumes takes the first four.
_NINE_3X3 = {
    "00": "0h h0 hh 0e e0", "0h": "00 0e h0 hh he", "0e": "00 0h hh he ee",
    "h0": "00 0h hh e0 eh", "hh": "00 0h h0 he eh", "he": "0h 0e hh eh ee",
    "e0": "00 h0 hh eh ee", "eh": "h0 hh he e0 ee", "ee": "0e hh he e0 eh",
}  # fmt: skip
_THIRTEEN_3X3 = {
    "00": "0h qq qh h0 hq", "0h": "00 0e qq qt hh", "0e": "0h qh qt ht he",
    "h0": "00 qq hh e0 tq", "hh": "qq qt tq tt h0", "he": "0e hh ee qt tt",
    "e0": "h0 hq eh tq th", "eh": "hh e0 ee tq tt", "ee": "ht he eh tt th",
    "qq": "00 0h h0 hh qt", "qt": "0h 0e qq hh he", "tq": "h0 hh e0 eh tt", "tt": "hh he eh ee tq",
}  # fmt: skip
_THIRTEEN_1X1 = {
    "00": "0h h0 hh qq qt", "0h": "00 0e hh qq qt", "0e": "0h hh he tq qt",
    "h0": "00 hh e0 qq tq", "hh": "qq qt tq tt h0", "he": "0e hh ee qt tt",
    "e0": "h0 hh eh tq qq", "eh": "hh e0 ee tq tt", "ee": "hh he eh tt tq",
    "qq": "00 0h h0 hh qt", "qt": "0h 0e hh he tt", "tq": "h0 hh e0 0h qq", "tt": "hh he eh ee qt",
}  # fmt: skip
NEGATIVES = {(3, 9): _NINE_3X3, (3, 13): _THIRTEEN_3X3, (1, 9): _NINE_3X3, (1, 13): _THIRTEEN_1X1}


@dataclass(frozen=True)
class Regions:
    """The regions of one map size, as places in the list of the corners that occur."""

    corners: Tensor
    """(U, 2) int64: row and column of every corner that is a region or a negative, each once."""
    anchors: Tensor
    """(A,) int64: each region's place among the corners."""
    negatives: Tensor
    """(A, 5) int64: the places of its negatives."""


def regions(size: int, region: int = 3, count: int = 13) -> Regions:
    """The regions on a map of ``size`` x ``size``.

    Args:
        region: height and width of a region, 1 or 3.
        count: 9 or 13.

    Raises:
        ValueError: if there is no such grid, or the map is too small for its corners to differ.
    """
    if (region, count) not in NEGATIVES:
        raise ValueError(f"expected a region of 1 or 3 and a count of 9 or 13, found {region} and {count}")
    last = size - 4 if region == 3 else size - 1  # 3x3 regions leave the last row and column unused
    if last < 4:
        raise ValueError(f"a map of {size} x {size} is too small for regions of {region} x {region}")
    place = dict(zip(LATTICE, (0, last // 4, last // 2, 3 * last // 4, last), strict=True))
    table = NEGATIVES[region, count]
    names = list(dict.fromkeys([*table, *(name for listed in table.values() for name in listed.split())]))
    number = {name: i for i, name in enumerate(names)}
    return Regions(
        corners=torch.tensor([[place[letter] for letter in name] for name in names]),
        anchors=torch.tensor([number[name] for name in table]),
        negatives=torch.tensor([[number[name] for name in listed.split()] for listed in table.values()]),
    )
