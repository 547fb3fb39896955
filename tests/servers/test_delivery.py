"""Runs of real trainers sent to real servers: online, offline and synced, and with every fault."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from sidecar.protocol.limits import new_id
from tests.faults.scenario import Scenario, play
from tests.integration.chain import Link, full_content, run_directory, wait_until_closed
from tests.servers import clickhouse_server
from tests.servers.clickhouse_server import ClickhouseServer
from tests.servers.faults import SCENARIOS
from tests.servers.mlflow_server import MlflowServer, free_port
from tests.support import Leaks, Scripts
from tracker.cli.main import main
from tracker.reading.api import Api

clickhouse = clickhouse_server.clickhouse

Captured = pytest.CaptureFixture[str]

TRAIN = """
    import math, pathlib, sys, tracker
    run = tracker.init(project=sys.argv[1], id="run1", mode=sys.argv[2], config={"lr": 0.1})
    for step in range(3000):
        run.log({"loss": 1 / (step + 1), "acc": step})
    run.log({"loss": math.nan})
    path = pathlib.Path("model.bin")
    path.write_bytes(bytes(range(256)) * 8000)
    run.save(path)
    run.finish()
"""


class Servers:
    """A server of each kind, and a project name of this test only."""

    def __init__(self, mlflow: MlflowServer, clickhouse: ClickhouseServer, upstream: Link) -> None:
        self.project = f"delivery-{new_id()}"
        self._mlflow = mlflow
        self._upstream = upstream
        self._clickhouse = clickhouse.address(f"db_{new_id()}")
        self.addresses = [f"mlflow+{mlflow.url}", self._clickhouse, upstream.address]

    def check(self, directory: Path) -> None:
        """Check that each server has the whole run."""
        stored = self._mlflow.stored(self.project)
        assert stored.info["status"] == "FINISHED" and stored.params["lr"] == "0.1"
        losses = [(point.step, point.value) for point in stored.metrics["loss"]]
        assert losses[:-1] == [(step, 1 / (step + 1)) for step in range(3000)]
        assert losses[-1][0] == 3000 and math.isnan(losses[-1][1])
        assert len(stored.metrics["acc"]) == 3000
        assert stored.artifacts["model.bin"] == bytes(range(256)) * 8000
        with Api(self._clickhouse) as api:
            sent, local = api.run("run1"), Api(directory.parent.parent).run("run1")
            assert str(sent.history()) == str(local.history())
            assert (sent.state, sent.records, sent.config) == ("finished", 3001, {"lr": 0.1})
        assert full_content(self._upstream.run("run1")) == full_content(directory)


@pytest.fixture
def servers(mlflow_sqlite: MlflowServer, clickhouse: ClickhouseServer, leaks: Leaks, tmp_path: Path) -> Servers:
    """All three servers; the upstream sidecar is used by this test only."""
    return Servers(mlflow_sqlite, clickhouse, Link(tmp_path / "upstream" / "root"))


def test_a_run_goes_to_three_servers_at_once(servers: Servers, scripts: Scripts, root: Path) -> None:
    servers._upstream.start()
    try:
        done = scripts.run(TRAIN, servers.project, "online", env={"TRACKER_SINKS": ",".join(servers.addresses)})
        assert done.err == ""
        servers.check(wait_until_closed(run_directory(root, "run1")))
    finally:
        servers._upstream.close()


def test_an_offline_run_is_synced_to_three_servers(
    servers: Servers, scripts: Scripts, root: Path, capsys: Captured
) -> None:
    servers._upstream.start()
    try:
        scripts.run(TRAIN, servers.project, "offline", env={"TRACKER_SINKS": ",".join(servers.addresses)})
        directory = wait_until_closed(run_directory(root, "run1"))
        assert main(["doctor", "--dir", str(root)]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("sink")]
        assert len(lines) == 3
        for address in servers.addresses:
            (line,) = [line for line in lines if address in line]
            assert "version " in line and "of 1 run pending, 'tracker sync' sends them" in line
        for _ in range(2):
            assert main(["sync", "--dir", str(root), "--json"]) == 0
            sent = json.loads(capsys.readouterr().out)["sent"]
            assert sorted(pair["sink"] for pair in sent) == sorted(servers.addresses)
            assert all(pair["done_bytes"] == pair["all_bytes"] and not pair["error"] for pair in sent)
            servers.check(directory)
    finally:
        servers._upstream.close()


def test_servers_that_are_down_disturb_neither_each_other_nor_the_trainer(
    mlflow_sqlite: MlflowServer, scripts: Scripts, root: Path, capsys: Captured
) -> None:
    project = f"delivery-{new_id()}"
    down = [f"mlflow+http://127.0.0.1:{free_port()}", f"clickhouse+http://127.0.0.1:{free_port()}/db"]
    done = scripts.run(
        """
        import os, sys, time, tracker
        run = tracker.init(project=sys.argv[1], id="run1", settings={"finish_timeout": 2})
        for step in range(1000):
            run.log({"x": step})
        begun = time.monotonic()
        run.finish()
        print(time.monotonic() - begun)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                parent = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1]
            except OSError:
                continue  # it has just ended
            if parent == str(os.getpid()):
                os.kill(int(pid), 15)
        """,
        project,
        env={"TRACKER_SINKS": ",".join([f"mlflow+{mlflow_sqlite.url}", *down])},
    )
    assert float(done.out) < 6.0
    lines = done.err.splitlines()
    assert len(lines) == 2, "there must be one line for each server that is down"
    for address, line in zip(down, sorted(lines, key=lambda line: down[1] in line), strict=True):
        assert address in line and "pending" in line and "refused" in line
    assert len(mlflow_sqlite.stored(project).metrics["x"]) == 1000
    assert main(["sync", "--dir", str(root), "--patience", "0.5"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tracker sync: 2 of 3 not sent: ") and all(address in err for address in down)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{scenario.number} {scenario.name}")
def test_fault(scenario: Scenario, tmp_path: Path, leaks: Leaks) -> None:
    leaks.allow_socket_directories()
    for seed in range(scenario.rounds_in_ci):
        play(scenario, tmp_path / str(seed), seed)
