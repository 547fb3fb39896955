"""The Sender, stepped by hand: records in the log reach the sink once and in order, whatever the sink does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.log.reader import Batch
from sidecar.projections.store.sink import StoreSink
from sidecar.protocol.errors import StoreError
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
