"""A connection to a store's file: opening it, its tables, its errors. The only file that imports sqlite3.

Owns the file while it is open. Used by one thread at a time, any thread. Knows nothing of records, blocks or runs.
SQLite's write-ahead log lets readers read while a commit is being written: https://www.sqlite.org/wal.html.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from sidecar.protocol.errors import StoreError

SIDE_FILES = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite may keep beside a database."""

FORMAT = 1
"""Version of the tables; increased when an old reader could not read them any more."""

PAGE_BYTES = 1024
"""Size of a page of a new store, in bytes: a store has some twenty pages even if the run is tiny."""

BUSY_SECONDS = 5.0
"""Timeout for a lock held by another connection, in seconds; such locks are held for milliseconds."""

CHECKPOINT_BYTES = 4 * 1024 * 1024
"""Size of the write-ahead log at which it is folded into the database: that costs reading it, and an fsync."""

JOURNAL_LIMIT_BYTES = 16 * 1024 * 1024
"""Size to which the write-ahead log is truncated after a large commit."""

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value);
CREATE TABLE key (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE writer (id INTEGER PRIMARY KEY, client TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL);
CREATE TABLE block (
    id INTEGER PRIMARY KEY,
    writer INTEGER NOT NULL,
    first INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    step_min INTEGER NOT NULL,
    step_max INTEGER NOT NULL,
    steps BLOB NOT NULL,
    times BLOB NOT NULL,
    UNIQUE (writer, first)
);
CREATE TABLE column (
    block INTEGER NOT NULL,
    key INTEGER NOT NULL,
    type TEXT NOT NULL,
    rows BLOB,
    data BLOB NOT NULL,
    UNIQUE (block, key)
);
"""
"""A block is `rows` consecutive rows of one writer, beginning with the writer's row number `first`; see `blocks`."""


_Directory = tempfile.TemporaryDirectory[str]


class StoreDamagedError(StoreError):
    """The store's content is damaged, or not written by this program: delete it and rebuild it from the log."""


class Database:
    """A connection, opened by `open_to_write` or `open_to_read`. A context manager; `close` may be called twice."""

    def __init__(self, path: Path, connection: sqlite3.Connection, copy: _Directory | None = None) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = connection
        self._copy = copy
        self._spare: list[bytearray] = []

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one statement and return all its rows."""
        with self._errors():
            return self._live().execute(statement, values).fetchall()

    def each(self, statement: str, values: Sequence[Any] = ()) -> Iterator[Any]:
        """Run one statement and yield its rows, one in memory at a time."""
        with self._errors():
            yield from self._live().execute(statement, values)

    def insert(self, statement: str, values: Sequence[Any]) -> int:
        """Insert one row and return its id."""
        with self._errors():
            return self._live().execute(statement, values).lastrowid or 0

    def run_many(self, statement: str, values: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each item of `values`."""
        with self._errors():
            self._live().executemany(statement, values)

    def part(self, table: str, column: str, rowid: int) -> Part:
        """Open the value of type BLOB in a row, in a transaction, to read parts of it."""
        with self._errors():
            if sys.version_info >= (3, 11):
                return Part(self.path, self._live().blobopen(table, column, rowid, readonly=True))
            value = self._live().execute(f"SELECT {column} FROM {table} WHERE rowid = ?", (rowid,)).fetchone()[0]
            memory = self._spare.pop() if self._spare else bytearray()
            memory[:] = value
            return Part(self.path, memory, self._spare)

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[None]:
        """All statements inside see the same state of the store; their writes are committed together or not at all."""
        self.run("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            with contextlib.suppress(StoreError):  # an error such as a full disk may already have rolled it back
                self.run("ROLLBACK")
            raise

    def settle(self) -> None:
        """Free unused pages and fold the write-ahead log into the database, unless a reader prevents it."""
        with contextlib.suppress(StoreError):
            self.run("PRAGMA incremental_vacuum")
        with contextlib.suppress(StoreError):
            self.run("PRAGMA busy_timeout = 0")
            self.run("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with self._errors():
                connection.close()
        if self._copy is not None:
            self._copy.cleanup()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _live(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"the store {self.path} is closed")
        return self._connection

    def _errors(self) -> _Translated:
        return _Translated(self.path)


class Part:
    """An open value, of which only the pages are read that hold the wanted bytes. Close it before the transaction ends.

    Before Python 3.11 all of it is read, into memory that is used again: to allocate it costs more than to read it.
    """

    __slots__ = ("_path", "_spare", "_value")

    def __init__(self, path: Path, value: Any, spare: list[bytearray] | None = None) -> None:
        self._path, self._value, self._spare = path, value, spare

    def __getitem__(self, place: slice) -> bytes:
        try:
            return bytes(self._value[place])
        except sqlite3.Error as error:
            raise _store_error(self._path, error) from error

    def joined(self, places: Iterable[slice]) -> bytes:
        """Return the bytes at some places, one after the other."""
        try:
            return b"".join(map(self._value.__getitem__, places))
        except sqlite3.Error as error:
            raise _store_error(self._path, error) from error

    def close(self) -> None:
        if self._spare is None:
            self._value.close()
        else:
            self._spare.append(self._value)


class _Translated:
    """Turns SQLite's errors into `StoreError`. A class, since a generator would cost more than a small statement."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            raise _store_error(self._path, error) from error
        if isinstance(error, UnicodeDecodeError):  # in an error message about a damaged schema
            raise StoreDamagedError(f"the store {self._path} is damaged: {error}") from error


def _store_error(path: Path, error: sqlite3.Error) -> StoreError:
    if type(error) is sqlite3.DatabaseError:  # SQLITE_CORRUPT and SQLITE_NOTADB; temporary errors are subclasses
        return StoreDamagedError(f"the store {path} is damaged: {error}; `tracker rebuild` rebuilds it from the log")
    return StoreError(f"the store {path} cannot be used: {error}")


def open_to_write(path: Path, *, draft: bool = False) -> Database:
    """Open the store at `path` for its one writer; create it if it does not exist.

    Args:
        path: the store's file.
        draft: whether the file is discarded if its writer dies, so that it needs no journal on the disk.

    Raises:
        StoreDamagedError: the file is not a store, or is damaged. StoreError: it cannot be opened now.
    """
    with _Translated(path):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    database = Database(path, connection)
    try:
        database.run(f"PRAGMA page_size = {PAGE_BYTES}")  # only effective for a new file
        database.run("PRAGMA auto_vacuum = INCREMENTAL")  # only effective for a new file, before anything else
        database.run(f"PRAGMA journal_mode = {'MEMORY' if draft else 'WAL'}")
        database.run(f"PRAGMA synchronous = {'OFF' if draft else 'NORMAL'}")
        database.run(f"PRAGMA journal_size_limit = {JOURNAL_LIMIT_BYTES}")
        database.run(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // PAGE_BYTES}")
        if not database.run("SELECT 1 FROM sqlite_master LIMIT 1"):
            _make_tables(database)
        _check_format(database)
    except BaseException:
        database.close()
        raise
    return database


def _make_tables(database: Database) -> None:
    with database.transaction(write=True):
        for statement in TABLES.split(";"):
            database.run(statement)
        meta = {"format": FORMAT, "id": secrets.token_hex(8), "commits": 0, "checkpoint": 0, "state": b""}
        database.run_many("INSERT INTO meta VALUES (?, ?)", meta.items())


_TABLE_NAMES = frozenset({"meta", "key", "writer", "block", "column"})


def _check_format(database: Database) -> None:
    path = database.path
    objects = database.run("SELECT type, name FROM sqlite_master")
    if not objects:
        raise StoreError(f"the store {path} is empty: its sidecar is creating it, or died before it did")
    if missing := _TABLE_NAMES - {name for kind, name in objects if kind == "table"}:
        raise StoreDamagedError(f"{path} is not a store: it lacks the tables {', '.join(sorted(missing))}")
    formats = database.run("SELECT value FROM meta WHERE name = 'format'")
    if formats != [(FORMAT,)]:
        format_ = formats[0][0] if formats else "none"
        raise StoreDamagedError(f"the store {path} has format {format_}, not {FORMAT}; `tracker rebuild` rebuilds it")


def open_to_read(path: Path, busy_seconds: float = BUSY_SECONDS, *, snapshot: bool = False) -> Database:
    """Open the store at `path` for reading, also on read-only media; wait at most `busy_seconds` for its locks.

    Args:
        path: the store's file.
        busy_seconds: maximum wait for its locks, in seconds.
        snapshot: stay in one transaction, from the check of the tables to `Database.close`. For a short read.

    Raises:
        StoreDamagedError: the file is not a store, or is damaged. StoreError: it does not exist, is still being
            created, or cannot be opened.
    """
    try:
        return _open_checked(path, path, "mode=ro", busy_seconds=busy_seconds, snapshot=snapshot)
    except StoreDamagedError:
        raise
    except StoreError as error:
        if not os.path.exists(path):
            raise StoreError(f"there is no store at {path}; `tracker rebuild` creates it from the log") from error
        if os.access(path.parent, os.W_OK):
            raise
        # A store that was not closed needs its "-shm" file, which cannot be created on read-only media.
        journal = path.with_name(path.name + "-wal")
        if not _has_content(journal):
            return _open_checked(path, path, "mode=ro&immutable=1", busy_seconds=busy_seconds, snapshot=snapshot)
        return _open_copy(path, journal, snapshot=snapshot)


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _open_copy(path: Path, journal: Path, *, snapshot: bool) -> Database:
    """Open a copy of the store and of its write-ahead log, which must be folded in first."""
    try:
        copy = tempfile.TemporaryDirectory(prefix="tracker-store-")
        for source in (path, journal):
            shutil.copyfile(source, Path(copy.name) / source.name)
    except OSError as error:
        raise StoreError(f"the store {path} cannot be copied for reading: {error}") from error
    try:
        return _open_checked(path, Path(copy.name) / path.name, "mode=rw", copy, snapshot=snapshot)
    except BaseException:
        copy.cleanup()
        raise


def _open_checked(
    path: Path,
    file: Path,
    how: str,
    copy: _Directory | None = None,
    *,
    busy_seconds: float = BUSY_SECONDS,
    snapshot: bool = False,
) -> Database:
    with _Translated(path):
        address = f"file://{quote(os.fsencode(os.path.abspath(file)))}?{how}"
        connection = sqlite3.connect(
            address, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
    database = Database(path, connection, copy)
    try:
        database.run("BEGIN")  # SQLite then locks the file once, not for each statement
        _check_format(database)
        if not snapshot:
            database.run("COMMIT")
    except BaseException:
        database.close()
        raise
    return database


def set_aside(path: Path) -> Path:
    """Rename a store's files, because it may hold records that its log has lost; return the new path.

    Raises:
        StoreError: they cannot be renamed.
    """
    renamed = path.with_name(path.name + ".before")
    delete(renamed)
    try:
        for suffix in ("", *SIDE_FILES):
            if os.path.exists(f"{path}{suffix}"):
                os.replace(f"{path}{suffix}", f"{renamed}{suffix}")
    except OSError as error:
        raise StoreError(f"the store {path} cannot be renamed to {renamed.name}: {error}") from error
    return renamed


def delete(path: Path) -> None:
    """Delete a store's files. The database first: SQLite discards a journal without a database, never the reverse."""
    for suffix in ("", *SIDE_FILES):
        try:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"the store {path} cannot be deleted: {error}") from error
