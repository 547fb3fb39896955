"""The table of kinds and its projections: a new kind is a row, and a module of the projection's name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from sidecar.log.reader import Batch, LogReader
from sidecar.projections import registry
from sidecar.projections.rebuild import rebuild
from sidecar.projections.replay import EachBatch, records, replay
from sidecar.projections.run_state import RunState
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.sink import StoreSink
from sidecar.projections.store.writer import MAX_PENDING_BYTES
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import RecordError
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import LOG_NAME, STORE_NAME
from sidecar.protocol.records import KINDS, Body, Field, Kind, Record, kinds_of
from tests.unit.pipeline.stages import Stages, log, message
from tests.unit.run_builder import RunBuilder


class Stickers:
    """A projection in the run's directory: a file for each sticker."""

    def __init__(self, run_directory: Path) -> None:
        self._directory = run_directory / "stickers"
        self._end = 0

    def apply(self, batch: Batch) -> None:
        self._directory.mkdir(exist_ok=True)
        for record in batch.records:
            if record.kind == "sticker":
                (self._directory / f"{record.client}-{record.seq}").write_text(record.body["text"])
        self._end = batch.end

    def commit(self) -> int:
        return self._end


class Moods(registry.StatePart):
    """A part of the state: how often each mood came."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def apply(self, record: Record) -> None:
        self._counts[record.body["mood"]] = self._counts.get(record.body["mood"], 0) + 1

    def shown(self) -> list[str]:
        return sorted(self._counts)

    def dump(self) -> dict[str, int]:
        return dict(self._counts)

    def restore(self, dumped: Any) -> None:
        self._counts = dict(dumped)


def check_sticker(body: Body) -> None:
    if not body["text"]:
        raise RecordError("value", "a sticker's text is empty")


ROWS = {
    "sticker": Kind(
        "record", "a sticker", {"text": Field((str,), "what it says", required=True)}, ("stickers",), check_sticker
    ),
    "mood": Kind("record", "a mood", {"mood": Field((str,), "which", required=True)}, ("moods",), sender="attached"),
}


@pytest.fixture(autouse=True)
def made_up_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows in the table, and the two modules that a developer would write."""
    for name, row in ROWS.items():
        monkeypatch.setitem(cast("dict[str, Kind]", KINDS), name, row)
    for name, class_ in (("stickers", Stickers), ("moods", Moods)):
        module = ModuleType(name)
        module.__dict__["PROJECTION"] = class_
        monkeypatch.setitem(sys.modules, f"sidecar.projections.{name}", module)


@pytest.fixture
def stages(root: Path) -> Iterator[Stages]:
    made = Stages(root)
    yield made
    made.close()


def stickers(run: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (run / "stickers").iterdir()}


def test_every_projection_in_the_table_can_be_loaded() -> None:
    for name in registry.names():
        class_ = registry.load(name)
        if not issubclass(class_, registry.StatePart):
            assert callable(class_.apply) and callable(class_.commit)


def test_the_state_routes_the_kinds_that_name_it_and_its_parts() -> None:
    routed = set(RunState()._routes)
    assert routed == kinds_of("state") - {"log"} | kinds_of("losses") | kinds_of("edits") | kinds_of("moods")


def test_a_made_up_kind_is_checked_logged_projected_and_rebuilt(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(
        message(
            Record("sticker", "run", "a", 1, 1.0, {"text": "hello"}),
            Record("sticker", "run", "a", 2, 1.0, {"text": 5}),
            Record("sticker", "run", "a", 3, 1.0, {"text": ""}),
            log("run", "a", 4),
            Record("sticker", "run", "a", 5, 1.0, {"text": "world"}),
        )
    )
    stages.step()
    run = stages.root / "runs" / "run"
    assert [(said["seq"], said["code"]) for said in stages.told("problem")] == [(2, "form"), (3, "value")]
    logged = [(record.kind, record.seq) for record in records(run / LOG_NAME)]
    assert logged == [("sticker", 1), ("rejected", 2), ("rejected", 3), ("log", 4), ("sticker", 5)]
    wanted = {"a-1": "hello", "a-5": "world"}
    assert stickers(run) == wanted
    stages.close()

    for path in (run / "stickers").iterdir():
        path.unlink()
    assert rebuild(run).records == 6, "with the crash record of its writer"
    assert stickers(run) == wanted
    replay(run / LOG_NAME, 0, registry.RunProjections(run))
    assert stickers(run) == wanted


def test_a_made_up_part_of_the_state_is_stored_resumed_and_rebuilt(stages: Stages) -> None:
    run = stages.root / "runs" / "run"
    session, _ = stages.attach("run", "a")
    stages.handler.process(message(*(Record("mood", "run", "a", seq, 1.0, {"mood": "calm"}) for seq in (1, 2))))
    stages.step()
    assert StoreReader(run / STORE_NAME).state()["moods"] == ["calm"]
    stages.sessions.detach(session)
    stages.step()
    stages.step()
    stages.attach("run", "b", resume="must")
    stages.handler.process(message(Record("mood", "run", "b", 1, 1.0, {"mood": "tense"})))
    stages.step()
    stages.close()
    state = StoreReader(run / STORE_NAME).state()
    assert (state["moods"], state["aggregates"]["moods"]) == (["calm", "tense"], {"calm": 2, "tense": 1})
    rebuild(run)
    assert StoreReader(run / STORE_NAME).state()["aggregates"]["moods"] == {"calm": 2, "tense": 1}


def test_the_store_is_committed_last_since_its_checkpoint_stands_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunBuilder(tmp_path, "run00001")
    run.write("sticker", {"text": "hello"})
    run.log.close()

    def fail(self: Stickers) -> int:
        raise OSError("the disk is full")

    sink = StoreSink(run.dir)
    with monkeypatch.context() as failing, pytest.raises(OSError, match="disk is full"):
        failing.setattr(Stickers, "commit", fail)
        replay(run.log_path, 0, sink)
    sink.close()
    assert StoreReader(run.store_path).checkpoint() == 0
    sink = StoreSink(run.dir)
    replay(run.log_path, sink.checkpoint, sink)
    sink.close()
    assert StoreReader(run.store_path).checkpoint() == run.log_path.stat().st_size
    assert stickers(run.dir) == {"client000001-2": "hello"}


def test_a_store_that_has_much_pending_commits_the_other_projections_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunBuilder(tmp_path, "run00001")
    for _ in range(12):
        run.write("sticker", {"text": "x" * (MAX_PENDING_BYTES // 3)})
    run.log.close()
    committed: list[int] = []

    def commit(self: Stickers) -> int:
        committed.append(self._end)
        return self._end

    monkeypatch.setattr(Stickers, "commit", commit)
    sink = StoreSink(run.dir)
    with LogReader(run.log_path) as reader, contextlib.closing(sink):
        for batch in reader.batches():
            sink.apply(batch)
            assert sink.checkpoint == (committed[-1] if committed else 0), "the store is ahead of another projection"
        assert 0 < sink.checkpoint < reader.offset, "it has committed without being asked to"


def test_a_kind_for_attached_clients_is_refused_from_others(stages: Stages) -> None:
    stages.attach("run", "a")
    stages.handler.process(frame(encode(Record("mood", "run", "", 0, 1.0, {"mood": "calm"}))))
    stages.handler.process(frame(encode(Record("sticker", "run", "", 0, 1.0, {"text": "hello"}))))
    stages.step()
    run = stages.root / "runs" / "run"
    assert [record.kind for record in records(run / LOG_NAME)][:1] == ["sticker"]
    assert stages.intake.losses == {"refused: kind": 1}


def test_a_state_stored_before_a_part_existed_can_be_continued() -> None:
    stored = RunState().to_map()
    del stored["moods"], stored["aggregates"]["moods"]
    state = RunState.from_map(stored)
    state.apply(Record("mood", "run", "a", 1, 1.0, {"mood": "calm"}))
    assert state.to_map()["moods"] == ["calm"]


def test_a_part_may_use_the_rows_of_log_records(monkeypatch: pytest.MonkeyPatch) -> None:
    row = KINDS["log"]
    table = cast("dict[str, Kind]", KINDS)
    monkeypatch.setitem(table, "log", row._replace(projections=(*row.projections, "moods")))
    monkeypatch.setattr(Moods, "apply", lambda self, record: self._counts.update(record.body["data"]))
    state = RunState()
    EachBatch(state.take).apply(Batch([log("run", "a", 1, x=3.0)], [1]))
    assert state.to_map()["moods"] == ["x"]
