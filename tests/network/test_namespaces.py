"""A trainer and its sidecar on two machines, and what can happen between them."""

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

DOOR = "tcp://10.77.2.2:5757"

LONGEST_CALL = 0.5
"""Seconds. A call takes microseconds; one that waited for a network would take longer than this, and one on a busy
machine does not."""


OUTAGE = float(os.environ.get("NETWORK_OUTAGE_SECONDS", "20"))
"""How long the cable is out. After 60 seconds of silence a sidecar takes a client for dead; it may come back."""


class Keys(NamedTuple):
    """A pair, and its files."""

    pair: KeyPair
    secret: Path
    public: Path

    @classmethod
    def make(cls, name: Path) -> Keys:
        pair = channels.new_key_pair()
        return cls(pair, *write_key_pair(name, pair))


class Machines:
    """Two hosts with a directory each, which the other does not see, and a cable.

    Attributes:
        root, far_root: the root directories of the trainer and of the sidecar.
        keys: the sidecar's.
    """

    def __init__(self, network: Network, directory: Path) -> None:
        mine, theirs = directory / "mine", directory / "theirs"
        mine.mkdir()
        theirs.mkdir()
        self.root, self.far_root = mine / "root", theirs / "root"
        self.directory = mine
        self.network = network
        self.trainer = network.host("trainer", hidden=[theirs])
        self.server = network.host("server", hidden=[mine])
        self.keys = Keys.make(theirs / "server")

    def wire(self) -> None:
        self.cable = self.network.connect(self.trainer, "10.77.2.1", self.server, "10.77.2.2")

    def sidecar(self, *options: str) -> Served:
        return Served(self.server, self.far_root, "--listen", "tcp://0.0.0.0:5757", *options, key=self.keys.secret)

    def train(self, run: str = "run", program: str = "steady", first: int = 0, **options: object) -> FarTrainer:
        env = {"TRACKER_SIDECAR": DOOR, "TRACKER_SIDECAR_KEY": self.keys.pair.public}
        return FarTrainer(self.trainer, self.root, program, run, first=first, env=env, **options)

    def read(self, *tallies: Tally, run: str = "run") -> Comparison:
        """Read a run on the sidecar's side, and check that every call is there once."""
        back = read_back(self.far_root, run, tallies)
        assert (back.lost, back.duplicated) == (0, 0), (
            f"of {back.calls} calls {back.lost} are lost, {back.duplicated} duplicated"
        )
        return back


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Network(tmp_path) as network:
        yield Machines(network, tmp_path)


def check_calls(tally: Tally) -> None:
    assert tally.raised() == 0
    assert tally.worst() < LONGEST_CALL, f"a call of log() took {tally.worst():.2f} s"


def test_a_trainer_logs_to_a_sidecar_on_another_machine(machines: Machines) -> None:
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
    assert [run.id for run in tracker.Api(machines.far_root).runs()] == ["run"]
    assert not (machines.root / "runs").exists(), "the trainer's own root has a run in it"
    assert not list(machines.root.glob("remote/*/windows/*")), "a window is left"


def test_a_cable_that_is_out_for_a_while_costs_nothing(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar(), machines.train(rate=200) as trainer:
        trainer.wait_for_calls(200)
        machines.cable.cut()
        until = time.monotonic() + OUTAGE
        before = trainer.tally.returned()
        wait_until(lambda: time.monotonic() >= until, "the time is over", OUTAGE + 5.0)
        logged = trainer.tally.returned() - before
        assert logged > OUTAGE * 100, f"only {logged} calls in {OUTAGE} s"
        run = machines.far_root / "runs" / "run"
        assert missing(trainer.tally, run) >= logged, "the cable was not out"
        machines.cable.mend()
        wait_until(lambda: missing(trainer.tally, run) < 400, "it has caught up")
        trainer.tally.command = 1
        trainer.wait()
        check_calls(trainer.tally)
        assert machines.read(trainer.tally).run.state == "finished"


def test_behind_masquerading_outbound_connections_are_enough(machines: Machines) -> None:
    router = machines.network.host("router")
    machines.network.connect(machines.trainer, "10.77.1.2", router, "10.77.1.1")
    machines.network.connect(machines.server, "10.77.2.2", router, "10.77.2.1")
    machines.trainer.run("ip", "route", "add", "default", "via", "10.77.1.1")
    masquerade(router, "to-trainer", "to-server")
    with machines.sidecar(), machines.train(calls=300, rate=1000) as trainer:
        unreachable = machines.server.run("ip", "route", "get", "10.77.1.2", code=None)
        assert unreachable.returncode != 0, "the sidecar's machine knows a way to the trainer's"
        trainer.wait()
        assert machines.read(trainer.tally).read == 300


def test_what_a_killed_trainer_left_is_sent_by_the_next_process_there(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(rate=1000) as trainer:
        trainer.wait_for_calls(300)
        machines.cable.cut()  # so that there is something left
        trainer.wait_for_calls(trainer.tally.returned() + 300)
        trainer.kill()
        trainer.wait(-signal.SIGKILL)
        machines.cable.mend()
        run = machines.far_root / "runs" / "run"
        assert missing(trainer.tally, run) > 100, "nothing was left to send"
        with machines.train("another", rate=100) as another:
            windows = machines.root / "remote" / "run" / "windows"
            wait_until(lambda: not list(windows.glob("*")), "what was left is sent")
            assert not missing(trainer.tally, run)
            another.tally.command = 1
            another.wait()
            wait_until(lambda: sidecar.status()["runs"] == [], "the runs are let go")
        back = machines.read(trainer.tally)
        assert back.run.state == "crashed"
        with machines.train(first=1, calls=100, init={"resume": "must"}) as again:
            again.wait()
            wait_until(lambda: sidecar.status()["runs"] == [], "the runs are let go")
            back = machines.read(trainer.tally, again.tally)
        assert back.run.state == "finished"
        assert {writer["state"] for writer in back.run.writers.values()} == {"crashed", "finished"}
    assert not list(machines.root.glob("remote/*/windows/*")), "a window is left"


def test_a_trainer_that_is_told_to_end_sends_its_last_words(machines: Machines) -> None:
    """There is no sidecar on its machine to take them from the window, and in a container there may be no next one."""
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(rate=200) as trainer:
        trainer.wait_for_calls(100)
        trainer.kill(signal.SIGTERM)
        trainer.wait(-signal.SIGTERM)
        wait_until(lambda: sidecar.status()["runs"] == [], "the run is let go")
        assert machines.read(trainer.tally).run.state == "preempted"
    assert not list(machines.root.glob("remote/*/windows/*")), "a window is left"


def test_a_sidecar_that_is_killed_and_started_again_is_found(machines: Machines) -> None:
    machines.wire()
    with machines.sidecar() as sidecar, machines.train(rate=1000) as trainer:
        trainer.wait_for_calls(500)
        sidecar.kill()
        trainer.wait_for_calls(800)
        sidecar.start()
        wait_until(lambda: missing(trainer.tally, machines.far_root / "runs" / "run") < 300, "it has caught up")
        trainer.tally.command = 1
        trainer.wait()
        check_calls(trainer.tally)
        assert machines.read(trainer.tally).run.state == "finished"


# -- who is not let in --------------------------------------------------------------

_BEGIN = """
import sys, time, tracker
begin = time.monotonic()
try:
    tracker.init(id="run")
except tracker.TrackerError as error:
    print(type(error).__name__, round(time.monotonic() - begin), error, sep="|")
"""


def begin(host: Host, root: Path, **env: str) -> tuple[str, float, str]:
    """Have a program on a host begin a run; return the error's name, after how many seconds, and its text."""
    done = host.run(sys.executable, "-c", _BEGIN, env=environment(root, {"TRACKER_SIDECAR": DOOR, **env}))
    name, seconds, text = done.stdout.rstrip("\n").split("|", 2)
    return name, float(seconds), text


def test_a_client_that_is_not_let_in_is_told_why(machines: Machines, tmp_path: Path) -> None:
    machines.wire()
    other = Keys.make(tmp_path / "mine" / "other")
    listed = Keys.make(tmp_path / "mine" / "listed")
    clients = tmp_path / "theirs" / "clients.txt"
    clients.write_text(f"# who may attach\n{listed.pair.public} the trainer\n")
    key = machines.keys.pair.public
    mine = {"TRACKER_CLIENT_KEY": str(listed.secret)}
    with machines.sidecar("--clients", str(clients)) as sidecar:
        for about, env, said, logged in (
            ("no key", {}, "encrypts: give its public key", "it does not encrypt"),
            ("a wrong key", {"TRACKER_SIDECAR_KEY": other.pair.public, **mine}, "has another key than", "another key"),
            (
                "not in the list",
                {"TRACKER_SIDECAR_KEY": key, "TRACKER_CLIENT_KEY": str(other.secret)},
                f"does not list this client's public key, {other.pair.public}",
                f"its key {other.pair.public} is not in {clients}",
            ),
        ):
            name, seconds, text = begin(machines.trainer, machines.root, **env)
            assert name == "LaunchError", about
            assert said in text and DOOR in text, about
            assert seconds <= 5, f"{about}: it took {seconds} s to say so"
            wait_until(partial(sidecar.lines, logged), f"{about}: a line in the sidecar's log")
            assert len(sidecar.lines(logged)) == 1, f"{about}: {sidecar.lines(logged)}"
        refused = sidecar.status()["handshakes_refused"]
        assert set(refused) == {"key", "protocol"}
        with FarTrainer(
            machines.trainer, machines.root, "steady", calls=10,
            env={"TRACKER_SIDECAR": DOOR, "TRACKER_SIDECAR_KEY": key, **mine},
        ) as trainer:  # fmt: skip
            trainer.wait()
            assert machines.read(trainer.tally).read == 10
