"""Flower gives the numbers of the local engine, in one process and with two real nodes; see `make test-flower`."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("FLOWER_PYTHON", "")
APP = "papers/atc/federation/flower_app"
CHANGES = '{"clients": ["movies", "spans"], "neighbours": [2, 2], "clusters": 1, "rounds": 2}'
SECONDS = 500
pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="FLOWER_PYTHON names no Python with flwr; make test-flower has one"),
    pytest.mark.timeout(3 * SECONDS),
]


def environment(home: Path) -> dict[str, str]:
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    binaries = str((ROOT / PYTHON).absolute().parent)
    paths = {"PYTHONPATH": str(ROOT), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "FLWR_HOME": str(home)}
    return os.environ | quiet | paths


def test_flower_and_the_local_engine_agree_to_the_last_bit(tmp_path: Path, cache: Path) -> None:
    script = Path(__file__).with_name("flower_agrees.py")
    finished = subprocess.run(
        [PYTHON, script, tmp_path, cache], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    found = re.search(r"(\d+) of (\d+) tensors differ", finished.stdout)
    assert found and int(found[1]) == 0 and int(found[2]) > 100, finished.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    """Until something listens there, two minutes at most."""
    for _ in range(240):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.5)


def program(name: str) -> Path:
    """One of Flower's commands."""
    return (ROOT / PYTHON).absolute().with_name(name)


@contextlib.contextmanager
def started(command: list[str], home: Path, log: Path) -> Iterator[None]:
    """A process that runs until the block ends, with all that it started."""
    with open(log, "w") as output:
        process = subprocess.Popen(
            [program(command[0]), *command[1:]],
            cwd=ROOT,
            env=environment(home),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_two_nodes_on_loopback(tmp_path: Path, cache: Path) -> None:
    """A SuperLink and two SuperNodes, a process each: a course of two rounds ends, and each node had its own client."""
    port = free_port()
    (tmp_path / "config.toml").write_text(
        f'[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    link = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)]
    link.append("--disable-runtime-dependency-installation")
    options = f"preset='smoke' variant='fedavg' seed=0 cache='{cache}' out='{tmp_path / 'out'}' changes='{CHANGES}'"
    with contextlib.ExitStack() as running:
        running.enter_context(started(link, tmp_path, tmp_path / "link.log"))
        wait_for(port)
        for i in range(2):
            node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", str(free_port())]
            node += ["--node-config", f"partition-id={i}"]
            running.enter_context(started(node, tmp_path, tmp_path / f"node{i}.log"))
        submit = [program("flwr"), "run", APP, "loopback", "--stream", "--run-config", options]
        submitted = subprocess.run(
            submit, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=SECONDS
        )
        logs = "\n".join(path.read_text() for path in sorted(tmp_path.glob("*.log")))
        copies = load_file(tmp_path / "out" / "fedavg.safetensors") if submitted.returncode == 0 else {}
    assert submitted.returncode == 0 and copies, submitted.stdout + submitted.stderr + logs
    assert {name.partition(".")[0] for name in copies} == {"client00", "client01"}
    assert "round 2 of 2" in submitted.stdout + logs
