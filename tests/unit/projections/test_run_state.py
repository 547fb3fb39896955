"""RunState and SummaryAggregates: records in, the state of the run out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.projections.run_state import RunState
from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.patterns import matches, resolve
from sidecar.protocol.records import END_STATES, Record


def record(kind: str, client: str = "a", time: float = 1.0, seq: int = 1, **body: Any) -> Record:
    return Record(kind, "r1", client, seq, time, body)


def log(data: dict[str, Any], step: int = 0, client: str = "a", time: float = 1.0, seq: int = 1) -> Record:
    return record("log", client, time, seq, step=step, data=data)


def state_of(*records: Record) -> RunState:
    state = RunState()
    for one in records:
        state.apply(one)
    return state


def test_an_empty_state_survives_a_round_trip_as_plain_data() -> None:
    found = RunState().to_map()
    assert found["state"] == "running"
    assert found["tags"] == []
    assert RunState.from_map(found).to_map() == found
    assert RunState.from_map({}).to_map() == found


def test_later_attributes_replace_earlier_ones_except_the_start_time() -> None:
    state = state_of(
        record("run", time=5.0, project="p", name="n", tags=["x"], start_time=4.0, label="rank0", host="h", pid=7),
        record("run", "b", time=9.0, name="m", start_time=8.0, group=None),
    )
    found = state.to_map()
    assert (found["id"], found["project"], found["name"], found["tags"]) == ("r1", "p", "m", ["x"])
    assert (found["start_time"], found["last_time"]) == (4.0, 9.0)
    assert {key: found["writers"]["a"][key] for key in ("label", "name", "host", "pid", "parent")} == {
        "label": "rank0",
        "name": "rank0",
        "host": "h",
        "pid": 7,
        "parent": None,
    }


def test_without_a_start_time_the_first_record_sets_it() -> None:
    assert state_of(log({"x": 1.0}, time=3.0), log({"x": 1.0}, time=4.0)).to_map()["start_time"] == 3.0


def test_counts_steps_and_sequence_numbers() -> None:
    state = state_of(
        log({"x": 1.0, "y": 2}, step=-5, time=2.0, seq=3),
        log({"x": 1.0}, step=-9, client="b"),
        log({}, step=-7, time=7.0, seq=4),
        log({"z": "t"}, step=-6, client=""),
    )
    found = state.to_map()
    assert (found["records"], found["points"], found["step"]) == (4, 4, -5)
    assert set(found["writers"]) == {"a", "b"}
    assert (found["writers"]["a"]["step"], found["writers"]["a"]["last_time"], found["writers"]["a"]["seq"]) == (
        -5,
        7,
        4,
    )
    assert state.writers["b"].seq == 1


def test_config_and_summary_are_set_and_deleted_whole() -> None:
    state = state_of(
        record("config", set={"lr": 0.1, "net": {"a": 1, "b": 2}}),
        record("config", set={"net": {"a": 3}}, delete=["lr", "never"]),
        log({"best": 1.0, "loss": 2.0}),
        record("summary", set={"best": 9}, delete=["loss"]),
    )
    assert state.to_map()["config"] == {"net": {"a": 3}}
    assert state.to_map()["summary"] == {"best": 9}
    state.apply(log({"best": 0.5}))
    assert state.to_map()["summary"] == {"best": 0.5}


@pytest.mark.parametrize(
    ("options", "goal", "summary"),
    [
        (["last"], None, {"k": 2}),
        (["first"], None, {"k": 3.0}),
        (["min"], None, {"k": -1.5}),
        (["max"], None, {"k": 3.0}),
        (["mean"], None, {"k": (3.0 - 1.5 + 2) / 3}),
        (["best"], None, {"k": -1.5}),
        (["best"], "maximize", {"k": 3.0}),
        (["none"], None, {}),
        (["min", "none"], None, {}),
        (["min", "max", "last"], None, {"k.min": -1.5, "k.max": 3.0, "k.last": 2}),
        (["best", "mean"], "maximize", {"k.best": 3.0, "k.mean": (3.0 - 1.5 + 2) / 3}),
        ([], None, {"k": 2}),
        (["median"], None, {"k": 2}),
    ],
)
def test_summary_options(options: list[str], goal: str | None, summary: dict[str, Any]) -> None:
    state = state_of(record("define", metric="k", summary=options, goal=goal))
    for value in (3.0, math.nan, -1.5, 2):
        state.apply(log({"k": value, "other": value}))
    assert state.to_map()["summary"] == {**summary, "other": 2}


def test_any_number_replaces_nan_and_text_has_no_minimum() -> None:
    state = state_of(record("define", metric="*", summary=["min"]), log({"k": math.nan, "t": "text"}))
    assert math.isnan(state.to_map()["summary"]["k"])
    assert "t" not in state.to_map()["summary"]
    state.apply(log({"k": math.inf}))
    assert state.to_map()["summary"] == {"k": math.inf}


def test_the_mean_of_large_integers_is_plain_data() -> None:
    state = state_of(record("define", metric="k", summary=["mean"]), *(log({"k": 2**63 - 1}) for _ in range(3)))
    assert unpack(pack(state.to_map()))["summary"] == {"k": float(2**63 - 1)}


def test_the_next_logged_value_replaces_one_set_by_hand_if_several_aggregates_are_defined() -> None:
    state = state_of(log({"k": 1.0}), record("define", metric="k", summary=["min", "max"]))
    state.apply(record("summary", set={"k": "mine"}))
    assert state.to_map()["summary"] == {"k": "mine"}
    state.apply(log({"k": 4.0}))
    assert state.to_map()["summary"] == {"k.min": 4.0, "k.max": 4.0}


def test_the_exact_name_takes_precedence_then_the_longest_pattern() -> None:
    state = state_of(
        record("define", metric="*", summary=["max"], goal="maximize"),
        record("define", metric="val.*", step_metric="epoch", step_sync=True),
        record("define", metric="val.acc", summary=["min"]),
        record("define", metric="val.acc", goal=None),
    )
    assert state.definition("val.acc") == {
        "summary": ["min"],
        "goal": "maximize",
        "step_metric": "epoch",
        "step_sync": True,
    }
    assert state.definition("loss") == {"summary": ["max"], "goal": "maximize"}
    assert resolve({}, "loss") == {}


@pytest.mark.parametrize(
    ("pattern", "key", "fits"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("*", "", True),
        ("a*", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*", "abc", True),
        ("a*b*c", "a-c-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("a.*", "ab", False),
        ("[a]*", "a", False),
        ("*x*x*x*y", "x" * 500, False),
    ],
)
def test_patterns(pattern: str, key: str, fits: bool) -> None:
    assert matches(pattern, key) is fits


@given(st.text("ab*", max_size=6), st.text("ab", max_size=8))
def test_patterns_as_a_regular_expression_would(pattern: str, key: str) -> None:
    import re

    assert matches(pattern, key) == (re.fullmatch(pattern.replace("*", ".*"), key) is not None)


@pytest.mark.parametrize("state", END_STATES)
def test_a_single_writer_determines_how_the_run_ends(state: str) -> None:
    found = state_of(
        log({"x": 1.0}), record("exit", time=8.0, state=state, exit_code=3, signal=None, traceback="t", reason="r")
    ).to_map()
    assert (found["state"], found["exit_code"], found["traceback"], found["reason"]) == (state, 3, "t", "r")
    assert found["end_time"] == 8.0
    assert found["writers"]["a"]["state"] == state


def test_the_worst_of_several_writers_determines_the_end_once_all_have_ended() -> None:
    state = state_of(record("run", "a"), record("run", "b"), record("exit", "a", state="failed", exit_code=1))
    assert (state.state, state.end_time) == ("running", None)
    state.apply(record("exit", "b", state="finished", exit_code=0))
    assert (state.state, state.end["exit_code"]) == ("failed", 1)


def test_a_forked_child_never_affects_the_end() -> None:
    state = state_of(record("run", "a"), record("run", "kid", parent="a"), record("exit", "kid", state="failed"))
    assert state.state == "running"
    state.apply(record("exit", "a", time=5.0, state="finished"))
    assert (state.state, state.end_time) == ("finished", 5.0)
    state.apply(log({"x": 1.0}, client="kid", time=6.0))
    state.apply(record("run", "late", time=6.5, parent="a"))
    state.apply(record("exit", "kid", time=7.0, state="crashed"))
    assert (state.state, state.end_time) == ("finished", 5.0)


def test_a_resumed_run_is_running_and_only_its_last_session_determines_the_end() -> None:
    state = state_of(log({"x": 1.0}), record("exit", "sidecar", state="crashed", writer="a"))
    assert state.state == "crashed"
    assert set(state.writers) == {"a"}
    state.apply(record("run", "b", time=9.0))
    assert (state.state, state.end_time, state.writers["a"].state) == ("running", None, "crashed")
    state.apply(record("exit", "b", time=10.0, state="finished", exit_code=0))
    assert (state.state, state.end["exit_code"], state.end_time) == ("finished", 0, 10.0)


def test_a_writer_that_sends_records_after_its_exit_is_running() -> None:
    state = state_of(log({"x": 1.0}), record("exit", "", state="crashed", writer="a"), log({"x": 2.0}))
    assert (state.state, state.writers["a"].state) == ("running", "running")
    state.apply(record("exit", state="finished"))
    assert state.state == "finished"
    state.apply(record("exit", "", state="crashed", writer="a"))
    assert state.state == "finished"


def test_killed_after_preempting_is_preempted() -> None:
    state = state_of(record("preempting"), record("exit", "", state="crashed", writer="a"))
    assert state.state == "preempted"


def test_losses_are_the_sum_of_the_latest_counts_of_each_source() -> None:
    state = state_of(
        record("losses", "a", counts={"full": 3}, source="a"),
        record("losses", "a", counts={"full": 5, "size": 1}, source="a"),
        record("losses", "", counts={"full": 2}, source="sidecar"),
        record("losses", "s", counts={"gap": 2, "odd": "x"}, source="sidecar"),
    )
    found = state.to_map()
    assert found["losses"] == {"full": 7, "size": 1, "gap": 2}
    assert found["writers"]["a"]["losses"] == {"full": 5, "size": 1}
    assert set(found["writers"]) == {"a"}


def test_a_writer_has_no_name_if_it_is_the_only_one_also_after_a_resume() -> None:
    state = state_of(record("run", "a"), record("exit", "a", state="crashed"), record("run", "b"))
    assert [writer.name for writer in state.writers.values()] == [None, None]
    state.apply(record("run", "c"))
    state.apply(record("run", "d", parent="b"))
    state.apply(record("run", "e", label="rank1"))
    assert {client: writer.name for client, writer in state.writers.items()} == {
        "a": None,
        "b": None,
        "c": "c",
        "d": "d",
        "e": "rank1",
    }


def test_unknown_kinds_change_only_times_and_numbers() -> None:
    state = state_of(record("hologram", time=4.0, depth=3))
    assert (state.last_time, state.writers["a"].last_time, state.records) == (4.0, 4.0, 0)


clients = st.sampled_from(["a", "b", "kid", ""])
values = st.one_of(
    st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(max_size=3), st.just({"_type": "image"})
)
keys = st.sampled_from(["x", "y", "val.x"])
options = st.lists(st.sampled_from(["last", "min", "max", "mean", "best", "first", "none"]), max_size=3)
bodies = st.one_of(
    st.tuples(
        st.just("log"), st.fixed_dictionaries({"step": st.integers(-9, 9), "data": st.dictionaries(keys, values)})
    ),
    st.tuples(
        st.just("define"),
        st.fixed_dictionaries({"metric": st.sampled_from(["x", "*", "val.*"]), "summary": options}),
    ),
    st.tuples(st.just("summary"), st.fixed_dictionaries({"set": st.dictionaries(keys, values)})),
    st.tuples(st.just("run"), st.fixed_dictionaries({"parent": st.sampled_from([None, "a"]), "name": st.text()})),
    st.tuples(st.just("exit"), st.fixed_dictionaries({"state": st.sampled_from(END_STATES)})),
    st.tuples(st.just("exit"), st.fixed_dictionaries({"state": st.just("crashed"), "writer": clients})),
    st.tuples(st.just("preempting"), st.just({})),
)
records = st.builds(lambda client, body: Record(body[0], "r", client, 1, 2.0, body[1]), clients, bodies)


@given(st.lists(records, max_size=25), st.integers(0, 25))
def test_continuing_from_a_map_gives_the_same_state(all_records: list[Record], cut: int) -> None:
    whole = state_of(*all_records)
    part = RunState.from_map(unpack(pack(state_of(*all_records[:cut]).to_map())))
    for one in all_records[cut:]:
        part.apply(one)
    assert pack(part.to_map()) == pack(whole.to_map())
