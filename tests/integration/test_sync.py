"""``tracker sync``, ``tracker doctor``, and `finish` where a server is down. The servers are real sidecars."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sidecar.log.reader import LogReader
from sidecar.protocol.layout import LOG_NAME, SINKS_NAME
from sidecar.protocol.sink_address import parse_sink
from sidecar.protocol.sink_progress import SinkProgress, read_progress, write_progress
from tests.integration.chain import Link, full_content, run_directory, wait_until_arrived, wait_until_closed
from tests.integration.serving import environment
from tests.support import REPOSITORY, TIMEOUT, Scripts, processes, wait_until
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Link]:
    """A sidecar that runs are sent to; not started yet."""
    made = Link(tmp_path / "server" / "root")
    yield made
    made.close()


@pytest.fixture
def tracker(root: Path, capsys: Captured) -> Callable[..., tuple[int, str, str]]:
    """Runs a ``tracker`` command on `root`: its exit status, standard output and error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--dir", str(root)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


Tracker = Callable[..., tuple[int, str, str]]


def build(root: Path, run_id: str, rows: int = 50, server: Link | None = None) -> RunBuilder:
    """Make a run that has ended; noted to go to `server`, as ``mode="offline"`` does."""
    run = RunBuilder(root, run_id, f"client-{run_id}")
    for step in range(rows):
        run.row(step, loss=1.0 / (step + 1))
    run.finish()
    if server is not None:
        write_progress(run.dir, SinkProgress(server.address, offline=True))
    return run


OFFLINE = """
    import sys, tracker
    with tracker.init(id="run1", mode="offline", config={"lr": 0.1}) as run:
        for step in range(100):
            run.log({"x": step})
        print("logged", flush=True)
        sys.stdin.readline()
"""


# -- sync ---------------------------------------------------------------------------------------------------------


def test_an_offline_run_is_sent_when_it_is_asked_for(
    server: Link, scripts: Scripts, root: Path, tracker: Tracker, temporary: Path
) -> None:
    server.start()
    script = scripts.start(OFFLINE, env={"TRACKER_SINKS": server.address})
    script.read_line()
    script.send_line()
    script.wait()
    wait_until(lambda: not [pid for pid, name in processes(temporary) if "launch" in name], "its sidecar has ended")
    assert not (server.root / "runs").exists() or not list((server.root / "runs").iterdir()), "nothing was sent"

    code, out, err = tracker("sync")
    assert (code, err) == (0, "")
    assert server.address in out and "100%" in out and " sent" in out
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))

    before = (server.run("run1") / LOG_NAME).read_bytes()
    code, out, _ = tracker("sync")
    assert code == 0 and " sent" in out
    assert (server.run("run1") / LOG_NAME).read_bytes() == before


def test_a_run_that_goes_on_is_sent_as_far_as_it_is(
    server: Link, scripts: Scripts, root: Path, tracker: Tracker
) -> None:
    server.start()
    script = scripts.start(OFFLINE, env={"TRACKER_SINKS": server.address})
    script.read_line()
    wait_until(lambda: (run_directory(root, "run1") / LOG_NAME).stat().st_size > 1000, "some of it is in the log")
    code, out, _ = tracker("sync", "run1")
    assert code == 0 and " sent" in out
    script.send_line()
    script.wait()
    assert tracker("sync")[0] == 0
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))


def test_a_directory_that_was_copied_elsewhere_goes_on_from_there(
    server: Link, root: Path, tmp_path: Path, tracker: Tracker, capsys: Captured
) -> None:
    server.start()
    build(root, "run1", server=server)
    run = RunBuilder(root, "run2", "client-run2")
    run.row(0, x=1)
    assert tracker("sync", "run2", "--sink", server.address)[0] == 0
    for step in range(1, 10):
        run.row(step, "", x=step)
    run.finish()
    copy = tmp_path / "copy" / "root"
    shutil.copytree(root, copy)
    assert main(["sync", "--dir", str(copy)]) == 0
    capsys.readouterr()
    for name in ("run1", "run2"):
        assert full_content(server.run(name)) == full_content(run_directory(root, name))


def test_many_runs_at_once_to_two_servers(server: Link, root: Path, tmp_path: Path, tracker: Tracker) -> None:
    server.start()
    other = Link(tmp_path / "other" / "root").start()
    try:
        runs = [build(root, f"run{number}", server=server) for number in range(8)]
        code, out, _ = tracker("sync", "--sink", other.address, "--json")
        assert code == 0
        sent = json.loads(out)["sent"]
        assert [(pair["run"], pair["sink"]) for pair in sent] == sorted(
            (run.id, link.address) for run in runs for link in (server, other)
        )
        assert all(pair["done_bytes"] == pair["all_bytes"] and pair["error"] is None for pair in sent)
        for run in runs:
            assert full_content(server.run(run.id)) == full_content(other.run(run.id)) == full_content(run.dir)
    finally:
        other.close()


def arrived_bytes(server: Link) -> int:
    """Return how large the log of run1 is there."""
    log = server.run("run1") / LOG_NAME
    return log.stat().st_size if log.exists() else 0


def has_arrived(server: Link, size: int) -> bool:
    return arrived_bytes(server) >= size


def test_killed_in_the_middle_and_begun_again_sends_nothing_twice(
    server: Link, root: Path, tracker: Tracker, tmp_path: Path
) -> None:
    server.start()
    run = RunBuilder(root, "run1")
    for step in range(40_000):
        run.row(step, None if step % 100 else "", loss=step / 7, text="x" * 100)
    run.finish()
    address = parse_sink(server.address)
    command = [sys.executable, "-m", "sidecar", "deliver", "--dir", str(root), "--sink", server.address]
    size = run.log_path.stat().st_size
    for _ in range(3):
        before = arrived_bytes(server)
        with subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sync:
            wait_until(partial(has_arrived, server, min(size, before + 1_000_000)), "it gets on")
            sync.kill()
    assert read_progress(run.dir, address).checkpoint < size, "it was cut off"
    assert tracker("sync", "--sink", server.address)[0] == 0
    assert full_content(server.run("run1")) == full_content(run.dir)


def test_a_log_with_a_torn_end_is_sent_up_to_there(server: Link, root: Path, tracker: Tracker) -> None:
    server.start()
    run = build(root, "run1", server=server)
    size = run.log_path.stat().st_size
    with open(run.log_path, "ab") as file:
        file.write(run.log_path.read_bytes()[16:40])
    code, out, _ = tracker("sync", "--json", "--patience", 20)
    assert code == 0
    (pair,) = json.loads(out)["sent"]
    assert pair["done_bytes"] == pair["all_bytes"] == size
    assert full_content(server.run("run1")) == full_content(run.dir)


def test_watch_sends_what_comes_until_it_is_interrupted(server: Link, root: Path, scripts: Scripts) -> None:
    server.start()
    build(root, "run1", server=server)
    command = [sys.executable, "-m", "tracker.cli.main", "sync", "--watch", "--dir", str(root)]
    environment_ = environment(TRACKER_SINKS=server.address)
    with subprocess.Popen(command, env=environment_, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as watching:  # fmt: skip
        wait_until_arrived(run_directory(root, "run1"))
        second = build(root, "run2")
        wait_until_arrived(second.dir)
        os.killpg(watching.pid, signal.SIGINT)  # Ctrl-C goes to all of the group
        assert watching.wait(TIMEOUT) == 130
        assert watching.stderr is not None and watching.stderr.read() == ""
    assert full_content(server.run("run2")) == full_content(second.dir)


def test_a_server_that_is_down_is_given_up_after_a_while(server: Link, root: Path, tracker: Tracker) -> None:
    build(root, "run1", server=server)
    code, out, err = tracker("sync", "--patience", 0.5)
    assert code == 1
    assert f"0% no sidecar answers at {server.control}" in " ".join(out.split())
    assert err == f"tracker sync: 1 of 1 not sent: {server.address}: no sidecar answers at {server.control}\n"
    server.start()
    assert tracker("sync")[0] == 0
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))


def test_a_server_that_has_lost_a_run_is_sent_it_again(server: Link, root: Path, tracker: Tracker) -> None:
    server.start()
    run = build(root, "run1", server=server)
    assert tracker("sync")[0] == 0
    wait_until_closed(server.run("run1"))
    shutil.rmtree(server.run("run1"))
    assert tracker("sync")[0] == 0 and not server.run("run1").exists(), "it is said to be there"
    assert tracker("sync", "--again")[0] == 0
    assert full_content(server.run("run1")) == full_content(run.dir)


def test_what_is_sent_already_asks_nobody(server: Link, root: Path, tracker: Tracker) -> None:
    server.start()
    build(root, "run1", server=server)
    assert tracker("sync")[0] == 0
    server.close()
    code, out, _ = tracker("sync")
    assert code == 0 and " sent" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--sink", "http://host:5000"], 2, "mlflow+http://host:5000"),
        (["--sink", "mlflow+http://me:hunter2@host"], 2, "environment"),
        (["norun"], 1, "norun"),
    ],
)
def test_bad_usage(root: Path, tracker: Tracker, arguments: list[str], code: int, words: str) -> None:
    build(root, "run1")
    found, _, err = tracker("sync", *arguments)
    assert found == code and words in err and "hunter2" not in err
    assert len(err.splitlines()) == 1


def test_nothing_to_send(root: Path, tracker: Tracker) -> None:
    build(root, "run1")
    code, out, err = tracker("sync")
    assert (code, out) == (0, "") and "no run there has a sink" in err


# -- doctor -------------------------------------------------------------------------------------------------------


def test_doctor_says_what_is_there_and_what_waits(server: Link, root: Path, tracker: Tracker) -> None:
    server.start()
    build(root, "run1", server=server)
    build(root, "run2", server=server)
    code, out, err = tracker("doctor")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("sink")]
    assert f"{server.address}: version 0." in line and "of 2 runs pending, 'tracker sync' sends them" in line

    assert tracker("sync")[0] == 0
    code, out, _ = tracker("doctor", "--json")
    found = json.loads(out)
    (sink,) = found["sinks"]
    assert code == 0 and found["problems"] == []
    assert sink["sink"] == server.address and sink["version"].startswith("0.") and sink["error"] is None
    assert sink["waiting_runs"] == sink["waiting_bytes"] == 0

    server.close()
    code, out, err = tracker("doctor", "--sink", "clickhouse+http://127.0.0.1:1/db")
    assert code == 1 and len(err.splitlines()) == 1
    assert err.startswith("tracker doctor: 2 problems: ")
    for words in (f"{server.address}: no sidecar answers at", "clickhouse+http://127.0.0.1:1/db: "):
        assert words in err and words in out


# -- finish -------------------------------------------------------------------------------------------------------


def test_finish_does_not_wait_for_a_server_that_is_down_and_the_sidecar_goes_on(
    server: Link, scripts: Scripts, root: Path
) -> None:
    done = scripts.run(
        """
        import time, tracker
        run = tracker.init(id="run1", settings={"finish_timeout": 4})
        for step in range(1000):
            run.log({"x": step})
        begun = time.monotonic()
        run.finish()
        print(time.monotonic() - begun)
        """,
        env={"TRACKER_SINKS": server.address},
    )
    assert 3.0 < float(done.out) < 8.0
    (line,) = done.err.splitlines()
    assert "run run1" in line and server.address in line and "pending" in line
    assert "no sidecar answers" in line

    server.start()
    wait_until_arrived(wait_until_closed(run_directory(root, "run1")))
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))
    assert read_progress(run_directory(root, "run1"), parse_sink(server.address)).error is None


def test_finish_waits_for_a_server_that_is_there(server: Link, scripts: Scripts, root: Path) -> None:
    server.start()
    code = """
        import tracker
        run = tracker.init(id="run1")
        for step in range(5000):
            run.log({"x": step})
        run.finish()
        """
    done = scripts.run(code, env={"TRACKER_SINKS": server.address})
    assert done.err == ""
    with LogReader(server.run("run1") / LOG_NAME) as reader:
        kinds = [record.kind for batch in reader.batches() for record in batch.records]
    assert kinds.count("log") == 5000 and kinds[-1] == "exit", "when it returned, all was there"
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))


def test_a_sidecar_that_died_left_its_runs_to_the_next(server: Link, scripts: Scripts, root: Path) -> None:
    code = """
        import os, signal, subprocess, sys, tracker
        run = tracker.init(id=sys.argv[1], settings={"finish_timeout": 60})
        for step in range(100):
            run.log({"x": step})
        run.flush()
        if sys.argv[1] == "run1":
            for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
                try:
                    command = open(f"/proc/{pid}/cmdline", "rb").read()
                except OSError:
                    continue  # it has just ended
                if pid not in (os.getpid(), os.getppid()) and b"launch" in command:
                    if os.environ["TRACKER_DIR"].encode() in command:
                        os.kill(pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        sys.stdin.readline()
        run.finish()
        """
    scripts.run(code, "run1", env={"TRACKER_SINKS": server.address}, exit_code=-signal.SIGKILL)
    assert (run_directory(root, "run1") / SINKS_NAME).exists()
    server.start()
    second = scripts.start(code, "run2", env={"TRACKER_SINKS": server.address})
    wait_until_arrived(wait_until_closed(run_directory(root, "run1")))
    second.send_line()
    second.wait()
    for name in ("run1", "run2"):
        assert full_content(server.run(name)) == full_content(run_directory(root, name))
