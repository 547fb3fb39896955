"""What `Run.log` makes rows of: the values and types that were logged are those that are stored, whatever is around."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.limits import MAX_SCHEMAS
from sidecar.protocol.segments import read_window
from tests.support import exact
from tests.unit.sdk.interfaces import Sidecar, StubInterface
from tracker.sdk import values as values_module
from tracker.sdk.lifecycle import AttachedLifecycle
from tracker.sdk.run import Run
from tracker.settings import Settings

function_scoped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

Metrics = list[tuple[int, dict[str, Any]]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    yield from opened(monkeypatch, tmp_path, strict=False)


@pytest.fixture
def strict_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    yield from opened(monkeypatch, tmp_path, strict=True)


def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, strict: bool) -> Iterator[Run]:
    monkeypatch.setattr("tracker.transport.interface.Interface", StubInterface)
    sidecar = Sidecar()
    process: Any = sidecar
    complete = Settings(dir=tmp_path, silent=True, finish_timeout=0.2, strict=strict)
    lifecycle = AttachedLifecycle(process, complete, "run", "a name", tmp_path / "runs" / "run")
    attached = lifecycle.open(None, Deadline(1.0))
    yield Run(lifecycle, attached.state, resumed=attached.resumed)
    sidecar.close()


def logged(run: Run) -> Metrics:
    """Return step and metrics of each ``log`` record in the window, and release them."""
    records = [one for framed in read_window(run._window.directory, run._window.acked) for one in framed.records]
    run._window.release(run._window.seq)
    return [(record.body["step"], record.body["data"]) for record in records if record.kind == "log"]


class Tensor:
    """A tensor of some library, with one element."""

    shape = (1,)

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        return self._value


class Count(int):
    """A subclass of a plain type."""


VALUES = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.text(max_size=3),
    st.none(),
    st.builds(Tensor, st.one_of(st.floats(), st.integers(-9, 9), st.booleans())),
    st.builds(Count, st.integers(-9, 9)),
    st.just(Decimal("0.5")),
    st.just(Fraction(1, 4)),
)


@function_scoped
@given(calls=st.lists(st.dictionaries(st.sampled_from(["a", "b", "c.d", "é"]), VALUES, max_size=4), max_size=30))
def test_what_is_read_is_what_was_logged_by_value_and_type(run: Run, calls: list[dict[str, Any]]) -> None:
    first = run.step
    for data in calls:
        run.log(data)
    expected = [(first + place, values_module.metrics(data)) for place, data in enumerate(calls)]
    assert exact(logged(run)) == exact(expected)


def test_one_key_with_values_of_every_type(run: Run) -> None:
    given = [1.5, 2, True, "text", 2**63 - 1, 2**63, -(2**63), False, float("nan"), float("-inf"), 3]
    for value in given * 2:
        run.log({"x": value})
    assert exact([data["x"] for _, data in logged(run)]) == exact(given * 2)
    step = run.step
    run.log({"x": 2**64})
    assert logged(run) == [(step, {})] and run.losses.counts() == {"invalid value": 1}, "the rest is recorded"


def test_a_strict_run_records_nothing_of_a_call_with_an_integer_that_is_too_large(strict_run: Run) -> None:
    strict_run.log({"x": 1, "y": 1})
    assert len(logged(strict_run)) == 1
    with pytest.raises(ValueError, match="'x' is an integer of 65 bits"):
        strict_run.log({"x": 2**64, "y": 1})
    assert logged(strict_run) == [] and strict_run.step == 1, "nothing of the call is recorded"


def test_step_metrics_are_filled_in_from_a_definition_on(run: Run) -> None:
    for step in range(3):
        run.log({"acc": 0.5, "loss": float(step)})
    run.define_metric("acc", step_metric="epoch")
    run.log({"epoch": 7})
    run.log({"acc": 0.5, "loss": 3.0})
    run.define_metric("acc", step_metric="epoch", step_sync=False)
    run.log({"acc": 0.5, "loss": 4.0})
    found = [data for _, data in logged(run)]
    assert [set(data) for data in found] == [
        *[{"acc", "loss"}] * 3,
        {"epoch"},
        {"acc", "loss", "epoch"},
        {"acc", "loss"},
    ]


@pytest.mark.parametrize("before", [False, True])
def test_a_definition_in_the_middle_of_a_call_holds_from_the_next_call_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Another thread defines while `log` prepares a key set; `before` says whether types were known before."""
    if before:
        run.log({"acc": 1})
        run.log({"acc": 0.5})
    original = run._sync.fill

    def fill(row: dict[str, Any]) -> None:
        original(row)
        monkeypatch.setattr(run._sync, "fill", original)
        run.define_metric("acc", step_metric="epoch")

    monkeypatch.setattr(run._sync, "fill", fill)
    run.log({"acc": "text"} if before else {"acc": 0.5})
    run.log({"epoch": 7})
    logged(run)
    for value in (0.5, 1, 0.5):
        run.log({"acc": value})
    assert [data for _, data in logged(run)] == [{"acc": value, "epoch": 7} for value in (0.5, 1, 0.5)]


def test_a_dict_that_another_thread_changes_is_logged_as_it_was_at_one_moment(run: Run) -> None:
    """The change is made when `log` has looked at the dict, and waits for the window."""
    data: dict[str, float] = {"a": 1.0}
    run.log(data)
    run.log({"b": 2.0})
    logged(run)
    lock = run._window.lock

    class ChangingLock:
        def __enter__(self) -> None:
            lock.acquire()
            data.clear()
            data["b"] = 2.0

        def __exit__(self, *error: object) -> None:
            lock.release()

    run._window.lock = ChangingLock()
    run.log(data)
    run._window.lock = lock
    assert [one for _, one in logged(run)] == [{"a": 1.0}]


def test_any_number_of_key_sets_is_logged_with_a_bounded_number_of_schemas(run: Run) -> None:
    def key_set(number: int) -> dict[str, float]:
        return {f"k{bit}": 1.0 for bit in range(14) if number >> bit & 1}

    for number in range(1, 2000):
        run.log(key_set(number))
    logged(run)
    tracemalloc.start()
    for number in range(2000, 12_000):
        run.log(key_set(number))
    growth = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [data for _, data in logged(run)] == [key_set(number) for number in range(2000, 12_000)]
    assert len(run._window.schemas()) == MAX_SCHEMAS and growth < 1 << 20
