"""Runs two stages over Flower's ServerApp and ClientApp in this process, and in the local engine; prints what differs.

Started by test_flower.py, or `make test-flower`, with a Python that has flwr.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from papers.atc.build import client_file
from papers.atc.federation import flower
from papers.atc.train import train
from shared.run import Run
from shared.support.weights import load_weights, weights_file

ROUNDS = '"rounds": 3, "assign_rounds": 3'
CHANGES = f'{{"clients": ["movies", "spans", "definitions"], "neighbours": [2, 2, 2], "clusters": 2, {ROUNDS}}}'
OPTIONS = {"preset": "smoke", "variant": "atc", "seed": 0, "changes": CHANGES}


class InProcess(Grid):
    """Calls the ClientApp on every message, with one context a node."""

    def __init__(self, nodes: int, options: dict[str, Any]) -> None:
        self.contexts = {
            700 + i: Context(1, 700 + i, {"partition-id": i}, RecordDict(), options) for i in reversed(range(nodes))
        }

    def get_node_ids(self) -> Iterable[int]:
        return self.contexts

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        for message in messages:
            node = message.metadata.dst_node_id
            TaskIdentity.node_id = node
            yield flower.client_app(message, self.contexts[node])

    def set_run(self, run: Any) -> None: ...

    run = None  # type: ignore[assignment]

    def create_message(self, *arguments: Any, **options: Any) -> Message:
        raise NotImplementedError

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError


def main(folder: Path, cache: Path) -> None:
    torch.set_num_threads(1)
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    options = OPTIONS | {"cache": str(cache), "out": str(folder / "flower")}
    grid = InProcess(3, options)
    flower.run_server(grid, Context(1, 0, {}, RecordDict(), options))
    start = None
    for stage in flower.stages("atc"):
        config = flower.config_of("smoke", stage, CHANGES)
        run = Run(folder / stage / "seed0", cache, seed=0, tracker="none", start=start)
        train(config, run)
        start = run.folder
    compared = differing = 0
    for i, context in enumerate(reversed(grid.contexts.values())):
        state = flower.from_records(context.state).under("weights")
        for name, x in load_weights(weights_file(run.folder, client_file(i))).items():
            differing += not torch.equal(state[name].half().float(), x)
            compared += 1
    print(f"{differing} of {compared} tensors differ")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
