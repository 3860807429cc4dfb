"""Rounds, failures of clients and of the server, and what a client keeps to itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from papers.atc import train as training
from papers.atc.build import Networks
from papers.atc.config import Config
from papers.atc.federation.client import NonFiniteLoss, answer
from papers.atc.federation.local import LocalEngine
from papers.atc.federation.packet import Packet, named
from papers.atc.federation.server import Server
from papers.atc.model import is_shared
from shared import UserError
from shared.run import Run

Work = Callable[[int, Packet], tuple[Packet, Packet]]


class Failing(LocalEngine):
    """Lets one client fail in one round, in its own way."""

    def __init__(
        self, *arguments: Any, fail: Callable[[Work, int, Packet], tuple[Packet, Packet]], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.fail = fail

    def work(self, number: int, order: Packet) -> tuple[Packet, Packet]:
        if number == 1 and order.numbers["kind"] == "train" and order.number("round") == 1:
            return self.fail(super().work, number, order)
        return super().work(number, order)


class Clock:
    """Stands for the module time: a client's work takes no time, unless a test says so."""

    now = 0.0

    @classmethod
    def monotonic(cls) -> float:
        return cls.now


def dies(work: Work, number: int, order: Packet) -> tuple[Packet, Packet]:
    raise ConnectionError("the client went away")


def is_late(work: Work, number: int, order: Packet) -> tuple[Packet, Packet]:
    Clock.now += 100
    return work(number, order)


def answers_nan(work: Work, number: int, order: Packet) -> tuple[Packet, Packet]:
    answered, state = work(number, order)
    name = next(iter(answered.tensors))
    answered.tensors[name] = answered.tensors[name] * torch.nan
    return answered, state


def course(
    config: Config, cache: Path, folder: Path, engine: type[LocalEngine] = LocalEngine, **options: Any
) -> tuple[Server, Any]:
    run = Run(folder, cache, seed=0, tracker="none")
    clients = training.clients_of(config, run)
    return training.server_of(config, clients, [{} for _ in clients]), engine(clients, 60.0, **options)


@pytest.mark.parametrize(
    ("fail", "reason"),
    [(dies, "the client went away"), (is_late, "took 100.0 s, more than 60 s"), (answers_nan, "NaN or infinite")],
)
def test_a_client_that_fails_is_left_out_and_comes_back(
    tmp_path: Path, cache: Path, config: Config, fail: Any, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, method="atc", contrast_weight=1.0)
    monkeypatch.setattr("papers.atc.federation.local.time", Clock)
    server, engine = course(config, cache, tmp_path, Failing, fail=fail)
    server.round(0, engine.exchange)
    before = [dict(copy) for copy in server.copies]
    state = engine.states[1]
    server.round(1, engine.exchange)
    assert [client for client, _ in engine.left_out] == [1] and reason in engine.left_out[0][1]
    assert all(torch.equal(x, before[1][name]) for name, x in server.copies[1].items()), "its copy changed"
    assert any(not torch.equal(x, before[0][name]) for name, x in server.copies[0].items())
    assert engine.states[1].numbers == state.numbers  # steps of a lost round do not count
    assert all(1 not in row for row in server.nearest.values()) and 1 not in server.nearest
    server.round(2, engine.exchange)
    assert len(engine.left_out) == 1 and 1 in server.nearest
    assert all(x.isfinite().all() for copy in server.copies for x in copy.values())


def test_without_any_client_the_course_stops(tmp_path: Path, cache: Path, config: Config) -> None:
    class Gone(LocalEngine):
        def work(self, number: int, order: Packet) -> tuple[Packet, Packet]:
            raise ConnectionError("gone")

    server, engine = course(replace(config, method="fedavg"), cache, tmp_path, Gone)
    with pytest.raises(UserError, match="No client finished round 0"):
        server.round(0, engine.exchange)


def test_a_loss_that_is_not_finite_leaves_the_state_as_it_was(tmp_path: Path, cache: Path, config: Config) -> None:
    server, engine = course(replace(config, method="fedavg"), cache, tmp_path)
    order = server.training_order(0, 0)
    spoilt = Packet({name: x * torch.inf for name, x in order.tensors.items()}, order.numbers)
    with pytest.raises(NonFiniteLoss, match="in local step 0"):
        answer(engine.clients[0], engine.states[0], spoilt)
    assert engine.exchange({0: spoilt}) == {} and engine.states[0].tensors == {}


@pytest.mark.parametrize("method", ["assign", "atc"])
def test_a_killed_server_goes_on_from_its_last_round(
    tmp_path: Path, cache: Path, config: Config, method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, method=method, save_every=1)
    whole = Run(tmp_path / "whole", cache, seed=0, tracker="none", log_every=1)
    training.train(config, whole)
    rounds = Server.round

    def killed(self: Server, number: int, exchange: Any) -> float:
        if number == 2:
            raise SystemExit("killed")
        return rounds(self, number, exchange)

    monkeypatch.setattr(Server, "round", killed)
    with pytest.raises(SystemExit):
        training.train(config, Run(tmp_path / "killed", cache, seed=0, tracker="none", log_every=1))
    monkeypatch.setattr(Server, "round", rounds)
    again = Run(tmp_path / "killed", cache, seed=0, tracker="none", log_every=1)
    training.train(config, again)
    files = [sorted((run.folder / "checkpoint").glob("*.safetensors")) for run in (whole, again)]
    assert [path.name for path in files[0]] == [path.name for path in files[1]] != []
    for one, other in zip(*files, strict=True):
        expected, found = load_file(one), load_file(other)
        assert expected.keys() == found.keys() and all(torch.equal(x, found[name]) for name, x in expected.items())
    logs = [(run.folder / "metrics.jsonl").read_text() for run in (whole, again)]
    assert logs[0] == logs[1]


# -- what travels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["assign", "isolated", "fedavg", "fedbn", "ditto", "fedprox", "atc"])
def test_private_parts_never_travel(tmp_path: Path, cache: Path, config: Config, method: Any) -> None:
    server, engine = course(replace(config, method=method), cache, tmp_path)
    order = server.training_order(0, 0)
    answered, state = answer(engine.clients[0], engine.states[0], order)
    sent = answered.under("update").keys()
    assert sent == order.under("weights").keys()
    assert bool(sent) == (method != "isolated")
    assert not any(name.startswith(("classifier.", "contrast_head.")) for name in sent)
    if method != "assign":
        assert not any(name.startswith(("model.decoder.", "model.encoder.pooler.", "lm_head.")) for name in sent)
    assert any("LayerNorm" in name for name in sent) == (method not in ("isolated", "fedbn"))
    assert {name for name in state.under("weights")} > set(sent)


def test_every_client_begins_alike(cache: Path, config: Config) -> None:
    networks = Networks(config, 0, cache, torch.device("cpu"))
    two = {name: x.clone() for name, x in networks.fresh(2).named_parameters()}
    eight = dict(networks.fresh(8).named_parameters())
    assert [name for name, x in two.items() if not torch.equal(x, eight[name]) if x.shape == eight[name].shape] == []
    assert {name for name, x in two.items() if x.shape != eight[name].shape} == {"classifier.weight", "classifier.bias"}


def test_the_first_contrast_round_mixes_the_drift_of_assign(config: Config) -> None:
    """With "mix" the copies of mutual neighbours become equal; with "keep" they stay apart by their drift."""
    start = {"w": torch.zeros(2)}
    copies = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([3.0, 0.0])}]
    head = torch.nn.Linear(1, 1)
    for first_round, expected in (("mix", [2.5, 2.5]), ("keep", [1.5, 3.5])):
        own = replace(config, method="atc", clients=("movies",) * 2, neighbours=(2, 2), first_round=first_round)  # type: ignore[arg-type]
        server = Server(own, start, copies, own.clients, head, 0)  # type: ignore[arg-type]
        update = Packet(named("update", {"w": torch.tensor([0.5, 0.0])}), {"samples": 8, "loss": 1.0})
        server.aggregate(0, {0: update, 1: update})
        assert [float(copy["w"][0]) for copy in server.copies] == expected


def test_messages_are_lean(tmp_path: Path, cache: Path, config: Config) -> None:
    """Features travel once; a round carries weights, projections and updates alone."""
    config = replace(config, method="atc")
    server, engine = course(config, cache, tmp_path)
    server.round(0, engine.exchange)
    first = server.sent
    server.round(1, engine.exchange)
    items, _length, hidden = server.features.shape
    clients = len(config.clients)
    weights = sum(4 * x.numel() for x in server.initial.values())
    projections = 2 * items * hidden
    others = 1 + clients - config.neighbours[0]  # the mean of the neighbours, and everyone else
    assert server.sent == clients * (2 * weights + projections + others * projections)
    assert first > server.sent
    assert is_shared("model.encoder.encoder.layer.0.output.dense.weight", "atc")


def test_two_processes_share_the_clients(tmp_path: Path, cache: Path, config: Config) -> None:
    """Each process answers for its share; together they hold what one process would."""
    config = replace(config, method="fedavg")
    server, engine = course(config, cache, tmp_path)
    orders = {i: server.training_order(0, i) for i in range(4)}
    whole = engine.exchange(orders)
    halves = [LocalEngine(engine.clients, 60.0, rank, 2) for rank in (0, 1)]
    shared = [half.exchange(orders) for half in halves]  # without a launch each gathers its own alone
    assert [sorted(answers) for answers in shared] == [[0, 2], [1, 3]]
    for answers in shared:
        for i, answered in answers.items():
            assert all(torch.equal(x, whole[i].tensors[name]) for name, x in answered.tensors.items())
