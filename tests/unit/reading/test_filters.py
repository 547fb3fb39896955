"""Filters and orders never answer wrongly in silence: times, texts, states, bare keys."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from tracker.errors import FilterError
from tracker.reading.filters import Filter, Order, is_text_field, resolve_field

NOON = datetime(2026, 11, 1, 12, 0).timestamp()
"""Noon, local time, of the first run's day."""


def a_run(id: str, **about: Any) -> Any:
    fields: dict[str, Any] = dict.fromkeys(("project", "group", "job_type", "notes", "exit_code", "end_time"))
    fields |= {"id": id, "name": id, "tags": [], "state": "finished", "step": 10, "config": {}, "summary": {}}
    return SimpleNamespace(**{**fields, "start_time": NOON, **about})


RUNS = [
    a_run("a", config={"lr": 0.1, "version": "1.10", "only": 1}, summary={"val.acc": 0.5, "loss": 3}, start_time=NOON),
    a_run("b", config={"lr": 0.2, "n": "12"}, summary={"val.acc": 0.9, "loss": 2}, start_time=NOON + 86_400),
    a_run("12345", config={"lr": 0.3, "opt": {"name": "sgd"}}, summary={"loss": 1}, start_time=NOON + 2 * 86_400),
]


def passing(filters: dict[str, Any], runs: Any = RUNS) -> str:
    return " ".join(run.id for run in Filter(filters).select(runs))


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"start_time": {"$gt": "2026-11-02"}}, "b 12345"),
        ({"created_at": {"$gt": "2026-01-01"}}, "a b 12345"),
        ({"created_at": {"$gte": "2026-11-02T12:00"}}, "b 12345"),
        ({"start_time": {"$gt": "2026-11-02 12:00:01"}}, "12345"),
        ({"start_time": {"$lt": date(2026, 11, 2)}}, "a"),
        ({"start_time": {"$lt": datetime.fromtimestamp(NOON + 1, timezone.utc).isoformat()}}, "a"),
        ({"start_time": {"$lt": datetime.fromtimestamp(NOON + 1, timezone.utc)}}, "a"),
        ({"start_time": {"$lt": datetime.fromtimestamp(NOON + 1, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}}, "a"),
        ({"start_time": "2026-11-02"}, "b"),
        ({"start_time": {"$ne": "2026-11-02"}}, "a 12345"),
        ({"start_time": {"$in": ["2026-11-01", date(2026, 11, 3)]}}, "a 12345"),
        ({"start_time": {"$gt": NOON}}, "b 12345"),
        ({"start_time": NOON}, "a"),
        ({"start_time": {"$gt": str(NOON)}}, "b 12345"),
        ({"end_time": None}, "a b 12345"),
        ({"end_time": {"$gt": "2026-01-01"}}, ""),
    ],
)
def test_times(filters: dict[str, Any], expected: str) -> None:
    assert passing(filters) == expected


def test_ages() -> None:
    now = time.time()
    runs = [a_run(str(hours), start_time=now - hours * 3600) for hours in (1, 13, 50, 24 * 8)]
    assert passing({"start_time": {"$gt": "12h"}}, runs) == "1"
    assert passing({"start_time": {"$gt": "7d"}}, runs) == "1 13 50"
    assert passing({"start_time": {"$lt": "1w"}}, runs) == "192"
    assert passing({"start_time": {"$lt": "90 min"}}, runs) == "13 50 192"


@pytest.mark.parametrize(
    "value", ["yesterday", "2026-13-01", "20261101", "", "1y", "2026", 2026, 20261101, True, [1], {"a": 1}]
)
def test_what_is_no_time_is_an_error(value: Any) -> None:
    with pytest.raises(FilterError, match=r"start_time is a time, not .*give a date"):
        Filter({"start_time": {"$gt": value}})


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"id": 12345}, "12345"),
        ({"id": {"$in": [12345, "a"]}}, "a 12345"),
        ({"name": {"$ne": 12345}}, "a b"),
        ({"step": "10"}, "a b 12345"),
        ({"step": {"$gt": "9"}}, "a b 12345"),
        ({"config.version": 1.1}, "a"),
        ({"config.version": "1.10"}, "a"),
        ({"config.n": {"$gt": 3}}, "b"),
        ({"config.lr": {"$gt": "0.15"}}, "b 12345"),
        ({"config.lr": {"$regex": r"^0\.[12]$"}}, "a b"),
        ({"config.lr": "fast"}, ""),
        ({"config.only": {"$gt": 0}}, "a"),
        ({"config.nobody": {"$gt": 0}}, ""),
    ],
)
def test_digits_and_text(filters: dict[str, Any], expected: str) -> None:
    assert passing(filters) == expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"summary.val.acc": {"$gt": "abc"}}, "summary.val.acc is a number, such as 0.9, and cannot be .* 'abc'"),
        ({"config.opt.name": {"$lt": 3}}, "config.opt.name is text, such as 'sgd', and cannot be compared with 3"),
        ({"config.opt": {"$lt": 3}}, "config.opt is a dict"),
        ({"summary.loss": {"$gt": "0.9 and config.lr=0.1"}}, "'0.9 and config.lr=0.1' is not a number; give several"),
        ({"step": "many"}, "step is a number, not 'many'"),
        ({"state": "done"}, "no state 'done'; states are running, finished, .*unreadable"),
        ({"state": "finnished"}, "did you mean 'finished'"),
        ({"state": {"$in": ["finished", "dead"]}}, "no state 'dead'"),
        ({"state": {"$ne": "over"}}, "no state 'over'"),
        ({"colour": 1}, "no field 'colour', and no key of a config or summary; Fields are id, .*config.<key>"),
        ({"los": 1}, "no field 'los', .*did you mean loss"),
        ({"stat": "finished"}, "did you mean state"),
        ({7: 1}, "a field must be a string, not 7"),
        ({"$or": [{"state": "done"}]}, "no state 'done'"),
    ],
)
def test_what_cannot_be_answered_is_an_error(filters: Any, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        Filter(filters).select(RUNS)


def test_states_may_be_matched_by_a_pattern() -> None:
    assert passing({"state": {"$regex": "^fin"}}) == "a b 12345"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"lr": {"$lt": 0.25}}, "a b"),
        ({"val.acc": {"$gt": 0.6}}, "b"),
        ({"opt.name": "sgd"}, "12345"),
        ({"loss": 1}, "12345"),
        ({"$or": [{"lr": 0.1}, {"loss": 1}]}, "a 12345"),
    ],
)
def test_bare_keys(filters: dict[str, Any], expected: str) -> None:
    assert passing(filters) == expected


def test_a_bare_key_of_both_is_an_error() -> None:
    runs = [a_run("a", config={"x": 1}), a_run("b", summary={"x": 2})]
    with pytest.raises(FilterError, match=r"'x' is in the config and in the summary; write config\.x or summary\.x"):
        passing({"x": 1}, runs)
    assert passing({"config.x": 1}, runs) == "a"


def test_a_field_comes_before_a_key_of_the_same_name() -> None:
    runs = [a_run("a", config={"name": "other"})]
    assert passing({"name": "a"}, runs) == "a"
    assert resolve_field("config.name", runs) == "config.name"


def test_no_runs_have_no_unknown_keys() -> None:
    assert passing({"anything": {"$gt": 1}}, []) == ""
    assert Order("-anything").sort([]) == []


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("-summary.val.acc", "b a 12345"),
        ("val.acc", "a b 12345"),
        ("-lr", "12345 b a"),
        ("+loss", "12345 b a"),
        ("-created_at", "12345 b a"),
    ],
)
def test_orders(order: str, expected: str) -> None:
    assert " ".join(run.id for run in Order(order).sort(RUNS)) == expected


@pytest.mark.parametrize("order", ["", "+", "-", None, 3])
def test_what_is_no_order_is_an_error(order: Any) -> None:
    with pytest.raises(FilterError, match="order must be a field such as"):
        Order(order)


def test_text_fields() -> None:
    assert is_text_field("id") and is_text_field("display_name") and is_text_field("state")
    assert not is_text_field("step") and not is_text_field("config.id") and not is_text_field("start_time")


def test_a_day_has_its_length_where_clocks_change() -> None:
    start = datetime(2026, 3, 29)
    runs = [a_run(str(hours), start_time=(start + timedelta(hours=hours)).timestamp()) for hours in (-1, 1, 23, 25)]
    assert passing({"start_time": "2026-03-29"}, runs) == "1 23"


def test_the_order_of_alternatives_does_not_matter() -> None:
    runs = [a_run("a", state="failed", config={"x": "auto"}), a_run("b", config={"x": 1}), a_run("c")]
    alternatives: list[dict[str, Any]] = [{"state": "finished"}, {"config.x": {"$lt": 3}}]
    for parts in (alternatives, alternatives[::-1]):
        assert passing({"$or": parts}, runs) == "b c", "x can be compared, though not where the state was enough"
