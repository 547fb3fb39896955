"""Windows of dead clients, from real files: the sidecar that opens a run and the one that holds it do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sidecar.log.reader import LogReader
from sidecar.pipeline.held_run import HeldRun
from sidecar.protocol import limits
from sidecar.protocol.errors import RecordError
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.limits import MAX_RUN_KEYS
from sidecar.protocol.records import Record
from sidecar.protocol.segments import OwnerLock
from tests.unit.pipeline.stages import Stages, log, message
from tests.unit.pipeline.windows import write_orphan, write_window

Take = Callable[[Path, list[Record]], None]


def take_at_opening(root: Path, records: list[Record]) -> None:
    """A sidecar opens the run that a window was left in."""
    write_orphan(root / "runs" / "run" / "windows" / "a", records, run="run")
    HeldRun.open(root, "run", "").release()


def take_while_held(root: Path, records: list[Record]) -> None:
    """A sidecar holds the run; the client died before it attached."""
    stages = Stages(root)
    other, _ = stages.attach("run", "other")
    write_orphan(root / "runs" / "run" / "windows" / "a", records, run="run")
    stages.sessions.detach(other)
    for _ in range(3):
        stages.step()
    assert stages.sessions.drained()
    stages.close()


@pytest.fixture(params=[take_at_opening, take_while_held])
def take(request: pytest.FixtureRequest) -> Take:
    function: Take = request.param
    return function


def in_log(root: Path) -> list[Record]:
    with LogReader(root / "runs" / "run" / LOG_NAME) as reader:
        return [record for batch in reader.batches() for record in batch.records]


def kinds(root: Path) -> list[tuple[str, int]]:
    return [(record.kind, record.seq) for record in in_log(root)]


def test_all_of_it_is_appended_and_the_window_is_removed(root: Path, take: Take) -> None:
    records = [log("run", "a", seq) for seq in range(1, 11)]
    take(root, records)
    found = in_log(root)
    assert found[:-1] == records
    assert (found[-1].kind, found[-1].client, found[-1].body) == (
        "exit",
        "",
        {"state": "crashed", "writer": "a", "reason": "the process died without finishing the run"},
    )
    assert not (root / "runs" / "run" / "windows" / "a").exists()


def test_a_client_that_ended_gets_no_crash_record(root: Path, take: Take) -> None:
    take(root, [log("run", "a", 1), Record("exit", "run", "a", 2, 2.0, {"state": "finished"})])
    assert kinds(root) == [("log", 1), ("exit", 2)]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (Record("log", "run", "a", 2, 1.0, {"step": 1, "data": {"x": [1]}}), "value"),
        (Record("log", "run", "a", 2, 1.0, {"step": 1, "data": {"": 1}}), "key"),
        (Record("log", "run", "a", 2, 1.0, {}), "form"),
        (Record("request", "run", "a", 2, 1.0, {"id": 1, "ask": "flush"}), "kind"),
        (Record("rejected", "run", "a", 2, 1.0, {"kind": "log", "code": "key", "message": "x"}), "kind"),
        (Record("exit", "run", "a", 2, 1.0, {"state": "crashed", "writer": "another"}), "value"),
    ],
)
def test_a_bad_record_is_replaced_and_the_rest_is_taken(root: Path, take: Take, bad: Record, code: str) -> None:
    take(root, [log("run", "a", 1), bad, log("run", "a", 3)])
    assert kinds(root) == [("log", 1), ("rejected", 2), ("log", 3), ("exit", 0)]
    rejected = in_log(root)[1]
    assert (rejected.client, rejected.body["kind"], rejected.body["code"]) == ("a", bad.kind, code)


def test_a_client_whose_last_record_is_refused_gets_a_crash_record(root: Path, take: Take) -> None:
    bad = log("run", "a", 2)._replace(body={})
    take(root, [Record("exit", "run", "a", 1, 1.0, {"state": "finished"}), bad])
    assert kinds(root) == [("exit", 1), ("rejected", 2), ("exit", 0)]


@pytest.mark.parametrize("stranger", [log("other", "a", 3), log("run", "another", 3)])
def test_it_ends_at_a_record_of_another_run_or_client(root: Path, take: Take, stranger: Record) -> None:
    take(root, [log("run", "a", 1), log("run", "a", 2), stranger, log("run", "a", 4)])
    assert kinds(root) == [("log", 1), ("log", 2), ("exit", 0)]


def test_the_bound_on_different_keys(root: Path) -> None:
    run = HeldRun.open(root, "run", "")
    for start in range(0, MAX_RUN_KEYS, limits.MAX_KEYS):
        keys = [f"key {number}" for number in range(start, min(start + limits.MAX_KEYS, MAX_RUN_KEYS))]
        run.check(log("run", "a", 1, **dict.fromkeys(keys, 1.0)))
    with pytest.raises(RecordError, match=f"more than {MAX_RUN_KEYS} different keys"):
        run.check(log("run", "a", 1, another=1.0))
    run.check(log("run", "a", 1, **{"key 0": "text"}))
    run.give_back()


def test_a_large_window_is_taken_in_slices(root: Path, take: Take) -> None:
    records = [log("run", "a", seq, text="x" * 50_000) for seq in range(1, 101)]
    take(root, records)
    assert in_log(root)[:-1] == records


def test_a_window_is_removed_only_when_its_records_are_in_the_log(root: Path) -> None:
    stages = Stages(root)
    session, _ = stages.attach("run", "a")
    session.window = write_orphan(root / "elsewhere" / "a", [log("run", "a", seq) for seq in range(1, 6)], run="run")
    stages.handler.process(message(log("run", "a", 1), log("run", "a", 2)))
    stages.sessions.detach(session)
    assert session.window.exists() and OwnerLock.take(session.window) is None, "another must not take it meanwhile"
    stages.step()
    assert not session.window.exists()
    assert [record.seq for record in in_log(root)] == [1, 2, 3, 4, 5, 0]
    stages.handler.process(message(log("run", "a", 3), log("run", "a", 4)))
    assert stages.intake.losses == {}, "they were on their way while the window was taken"
    stages.handler.process(message(log("run", "a", 6)))
    assert stages.intake.losses == {"refused: client": 1}
    stages.close()


@pytest.fixture
def owned(root: Path) -> Iterator[tuple[Stages, OwnerLock]]:
    stages = Stages(root)
    owner = write_window(root / "elsewhere" / "a", [log("run", "a", 1), log("run", "a", 2)], run="run")
    yield stages, owner
    owner.release()
    stages.close()


def test_a_window_that_its_client_still_holds_is_waited_for(root: Path, owned: tuple[Stages, OwnerLock]) -> None:
    stages, owner = owned
    session, _ = stages.attach("run", "a")
    session.window = root / "elsewhere" / "a"
    stages.handler.process(message(log("run", "a", 1)))
    stages.sessions.detach(session)
    stages.step()
    assert "a" in stages.sessions.by_client
    owner.release()
    stages.step()
    stages.step()
    assert "a" not in stages.sessions.by_client and kinds(root) == [("log", 1), ("log", 2), ("exit", 0)]


def test_a_client_that_never_unlocks_its_window_is_detached_without_it(
    root: Path, owned: tuple[Stages, OwnerLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    stages, _ = owned
    monkeypatch.setattr("sidecar.pipeline.sessions._UNLOCK_SECONDS", 0.0)
    session, _ = stages.attach("run", "a")
    session.window = root / "elsewhere" / "a"
    stages.handler.process(message(log("run", "a", 1)))
    stages.sessions.detach(session)
    stages.step()
    assert kinds(root) == [("log", 1), ("exit", 0)] and session.window.exists()
