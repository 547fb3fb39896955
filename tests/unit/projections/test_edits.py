"""Edits in the state of a run: precedence over the writers, undo, and what is stored of them."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.projections.edits import MAX_UNDO, MAX_UNDO_BYTES
from sidecar.projections.run_state import RunState
from sidecar.protocol.bodies import check_effect
from sidecar.protocol.checks import check
from sidecar.protocol.codec import pack
from sidecar.protocol.errors import RecordError
from sidecar.protocol.records import RELAY, Record


class Run:
    """A run's state; after each record it is also stored and read again, which must change nothing."""

    def __init__(self) -> None:
        self.state = RunState()
        self.seqs: dict[str, int] = {}
        self.time = 0.0

    def add(self, kind: str, client: str = "a", **body: Any) -> None:
        self.time += 1.0
        seq = self.seqs[client] = self.seqs.get(client, 0) + 1 if client else 0
        record = Record(kind, "r", client, seq, self.time, body)
        check(record)
        again = RunState.from_map(self.state.to_map())
        for state in (self.state, again):
            state.apply(record)
        assert again.to_map() == self.state.to_map()

    def edit(self, **body: Any) -> None:
        self.add("edit", "", **body)

    def __getitem__(self, key: str) -> Any:
        return self.state.to_map()[key]


@pytest.fixture
def run() -> Run:
    made = Run()
    made.add("run", name="first", tags=["x"], start_time=1.0)
    made.add("config", set={"lr": 0.1, "layers": 3})
    made.add("log", step=1, data={"loss": 1.0})
    return made


def test_an_edit_replaces_what_the_writers_said(run: Run) -> None:
    run.edit(name="mine", tags=["y", "z"], notes="n", group="g", job_type="j", config={"lr": 0.5}, summary={"best": 7})
    assert [run[key] for key in ("name", "tags", "notes", "group", "job_type")] == ["mine", ["y", "z"], "n", "g", "j"]
    assert run["config"] == {"lr": 0.5, "layers": 3} and run["summary"] == {"loss": 1.0, "best": 7}
    assert run.state.about["name"] == "mine" and run.state.summary.values["best"] == 7


def test_a_resumed_run_does_not_take_it_back_but_an_undo_shows_what_it_said(run: Run) -> None:
    run.add("exit", state="finished")
    run.edit(name="mine", config={"lr": 0.5}, summary={"loss": 0.0})
    run.add("run", "b", name="second")
    run.add("config", "b", set={"lr": 0.2}, delete=["layers"])
    run.add("log", "b", step=2, data={"loss": 2.0})
    assert (run["name"], run["config"], run["summary"]) == ("mine", {"lr": 0.5}, {"loss": 0.0})
    run.edit(undo=True)
    assert (run["name"], run["config"], run["summary"]) == ("second", {"lr": 0.2}, {"loss": 2.0})


def test_a_key_that_the_writers_remove_or_never_had(run: Run) -> None:
    run.edit(config={"lr": 0.5, "new": 1})
    run.add("config", delete=["lr"])
    assert run["config"] == {"layers": 3, "lr": 0.5, "new": 1}
    run.edit(undo=True)
    assert run["config"] == {"layers": 3}


def test_an_edited_summary_of_an_aggregated_metric(run: Run) -> None:
    run.add("define", metric="acc", summary=["max", "min"])
    run.add("log", step=2, data={"acc": 0.5})
    run.edit(summary={"acc.max": 0.9})
    run.add("log", step=3, data={"acc": 0.7})
    assert run["summary"]["acc.max"] == 0.9 and run["summary"]["acc.min"] == 0.5
    run.edit(undo=True)
    assert run["summary"]["acc.max"] == 0.7


def test_several_undos_go_back_one_by_one(run: Run) -> None:
    for name in ("one", "two", "three"):
        run.edit(name=name)
    names = []
    for _ in range(4):
        run.edit(undo=True)
        names.append(run["name"])
    assert names == ["two", "one", "first", "first"]
    run.edit(name="three")
    assert run["name"] == "three" and run["edits"]["undo"] == 1


def test_an_edit_that_changes_nothing_is_not_one_to_undo(run: Run) -> None:
    run.edit(name="mine")
    run.edit(name="mine")
    run.edit(undo=True)
    assert run["name"] == "first"


def test_an_edit_that_is_sent_again_is_applied_once(run: Run) -> None:
    run.edit(id="1", name="one")
    run.edit(id="2", name="two")
    run.edit(id="3", undo=True)
    run.edit(id="3", undo=True)
    run.edit(id="2", name="two")
    assert run["name"] == "one" and run["edits"]["undo"] == 1


def test_what_can_be_undone_is_bounded_in_number_and_size(run: Run) -> None:
    for number in range(3 * MAX_UNDO):
        run.edit(id=str(number), name=f"name {number}")
    assert run["edits"]["undo"] == MAX_UNDO
    size = len(pack(run["aggregates"]))
    for number in range(3 * MAX_UNDO):
        run.edit(notes=f"{number}" * 30_000)
    assert 1 <= run["edits"]["undo"] < MAX_UNDO
    assert len(pack(run["aggregates"])) < size + MAX_UNDO_BYTES + 2 * 60_000
    run.edit(notes="x" * 1_000_000)
    run.edit(notes="y")
    assert run["edits"]["undo"] == 1, "the last edit can be undone, whatever its size"
    run.edit(undo=True)
    assert run["notes"] == "x" * 1_000_000


def test_the_run_itself_does_not_move(run: Run) -> None:
    run.add("exit", state="finished", exit_code=0)
    kept = ("state", "exit_code", "start_time", "end_time", "last_time", "records", "points", "writers", "step")
    before = [run[key] for key in kept]
    run.edit(name="mine", deleted=True, by="ann")
    run.edit(undo=True)
    run.edit(color="#00ff7f", by="bob")
    assert [run[key] for key in kept] == before
    assert run["edits"] == {"fields": ["color"], "undo": 1, "time": run.time, "by": "bob"}


def test_an_edit_may_come_from_a_writer_and_uses_a_number(run: Run) -> None:
    run.add("edit", name="mine")
    assert run["name"] == "mine" and run["writers"]["a"]["seq"] == 4
    run.add("exit", state="finished")
    run.add("edit", name="late")
    assert (run["name"], run["state"], run["writers"]["a"]["seq"]) == ("late", "finished", 6)


def test_an_edit_that_a_relay_brings_does_not_move_the_run(run: Run) -> None:
    run.add("exit", state="finished")
    last = run["last_time"]
    run.time += 1000.0
    run.add("run", "relay", parent=RELAY)
    run.add("edit", "relay", name="mine")
    assert (run["name"], run["state"], run["last_time"]) == ("mine", "finished", last)
    assert run["writers"]["relay"]["seq"] == 2


def test_deleted_and_color(run: Run) -> None:
    assert (run["deleted"], run["color"]) == (False, None)
    run.edit(deleted=True, color="red")
    assert (run["deleted"], run["color"]) == (True, "red")
    run.edit(deleted=False)
    assert not run["deleted"]
    run.edit(undo=True)
    assert run["deleted"]


def test_a_state_that_was_stored_before_there_were_edits(run: Run) -> None:
    stored = run.state.to_map()
    del stored["aggregates"]["edits"], stored["aggregates"]["covered"], stored["edits"], stored["deleted"]
    state = RunState.from_map(stored)
    state.apply(Record("edit", "r", "", 0, 9.0, {"name": "mine"}))
    assert state.to_map()["name"] == "mine"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"name": ""}, "'name' must not be empty"),
        ({"name": None}, "name"),
        ({"tags": ["a", 1]}, "tags"),
        ({"color": "#FFF"}, "'color' must be '#rrggbb' or one of blue, .* not '#FFF'"),
        ({"config": ["lr"]}, "config"),
        ({"config": {1: 2}}, "must be a string|strings"),
        ({"deleted": "yes"}, "deleted"),
        ({"name": "x", "id": "x" * 65}, "at most 64 characters"),
    ],
)
def test_bad_bodies(body: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        check(Record("edit", "r", "", 0, 1.0, body))


@pytest.mark.parametrize("body", [{}, {"by": "ann"}, {"undo": False}, {"undo": True, "name": "x"}])
def test_bodies_without_one_effect(body: dict[str, Any]) -> None:
    check(Record("edit", "r", "", 0, 1.0, body))
    with pytest.raises(RecordError, match="an edit"):
        check_effect(body)
