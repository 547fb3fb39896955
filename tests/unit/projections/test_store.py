"""The store: values are read back equal and with the same type, whatever happens in between."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import struct
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.projections.store import writer as writer_module
from sidecar.projections.store.blocks import (
    BLOCK_ROWS,
    decode_column,
    decode_ints,
    encode_column,
    encode_ints,
    join_columns,
    slice_column,
)
from sidecar.projections.store.database import StoreDamagedError
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.errors import StoreError
from sidecar.protocol.records import Record

Row = tuple[int, float, dict[str, Any]]


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "store.db"


def log(step: int, data: dict[str, Any], client: str = "a", time: float = 1.0) -> Record:
    return Record("log", "r", client, 1, time, {"step": step, "data": data})


def exact(value: Any) -> Any:
    """Return a value with its type, and a float with its bits, so that NaN and -0.0 can be compared."""
    return (float, struct.pack("<d", value)) if type(value) is float else (type(value), value)


def rows_of(reader: StoreReader, **how: Any) -> dict[str, list[Row]]:
    """Return each writer's rows by arrival; the blocks may come in any order."""
    found: dict[str, list[Row]] = {}
    for block in sorted(reader.columns(**how), key=lambda block: (block.ordinal, block.first)):
        points: list[dict[str, Any]] = [{} for _ in block.steps]
        for key, (present, values) in block.columns.items():
            for row, value in zip(range(len(points)) if present is None else present, values, strict=True):
                points[row][key] = value
        found.setdefault(block.writer, []).extend(zip(block.steps, block.times, points, strict=True))
    return found


def expected(records: Sequence[Record]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for record in records:
        if record.kind == "log":
            found.setdefault(record.client, []).append((record.body["step"], record.time, record.body["data"]))
    return found


def exactly(found: dict[str, list[Row]]) -> Any:
    return {
        client: [(step, time, {key: exact(value) for key, value in data.items()}) for step, time, data in rows]
        for client, rows in found.items()
    }


whole_numbers = st.integers(-(2**63), 2**63 - 1)
media = st.fixed_dictionaries({"_type": st.just("image"), "size": st.lists(st.integers(0, 9)), "raw": st.binary()})
values = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0]), whole_numbers, st.integers(0, 2**64 - 1), st.booleans(), st.text(), media
)
data = st.dictionaries(st.one_of(st.sampled_from("xyz"), st.text(min_size=1, max_size=3)), values, max_size=4)
records = st.lists(
    st.builds(
        log, st.one_of(st.integers(-3, 3), whole_numbers), data, st.sampled_from(["a", "b", ""]), st.floats(0, 1e9)
    ),
    max_size=20,
)


@given(st.lists(records, max_size=6), st.sets(st.integers(0, 5)))
@settings(deadline=None)
def test_applied_records_are_read_back(batches: list[list[Record]], kills: set[int]) -> None:
    """After some batches the writer is dropped uncommitted, and the records are applied again from the checkpoint."""
    everything = [record for batch in batches for record in batch]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "store.db"
        writer = StoreWriter(path)
        for number, batch in enumerate(batches):
            writer.add(batch, writer.checkpoint + len(batch))
            if number in kills:
                writer.close()
                writer = StoreWriter(path)
                missing = everything[writer.checkpoint : sum(map(len, batches[: number + 1]))]
                writer.add(missing, writer.checkpoint + len(missing))
            if number % 2:
                writer.commit()
        writer.commit()
        reader = StoreReader(path)
        assert exactly(rows_of(reader)) == exactly(expected(everything))
        assert reader.checkpoint() == writer.checkpoint == len(everything)
        assert reader.state()["records"] == len(everything)
        assert set(reader.keys()) == {key for record in everything for key in record.body["data"]}
        writer.close()
        assert exactly(rows_of(reader)) == exactly(expected(everything))


@given(st.lists(whole_numbers, min_size=1))
def test_integers(numbers: list[int]) -> None:
    assert decode_ints(encode_ints(numbers), len(numbers)).tolist() == numbers


@given(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40), st.integers(1, 3000))
def test_a_progression_is_seventeen_bytes(first: int, stride: int, count: int) -> None:
    numbers = [first + stride * i for i in range(count)]
    packed = encode_ints(numbers)
    assert len(packed) == 17
    assert decode_ints(packed, count).tolist() == numbers


@given(st.lists(st.one_of(st.none(), values), min_size=1, max_size=30), st.integers(0, 30), st.integers(0, 30))
def test_cutting_and_joining_a_column_changes_nothing(row_values: list[Any], one: int, other: int) -> None:
    present = [i for i, value in enumerate(row_values) if value is not None]
    if not present:
        return
    rows = None if len(present) == len(row_values) else present
    column = decode_column(*encode_column((rows, [row_values[i] for i in present])), len(row_values))
    low, high = sorted(min(cut, len(row_values)) for cut in (one, other))
    parts = []
    for start, end in ((0, low), (low, high), (high, len(row_values))):
        part = slice_column(column, start, end) if end > start else None
        parts.append((end - start, {} if part is None else {"k": part}))
    found, joined = join_columns(parts)["k"]
    assert (list(range(len(row_values))) if found is None else list(found)) == present
    assert [exact(value) for value in joined] == [exact(row_values[i]) for i in present]


def test_columns_of_one_type_are_arrays(path: Path) -> None:
    with StoreWriter(path) as writer:
        for step in range(4):
            writer.add([log(step, {"f": step / 2, "i": step, "b": True, "m": 1 if step else 1.0, "s": "t"})], step + 1)
            writer.commit()
    (block,) = StoreReader(path).columns()
    kinds = {key: values.typecode if isinstance(values, array) else list for key, (_, values) in block.columns.items()}
    assert kinds == {"f": "d", "i": "q", "b": list, "m": list, "s": list}
    assert all(rows is None for rows, _ in block.columns.values())


def blocks_in(path: Path) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [rows for (rows,) in connection.execute("SELECT rows FROM block ORDER BY writer, first")]


def test_small_blocks_are_joined_as_a_binary_counter_carries(path: Path) -> None:
    with StoreWriter(path) as writer:
        for step in range(1000):
            writer.add([log(step, {"x": 0.5} if step % 3 else {"y": step})], step + 1)
            writer.commit()
        assert blocks_in(path) == [512, 256, 128, 64, 32, 8]
        assert exactly(rows_of(StoreReader(path))) == exactly(
            {"a": [(step, 1.0, {"x": 0.5} if step % 3 else {"y": step}) for step in range(1000)]}
        )


def test_a_large_batch_is_cut(path: Path) -> None:
    count = 2 * BLOCK_ROWS + 10
    with StoreWriter(path) as writer:
        writer.add([log(step, {"x": 0.5, **({"y": 1} if step % 100 == 0 else {})}) for step in range(count)], 1)
        writer.commit()
        assert blocks_in(path) == [BLOCK_ROWS, BLOCK_ROWS, 10]
        writer.add([log(step, {"x": 0.5}) for step in range(count, count + 20)], 2)
        writer.commit()
        assert blocks_in(path) == [BLOCK_ROWS, BLOCK_ROWS, 30]
    found = rows_of(StoreReader(path))["a"]
    assert [step for step, _, _ in found] == list(range(count + 20))
    assert [step for step, _, point in found if "y" in point] == list(range(0, count, 100))


def test_too_many_pending_rows_are_committed_automatically(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_PENDING_ROWS", 3)
    with StoreWriter(path) as writer:
        for step in range(6):
            writer.add([log(step, {"x": 1.0})], step + 1)
            assert writer.pending_rows <= 4
        assert writer.committed == 4
        writer.add([], 100 + writer_module.MAX_PENDING_BYTES)
        writer.add([], 101 + writer_module.MAX_PENDING_BYTES)
        assert (writer.committed, writer.pending_rows) == (100 + writer_module.MAX_PENDING_BYTES, 0)


@pytest.mark.parametrize("name", [b"a?mode=rwc", b"50%20#b", b"\xff", "ä".encode()])
def test_a_path_is_no_address(path: Path, name: bytes) -> None:
    """Characters with a meaning in an address, and bytes that are not UTF-8, are parts of the path."""
    directory = path.parent / os.fsdecode(name)
    directory.mkdir()
    with contextlib.closing(StoreWriter(directory / "store.db")) as writer:
        writer.add([log(3, {"a": 1})], 1)
        writer.commit()
    assert StoreReader(directory / "store.db").state()["step"] == 3
    missing = directory / "other.db"
    with pytest.raises(StoreError, match="there is no store at"):
        StoreReader(missing).state()
    assert not missing.exists()


def test_reading_filters_keys_and_skips_blocks(path: Path) -> None:
    with StoreWriter(path) as writer:
        for start in (0, BLOCK_ROWS):
            writer.add([log(step, {f"k{start}": 1.0, "x": 2}) for step in range(start, start + BLOCK_ROWS)], start + 1)
            writer.commit()
    reader = StoreReader(path)
    assert reader.keys() == ["k0", "x", f"k{BLOCK_ROWS}"]
    assert [list(block.columns) for block in reader.columns(["k0", "never"])] == [["k0"]]
    assert list(reader.columns(["never"])) == []
    assert list(reader.columns([])) == []
    assert [block.first for block in reader.columns(min_step=BLOCK_ROWS)] == [BLOCK_ROWS]
    assert [block.first for block in reader.columns(max_step=BLOCK_ROWS - 1)] == [0]
    assert [block.first for block in reader.columns(min_step=-(2**70), max_step=2**70)] == [0, BLOCK_ROWS]
    assert [list(block.columns) for block in reader.columns([*map(str, range(1000)), "x"], max_step=0)] == [["x"]]


def test_a_reader_follows_with_after(path: Path) -> None:
    seen: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    with StoreWriter(path) as writer:
        for number in range(30):
            writer.add([log(number, {"x": number}, client) for client in "ab"], number + 1)
            writer.commit()
            if number % 7 == 0:
                for block in StoreReader(path).columns(after=seen):
                    found += [(block.writer, value) for value in block.columns["x"][1]]
                    seen[block.writer] = block.first + len(block.steps)
    for block in StoreReader(path).columns(after=seen):
        found += [(block.writer, value) for value in block.columns["x"][1]]
    assert sorted(found) == [(client, number) for client in "ab" for number in range(30)]


def test_an_iteration_sees_a_snapshot_whatever_is_written_in_the_meantime(path: Path) -> None:
    with StoreWriter(path) as writer:
        for step in range(7):
            writer.add([log(step, {"x": step, "y": 1.0})], step + 1)
            writer.commit()
        assert blocks_in(path) == [4, 2, 1]
        iteration = StoreReader(path).columns(["x"])
        first = next(iteration)
        for step in range(7, 50):
            writer.add([log(step, {"x": step})], step + 1)
            writer.commit()
        assert max(blocks_in(path)) == 32
        found = [value for block in [first, *iteration] for value in block.columns["x"][1]]
        assert found == list(range(7))


def test_an_unfinished_iteration_does_not_block_a_writer(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.add([log(step, {"x": step}) for step in range(2 * BLOCK_ROWS)], 1)
        writer.commit()
    iteration = StoreReader(path).columns()
    next(iteration)
    with StoreWriter(path) as writer:
        writer.add([log(-1, {"x": 0})], 2)
        writer.commit()
        assert len(next(iteration).steps) == BLOCK_ROWS
    assert list(iteration) == []


def test_the_version_changes_with_the_content(path: Path) -> None:
    with StoreWriter(path) as writer:
        reader = StoreReader(path)
        versions = [reader.version()]
        writer.commit()
        assert reader.version() == versions[0]
        writer.add([], 5)
        assert reader.version() == versions[0]
        writer.commit()
        versions.append(reader.version())
    assert reader.version() == versions[1] != versions[0]
    with StoreWriter.create_new(path) as writer:
        writer.add([], 5)
        writer.commit()
        versions.append(reader.version())
        assert reader.checkpoint() == 5
    assert len(set(versions)) == 3


def test_a_closed_store_is_one_file(path: Path) -> None:
    with StoreWriter(path) as writer:
        for step in range(100):
            writer.add([log(step, {"x": step / 3})], step + 1)
            writer.commit()
    assert os.listdir(path.parent) == ["store.db"]
    rows_of(StoreReader(path))
    assert os.listdir(path.parent) == ["store.db"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)


def test_closing_twice_and_using_a_closed_store(path: Path) -> None:
    writer = StoreWriter(path)
    writer.add([log(0, {"x": 1.0})], 1)
    writer.close()
    writer.close()
    with pytest.raises(StoreError, match="is closed"):
        writer.commit()
    assert StoreReader(path).checkpoint() == 0


def test_labels_are_the_names_of_writers(path: Path) -> None:
    with StoreWriter(path) as writer:
        for client, label in (("a", "rank0"), ("b", None), ("", None)):
            writer.add([Record("run", "r", client, 1, 1.0, {"label": label}), log(0, {"x": 1}, client)], 1)
        writer.commit()
    assert [(block.writer, block.label) for block in StoreReader(path).columns()] == [
        ("a", "rank0"),
        ("b", None),
        ("", None),
    ]


def test_a_failed_commit_changes_nothing_and_can_be_repeated(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.add([log(0, {"x": "first"})], 1)
        writer.commit()
        (full,) = writer._database.run("PRAGMA page_count")[0]
        writer._database.run(f"PRAGMA max_page_count = {full}")
        big = [log(step, {"x": "text " * 1000, "new": 1}, client) for step, client in enumerate("abc", 1)]
        writer.add(big, 2)
        for _ in range(2):
            with pytest.raises(StoreError, match="cannot be used: database or disk is full"):
                writer.commit()
        assert StoreReader(path).checkpoint() == writer.committed == 1
        assert (writer.checkpoint, writer.pending_rows) == (2, 3)
        writer._database.run("PRAGMA max_page_count = 100000")
        writer.commit()
        reader = StoreReader(path)
        assert exactly(rows_of(reader)) == exactly(expected([log(0, {"x": "first"}), *big]))
        assert reader.checkpoint() == 2


def test_add_takes_nothing_if_its_commit_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_PENDING_ROWS", 0)
    with StoreWriter(path) as writer:
        writer.add([log(0, {"x": "text" * 5000})], 1)
        (full,) = writer._database.run("PRAGMA page_count")[0]
        writer._database.run(f"PRAGMA max_page_count = {full}")
        with pytest.raises(StoreError):
            writer.add([log(1, {"x": "y"})], 2)
        assert (writer.checkpoint, writer.pending_rows, writer.state.records) == (1, 1, 1)


def test_a_missing_an_empty_and_a_foreign_file_are_errors(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        StoreReader(path).state()
    path.touch()
    with pytest.raises(StoreError, match="is empty"):
        StoreReader(path).state()
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    for use in (StoreWriter, lambda path: StoreReader(path).state()):
        with pytest.raises(StoreDamagedError, match="rebuild"):
            use(path)
    with StoreWriter.create_new(path) as writer:
        assert writer.checkpoint == 0
    with pytest.raises(StoreError):
        StoreWriter(path.parent / "missing" / "store.db")


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE meta SET value = 99 WHERE name = 'format'", "has format 99, not 1"),
        ("DELETE FROM meta WHERE name = 'format'", "has format none"),
        ("DROP TABLE block", "lacks the tables block"),
    ],
)
def test_another_format_is_refused(path: Path, statement: str, message: str) -> None:
    StoreWriter(path).close()
    change(path, statement)
    with pytest.raises(StoreDamagedError, match=message):
        StoreWriter(path)
    with pytest.raises(StoreDamagedError, match=message):
        StoreReader(path).version()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE block SET steps = x'72'",
        "UPDATE block SET steps = x'00'",
        "UPDATE block SET times = x'00'",
        "UPDATE column SET data = x'00'",
        "UPDATE column SET type = 'm'",
        "UPDATE column SET type = '?'",
        "UPDATE column SET rows = x'00000000'",
        "UPDATE column SET rows = x'01000000720900000000000000000000000000000000'",
        "DELETE FROM writer",
        "UPDATE meta SET value = x'c1' WHERE name = 'state'",
        "UPDATE meta SET value = x'01' WHERE name = 'state'",
    ],
)
def test_damaged_content_is_a_store_error(path: Path, statement: str) -> None:
    with StoreWriter(path) as writer:
        writer.add([log(step, {"x": 0.5}) for step in range(3)], 1)
        writer.commit()
    change(path, statement)
    with pytest.raises(StoreDamagedError, match="is damaged"):
        rows_of(StoreReader(path))


def test_a_commit_that_reads_damaged_content_fails(path: Path) -> None:
    with StoreWriter(path) as writer:
        writer.add([log(0, {"x": 0.5})], 1)
        writer.commit()
        change(path, "UPDATE column SET data = x'00'")
        writer.add([log(1, {"x": 0.5})], 2)
        with pytest.raises(StoreDamagedError, match="is damaged"):
            writer.commit()
        assert writer.committed == 1


def _read_elsewhere(path: Path, results: Any) -> None:
    if os.getuid() == 0:  # root may write anywhere
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        tempfile.tempdir = "/tmp"  # where this user may write too
    try:
        results.put(exactly(rows_of(StoreReader(path))))
    except BaseException as error:
        results.put(repr(error))


@pytest.mark.parametrize("left", ["closed", "all", "no -shm", "no journal"])
def test_a_store_in_a_read_only_directory(left: str) -> None:
    """Closed by its writer, or left by one that died, with its journal (which must be read too) or without."""
    source = Path(tempfile.mkdtemp())
    target = Path(tempfile.mkdtemp())
    try:
        writer = StoreWriter(source / "store.db")
        applied = [log(step, {"x": step / 3, "t": "text"}) for step in range(10)]
        writer.add(applied, 1)
        writer.commit()
        if left == "closed":
            writer.close()
        elif left == "no journal":
            writer._database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        suffixes = {"closed": ("",), "all": ("", "-wal", "-shm"), "no -shm": ("", "-wal"), "no journal": ("",)}[left]
        for suffix in suffixes:
            shutil.copyfile(source / f"store.db{suffix}", target / f"store.db{suffix}")
            (target / f"store.db{suffix}").chmod(0o444)
        writer.close()
        target.chmod(0o555)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        process = context.Process(target=_read_elsewhere, args=(target / "store.db", results))
        process.start()
        found = results.get(timeout=60)
        process.join(60)
        assert found == exactly(expected(applied))
        assert sorted(os.listdir(target)) == sorted(f"store.db{suffix}" for suffix in suffixes)
    finally:
        target.chmod(0o755)
        shutil.rmtree(source)
        shutil.rmtree(target)


def _write_until_told(path: Path, count: int, started: Any) -> None:
    writer = StoreWriter(path)
    for step in range(writer.checkpoint, count):
        writer.add([log(step, {"x": step})], step + 1)
        writer.commit()
        if step == 20:
            started.set()
    os._exit(9)  # as if killed: nothing is closed


def test_reading_while_another_process_writes_and_dies(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_write_until_told, args=(path, 400, started))
    process.start()
    assert started.wait(60)
    reader = StoreReader(path)
    while process.is_alive():
        checkpoint = reader.checkpoint()
        values = [value for block in reader.columns() for value in block.columns["x"][1]]
        assert values == list(range(len(values)))
        assert len(values) >= checkpoint
    process.join()
    assert rows_of(reader)["a"] == [(step, 1.0, {"x": step}) for step in range(400)]
    with StoreWriter(path) as writer:
        assert (writer.checkpoint, writer.state.records) == (400, 400)
