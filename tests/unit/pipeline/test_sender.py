"""The Sender, stepped by hand: records in the log reach the sink once and in order, whatever the sink does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.log.reader import Batch
from sidecar.pipeline import sender
from sidecar.projections.store.sink import StoreSink
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError, StoreError
from sidecar.protocol.records import Record
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, log, message


class Trouble:
    """Opens real stores, and makes them fail on request.

    Attributes:
        at: where they fail now: ``"open"``, ``"send"``, ``"commit"`` or None.
        opened: how often one was opened.
    """

    def __init__(self) -> None:
        self.at: str | None = None
        self.opened = 0

    def meet(self, where: str) -> None:
        if self.at == where:
            raise StoreError(f"the disk is full in {where}")

    def open(self, run_directory: Path) -> StoreSink:
        self.opened += 1
        self.meet("open")
        trouble = self

        class Failing(StoreSink):
            def apply(self, batch: Batch) -> None:
                super().apply(batch)
                trouble.meet("send")

            def commit(self) -> int:
                trouble.meet("commit")
                return super().commit()

        return Failing(run_directory)


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def stages(root: Path, trouble: Trouble) -> Iterator[Stages]:
    made = Stages(root, trouble.open)
    yield made
    trouble.at = None
    made.later(60.0)
    made.close()


def ask(stages: Stages, number: int, what: str) -> Callable[[], list[dict[str, Any]]]:
    stages.handler.process(message(Record("request", "run", "a", 0, 1.0, {"id": number, "ask": what})))
    stages.write()
    stages.send()
    return lambda: [body for body in stages.told("answer") if body["id"] == number]


def test_an_answered_state_can_be_read_in_the_store(stages: Stages) -> None:
    stages.attach("run", "a")
    for first in range(1, 5001, 500):
        stages.handler.process(
            message(*(log("run", "a", s, text="x" * 200, loss=s) for s in range(first, first + 500)))
        )
    answer = ask(stages, 1, "state")
    (found,) = answer()
    assert found["state"]["records"] == 5000
    assert found["sinks"]["store"] == {"behind_bytes": 0, "error": None}
    assert len(ReadBack(stages.root / "runs" / "run").check().rows) == 5000


@pytest.mark.parametrize("where", ["open", "send", "commit"])
def test_a_sink_that_fails_gets_everything_once_when_it_works_again(
    stages: Stages, trouble: Trouble, where: str
) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(1, 101))))
    if where != "open":
        stages.write()
        stages.later(1.0)
        stages.send()
    trouble.at = where
    stages.handler.process(message(*(log("run", "a", seq) for seq in range(101, 201))))
    (found,) = ask(stages, 1, "state")()
    assert "the disk is full" in found["error"] and found["seq"] == 200, "durable in the log all the same"
    (progress,) = ask(stages, 2, "progress")()
    assert "the disk is full" in progress["sinks"]["store"]["error"]
    assert progress["sinks"]["store"]["behind_bytes"] > 0
    trouble.at = None
    stages.later(60.0)
    stages.send()
    (found,) = ask(stages, 3, "state")()
    assert found["state"]["records"] == 200
    assert len(ReadBack(stages.root / "runs" / "run").check().rows) == 200


def test_a_failing_sink_is_retried_after_a_back_off(stages: Stages, trouble: Trouble) -> None:
    stages.attach("run", "a")
    trouble.at = "open"
    for seq in range(1, 50):
        stages.handler.process(message(log("run", "a", seq)))
        stages.write()
        stages.send()
    assert trouble.opened <= 2


def test_a_sink_that_fails_does_not_hold_up_another_runs(stages: Stages, trouble: Trouble) -> None:
    stages.attach("run", "a")
    trouble.at = "send"
    stages.handler.process(message(log("run", "a", 1)))
    stages.write()
    stages.later(1.0)
    stages.send()
    trouble.at = None
    stages.attach("other", "b")
    stages.handler.process(message(log("other", "b", 1)))
    stages.write()
    stages.later(0.5)
    stages.send()
    assert len(ReadBack(stages.root / "runs" / "other").check().rows) == 1


def test_a_run_whose_sink_keeps_failing_is_released_and_asks_for_a_recovery(stages: Stages, trouble: Trouble) -> None:
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1), Record("exit", "run", "a", 2, 1.0, {"state": "finished"})))
    trouble.at = "open"
    stages.sessions.detach(session)
    for _ in range(10):
        stages.write()
        stages.later(60.0)
        stages.send()
    assert [run.id for run in stages.closed] == ["run"]
    assert (stages.root / "runs" / "run" / "lock").exists()


def test_a_store_that_is_ahead_of_its_log_or_damaged_is_rebuilt(root: Path) -> None:
    for harm in ("ahead", "broken", "gone"):
        run = f"run-{harm}"
        stages = Stages(root)
        stages.attach(run, "a")
        stages.handler.process(message(*(log(run, "a", seq) for seq in range(1, 51))))
        stages.close()
        directory = root / "runs" / run
        if harm == "ahead":
            path = directory / "transactions.log"
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif harm == "broken":
            (directory / "store.db").write_bytes(b"no database" * 1000)
        else:
            (directory / "store.db").unlink()
        stages = Stages(root)
        stages.attach(run, "b", resume="allow")
        stages.handler.process(message(log(run, "b", 1)))
        stages.step()
        stages.close()
        found = ReadBack(directory).check()
        assert len(found.logged("b")) == 1 and len(found.logged("a")) == (
            50 if harm != "ahead" else len(found.logged("a"))
        )


def test_a_large_log_is_fed_in_slices_so_that_no_run_waits_for_another(stages: Stages) -> None:
    for run, client in (("large", "a"), ("small", "b")):
        stages.attach(run, client)
    for first in range(1, 4001, 1000):
        stages.handler.process(message(*(log("large", "a", s, text="x" * 300) for s in range(first, first + 1000))))
    stages.handler.process(message(log("small", "b", 1)))
    stages.write()
    while stages.to_sender:
        stages.sender.process(stages.to_sender.popleft())
    stages.later(0.5)
    stages.sender.idle(stages.now)
    assert len(ReadBack(stages.root / "runs" / "small").rows) == 1
    assert stages.sender.backlog()["large"]["store"]["behind_bytes"]
    stages.send()


BLOCK = 8192


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn makes the pieces of one column."""
    monkeypatch.setattr(sender, "_PIECES_SECONDS", 0.0)


def pieces(run_directory: Path) -> int:
    """Return the number of rows of the pyramid's finest level."""
    with contextlib.closing(sqlite3.connect(run_directory / "store.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM pyramid WHERE level = 0").fetchone()[0])


def fill(stages: Stages, run: str, client: str, first: int, count: int, keys: int = 1) -> None:
    """Log rows, and write them to the log."""
    data = {f"k{number}": float(number) for number in range(keys)}
    for start in range(first, first + count, 1024):
        stages.handler.process(
            message(*(log(run, client, seq, **data) for seq in range(start, min(start + 1024, first + count))))
        )
    stages.write()


def take(stages: Stages) -> None:
    """Hand the Sender its items, without letting it do anything."""
    while stages.to_sender:
        stages.sender.process(stages.to_sender.popleft())


def test_pieces_are_made_without_a_further_record_when_nothing_waits(stages: Stages, slow: None) -> None:
    directory = stages.root / "runs" / "run"
    stages.attach("run", "a")
    fill(stages, "run", "a", 1, 2 * BLOCK + 10, keys=2)
    take(stages)
    stages.later(0.5)
    behind: object = 1
    while behind:
        made = pieces(directory) if (directory / "store.db").exists() else 0
        assert made == 0, "records come first"
        assert stages.sender.idle(stages.now) == 0.0
        behind = stages.sender.backlog()["run"]["store"]["behind_bytes"]
    assert pieces(directory) < 2 * 2, "a turn is short"
    while stages.sender.idle(stages.now) == 0.0:
        continue
    assert pieces(directory) == 2 * 2


def test_an_answer_does_not_wait_for_pieces_nor_does_a_run_that_is_awaited(stages: Stages, slow: None) -> None:
    directory = stages.root / "runs" / "run"
    session, _ = stages.attach("run", "a")
    fill(stages, "run", "a", 1, 4 * BLOCK, keys=4)
    stages.handler.process(
        message(
            Record("exit", "run", "a", 4 * BLOCK + 1, 1.0, {"state": "finished"}),
            Record("request", "run", "a", 0, 1.0, {"id": 1, "ask": "state"}),
        )
    )
    stages.write()
    stages.sessions.detach(session)
    stages.write()
    take(stages)
    while not stages.told("answer"):
        stages.later(0.0)
        stages.sender.idle(stages.now)
    made = pieces(directory)
    assert made < 4 * 4 and not stages.closed
    with pytest.raises(RefusedError, match="being closed"):
        stages.attach("run", "b", resume="allow")
    stages.later(0.0)
    stages.sender.idle(stages.now)
    assert [run.id for run in stages.closed] == ["run"]
    assert pieces(directory) == made
    assert not (directory / "lock").exists()
    stages.attach("run", "b", resume="allow")
    stages.step()
    assert pieces(directory) == 4 * 4, "the next owner makes the rest"


def test_a_run_that_is_closed_is_released_when_its_pieces_are_made(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    fill(stages, "run", "a", 1, 2 * BLOCK, keys=3)
    exited = Record("exit", "run", "a", 2 * BLOCK + 1, 1.0, {"state": "finished"})
    stages.handler.process(message(exited))
    stages.write()
    stages.sessions.detach(session)
    stages.write()
    stages.send()
    assert [run.id for run in stages.closed] == ["run"]
    assert pieces(stages.root / "runs" / "run") == 2 * 3
    assert [path.name for path in (stages.root / "runs" / "run").iterdir() if path.name.startswith("store")] == [
        "store.db"
    ]


def test_a_sidecar_that_stops_leaves_pieces_to_the_next(stages: Stages, slow: None) -> None:
    session, _ = stages.attach("run", "a")
    fill(stages, "run", "a", 1, 4 * BLOCK, keys=3)
    stages.sessions.detach(session)
    stages.write()
    take(stages)
    stages.sender.close(Deadline(30.0))
    assert [run.id for run in stages.closed] == ["run"]
    assert pieces(stages.root / "runs" / "run") < 4 * 3
    assert len(ReadBack(stages.root / "runs" / "run").check().rows) == 4 * BLOCK


def test_pieces_that_cannot_be_made_harm_nothing(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(store: StoreSink, seconds: float | None = None) -> bool:
        raise StoreError("the disk is full")

    monkeypatch.setattr(StoreSink, "make_pieces", fail)
    session, _ = stages.attach("run", "a")
    fill(stages, "run", "a", 1, BLOCK + 1)
    (found,) = ask(stages, 1, "state")()
    assert found["state"]["records"] == BLOCK + 1
    assert stages.sender.backlog()["run"]["store"] == {"behind_bytes": 0, "error": None}
    stages.handler.process(message(Record("exit", "run", "a", BLOCK + 2, 1.0, {"state": "finished"})))
    stages.sessions.detach(session)
    stages.step()
    assert [run.id for run in stages.closed] == ["run"]
    assert not (stages.root / "runs" / "run" / "lock").exists()


def test_a_run_whose_sink_fails_does_not_keep_another_from_its_pieces(stages: Stages, trouble: Trouble) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    stages.step()
    trouble.at = "send"
    fill(stages, "run", "a", 2, 3000)
    stages.step()
    trouble.at = None
    stages.attach("other", "b")
    fill(stages, "other", "b", 1, BLOCK)
    take(stages)
    stages.later(0.5)
    while stages.sender.idle(stages.now) == 0.0:
        continue
    assert pieces(stages.root / "runs" / "other") == 1
