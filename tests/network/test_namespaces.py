"""A trainer and its sidecar on two machines, with outages, kills and refusals between them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

import tracker
from sidecar.protocol import channels
from sidecar.protocol.keys import KeyPair, write_key_pair
from tests.faults.readback import Comparison, read_back
from tests.faults.scenarios.s03_both_killed import missing
from tests.faults.trainers import Tally, environment
from tests.network.namespaces import FarTrainer, Host, Network, Served, masquerade
from tests.support import wait_until

CONTROL = "tcp://10.77.2.2:5757"

LONGEST_CALL = 0.5
"""Maximum duration of a call, in seconds. A call takes microseconds, less than this also on a busy machine; a call that
waited for the network would take longer."""

OUTAGE = float(os.environ.get("NETWORK_OUTAGE_SECONDS", "20"))
"""Length of the network outage, in seconds. After 60 seconds of silence a sidecar considers a client dead; the client
may reattach."""


class Keys(NamedTuple):
    """A key pair and its files."""

    pair: KeyPair
    secret: Path
    public: Path

    @classmethod
    def create(cls, name: Path) -> Keys:
        pair = channels.new_key_pair()
        return cls(pair, *write_key_pair(name, pair))


class Machines:
    """Two hosts, each with a directory that the other does not see, and a cable.

    Attributes:
        root, remote_root: the root directories of the trainer and of the sidecar.
        keys: the sidecar's key pair.
    """

    def __init__(self, network: Network, directory: Path) -> None:
        client_dir, server_dir = directory / "client", directory / "server"
        client_dir.mkdir()
        server_dir.mkdir()
        self.root, self.remote_root = client_dir / "root", server_dir / "root"
        self.directory = client_dir
        self.network = network
        self.trainer = network.host("trainer", hidden=[server_dir])
        self.server = network.host("server", hidden=[client_dir])
        self.keys = Keys.create(server_dir / "server")

    def wire(self) -> None:
        self.cable = self.network.connect(self.trainer, "10.77.2.1", self.server, "10.77.2.2")

    def sidecar(self, *options: str) -> Served:
        return Served(self.server, self.remote_root, "--listen", "tcp://0.0.0.0:5757", *options, key=self.keys.secret)

    def train(self, run: str = "run", program: str = "steady", first: int = 0, **options: object) -> FarTrainer:
        env = {"TRACKER_SIDECAR": CONTROL, "TRACKER_SIDECAR_KEY": self.keys.pair.public}
        return FarTrainer(self.trainer, self.root, program, run, first=first, env=env, **options)

    def read(self, *tallies: Tally, run: str = "run") -> Comparison:
        """Read a run from the sidecar's root, and check that every call is stored exactly once."""
        back = read_back(self.remote_root, run, tallies)
        assert (back.lost, back.duplicated) == (0, 0), (
            f"of {back.calls} calls {back.lost} lost, {back.duplicated} duplicated"
        )
        return back


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Network(tmp_path) as network:
        yield Machines(network, tmp_path)


def check_calls(tally: Tally) -> None:
    assert tally.raised() == 0
    assert tally.worst() < LONGEST_CALL, f"a call of log() took {tally.worst():.2f} s"


def test_trainer_logs_to_a_sidecar_on_another_machine(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(calls=500, rate=1000) as trainer:
        trainer.wait()
        back = machines.read(trainer.tally)
        assert back.read == 500
        assert back.run.state == "finished"
        (writer,) = back.run.writers.values()
        assert writer["host"] == "trainer"
        status = sidecar.status()
        assert (status["host"], status["encrypted"], status["clients"]) == ("server", True, 0)
    assert [run.id for run in tracker.Api(machines.remote_root).runs()] == ["run"]
    assert not (machines.root / "runs").exists(), "the trainer's own root contains a run"
    assert not list(machines.root.glob("remote/*/windows/*")), "a window remains"


def test_network_outage_loses_nothing(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar(), machines.train(rate=200) as trainer:
        trainer.wait_for_calls(200)
        machines.cable.cut()
        end = time.monotonic() + OUTAGE
        before = trainer.tally.returned()
        wait_until(lambda: time.monotonic() >= end, "the outage ends", OUTAGE + 5.0)
        logged = trainer.tally.returned() - before
        assert logged > OUTAGE * 100, f"only {logged} calls in {OUTAGE} s"
        run = machines.remote_root / "runs" / "run"
        assert missing(trainer.tally, run) >= logged, "the cable was not cut"
        machines.cable.mend()
        wait_until(lambda: missing(trainer.tally, run) < 400, "the sidecar has caught up")
        trainer.tally.command = 1
        trainer.wait()
        check_calls(trainer.tally)
        assert machines.read(trainer.tally).run.state == "finished"


def test_outbound_connections_suffice_behind_masquerading(machines: Machines) -> None:
    router = machines.network.host("router")
    machines.network.connect(machines.trainer, "10.77.1.2", router, "10.77.1.1")
    machines.network.connect(machines.server, "10.77.2.2", router, "10.77.2.1")
    machines.trainer.run("ip", "route", "add", "default", "via", "10.77.1.1")
    masquerade(router, "to-trainer", "to-server")
    with machines.sidecar(), machines.train(calls=300, rate=1000) as trainer:
        unreachable = machines.server.run("ip", "route", "get", "10.77.1.2", code=None)
        assert unreachable.returncode != 0, "the sidecar's machine has a route to the trainer's"
        trainer.wait()
        assert machines.read(trainer.tally).read == 300


def test_next_process_resends_the_window_of_a_killed_trainer(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(rate=1000) as trainer:
        trainer.wait_for_calls(300)
        machines.cable.cut()  # so that some records stay unsent
        trainer.wait_for_calls(trainer.tally.returned() + 300)
        trainer.kill()
        trainer.wait(-signal.SIGKILL)
        machines.cable.mend()
        run = machines.remote_root / "runs" / "run"
        assert missing(trainer.tally, run) > 100, "too few records were unsent"
        with machines.train("another", rate=100) as another:
            windows = machines.root / "remote" / "run" / "windows"
            wait_until(lambda: not list(windows.glob("*")), "the unsent records are sent")
            assert not missing(trainer.tally, run)
            another.tally.command = 1
            another.wait()
            wait_until(lambda: sidecar.status()["runs"] == [], "the runs are closed")
        back = machines.read(trainer.tally)
        assert back.run.state == "crashed"
        with machines.train(first=1, calls=100, init={"resume": "must"}) as again:
            again.wait()
            wait_until(lambda: sidecar.status()["runs"] == [], "the runs are closed")
            back = machines.read(trainer.tally, again.tally)
        assert back.run.state == "finished"
        assert {writer["state"] for writer in back.run.writers.values()} == {"crashed", "finished"}
    assert not list(machines.root.glob("remote/*/windows/*")), "a window remains"


def test_trainer_sends_its_final_records_on_sigterm(machines: Machines) -> None:
    """No sidecar on its machine recovers its window, and in a container there may be no next process to resend it."""
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(rate=200) as trainer:
        trainer.wait_for_calls(100)
        trainer.kill(signal.SIGTERM)
        trainer.wait(-signal.SIGTERM)
        wait_until(lambda: sidecar.status()["runs"] == [], "the run is closed")
        assert machines.read(trainer.tally).run.state == "preempted"
    assert not list(machines.root.glob("remote/*/windows/*")), "a window remains"


def test_trainer_reattaches_to_a_restarted_sidecar(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(rate=1000) as trainer:
        trainer.wait_for_calls(500)
        sidecar.kill()
        trainer.wait_for_calls(800)
        sidecar.start()
        wait_until(
            lambda: missing(trainer.tally, machines.remote_root / "runs" / "run") < 300, "the sidecar has caught up"
        )
        trainer.tally.command = 1
        trainer.wait()
        check_calls(trainer.tally)
        assert machines.read(trainer.tally).run.state == "finished"


# -- refused clients ----------------------------------------------------------------

_INIT = """
import sys, time, tracker
start = time.monotonic()
try:
    tracker.init(id="run")
except tracker.TrackerError as error:
    print(type(error).__name__, round(time.monotonic() - start), error, sep="|")
"""


def try_init(host: Host, root: Path, **env: str) -> tuple[str, float, str]:
    """Call ``init()`` on a host; it must fail. Return the error's class, the seconds it took, and the error's text."""
    done = host.run(sys.executable, "-c", _INIT, env=environment(root, {"TRACKER_SIDECAR": CONTROL, **env}))
    name, seconds, text = done.stdout.rstrip("\n").split("|", 2)
    return name, float(seconds), text


def test_refused_client_gets_the_reason(machines: Machines, tmp_path: Path) -> None:
    machines.wire()
    other = Keys.create(tmp_path / "client" / "other")
    listed = Keys.create(tmp_path / "client" / "listed")
    clients = tmp_path / "server" / "clients.txt"
    clients.write_text(f"# who may attach\n{listed.pair.public} # the trainer\n")
    key = machines.keys.pair.public
    client_key = {"TRACKER_CLIENT_KEY": str(listed.secret)}
    with machines.sidecar("--clients", str(clients)) as sidecar:
        for case, env, message, logged in (
            ("no key", {}, "encrypts: give its public key", "it does not encrypt"),
            (
                "a wrong key",
                {"TRACKER_SIDECAR_KEY": other.pair.public, **client_key},
                "has another key than",
                "another key",
            ),
            (
                "not in the list",
                {"TRACKER_SIDECAR_KEY": key, "TRACKER_CLIENT_KEY": str(other.secret)},
                f"does not list this client's public key, {other.pair.public}",
                f"its key {other.pair.public} is not in {clients}",
            ),
        ):
            name, seconds, text = try_init(machines.trainer, machines.root, **env)
            assert name == "LaunchError", case
            assert message in text and CONTROL in text, case
            assert seconds <= 5, f"{case}: the error took {seconds} s"
            wait_until(partial(sidecar.lines, logged), f"{case}: a line in the sidecar's log")
            assert len(sidecar.lines(logged)) == 1, f"{case}: {sidecar.lines(logged)}"
        refused = sidecar.status()["handshakes_refused"]
        assert set(refused) == {"key", "protocol"}
        with FarTrainer(
            machines.trainer, machines.root, "steady", calls=10,
            env={"TRACKER_SIDECAR": CONTROL, "TRACKER_SIDECAR_KEY": key, **client_key},
        ) as trainer:  # fmt: skip
            trainer.wait()
            assert machines.read(trainer.tally).read == 10
