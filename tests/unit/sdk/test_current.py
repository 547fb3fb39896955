"""The current run of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tracker.sdk import current
from tracker.sdk.disabled import DisabledLifecycle
from tracker.sdk.exits import Exit
from tracker.settings import Settings

FINISHED = Exit("finished", exit_code=0)


class Recording(DisabledLifecycle):
    """A lifecycle that counts as recording."""

    records = True


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(current, "_entries", [])
    yield


def entered(run: str, kind: type[DisabledLifecycle] = Recording) -> DisabledLifecycle:
    lifecycle = kind(Settings(run_id=run, dir=Path("root")))
    current.enter(run, lifecycle)
    return lifecycle


def test_the_newest_running_run_is_the_current_one() -> None:
    assert current.get() is None and current.latest() is None and current.recording() is None
    first, second = entered("first"), entered("second")
    assert current.get() == current.latest() == "second"
    assert current.lifecycles() == [first, second]
    second.end(FINISHED)
    assert current.get() == current.latest() == "first" and current.lifecycles() == [first]
    first.end(FINISHED)
    assert current.get() is None and current.lifecycles() == []
    assert current.latest() == "second", "the last to have been started says that it has ended"


def test_entering_again_makes_it_the_current_one_and_forgets_the_ended() -> None:
    first, second, third = entered("first"), entered("second"), entered("third")
    second.end(FINISHED)
    current.enter("first", first)
    assert current.get() == "first" and current.lifecycles() == [third, first]
    first.end(FINISHED)
    third.end(FINISHED)
    assert current.latest() == "first"


def test_a_disabled_run_is_current_and_does_not_count_as_recording() -> None:
    first = entered("first")
    entered("disabled", DisabledLifecycle)
    assert current.get() == "disabled" and current.recording() == ("first", first)


def test_a_run_that_is_ending_is_not_current_but_has_a_lifecycle_until_it_has_ended() -> None:
    lifecycle = entered("first")
    lifecycle.state, lifecycle.phase = "failed", "ending"
    assert current.get() is None and current.recording() is None and current.lifecycles() == [lifecycle]


def test_leaving() -> None:
    first, second = entered("first"), entered("second")
    current.leave(second)
    assert current.get() == "first" and current.lifecycles() == [first]
    current.leave(second)
