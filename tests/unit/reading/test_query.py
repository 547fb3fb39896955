"""The query line: what it means, what it says of mistakes, and that nothing else is ever raised."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.reading.test_filters import RUNS, a_run
from tracker.errors import FilterError, QueryError
from tracker.reading import patterns
from tracker.reading.completion import complete
from tracker.reading.filters import FIELDS, Filter
from tracker.reading.query import MAX_DEPTH, parse_query, quote, select, write_query


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("", {}),
        ("summary.loss<0.1", {"summary.loss": {"$lt": 0.1}}),
        ("name=run (2)", {"name": {"$eq": "run (2)"}}),
        ("name~(a|b)", {"name": {"$regex": "(a|b)"}}),
        ("name = a=b", {"name": {"$eq": "a=b"}}),
        ("notes=salt and pepper", {"notes": {"$eq": "salt and pepper"}}),
        ("notes=it's", {"notes": {"$eq": "it's"}}),
        ("group=", {"group": {"$eq": ""}}),
        ("my key=3", {"my key": {"$eq": 3}}),
        ("id=12345", {"id": {"$eq": "12345"}}),
        ('name="12"', {"name": {"$eq": "12"}}),
        ("start_time>2026-05-01 12:00", {"start_time": {"$gt": "2026-05-01 12:00"}}),
        ("a=1 && b=2", {"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}),
        ("a=1 AND b=2", {"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}),
    ],
)
def test_conditions_of_the_command_line(text: str, filters: dict[str, Any]) -> None:
    assert parse_query(text) == filters


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("lr >= 1e-3", {"lr": {"$gte": 0.001}}),
        ("a=1 or b=2 and c=3", {"$or": [{"a": {"$eq": 1}}, {"$and": [{"b": {"$eq": 2}}, {"c": {"$eq": 3}}]}]}),
        ("(a=1 or b=2) and c=3", {"$and": [{"$or": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}, {"c": {"$eq": 3}}]}),
        ("not a=1", {"$not": {"a": {"$eq": 1}}}),
        ("!(tags has baseline)", {"$not": {"tags": {"$contains": "baseline"}}}),
        ("(name=run (2) or lr=1)", {"$or": [{"name": {"$eq": "run (2)"}}, {"lr": {"$eq": 1}}]}),
        ('tags in [a, "b c"]', {"tags": {"$in": ["a", "b c"]}}),
        ("lr not in (1, 2.5)", {"$not": {"lr": {"$in": [1, 2.5]}}}),
        ("config.lr exists", {"config.lr": {"$exists": True}}),
        ("config.lr not exists and x", {"$and": [{"$not": {"config.lr": {"$exists": True}}}, {"$search": "x"}]}),
        ('name matches "^a b" and x', {"$and": [{"name": {"$regex": "^a b"}}, {"$search": "x"}]}),
        ("name !~ ^a", {"$not": {"name": {"$regex": "^a"}}}),
        ("config.`my key` == 'a and b'", {"config.my key": {"$eq": "a and b"}}),
        ('"odd (key)" > 3', {"odd (key)": {"$gt": 3}}),
        (r'name = "say \"hi\""', {"name": {"$eq": 'say "hi"'}}),
        ("baseline sgd", {"$and": [{"$search": "baseline"}, {"$search": "sgd"}]}),
        ('"two words"', {"$search": "two words"}),
        ("lr>0.1 baseline", {"$and": [{"lr": {"$gt": 0.1}}, {"$search": "baseline"}]}),
        ("lr=0.1 and baseline", {"$and": [{"lr": {"$eq": 0.1}}, {"$search": "baseline"}]}),
        ("state = finished or baseline", {"$or": [{"state": {"$eq": "finished"}}, {"$search": "baseline"}]}),
        ("salt and pepper", {"$and": [{"$search": "salt"}, {"$search": "pepper"}]}),
        ("what in paris", {"$and": [{"$search": "what"}, {"$search": "in"}, {"$search": "paris"}]}),
    ],
)
def test_what_a_line_means(text: str, filters: dict[str, Any]) -> None:
    assert parse_query(text) == filters


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr > 0.1 and not loss == 1", "b"),
        ("lr in [0.1, 0.3]", "a 12345"),
        ("opt.name exists", "12345"),
        ("not config.opt exists", "a b"),
        ("version = 1.1 or n > 3", "a b"),
        ("duration >= 1h30m", "a 12345"),
        ("duration < 90 min", "b"),
        ("duration > 5400", "12345"),
        ("tags has best", "a"),
        ("tags != best", "b 12345"),
        ("name has CALM", "b"),
        ("note", "12345"),
        ("BEST dune or 345", "12345"),
        ("loss = nan", "b"),
        ("loss != nan", "a 12345"),
    ],
)
def test_what_a_line_selects(text: str, expected: str) -> None:
    runs = [
        a_run("a", config={"lr": 0.1, "version": "1.10"}, summary={"loss": 3}, tags=["best"], duration=5400.0),
        a_run("b", config={"lr": 0.2, "n": "12"}, summary={"loss": float("nan")}, name="calm-dune", duration=1.0),
        a_run("12345", config={"lr": 0.3, "opt": {"name": "sgd"}}, summary={"loss": 1}, notes="A note", duration=9e9),
    ]
    assert " ".join(run.id for run in select(text, runs)) == expected


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("lr >", 4, "a value is missing after '>'"),
        ("lr > and x", 5, "a value is missing after '>'"),
        ("a=1 or", 6, "a condition is missing after 'or'"),
        ("a=1 and", 7, "a condition is missing after 'and'"),
        ("not", 3, "a condition is missing after 'not'"),
        ("and x", 0, "a condition is missing before 'and'"),
        ("x or or y", 5, "a condition is missing before 'or'"),
        ("(x", 0, r"the '\(' is not closed"),
        ("x (", 3, r"a condition is missing after '\('"),
        ("()", 1, "a condition is missing between the parentheses"),
        ("(x))", 3, r"unexpected '\)'"),
        ('name = "x', 7, 'the quote " is not closed'),
        ("tags in [a", 8, r"the '\[' is not closed"),
        ("tags in []", 9, "a value is missing in the list"),
        ('tags in ["a" b]', 13, "a comma is missing in the list"),
        ("x and state", 6, "'state' is not a condition|'x and state' is not a condition"),
        ("x and =3", 6, "is not a condition: a field is missing before '='"),
        ("x and state = done", 6, "no state 'done'; states are running"),
        ("x and step > many", 6, "step is a number, not 'many'"),
        ("x and start_time > soon", 6, "start_time is a time, not 'soon'"),
        ("x and duration > soon", 6, "duration is a length of time, not 'soon'; give seconds, or a time such as 90s"),
        ("name ~ (", 0, r"'\(' is not a valid regular expression: missing \)"),
        ("x and los > 1", 6, "no field 'los', .*did you mean loss"),
        ("sgd lr > 1", 0, "no field 'sgd lr'.*To search for 'sgd' as well, write: sgd and lr"),
        ("opt.name < 3", 0, "config.opt.name is text, such as 'sgd', and cannot be compared with 3"),
    ],
)
def test_mistakes_have_a_place_and_say_what_would_be_right(text: str, position: int, message: str) -> None:
    with pytest.raises(QueryError, match=message) as error:
        select(text, RUNS)
    assert error.value.position == position


def test_names_are_checked_where_the_columns_are_known() -> None:
    columns = ["config.lr", "config.opt.name", "summary.val.acc", "summary.loss"]
    for text in (
        "config.lr > 1",
        "val.acc > 1",
        "lr > 1",
        "config.opt exists",
        "state = failed",
        "summary_metrics.loss<1",
    ):
        assert parse_query(text, columns) == parse_query(text)
    with pytest.raises(QueryError, match=r"no run has 'config.lrr'; did you mean config.lr\?") as error:
        parse_query("x and config.lrr > 1", columns)
    assert error.value.position == 6


def test_depth_and_length_are_limited() -> None:
    assert parse_query("(" * MAX_DEPTH + "x" + ")" * MAX_DEPTH) == {"$search": "x"}
    with pytest.raises(QueryError, match="at most 30"):
        parse_query("(" * 2000 + "x" + ")" * 2000)
    with pytest.raises(QueryError, match="at most 30"):
        parse_query("not " * 2000 + "x")
    with pytest.raises(QueryError, match="at most 10,000 characters"):
        parse_query("x" * 10_001)


WORDS = """and or not && || ! ( ) [ ] , = == != < <= > >= ~ =~ !~ in has contains matches exists lr config.lr state name
tags finished running 0.1 1e-3 nan 7d 1h30m baseline " ' ` \\ "a 'c' `d e` true x.y - . é"""
words = st.sampled_from([*WORDS.split(), "", "\t", "\0"])
lines = st.one_of(
    st.lists(words, max_size=14).map(" ".join), st.lists(words, max_size=14).map("".join), st.text(max_size=40)
)


@given(lines)
def test_nothing_but_a_query_error_is_raised(text: str) -> None:
    try:
        query = parse_query(text)
    except QueryError as error:
        assert 0 <= error.position <= len(text) and str(error)
        return
    try:
        select(text, RUNS)
    except QueryError:
        return
    again = parse_query(write_query(query))
    assert [run.id for run in Filter(again).select(RUNS)] == [run.id for run in Filter(query).select(RUNS)]


@given(lines, st.integers(-5, 60))
def test_completion_never_raises(text: str, position: int) -> None:
    columns: dict[str, list[Any]] = {
        "state": ["finished"],
        "config.lr": [0.1, 0.3],
        "tags": ["baseline", "a b"],
        "odd key": [],
    }
    for one in complete(text, position, columns):
        assert 0 <= one.start <= one.end <= len(text) and one.text


names = st.one_of(
    st.sampled_from(["lr", "config.opt.name", "odd key", "and", "a(b)", "é"]), st.text(min_size=1, max_size=8)
)
plain = st.one_of(st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False), st.text(max_size=12))
condition = st.one_of(
    st.builds(lambda f, o, v: {f"config.{f}": {o: v}}, names, st.sampled_from(["$eq", "$ne", "$contains"]), plain),
    st.builds(lambda f, v: {f"config.{f}": {"$in": v}}, names, st.lists(plain, min_size=1, max_size=3)),
    st.builds(lambda f: {f"config.{f}": {"$exists": True}}, names),
    st.builds(lambda text: {"$search": text}, st.text(max_size=8)),
)
filters_of_queries = st.recursive(
    condition,
    lambda inner: st.one_of(
        st.builds(lambda one: {"$not": one}, inner),
        st.builds(
            lambda o, parts: {o: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=2, max_size=3)
        ),
    ),
    max_leaves=6,
)


@given(filters_of_queries)
def test_what_is_written_is_read_as_the_same(filters: dict[str, Any]) -> None:
    assert parse_query(write_query(filters)) == filters


@given(st.text(max_size=20))
def test_quotes(text: str) -> None:
    assert parse_query(f"name = {quote(text)}") == {"name": {"$eq": text}}


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(a+)+$", "a" * 40 + "b"), ("(a|a)*c", "a" * 40), ("(a|aa)+$", "a" * 60 + "b"), ("a?" * 40 + "a" * 40, "a" * 40)],
)
def test_a_pattern_that_would_take_for_ever_is_an_error(
    monkeypatch: pytest.MonkeyPatch, pattern: str, text: str
) -> None:
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.3)
    with pytest.raises(QueryError, match=r"takes longer than 0.3 s; use fewer repetitions"):
        select(f"name =~ {quote(pattern)}", [a_run("a", name=text)])


def test_patterns_that_are_matched_elsewhere_give_the_same_answers() -> None:
    runs = [a_run(name) for name in ("a-b-1", "a-b-", "x", "aa-1")]
    expected = {r"^(\w+-)+\d$": "a-b-1 aa-1", r"(.)\1": "aa-1", "^[(+*]*(x)$": "x", "colou?r|x": "x"}
    for pattern, ids in expected.items():
        assert " ".join(run.id for run in select(f"id ~ {pattern}", runs)) == ids
    with pytest.raises(FilterError, match="3 is not a valid regular expression"):
        Filter({"name": {"$regex": 3}})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["id", "name"]),
        ("st", ["state", "step", "start_time"]),
        ("lr", ["config.lr"]),
        ("x and (val", ["summary.val.acc"]),
        ("not odd", ["`odd key`"]),
        ("lr ", ["==", "!="]),
        ("state = f", ["finished", "failed"]),
        ('state == "f', ["finished", "failed"]),
        ("tags has b", ["baseline"]),
        ("tags in [baseline, ", ["baseline", '"a b"']),
        ("config.lr > ", ["0.1", "0.3"]),
        ("state = finished ", ["and", "or"]),
        ("state = finished and sta", ["state", "start_time"]),
        ("(state = finished) a", ["and"]),
    ],
)
def test_completion(text: str, expected: list[str]) -> None:
    columns: dict[str, list[Any]] = {field: [] for field in FIELDS}
    columns |= {"tags": ["baseline", "a b"], "config.lr": [0.1, 0.3], "summary.val.acc": [], "odd key": []}
    found = complete(text, len(text), columns)
    assert [one.text for one in found][: len(expected)] == expected
    assert all(one.end == len(text) for one in found)
