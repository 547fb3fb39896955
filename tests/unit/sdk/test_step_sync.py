"""Step metrics that are repeated in rows that lack them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sidecar.protocol.limits import MAX_KEYS
from sidecar.protocol.patterns import resolve
from tracker.sdk import step_sync
from tracker.sdk.step_sync import StepSync


def filled(sync: StepSync, **row: Any) -> dict[str, Any]:
    sync.fill(row)
    return row


def test_without_definitions_nothing_is_added() -> None:
    sync = StepSync()
    assert filled(sync, loss=1.0) == {"loss": 1.0} and not sync.concerns("loss")


def test_the_last_value_is_repeated_in_rows_that_lack_it() -> None:
    sync = StepSync()
    sync.define("val.*", "epoch", True)
    assert filled(sync, **{"val.acc": 0.1}) == {"val.acc": 0.1}, "there is no value yet"
    assert filled(sync, epoch=1) == {"epoch": 1}
    assert filled(sync, **{"val.acc": 0.2}) == {"val.acc": 0.2, "epoch": 1}
    assert filled(sync, loss=3.0) == {"loss": 3.0}, "it is not drawn over epochs"
    assert filled(sync, **{"val.acc": 0.3, "epoch": 2}) == {"val.acc": 0.3, "epoch": 2}
    assert filled(sync, **{"val.acc": 0.4}) == {"val.acc": 0.4, "epoch": 2}
    assert [key for key in ("val.acc", "epoch", "loss", "val") if sync.concerns(key)] == ["val.acc", "epoch"]


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [("acc[0]", "acc[0]", True), ("acc[0]", "acc0", False), ("acc?", "acc1", False), ("*.acc", "val.acc", True)],
)
def test_patterns_are_those_of_the_sidecar(pattern: str, key: str, fits: bool) -> None:
    sync = StepSync()
    sync.define(pattern, "epoch", True)
    sync.fill({"epoch": 7})
    assert filled(sync, **{key: 1}) == ({key: 1, "epoch": 7} if fits else {key: 1})


def test_the_narrower_definition_decides_and_what_it_leaves_open_the_wider_one() -> None:
    sync = StepSync()
    sync.define("*", "epoch", True)
    sync.define("batch.*", "batch", True)
    sync.define("batch.raw", None, False)
    sync.define("loss", None, None)
    sync.fill({"epoch": 1, "batch": 2})
    assert filled(sync, acc=1) == {"acc": 1, "epoch": 1}
    assert filled(sync, **{"batch.loss": 1}) == {"batch.loss": 1, "batch": 2}
    assert filled(sync, **{"batch.raw": 1}) == {"batch.raw": 1}
    assert filled(sync, loss=1) == {"loss": 1, "epoch": 1}
    assert filled(sync, epoch=2) == {"epoch": 2}, "a step metric is not drawn over itself"


def test_a_later_definition_of_the_same_metric_counts() -> None:
    sync = StepSync()
    sync.define("loss", "epoch", True)
    sync.fill({"epoch": 1})
    assert sync.concerns("loss")
    sync.define("loss", "epoch", False)
    assert not sync.concerns("loss") and filled(sync, loss=1) == {"loss": 1}


def test_of_two_patterns_that_fit_as_well_the_later_definition_decides() -> None:
    sync = StepSync()
    sync.define("a*", "epoch", True)
    sync.define("*b", "batch", True)
    sync.fill({"epoch": 1, "batch": 2})
    assert filled(sync, ab=1) == {"ab": 1, "batch": 2}
    sync.define("a*", "epoch", True)
    assert filled(sync, ab=1) == {"ab": 1, "epoch": 1}


def test_a_definition_by_another_thread_in_the_middle_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    sync = StepSync()
    sync.define("val.*", "epoch", True)
    sync.fill({"epoch": 1})

    def resolve_slowly(definitions: Any, key: str) -> dict[str, Any]:
        monkeypatch.setattr(step_sync, "resolve", resolve)

        class Definitions(dict[str, Any]):
            def __iter__(self) -> Iterator[str]:
                for pattern in definitions:
                    yield pattern
                    if pattern == "val.*":
                        sync.define("loss", "epoch", True)

        return resolve(Definitions(definitions), key)

    monkeypatch.setattr(step_sync, "resolve", resolve_slowly)
    assert filled(sync, loss=1) == {"loss": 1}, "the definition is a moment late"
    assert sync.concerns("loss") and filled(sync, loss=2) == {"loss": 2, "epoch": 1}


def test_a_row_does_not_grow_over_what_a_record_may_have() -> None:
    sync = StepSync()
    sync.define("*", "epoch", True)
    sync.fill({"epoch": 1})
    full = {str(key): 1 for key in range(MAX_KEYS)}
    assert filled(sync, **full) == full
    full.popitem()
    assert filled(sync, **full) == {**full, "epoch": 1}
