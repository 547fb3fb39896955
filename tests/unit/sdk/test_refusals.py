"""What `Run.log` cannot use: it never raises, the rest is recorded, and each refusal is counted and said once."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.limits import MAX_KEYS
from sidecar.protocol.segments import read_window
from tests.unit.sdk.interfaces import Sidecar, StubInterface
from tracker.media.base import Media
from tracker.sdk.lifecycle import AttachedLifecycle
from tracker.sdk.run import Run
from tracker.settings import Settings


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Run]:
    caplog.set_level(logging.WARNING, "tracker")
    monkeypatch.setattr(logging.getLogger("tracker"), "propagate", True)
    monkeypatch.setattr("tracker.transport.interface.Interface", StubInterface)
    sidecar = Sidecar()
    process: Any = sidecar
    complete = Settings(dir=tmp_path, silent=True, finish_timeout=0.2)
    lifecycle = AttachedLifecycle(process, complete, "run", "a name", tmp_path / "runs" / "run")
    attached = lifecycle.open(None, Deadline(1.0))
    yield Run(lifecycle, attached.state, resumed=attached.resumed)
    sidecar.close()


def logged(run: Run) -> list[tuple[int, dict[str, Any]]]:
    """Return step and metrics of each ``log`` record in the window, and release them."""
    records = [one for framed in read_window(run._window.directory, run._window.acked) for one in framed.records]
    run._window.release(run._window.seq)
    run._window.prepare()  # unmaps what is complete
    return [(record.body["step"], record.body["data"]) for record in records if record.kind == "log"]


class Hostile:
    """Raises from everything."""

    def fail(self, *_: Any) -> Any:
        raise MemoryError("hostile")

    shape = property(fail)
    __repr__ = __str__ = __float__ = __index__ = __len__ = __iter__ = fail


class BrokenMapping(Mapping[str, Any]):
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("changed size during iteration")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)


class BrokenMedia(Media):
    type = "broken"

    def check(self) -> None:
        raise ZeroDivisionError

    def to_map(self) -> dict[str, Any]:
        return {}


class Unusable:
    """A key that cannot be shown."""

    def __repr__(self) -> str:
        raise ValueError


BAD = [Hostile(), BrokenMapping(), BrokenMedia(), [1], b"x", 1j, 2**64, -(2**64), "x" * 2**21, np.zeros(2), object()]


@pytest.mark.parametrize("value", BAD, ids=lambda value: type(value).__name__)
def test_the_rest_of_the_call_is_recorded(run: Run, caplog: pytest.LogCaptureFixture, value: Any) -> None:
    for _ in range(3):
        run.log({"good": 1.5, "bad": value, "deep": {"good": True, "bad": value}})
    good = {"good": 1.5, "deep.good": True}
    assert logged(run) == [(0, good), (1, good), (2, good)]
    assert run.losses.counts() == {"invalid value": 6}
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2 and "'bad'" in messages[0] and "'deep.bad'" in messages[1], messages


def test_a_key_that_cannot_be_used(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    for key in ("", "_step", "k" * 513, "\ud800", None, 1.5, (1, 2), b"x", Unusable()):
        caplog.clear()
        for _ in range(2):
            run.log({"good": 1, key: 2})  # type: ignore[dict-item]
        assert [data for _, data in logged(run)] == [{"good": 1}] * 2
        (record,) = caplog.records
        assert "key" in record.getMessage() and record.getMessage().count("it is left out") == 1
    assert run.losses.counts() == {"invalid key": 18}


def test_a_key_that_is_there_twice_keeps_its_first_value(run: Run) -> None:
    run.log({1: 1.0, "1": 2.0, "a.b": 3, "a": {"b": 4}})  # type: ignore[dict-item]
    assert logged(run) == [(0, {"1": 1.0, "a.b": 3})]
    assert run.losses.counts() == {"invalid key": 2}


@pytest.mark.parametrize("step", ["1", 1.5, math.nan, math.inf, 2**63, True, [1], Hostile(), np.zeros(2)])
def test_instead_of_a_step_that_cannot_be_used_the_runs_own_is(
    run: Run, caplog: pytest.LogCaptureFixture, step: Any
) -> None:
    run.log({"x": 1}, step=5)
    run.log({"x": 2})
    for value in (3, 4):
        run.log({"x": value}, step=step)
    run.log({"x": 5}, step=step, commit=False)
    assert logged(run) == [(5, {"x": 1}), (5, {"x": 2}), (6, {"x": 3}), (7, {"x": 4}), (8, {"x": 5})]
    assert run.losses.counts() == {"invalid step": 3}
    (record,) = caplog.records
    assert record.getMessage().startswith("step must be") and "the run's own step is used" in record.getMessage()


def test_what_is_not_a_dict_takes_a_step(run: Run) -> None:
    for data in (None, [1.0], 5, "text", Hostile(), BrokenMapping()):
        run.log(data)  # type: ignore[arg-type]
    run.log({"x": 1})
    assert logged(run) == [(step, {}) for step in range(6)] + [(6, {"x": 1})]
    assert run.losses.counts() == {"invalid value": 6}


def test_a_call_that_is_too_large_for_one_record_makes_several(run: Run) -> None:
    many = {f"k{number}": float(number) for number in range(2 * MAX_KEYS + 1)}
    run.log(many)
    large = {f"text{number}": "x" * 2**20 for number in range(20)}
    run.log(large)
    rows = logged(run)
    for step, metrics in ((0, many), (1, large)):
        parts = [data for at, data in rows if at == step]
        assert len(parts) > 1 and all(len(part) <= MAX_KEYS for part in parts)
        assert sum(map(len, parts)) == len(metrics)
        assert {key: value for part in parts for key, value in part.items()} == metrics
    assert run.step == 2 and run.losses.total() == 0


def test_after_many_keys_the_warnings_end(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        run.log({f"k{number}": []})
    assert len(caplog.records) == 101
    assert caplog.records[-1].getMessage().startswith("more than 100 metrics are not valid")
    assert run.losses.counts() == {"invalid value": 300}


def bad_value(index: int) -> Any:
    return BAD[index]


bad = st.builds(bad_value, st.integers(0, len(BAD) - 1))
scalars = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | bad
keys = st.text(max_size=3) | st.integers(-3, 3) | st.none() | st.floats() | st.sampled_from(["_step", "a.b"])
calls = st.recursive(scalars, lambda inner: st.dictionaries(keys, inner, max_size=4), max_leaves=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=calls, step=scalars, commit=st.none() | st.booleans())
def test_log_never_raises(run: Run, data: Any, step: Any, commit: Any) -> None:
    for _ in range(2):
        run.log(data, step=step, commit=commit)
    assert len(logged(run)) == 2
