"""``tracker sync``, ``tracker doctor``, and ``finish()`` with an unreachable server. The servers are real sidecars."""

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
from sidecar.protocol.frames import frame
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
    """A sidecar that receives runs; not started yet."""
    sidecar = Link(tmp_path / "server" / "root")
    yield sidecar
    sidecar.close()


@pytest.fixture
def tracker(root: Path, capsys: Captured) -> Callable[..., tuple[int, str, str]]:
    """Runs a ``tracker`` command on `root`; returns its exit status, standard output and standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([*map(str, arguments), "--dir", str(root)])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


Tracker = Callable[..., tuple[int, str, str]]


def build(root: Path, run_id: str, rows: int = 50, server: Link | None = None) -> RunBuilder:
    """Create a finished run; `server` is recorded as its sink, as with ``mode="offline"``."""
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


def test_offline_run_is_sent_by_sync_only(
    server: Link, scripts: Scripts, root: Path, tracker: Tracker, temporary: Path
) -> None:
    server.start()
    script = scripts.start(OFFLINE, env={"TRACKER_SINKS": server.address})
    script.read_line()
    script.send_line()
    script.wait()
    wait_until(lambda: not [pid for pid, name in processes(temporary) if "launch" in name], "its sidecar has exited")
    assert not (server.root / "runs").exists() or not list((server.root / "runs").iterdir()), "nothing was sent"

    code, out, err = tracker("sync")
    assert (code, err) == (0, "")
    assert server.address in out and "100%" in out and " sent" in out
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))

    before = (server.run("run1") / LOG_NAME).read_bytes()
    code, out, _ = tracker("sync")
    assert code == 0 and " sent" in out
    assert (server.run("run1") / LOG_NAME).read_bytes() == before


def test_live_run_is_sent_up_to_its_last_record(server: Link, scripts: Scripts, root: Path, tracker: Tracker) -> None:
    server.start()
    script = scripts.start(OFFLINE, env={"TRACKER_SINKS": server.address})
    script.read_line()
    wait_until(lambda: (run_directory(root, "run1") / LOG_NAME).stat().st_size > 1000, "some records are in the log")
    code, out, _ = tracker("sync", "run1")
    assert code == 0 and " sent" in out
    script.send_line()
    script.wait()
    assert tracker("sync")[0] == 0
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))


def test_sync_continues_from_a_copied_directory(
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


def test_many_runs_are_sent_to_two_servers(server: Link, root: Path, tmp_path: Path, tracker: Tracker) -> None:
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
    """Return the size of run1's log on the server."""
    log = server.run("run1") / LOG_NAME
    return log.stat().st_size if log.exists() else 0


def has_arrived(server: Link, size: int) -> bool:
    return arrived_bytes(server) >= size


def test_killed_and_restarted_sync_sends_nothing_twice(
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
            wait_until(partial(has_arrived, server, min(size, before + 1_000_000)), "more has arrived")
            sync.kill()
    assert read_progress(run.dir, address).checkpoint < size, "sync was interrupted"
    assert tracker("sync", "--sink", server.address)[0] == 0
    assert full_content(server.run("run1")) == full_content(run.dir)


def test_log_with_a_torn_tail_is_sent_up_to_the_tail(server: Link, root: Path, tracker: Tracker) -> None:
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


def test_log_whose_schema_was_damaged_is_sent_with_the_rows_that_can_be_read(
    server: Link, root: Path, tracker: Tracker
) -> None:
    server.start()
    run = RunBuilder(root, "run1", "client-run1")
    start = run.log.offset
    schema = run.rows(0, loss=[1.0] * 30)
    run.write("schema", {**schema.body(), "client": schema.client}, client="")  # as the sidecar does after a while
    for seq in range(33, 63):
        run.log.append(frame(schema.pack(schema.word, seq, run.clock, seq, 2.0)))
    run.last["client-run1"] = 62
    run.finish()
    run.damage(start + 20, start + 21)
    code, out, _ = tracker("verify", "--json", "run1")
    assert code == 1 and list(json.loads(out)[0]["log"]["undeclared"].values()) == [30]
    for arguments in ([], ["--again"]):
        write_progress(run.dir, SinkProgress(server.address, offline=True))
        assert tracker("sync", "--patience", 20, *arguments)[0] == 0
        wait_until_closed(server.run("run1"))
        with LogReader(server.run("run1") / LOG_NAME) as reader:
            records = [record for batch in reader.batches() for record in batch.records if record.client]
        assert [record.seq for record in records] == list(range(1, run.last["client-run1"] + 1))
        assert [record.kind for record in records].count("rejected") == 31
        assert [record.body["data"] for record in records if record.kind == "log"] == [{"loss": 2.0}] * 30


def test_watch_sends_new_runs_until_interrupted(server: Link, root: Path, scripts: Scripts) -> None:
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


def test_sync_gives_up_on_an_unreachable_server_after_its_patience(server: Link, root: Path, tracker: Tracker) -> None:
    build(root, "run1", server=server)
    code, out, err = tracker("sync", "--patience", 0.5)
    assert code == 1
    assert f"0% no sidecar answers at {server.control}" in " ".join(out.split())
    assert err == f"tracker sync: 1 of 1 not sent: {server.address}: no sidecar answers at {server.control}\n"
    server.start()
    assert tracker("sync")[0] == 0
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))


def test_sync_again_resends_a_run_that_the_server_lost(server: Link, root: Path, tracker: Tracker) -> None:
    server.start()
    run = build(root, "run1", server=server)
    assert tracker("sync")[0] == 0
    wait_until_closed(server.run("run1"))
    shutil.rmtree(server.run("run1"))
    assert tracker("sync")[0] == 0 and not server.run("run1").exists(), "it was recorded as sent"
    assert tracker("sync", "--again")[0] == 0
    assert full_content(server.run("run1")) == full_content(run.dir)


def test_sync_of_a_sent_run_needs_no_server(server: Link, root: Path, tracker: Tracker) -> None:
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
def test_bad_usage_prints_one_line(root: Path, tracker: Tracker, arguments: list[str], code: int, words: str) -> None:
    build(root, "run1")
    status, _, err = tracker("sync", *arguments)
    assert status == code and words in err and "hunter2" not in err
    assert len(err.splitlines()) == 1


def test_sync_without_sinks_says_so(root: Path, tracker: Tracker) -> None:
    build(root, "run1")
    code, out, err = tracker("sync")
    assert (code, out) == (0, "") and "no run there has a sink" in err


# -- doctor -------------------------------------------------------------------------------------------------------


def test_doctor_reports_servers_and_pending_runs(server: Link, root: Path, tracker: Tracker) -> None:
    server.start()
    build(root, "run1", server=server)
    build(root, "run2", server=server)
    code, out, err = tracker("doctor")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("sink")]
    assert f"{server.address}: version 0." in line and "of 2 runs pending, 'tracker sync' sends them" in line

    assert tracker("sync")[0] == 0
    code, out, _ = tracker("doctor", "--json")
    report = json.loads(out)
    (sink,) = report["sinks"]
    assert code == 0 and report["problems"] == []
    assert sink["sink"] == server.address and sink["version"].startswith("0.") and sink["error"] is None
    assert sink["waiting_runs"] == sink["waiting_bytes"] == 0

    server.close()
    code, out, err = tracker("doctor", "--sink", "clickhouse+http://127.0.0.1:1/db")
    assert code == 1 and len(err.splitlines()) == 1
    assert err.startswith("tracker doctor: 2 problems: ")
    for words in (f"{server.address}: no sidecar answers at", "clickhouse+http://127.0.0.1:1/db: "):
        assert words in err and words in out


# -- finish -------------------------------------------------------------------------------------------------------


def test_finish_gives_up_on_an_unreachable_server_and_the_sidecar_keeps_trying(
    server: Link, scripts: Scripts, root: Path
) -> None:
    done = scripts.run(
        """
        import time, tracker
        run = tracker.init(id="run1", settings={"finish_timeout": 4})
        for step in range(1000):
            run.log({"x": step})
        started = time.monotonic()
        run.finish()
        print(time.monotonic() - started)
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


def test_finish_waits_for_a_reachable_server(server: Link, scripts: Scripts, root: Path) -> None:
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
    assert kinds.count("log") == 5000 and kinds[-1] == "exit", "all records had arrived when finish() returned"
    assert full_content(server.run("run1")) == full_content(run_directory(root, "run1"))


def test_next_sidecar_delivers_the_runs_of_a_dead_one(server: Link, scripts: Scripts, root: Path) -> None:
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
                    continue  # it has just exited
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
