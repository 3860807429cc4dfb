"""Everything that travels between server and clients, and everything that a client keeps: named tensors and numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Number = int | float | str | list[int]


@dataclass
class Packet:
    """An order of the server, an answer of a client, or the state that a client keeps between two orders."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    numbers: dict[str, Number] = field(default_factory=dict)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix/``, without it."""
        return {name.removeprefix(f"{prefix}/"): x for name, x in self.tensors.items() if name.startswith(f"{prefix}/")}

    def number(self, name: str, default: int = 0) -> int:
        """A whole number, ``default`` if there is none of that name."""
        found = self.numbers.get(name, default)
        assert isinstance(found, int)
        return found

    def numbers_of(self, name: str) -> list[int]:
        """A list of whole numbers, empty if there is none of that name."""
        found = self.numbers.get(name, [])
        assert isinstance(found, list)
        return found

    def on(self, device: torch.device) -> "Packet":
        """The same with its tensors on a device."""
        return Packet({name: x.to(device) for name, x in self.tensors.items()}, self.numbers)

    @property
    def bytes(self) -> int:
        """Size of the tensors, which is nearly all that is sent."""
        return sum(x.numel() * x.element_size() for x in self.tensors.values())

    @property
    def finite(self) -> bool:
        """Whether no tensor holds NaN or infinity."""
        return all(bool(x.isfinite().all()) for x in self.tensors.values() if x.is_floating_point())


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under ``prefix/``."""
    return {f"{prefix}/{name}": x for name, x in tensors.items()}


def half(tensor: Tensor) -> Tensor:
    """A tensor as it is sent where float16 is enough: features and projections."""
    return tensor.to(torch.float16)


Exchange = Callable[[dict[int, Packet]], dict[int, Packet]]
"""Sends an order to every client that is named, and returns the answers that arrived in time and whole."""
