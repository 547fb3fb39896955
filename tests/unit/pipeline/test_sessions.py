"""Sessions, stepped by hand: the events they emit, and clients that fall silent, return, or stay away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.pipeline.messages import Attached, Detached, Released, SinksChosen
from sidecar.pipeline.sessions import STALE_SECONDS
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.records import Record
from tests.support import ReadBack
from tests.unit.pipeline.stages import Stages, log, message
from tests.unit.pipeline.windows import write_orphan

MLFLOW = "mlflow+http://127.0.0.1:1"


@pytest.fixture
def stages(root: Path) -> Iterator[Stages]:
    made = Stages(root)
    yield made
    made.close()


def state_of(stages: Stages, run: str = "run") -> dict[str, object]:
    state: dict[str, object] = ReadBack(stages.root / "runs" / run).check().state
    return state


def step_past_silence(stages: Stages) -> None:
    """Let so much time pass without a record that unwatched clients are stale."""
    stages.later(STALE_SECONDS + 1.0)
    for _ in range(3):
        stages.step()


# -- events -----------------------------------------------------------------------------------------------------------


def test_the_events_of_a_session(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    run = session.run
    assert stages.events == [SinksChosen(run, ()), Attached(session)]
    stages.attach("run", "a", again=True)
    assert len(stages.events) == 2, "it was attached"
    stages.handler.process(message(log("run", "a", 1), Record("detach", "run", "a", 0, 1.0, {})))
    assert stages.events[2:] == [Detached(session)]
    stages.step()
    assert stages.events[3:] == [Released(run)]


@pytest.mark.parametrize("offline", [True, False])
def test_the_sinks_of_a_run(stages: Stages, offline: bool) -> None:
    session, _ = stages.attach("run", "a", sinks=[MLFLOW], offline=offline)
    chosen = [event for event in stages.events if isinstance(event, SinksChosen)]
    assert [[sink.text for sink in event.sinks] for event in chosen] == ([] if offline else [[MLFLOW]])
    assert session.run.directory.exists()


def test_a_client_that_cannot_be_answered_is_given_up(stages: Stages) -> None:
    session, _ = stages.attach("run", "a")
    stages.sessions.give_up(session)
    assert stages.events[-1] == Detached(session)
    stages.step()
    assert stages.sessions.drained()


# -- keys -------------------------------------------------------------------------------------------------------------


def test_records_count_only_with_the_key_that_their_client_attached_with(stages: Stages) -> None:
    request = Record("attach", "run", "a", 0, 1.0, {"protocol": 1})
    session = stages.sessions.attach(request, lambda session, state: None, "key of a")
    stages.handler.process(message(log("run", "a", 1)), "key of b")
    assert session.ledger.accepted == 0 and stages.intake.losses == {"refused: client": 1}
    stages.handler.process(message(log("run", "a", 1)), "key of a")
    assert session.ledger.accepted == 1
    with pytest.raises(RefusedError, match="another key"):
        stages.sessions.attach(request, lambda session, state: None, "key of b")


def test_fire_and_forget_needs_a_sidecar_without_keys(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "", 0)), "a key")
    assert stages.intake.losses == {"refused: run": 1} and stages.intake.records == 0


# -- silence ----------------------------------------------------------------------------------------------------------


def test_a_silent_client_that_cannot_be_watched_is_stale(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1)))
    stages.later(STALE_SECONDS - 10.0)
    stages.step()
    assert "a" in stages.sessions.by_client
    step_past_silence(stages)
    assert stages.sessions.by_client == {} and state_of(stages)["state"] == "crashed"


def test_a_silent_client_that_is_watched_is_not_stale(stages: Stages) -> None:
    stages.attach("run", "a", pid=1, place=machine_id())
    stages.attach("run", "b", pid=1, place="another machine")
    step_past_silence(stages)
    assert list(stages.sessions.by_client) == ["a"]


def test_while_no_records_are_read_no_client_is_stale(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.later(STALE_SECONDS + 1.0)
    stages.sessions.all_seen(stages.now)
    stages.step()
    assert "a" in stages.sessions.by_client


@pytest.mark.parametrize("body", [{"relay": True}, {"parent": "a parent"}])
def test_a_relay_or_a_forked_child_that_dies_gets_no_crash_record(stages: Stages, body: dict[str, object]) -> None:
    session, _ = stages.attach("run", "a", **body)
    stages.handler.process(message(log("run", "a", 1)))
    stages.sessions.detach(session)
    stages.step()
    stages.step()
    assert [record.kind for record in ReadBack(stages.root / "runs" / "run").log] == ["log"]


# -- clients of an earlier sidecar ------------------------------------------------------------------------------------


@pytest.fixture
def later(root: Path) -> Iterator[Stages]:
    """The sidecar after one that was stopped, whose client "a" had not ended."""
    earlier = Stages(root)
    earlier.attach("run", "a")
    earlier.handler.process(message(log("run", "a", 1), log("run", "a", 2)))
    earlier.handler.close(Deadline(5.0))
    earlier.step()
    made = Stages(root)
    made.sessions.reopen("run")
    yield made
    made.close()


def test_an_expected_client_that_attaches_continues(later: Stages) -> None:
    assert later.sessions.by_client["a"].ledger.expected
    later.handler.process(message(log("run", "a", 3)))
    assert later.intake.losses == {"refused: client": 1}, "it must attach first"
    session, answers = later.attach("run", "a", again=True)
    assert answers == [{}] and session.ledger.durable == 2
    later.handler.process(message(*(log("run", "a", seq) for seq in (2, 3, 4))))
    later.step()
    assert [record.seq for record in ReadBack(later.root / "runs" / "run").log] == [1, 2, 3, 4]


def test_an_expected_client_that_stays_away_gets_a_crash_record(later: Stages) -> None:
    later.step()
    assert "a" in later.sessions.by_client and state_of(later)["state"] == "running"
    step_past_silence(later)
    assert later.sessions.drained() and state_of(later)["state"] == "crashed"


def test_an_expected_client_that_is_refused_is_still_expected(later: Stages) -> None:
    later.sessions.reopen("run")
    with pytest.raises(RefusedError):
        later.attach("run", "a", resume="never")
    step_past_silence(later)
    assert later.sessions.drained() and state_of(later)["state"] == "crashed"


def test_a_run_with_an_expected_client_has_not_ended(later: Stages) -> None:
    session, _ = later.attach("run", "b")
    assert session.resumed and not session.run.ended


# -- crash records ----------------------------------------------------------------------------------------------------


def in_log(stages: Stages) -> list[tuple[str, str]]:
    return [(record.kind, record.client) for record in ReadBack(stages.root / "runs" / "run").log]


def exit_of(client: str, seq: int) -> Record:
    return Record("exit", "run", client, seq, 2.0, {"state": "finished"})


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("last", [log("run", "a", 3), log("run", "a", 3)._replace(body={})], ids=["valid", "refused"])
def test_a_client_that_dies_after_its_exit_and_another_record_has_crashed(
    stages: Stages, last: Record, framed: bool
) -> None:
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(log("run", "a", 1), exit_of("a", 2), last, framed=framed))
    stages.sessions.detach(session)
    stages.step()
    stages.step()
    assert in_log(stages)[-1] == ("exit", "")
    assert state_of(stages)["state"] == "crashed"


def test_a_client_that_ended_and_attaches_again_gets_no_crash_record(stages: Stages) -> None:
    stages.attach("run", "b")
    for again in (False, True):
        session, _ = stages.attach("run", "a", again=again, label="a")
        if not again:
            stages.handler.process(message(log("run", "a", 1), exit_of("a", 2)))
        stages.sessions.detach(session)
        stages.step()
    assert in_log(stages) == [("log", "a"), ("exit", "a")]


@pytest.mark.parametrize("ended", [True, False])
def test_a_window_that_holds_nothing_new_adds_no_crash_record(stages: Stages, ended: bool) -> None:
    records = [log("run", "a", 1), exit_of("a", 2) if ended else log("run", "a", 2)]
    stages.attach("run", "b")
    session, _ = stages.attach("run", "a", label="a")
    stages.handler.process(message(*records))
    stages.sessions.detach(session)
    stages.step()
    before = in_log(stages)
    window = write_orphan(session.run.directory / "windows" / "a", records, run="run")
    stages.sessions.detach(stages.sessions.by_client["b"])
    stages.step()
    stages.step()
    assert in_log(stages) == before and not window.exists()
