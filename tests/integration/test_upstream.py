"""Runs forwarded from sidecar to sidecar: the top has what the leaf has, exactly once, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sidecar.log.reader import LogReader
from sidecar.protocol.ask import ask
from sidecar.protocol.channels import push
from sidecar.protocol.codec import encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.frames import HEAD_BYTES
from sidecar.protocol.layout import LOG_NAME, SINKS_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.rows import ROW, Rows
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.delivery import Delivery
from sidecar.sinks.upstream import link as upstream_link
from sidecar.sinks.upstream.link import Link as UpstreamLink
from sidecar.sinks.upstream.relay import Item
from tests.integration.chain import Link, full_content, run_directory, run_files, wait_until_arrived, wait_until_closed
from tests.integration.serving import KeyedClient, Keys, command
from tests.support import LaunchedSidecar, RawClient, ReadBack, Scripts, wait_until
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main
from tracker.reading.api import Api

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Callable[..., Link]]:
    """Starts sidecars: ``link("top")``, ``link("middle", top)``."""
    sidecars: list[Link] = []

    def start(name: str, upstream: Link | None = None, keys: Keys | None = None) -> Link:
        sidecars.append(Link(tmp_path / name / "root", upstream, keys).start())
        return sidecars[-1]

    yield start
    for sidecar in reversed(sidecars):
        sidecar.close()


# -- leaf, middle, top --------------------------------------------------------------------------------------------

EVERYTHING = """
    import math, multiprocessing, os, pathlib, signal, sys, tracker

    run = tracker.init(id="run1", project="p", group="g", tags=["a", "b"], notes="as it was", label="rank0",
                       config={"lr": 0.1, "model": {"depth": 3}}, resume="allow")
    run.define_metric("loss", summary="min")
    run.define_metric("val.*", step_metric="epoch", step_sync=True)

    def child(number):
        for step in range(50):
            run.log({f"child{number}": step})
        run.flush()
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        run.finish()

    children = [multiprocessing.get_context("fork").Process(target=child, args=(number,)) for number in range(3)]
    for one in children:
        one.start()
    for step in range(1000):
        run.log({"loss": 1 / (step + 1), "epoch": step // 100, "val": {"acc": step / 7}})
    run.log({"loss": math.nan, "other": math.inf, "worst": -math.inf, "text": "ünï", "ok": True, "big": 2**64 - 1})
    run.log({"late": 1}, step=3)
    run.log({"late": 2}, step=3)
    run.log({"early": 1}, step=-5)
    for one in children:
        one.join()
    run.config.update({"lr": 0.2}, allow_val_change=True)
    run.summary["best"] = 0.97
    here = pathlib.Path("files")
    here.mkdir(exist_ok=True)
    (here / "empty").write_bytes(b"")
    (here / "model.bin").write_bytes(bytes(range(256)) * 10_000)
    run.save(here, "kept")
    (here / "model.bin").write_bytes(bytes(range(255, -1, -1)) * 10_000)
    run.save(here, "kept")
    print("logged", flush=True)
    sys.stdin.readline()
"""

ANOTHER = """
    import os, signal, tracker
    run = tracker.init(id="run1", label="rank1", resume="allow")
    for step in range(300):
        run.log({"loss": -step}, step=2 * step)
    run.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("attached", [False, True], ids=["launched", "attached"])
def test_complete_run_reaches_the_top(link: Callable[..., Link], scripts: Scripts, root: Path, attached: bool) -> None:
    """Two labelled writers, forked children, one of each killed, files, late steps, NaN; through three sidecars."""
    top = link("top")
    middle = link("middle", top)
    if attached:
        leaf = link("leaf", middle)
        env = {"TRACKER_SIDECAR": leaf.control}
    else:
        leaf = Link(root)
        env = {"TRACKER_SINKS": middle.address}
    first = scripts.start(EVERYTHING, env=env)
    assert first.read_line() == "logged"
    scripts.run(ANOTHER, env=env, exit_code=-signal.SIGKILL)
    first.send_line()
    first.wait()

    wait_until_arrived(wait_until_closed(leaf.run("run1")))
    expected = full_content(leaf.run("run1"))
    wait_until_arrived(wait_until_closed(middle.run("run1")))
    assert full_content(middle.run("run1")) == expected
    assert full_content(top.run("run1")) == expected
    run = ReadBack(top.run("run1"))
    assert {writer["state"] for writer in run.state["writers"].values()} >= {"finished", "crashed"}
    assert run.state["records"] == 1000 + 4 + 3 * 50 + 300
    expected_files = {"kept/empty": b"", "kept/model.bin": bytes(range(255, -1, -1)) * 10_000}
    assert run_files(top.run("run1")) == expected_files

    at_leaf, at_top = (Api(path).run("run1").history() for path in (leaf.root, top.root))
    assert str(at_leaf) == str(at_top), "readers see the same values, NaN included"


def test_live_run_is_visible_at_the_top(link: Callable[..., Link], scripts: Scripts) -> None:
    top = link("top")
    middle = link("middle", top)
    script = scripts.start(
        """
        import sys, tracker
        with tracker.init(id="run1") as run:
            for step in range(100):
                run.log({"x": step})
            sys.stdin.readline()
            run.log({"x": 100})
        """,
        env={"TRACKER_SINKS": middle.address},
    )

    def all_visible() -> bool:
        try:
            return Api(top.root).run("run1").records == 100
        except Exception:
            return False

    wait_until(all_visible, "all rows logged so far are at the top")
    assert Api(top.root).run("run1").state == "running"
    script.send_line()
    script.wait()
    wait_until_arrived(wait_until_closed(middle.run("run1")))
    wait_until_closed(top.run("run1"))
    run = Api(top.root).run("run1")
    assert (run.state, run.records) == ("finished", 101)


def shell_records(directory: Path) -> int:
    """Return how many records from the shell are in a run's log."""
    with LogReader(directory / LOG_NAME) as reader:
        return sum("shell" in record.body.get("data", ()) for batch in reader.batches() for record in batch.records)


def test_records_without_a_client_arrive_once(link: Callable[..., Link], root: Path) -> None:
    """Records from a shell, and records that a sidecar writes itself, have no sequence number."""
    top = link("top")
    leaf = LaunchedSidecar(root)
    client = RawClient(leaf, "run1", "client1", sinks=[top.address])
    client.send_record("run", {"project": "p"})
    with push() as shell:
        shell.connect(client.attached["records"])
        for number in range(50):
            record = Record("log", "run1", "", 0, time.time(), {"step": number, "data": {"shell": number}})
            wait_until(partial(shell.send, encode(record)), "the record is sent")
            client.log(number, x=number)
            if number == 25:
                client.ask("flush")
                wait_until_arrived(run_directory(root, "run1"))
                top.kill()
                top.start()
        wait_until(
            lambda: shell_records(run_directory(root, "run1")) == 50,
            "all are in the log",
        )
    client.send_record("exit", {"state": "finished"})
    client.ask("flush", 2)
    client.send_unnumbered("detach", {})
    client.close()
    wait_until_arrived(wait_until_closed(run_directory(root, "run1")))
    leaf.close()
    assert full_content(top.run("run1"), killed=True) == full_content(run_directory(root, "run1"), killed=True)
    rows = [data for _, data in ReadBack(top.run("run1")).stored()]
    assert sorted(row["shell"] for row in rows if "shell" in row) == list(range(50))


def test_upstream_sidecar_is_killed_repeatedly(link: Callable[..., Link], scripts: Scripts, root: Path) -> None:
    top = link("top")
    script = scripts.start(
        """
        import sys, tracker
        with tracker.init(id="run1", settings={"finish_timeout": 60}) as run:
            step = 0
            for _ in range(3):
                print("kill", flush=True)
                for step in range(step, step + 5000):
                    run.log({"x": step})
                sys.stdin.readline()
        """,
        env={"TRACKER_SINKS": top.address},
    )
    for _ in range(3):
        assert script.read_line() == "kill"
        wait_until(lambda: (top.run("run1") / LOG_NAME).exists(), "some records are at the top")
        top.kill()
        top.start()
        script.send_line()
    script.wait()
    assert full_content(top.run("run1"), killed=True) == full_content(run_directory(root, "run1"), killed=True)


def test_resending_from_the_beginning_changes_nothing(link: Callable[..., Link], root: Path, capsys: Captured) -> None:
    top = link("top")
    run = RunBuilder(root, "run1")
    for step in range(100):
        run.row(step, x=step)
        run.row(step, "", shell=step)
    run.write("losses", {"source": "sidecar", "counts": {"window full": 3}}, "")
    run.finish()
    sync = ["sync", "--dir", str(root), "--sink", top.address]
    assert main(sync) == 0
    log = wait_until_closed(top.run("run1")) / LOG_NAME
    before = log.read_bytes()
    assert full_content(top.run("run1")) == full_content(run.dir)

    shutil.rmtree(run.dir / SINKS_NAME)
    assert main(sync) == 0
    wait_until_closed(top.run("run1"))
    assert log.read_bytes() == before

    whole_log = run.log_path.read_bytes()  # the log loses its tail, as after a power failure
    run.log_path.write_bytes(whole_log[: len(whole_log) // 2])
    assert main(sync) == 0
    run.log_path.write_bytes(whole_log)
    assert main(sync) == 0
    wait_until_closed(top.run("run1"))
    assert log.read_bytes() == before
    capsys.readouterr()


@pytest.mark.parametrize("harm", ["the tail", "everything"])
def test_lost_records_are_sent_to_the_upstream_sidecar_again(
    link: Callable[..., Link], root: Path, capsys: Captured, harm: str
) -> None:
    """Part of its log is lost, as after a power failure; or its directory was deleted."""
    top = link("top")
    run = RunBuilder(root, "run1")
    for step in range(100):
        run.row(step, x=step)
        run.row(step, "", own=step)
    sync = ["sync", "--dir", str(root), "--sink", top.address]
    assert main(sync) == 0
    directory = wait_until_closed(top.run("run1"))
    top.close()
    if harm == "everything":
        shutil.rmtree(directory)
    else:
        log = directory / LOG_NAME
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        (directory / "store.db").unlink()
    top.start()
    for step in range(100, 110):
        run.row(step, "", own=step)
        run.row(step, x=step)
    run.finish()
    assert main(sync) == 0
    capsys.readouterr()
    assert full_content(top.run("run1")) == full_content(run.dir)


def test_damaged_records_are_skipped_and_counted_upstream(
    link: Callable[..., Link], root: Path, capsys: Captured
) -> None:
    top = link("top")
    run = RunBuilder(root, "run1")
    starts = [run.row(step, x=step) for step in range(200)]
    run.write("exit", {"state": "finished"})
    run.log.close()
    run.damage(starts[0], starts[3])
    run.damage(starts[100], starts[110])
    assert main(["sync", "--dir", str(root), "--sink", top.address]) == 0
    capsys.readouterr()
    run_at_top = ReadBack(wait_until_closed(top.run("run1"))).check()
    assert [data["x"] for _, data in run_at_top.stored()] == [*range(3, 100), *range(110, 200)]
    assert run_at_top.state["state"] == "finished" and run_at_top.state["losses"] == {"refused: damaged": 13}


# -- rows ---------------------------------------------------------------------------------------------------------


def packed_rows(directory: Path) -> int:
    """Return how many records of a run's log are rows."""
    with LogReader(directory / LOG_NAME) as reader:
        return sum(
            batch.frames(number)[HEAD_BYTES] == ROW and (item.count if isinstance(item, Rows) else 1)
            for batch in reader.batches()
            for number, item in enumerate(batch.items)
        )


def run_with_rows(root: Path, *, ended: bool = True) -> RunBuilder:
    """Return a run of 5,000 rows of two clients, with records between them."""
    run = RunBuilder(root, "run1")
    for first in range(0, 5000, 1000):
        run.rows(first, x=[step / 7 for step in range(800)], ok=[step % 3 == 0 for step in range(800)])
        run.rows(first, "client000002", y=list(range(200)))
        run.row(first, text="between")
        run.row(first, "", own=first)
    if ended:
        run.finish()
    return run


def deliver(run: RunBuilder, top: Link) -> None:
    """Send a run on this thread, as a sidecar does on its own."""
    delivery = Delivery(run.dir, parse_sink(top.address))

    def delivered() -> bool:
        delivery.step(time.monotonic())
        return delivery.behind_bytes() == 0

    try:
        wait_until(delivered, "the run has been sent")
    finally:
        delivery.close(Deadline(5.0))


@pytest.mark.parametrize("older", [False, True], ids=["rows", "a sidecar without rows"])
def test_rows_are_sent_as_rows_to_a_sidecar_that_takes_them(
    link: Callable[..., Link], root: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    def older_ask(*args: Any) -> Record:
        answer = ask(*args)
        return answer._replace(body={key: value for key, value in answer.body.items() if key != "rows"})

    if older:
        monkeypatch.setattr(upstream_link, "ask", older_ask)
    top = link("top")
    run = run_with_rows(root)
    deliver(run, top)
    assert full_content(top.run("run1")) == full_content(run.dir)
    assert packed_rows(run.dir) == 5000
    assert packed_rows(top.run("run1")) == (0 if older else 5000)


def test_rows_pass_several_sidecars(link: Callable[..., Link], scripts: Scripts, root: Path) -> None:
    top = link("top")
    middle = link("middle", top)
    leaf = link("leaf", middle)
    scripts.run(
        """
        import tracker
        with tracker.init(id="run1") as run:
            for step in range(20_000):
                run.log({"x": step / 7, "n": step} if step % 1000 else {"text": "between"})
        """,
        env={"TRACKER_SIDECAR": leaf.control},
    )
    for sidecar in (leaf, middle, top):
        wait_until_closed(sidecar.run("run1"))
        if sidecar is not top:
            wait_until_arrived(sidecar.run("run1"))
        assert packed_rows(sidecar.run("run1")) == 19_980
    assert full_content(leaf.run("run1")) == full_content(middle.run("run1")) == full_content(top.run("run1"))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_only_the_rows_that_the_upstream_sidecar_has_lost_are_sent_again(
    link: Callable[..., Link], root: Path, capsys: Captured, keep: float
) -> None:
    top = link("top")
    run = run_with_rows(root, ended=False)
    sync = ["sync", "--dir", str(root), "--sink", top.address]
    assert main(sync) == 0
    directory = wait_until_closed(top.run("run1"))
    top.close()
    log = directory / LOG_NAME
    log.write_bytes(log.read_bytes()[: int(log.stat().st_size * keep)])
    (directory / "store.db").unlink()
    top.start()
    run.rows(5000, x=[0.5] * 40, ok=[True] * 40)
    run.finish()
    assert main(sync) == 0
    capsys.readouterr()
    assert full_content(top.run("run1")) == full_content(run.dir)
    assert packed_rows(top.run("run1")) == 5040


@pytest.mark.parametrize("after", [[0], [1, 3], [2, 3, 4]])
def test_the_upstream_sidecar_is_killed_in_the_middle_of_rows(
    link: Callable[..., Link], root: Path, monkeypatch: pytest.MonkeyPatch, after: list[int]
) -> None:
    """Killed before the messages with these numbers are sent, counted over all attempts."""
    top = link("top")
    run = RunBuilder(root, "run1")
    for first in range(0, 40_000, 20_000):
        run.rows(first, x=[step / 7 for step in range(20_000)], y=[step / 9 for step in range(20_000)])
    run.finish()
    all_messages = UpstreamLink._messages
    numbers = iter(range(1000))

    def messages(link: UpstreamLink, items: list[Item]) -> Iterator[bytes]:
        for message in all_messages(link, items):
            if next(numbers) in after:
                top.kill()
                top.start()
            yield message

    monkeypatch.setattr(UpstreamLink, "_messages", messages)
    deliver(run, top)
    assert next(numbers) > after[-1] + 1
    assert full_content(top.run("run1"), killed=True) == full_content(run.dir, killed=True)
    assert packed_rows(top.run("run1")) == 40_000


def test_damaged_rows_are_skipped_and_counted_upstream(link: Callable[..., Link], root: Path, capsys: Captured) -> None:
    top = link("top")
    run = RunBuilder(root, "run1")
    schema = run.rows(0, x=list(range(1000)))
    end = run.log.offset
    run.write("exit", {"state": "finished"})
    run.log.close()
    size = schema.frame_bytes
    run.damage(end - 600 * size, end - 590 * size)
    assert main(["sync", "--dir", str(root), "--sink", top.address]) == 0
    capsys.readouterr()
    run_at_top = ReadBack(wait_until_closed(top.run("run1"))).check()
    assert [data["x"] for _, data in run_at_top.stored()] == [*range(400), *range(410, 1000)]
    assert run_at_top.state["losses"] == {"refused: damaged": 10}
    assert packed_rows(top.run("run1")) == 990


def test_rows_whose_schema_is_refused_are_sent_as_records(
    link: Callable[..., Link], root: Path, capsys: Captured
) -> None:
    """Another client has taken the id of the schema there."""
    top = link("top")
    run = RunBuilder(root, "run1")
    schema = run.rows(0, x=list(range(1000)))
    run.finish()
    other = KeyedClient(top.serving, "run2", "other0001")
    other.send_record("schema", {"id": schema.id, "keys": ["other"], "types": "d"})
    other.ask("flush")
    assert main(["sync", "--dir", str(root), "--sink", top.address]) == 0
    capsys.readouterr()
    other.send_unnumbered("detach", {})
    other.close()
    run_at_top = ReadBack(wait_until_closed(top.run("run1"))).check()
    assert [data["x"] for _, data in run_at_top.stored()] == list(range(1000))
    assert packed_rows(top.run("run1")) == 0


# -- keys ---------------------------------------------------------------------------------------------------------

TRAIN = """
    import time, tracker
    run = tracker.init(id="run1", settings={"finish_timeout": 2})
    worst = 0
    for step in range(500):
        started = time.perf_counter()
        run.log({"x": step})
        worst = max(worst, time.perf_counter() - started)
    started = time.monotonic()
    run.finish()
    print(run.state, time.monotonic() - started < 10, worst < 1)
"""


def test_encrypting_upstream(link: Callable[..., Link], scripts: Scripts, root: Path, tmp_path: Path) -> None:
    top = link("top", keys=Keys(tmp_path / "keys", "top"))
    middle = link("middle", top)
    scripts.run(TRAIN, env={"TRACKER_SINKS": middle.address})
    wait_until_arrived(wait_until_closed(middle.run("run1")))
    assert full_content(top.run("run1")) == full_content(run_directory(root, "run1"))


@pytest.mark.parametrize("harm", ["another key", "no key", "no such file"])
def test_wrong_key_is_reported_and_does_not_disturb_training(
    link: Callable[..., Link], scripts: Scripts, root: Path, tmp_path: Path, capsys: Captured, harm: str
) -> None:
    top = link("top", keys=Keys(tmp_path / "keys", "top"))
    other = Keys(tmp_path / "keys", "other")
    address, words = {
        "another key": (f"sidecar+{top.control}?key={other.public}", "has another key than"),
        "no key": (f"sidecar+{top.control}", "encrypts"),
        "no such file": (f"sidecar+{top.control}?key={tmp_path}/gone.pub", "gone.pub"),
    }[harm]
    leaf = link("leaf")
    done = scripts.run(TRAIN, env={"TRACKER_SIDECAR": leaf.control, "TRACKER_SINKS": address})
    assert done.out.split() == ["finished", "True", "True"]
    assert words in done.err and len(done.err.splitlines()) == 1

    status = command("status", leaf.control)
    assert status.code == 0 and f"{address} is" in status.out and words in status.out
    progress = json.loads(command("status", leaf.control, "--json").out)["sinks"]["run1"][address]
    assert words in progress["error"] and progress["behind_bytes"] > 0
    assert main(["doctor", "--dir", str(leaf.root)]) == 1
    output = capsys.readouterr()
    (line,) = [line for line in output.out.splitlines() if address in line]
    assert words in line and "pending, 'tracker sync' sends them" in line
    assert words in output.err and len(output.err.splitlines()) == 1
    assert os.listdir(top.root / "runs") == [] if (top.root / "runs").exists() else True
