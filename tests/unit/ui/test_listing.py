"""Rows of the runs that a query line describes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.unit.reading.test_filters import RUNS
from tracker.ui.errors import ApiError
from tracker.ui.listing import matching

ROWS: list[Any] = [cast(Any, SimpleNamespace(run=run)) for run in RUNS]


def found(query: str) -> str:
    return " ".join(row.run.id for row in matching(ROWS, query))


def test_rows_of_a_query() -> None:
    assert found("") == "a b 12345"
    assert found("lr > 0.1 and not loss == 1") == "b"
    assert found("234") == "12345"
    assert matching([], "lr > 0.1") == []


def test_a_query_that_cannot_be_answered_has_a_place() -> None:
    with pytest.raises(ApiError, match="did you mean loss") as error:
        found("state = finished and los > 1")
    assert (error.value.status, error.value.code, error.value.details) == (422, "query", {"position": 21})
