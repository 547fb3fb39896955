"""Samples of a long history: real rows, at most as many as asked for, with the extremes of each metric."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.projections.store import cells, database, pyramid, pyramid_writer, sampling, writer
from sidecar.projections.store.database import StoreDamagedError
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.errors import StoreError
from sidecar.protocol.records import Record

KEYS = ["y", "z", "t"]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and pieces of a few rows, so that small stores have pyramids and are sampled by them."""
    monkeypatch.setattr(writer, "BLOCK_ROWS", 8)
    monkeypatch.setattr(sampling, "MIN_ROWS", 0)
    monkeypatch.setattr(cells, "_COLUMNS_AT_ONCE", 64)
    for module, name, value in (
        (pyramid, "PIECE_VALUES", 2),
        (pyramid, "FAN_OUT", 2),
        (pyramid_writer, "ROW_PIECES", 4),
        (pyramid_writer, "MIN_VALUES", 3),
    ):
        monkeypatch.setattr(module, name, value)


def store_of(path: Path, records: list[Record], batch: int) -> StoreReader:
    with StoreWriter(path) as store:
        for at in range(0, len(records), batch):
            store.add(records[at : at + batch], store.checkpoint + 1)
            store.commit()
        store.make_pieces()
    return StoreReader(path)


def log(client: str, step: int, time: float, data: dict[str, Any]) -> Record:
    return Record("log", "r", client, 1, time, {"step": step, "data": data})


RECORDS = st.lists(
    st.tuples(
        st.sampled_from("aaab"),
        st.sampled_from([0, 1, 1, 1, 3]),
        st.dictionaries(
            st.sampled_from(KEYS),
            st.floats(-100, 100) | st.sampled_from([math.nan, math.inf, -math.inf, 3, True]),
            min_size=1,
        ),
    ),
    min_size=1,
    max_size=120,
)


@pytest.mark.usefixtures("tiny")
@given(RECORDS, st.integers(5, 40), st.integers(6, 60), st.sampled_from(["step", "time"]), st.sampled_from([1, 2, 64]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_samples_are_rows_with_the_extremes(raw: list[Any], batch: int, samples: int, x: str, together: int) -> None:
    cells._COLUMNS_AT_ONCE = together
    records, step = [], 0
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    for number, (client, stride, data) in enumerate(raw):
        step += stride
        data = {key: ("text" if key == "t" else 1) if value is True else value for key, value in data.items()}
        if "t" in data and "t" in rows.get((step, client), {}):
            del data["t"]  # text and numbers at one step: all rows are read
        records.append(log(client, step, float(number), data))
        rows.setdefault((step, client), {}).update(data)
    with tempfile.TemporaryDirectory() as directory:
        found = store_of(Path(directory) / "s.db", records, batch).sampled(KEYS, samples, x)
    assert found is not None
    order = list(dict.fromkeys(record.client for record in records))
    labels = {client: None if client == order[0] else client for client in order}
    sampled = list(zip(*(found[name] for name in ("_step", "_label", *KEYS)), strict=True))
    assert len(sampled) <= samples
    x_name = "_step" if x == "step" else "_timestamp"
    assert len({one[:2] for one in sampled}) == len(sampled)
    assert found[x_name] == sorted(found[x_name])
    real = {(at, labels[client]): tuple(repr(row.get(key)) for key in KEYS) for (at, client), row in rows.items()}
    for at, label, *values in sampled:
        assert real[at, label] == tuple(map(repr, values))
    for position, key in enumerate(KEYS):
        present = [value for row in rows.values() if (value := row.get(key)) is not None]
        numbers = [value for value in present if type(value) in (int, float) and value == value]
        kept = [one[2 + position] for one in sampled if one[2 + position] is not None]
        assert bool(kept) == bool(present)
        if numbers:
            found_numbers = [value for value in kept if type(value) in (int, float) and value == value]
            assert (min(found_numbers), max(found_numbers)) == (min(numbers), max(numbers))


@pytest.mark.usefixtures("tiny")
def test_steps_that_decrease_are_left_to_the_reading_of_all_rows(tmp_path: Path) -> None:
    records = [log("a", step % 20, float(step), {"y": float(step)}) for step in range(100)]
    assert store_of(tmp_path / "s.db", records, 30).sampled(["y"], 10, "step") is None


def test_a_short_run_too(tmp_path: Path) -> None:
    reader = store_of(tmp_path / "s.db", [log("a", step, step, {"y": step}) for step in range(100)], 50)
    assert reader.sampled(["y"], 10, "step") is None and reader.sampled(["y"], 10, "y") is None


def test_a_spike_is_kept_and_memory_is_bounded(tmp_path: Path) -> None:
    """At the real size of blocks: one value of 200,000 differs."""
    records = [log("a", step, step / 10, {"y": math.sin(step), "z": float(step)}) for step in range(200_000)]
    records[123_456].body["data"]["y"] = 77.0
    reader = store_of(tmp_path / "s.db", records, 10_000)
    tracemalloc.start()
    found = reader.sampled(["y", "z"], 400, "step")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None and len(found["y"]) <= 400
    place = found["y"].index(77.0)
    assert (found["_step"][place], found["_timestamp"][place], found["z"][place]) == (123_456, 12_345.6, 123_456.0)
    assert found["_step"][0] == 0 and found["_step"][-1] == 199_999
    assert peak < 4_000_000


def test_only_the_parts_of_a_column_that_are_needed_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the real size of blocks: of 100,000 values of 8 bytes, those around the extremes and in the rows."""
    records = [log("a", step, step / 10, {"y": math.sin(step / 9), "z": float(step)}) for step in range(100_000)]
    reader = store_of(tmp_path / "s.db", records, 10_000)
    read = []
    for name in ("__getitem__", "joined"):
        original = getattr(database.Part, name)

        def counted(part: database.Part, place: Any, original: Any = original) -> Any:
            data = original(part, place)
            read.append(len(data))
            return data

        monkeypatch.setattr(database.Part, name, counted)
    assert reader.sampled(["y", "z"], 40, "step") is not None
    assert 0 < sum(read) < 400_000


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("table", ["column SET data", "block SET times"])
def test_a_column_of_another_length_is_damage(tmp_path: Path, table: str) -> None:
    path = tmp_path / "s.db"
    reader = store_of(path, [log("a", step, float(step), {"y": math.sin(step)}) for step in range(64)], 16)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} = x'0011223344556677'")
    with pytest.raises(StoreDamagedError, match="must have 64 bytes, not 8"):
        reader.sampled(["y"], 10, "step")


def test_parts_of_a_value(tmp_path: Path) -> None:
    with database.open_to_write(tmp_path / "s.db") as store, store.transaction(write=True):
        content = bytes(range(256)) * 40
        row = store.insert("INSERT INTO column VALUES (1, 1, 'd', NULL, ?)", (content,))
        part = store.part("column", "data", row)
        assert part[5000:5010] == content[5000:5010]
        assert part.joined([slice(9000, 9008), slice(8, 16)]) == content[9000:9008] + content[8:16]
        part.close()
        with pytest.raises(StoreError, match="cannot be used"):
            store.part("nothing", "data", row)


def test_two_thousand_keys_some_of_them_sparse(tmp_path: Path, tiny: None) -> None:
    """Columns are read some at a time."""
    keys = [f"k{number}" for number in range(2_000)]
    records = [
        log("a", step, float(step), {key: float((step * 7 + i) % 50) for i, key in enumerate(keys) if (step + i) % 3})
        for step in range(50)
    ]
    found = store_of(tmp_path / "s.db", records, 20).sampled(keys, 40, "step")
    assert found is not None and 0 < len(found["_step"]) <= 40
    for place, step in enumerate(found["_step"]):
        assert {key: found[key][place] for key in keys if found[key][place] is not None} == records[step].body["data"]
