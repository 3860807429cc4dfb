"""An engine in this process: clients answer one after the other; over several processes each answers for its share."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from accelerate.utils import gather_object

from .client import Client, answer
from .packet import Packet

log = logging.getLogger(__name__)


class LocalEngine:
    """Carries orders to clients in this process and keeps the clients' states.

    A client that raises, is too late, or answers with numbers that are not finite is left out of the round. Its state
    stays as it was, and the next order finds it again.

    Args:
        clients: in the order of their numbers.
        rank, processes: this process answers for clients rank, rank + processes, ...; all get all answers and states.
    """

    def __init__(self, clients: Sequence[Client], timeout: float, rank: int = 0, processes: int = 1) -> None:
        self.clients, self.timeout = clients, timeout
        self.rank, self.processes = rank, processes
        self.device = clients[0].networks.device
        self.states = [Packet() for _ in clients]
        self.left_out: list[tuple[int, str]] = []  # client and reason, in the order of events

    def exchange(self, orders: dict[int, Packet]) -> dict[int, Packet]:
        """The answers that are whole and in time; the reason of every other is logged."""
        done = [(i, *self._ask(i, order)) for i, order in orders.items() if i % self.processes == self.rank]
        answers: dict[int, Packet] = {}
        for i, answered, state, reason in sorted(gather_object(done), key=lambda row: row[0]):
            if reason:
                self.left_out.append((i, reason))
                log.warning("client %d is left out of this round: %s", i, reason)
            else:
                answers[i], self.states[i] = answered.on(self.device), state.on(self.device)
        return answers

    def _ask(self, number: int, order: Packet) -> tuple[Packet, Packet, str]:
        """Answer, new state and, if it failed, the reason."""
        started = time.monotonic()
        try:
            answered, state = self.work(number, order)
        except Exception as error:  # whatever a client dies of is its own affair
            return Packet(), Packet(), f"{type(error).__name__}: {error}"
        if (seconds := time.monotonic() - started) > self.timeout:
            return Packet(), Packet(), f"its answer took {seconds:.1f} s, more than {self.timeout:g} s"
        if not answered.finite:
            return Packet(), Packet(), "its answer holds NaN or infinite numbers"
        return answered, state, ""

    def work(self, number: int, order: Packet) -> tuple[Packet, Packet]:
        """A client carries out an order; tests put failures here."""
        return answer(self.clients[number], self.states[number], order)

    # -- what a killed course goes on from ----------------------------------------------------------------------------

    def state_dict(self, finished: bool = False) -> dict[str, Any]:
        """The clients' states; of a ``finished`` course their weights alone."""
        kept = ("weights/", "personal/") if finished else ""
        return {
            "states": [
                {"tensors": {k: x for k, x in state.tensors.items() if k.startswith(kept)}, "numbers": state.numbers}
                for state in self.states
            ]
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.states = [Packet(**x).on(self.device) for x in state["states"]]
