"""CatalogFile: the rows of a catalog in a SQLite database. The only file of the package that imports sqlite3.

Used on any thread; holds no file open between calls, so that the file may be deleted at any time. It keeps nothing that
cannot be read again from the runs: a file that is damaged or not a catalog is replaced, and one that cannot be used is
done without. There is no write-ahead log: the catalog is one file, on any file system, and its commits are short.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from tracker.reading.catalog_row import COLUMNS, MAX_PART_BYTES, NUMBERS, PARTS, TEXTS, CatalogRow

_log = logging.getLogger("tracker")

CATALOG_NAME = "catalog.db"
"""Name of the catalog in a root directory."""

FORMAT = 1
"""Version of the table; a catalog of a newer version is left alone."""

_MOST_OTHERS = 10_000
"""Maximum number of rows of removed runs that are collected at once."""

_BUSY_SECONDS = 0.5
"""Maximum wait for a lock of another process, in seconds; such locks are held for milliseconds."""

_NAMES = [f'"{name}"' for name in COLUMNS]  # "group" is a word of SQL
_TABLE = f"CREATE TABLE run ({_NAMES[0]} TEXT PRIMARY KEY, {', '.join(_NAMES[1:])}) WITHOUT ROWID"

_SMALL = f"<= {MAX_PART_BYTES}"
_VALID = " AND ".join(
    [
        "typeof(id) = 'text' AND typeof(flags) = 'integer' AND typeof(changed) = 'real' AND typeof(state) = 'text'",
        "typeof(directory) = 'blob' AND typeof(content) = 'blob' AND length(directory) + length(content) <= 1000",
        *(
            f"""(typeof("{name}") = 'null' OR typeof("{name}") = 'text' AND length("{name}") {_SMALL})"""
            for name in TEXTS
        ),
        *(f"typeof({name}) IN ('integer', 'real', 'null')" for name in NUMBERS),
        *(f"(typeof({name}) IN ('null', 'blob') AND ifnull(length({name}), 0) {_SMALL})" for name in PARTS),
    ]
)
"""Condition that every row written by this program meets."""


class _NotACatalogError(Exception):
    """The file is damaged, or not a catalog of this version: replace it."""


class _BusyError(Exception):
    """Other processes use the file: do without it for now."""


class _UnusableError(Exception):
    """The file cannot be used, and must not be replaced."""


def catalog_paths(root: Path) -> Iterator[Path]:
    """Yield where the catalog of a root directory may be kept: in it, else in the user's directory for caches."""
    if os.access(root, os.W_OK):
        yield root / CATALOG_NAME
    caches = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):
        caches = os.path.expanduser("~/.cache")
    if os.path.isabs(caches):
        import hashlib

        name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
        yield Path(caches) / "tracker" / "catalogs" / f"{name}.db"


class CatalogFile:
    """The file of a catalog, which need not exist. Its methods never raise.

    Args:
        root: the root directory whose runs are in the catalog.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path: Path | None = None

    @property
    def path(self) -> Path | None:
        """Where the catalog is kept; None if it was not found or written yet, or can be kept nowhere."""
        return self._path

    def load(self, ids: Collection[str]) -> tuple[dict[str, CatalogRow], set[str]]:
        """Return id -> row of those runs that have a valid one, and ids in the file that are not among them.

        Args:
            ids: the runs that there are: other rows are not kept in memory.
        """
        for path in catalog_paths(self._root):
            try:
                if not os.path.lexists(path):
                    continue
                with _opened(path) as connection:
                    rows = connection.execute(f"SELECT {', '.join(_NAMES)} FROM run WHERE {_VALID}")
                    found: dict[str, CatalogRow] = {}
                    gone: set[str] = set()
                    for row in rows:
                        if row[0] in ids:
                            found[row[0]] = CatalogRow(row)
                        elif len(gone) < _MOST_OTHERS:
                            gone.add(row[0])
                self._path = path
                return found, gone
            except _NotACatalogError as error:
                _log.debug("the catalog %s is replaced: %s", path, error)
                if _remove(path):
                    break
            except _BusyError as error:
                _log.debug("the catalog %s is not used: %s", path, error)
                break
            except (_UnusableError, OSError) as error:
                _log.debug("the catalog %s is not used: %s", path, error)
        return {}, set()

    def save(self, rows: Iterable[CatalogRow], removed: Iterable[str] = ()) -> None:
        """Write new and changed rows, and remove others, if that is possible."""
        values = [row.values for row in rows]
        gone = [(id,) for id in removed]
        for path in catalog_paths(self._root):
            try:
                self._write(path, values, gone)
                self._path = path
                return
            except _BusyError as error:
                _log.debug("the catalog %s is not written: %s", path, error)
                return
            except (_UnusableError, OSError, OverflowError, UnicodeError) as error:
                _log.debug("the catalog %s cannot be written: %s", path, error)

    def _write(self, path: Path, values: list[tuple[object, ...]], gone: list[tuple[str]]) -> None:
        for _ in range(2):
            try:
                if not os.path.lexists(path):
                    _create(path)
                with _opened(path) as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    places = ", ".join("?" * len(COLUMNS))
                    connection.executemany(f"INSERT OR REPLACE INTO run VALUES ({places})", values)
                    connection.executemany("DELETE FROM run WHERE id = ?", gone)
                    connection.execute("COMMIT")
                return
            except _NotACatalogError as error:
                if not _remove(path):
                    raise _UnusableError(f"it cannot be replaced: {error}") from error
        raise _UnusableError("it is replaced by others")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a catalog that is checked to be one; leaving the ``with`` block closes it.

    Raises:
        _NotACatalogError: it is damaged or not a catalog. _UnusableError: it cannot be used now, or by this version.
    """
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise _NotACatalogError("it is a link, or not a file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise _UnusableError("it belongs to another user")
    connection = None
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
        for setting in ("trusted_schema = OFF", "cell_size_check = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {setting}")
        _check(connection)
        yield connection
    except sqlite3.Error as error:
        raise _translated(error) from error
    finally:
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()


def _check(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    schema = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 3").fetchall()
    if schema and version > FORMAT and schema[0][1] == "run":
        raise _UnusableError(f"it has version {version}, newer than {FORMAT}")
    if version != FORMAT or schema != [("table", "run", _TABLE)] or mode != "delete":
        raise _NotACatalogError("its tables are not those of a catalog")


def _translated(error: sqlite3.Error) -> Exception:
    text = str(error)
    if not isinstance(error, sqlite3.OperationalError) or "UTF-8" in text or "malformed" in text:
        return _NotACatalogError(text)
    return _BusyError(text) if "locked" in text or "busy" in text else _UnusableError(text)


def _create(path: Path) -> None:
    """Create an empty catalog atomically; another process may do the same.

    Raises:
        OSError: it cannot be created. _UnusableError: SQLite cannot.
    """
    import secrets

    if path.name != CATALOG_NAME:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644))
        connection = sqlite3.connect(new, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        finally:
            connection.close()
        os.rename(new, path)
    except sqlite3.Error as error:
        raise _UnusableError(str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            os.unlink(new)


def _remove(path: Path) -> bool:
    """Remove a file that is not a catalog, and what SQLite keeps beside it; return whether the name is free.

    The database first: SQLite discards a journal without a database, never the reverse.
    """
    for suffix in ("", "-journal", "-wal", "-shm"):
        try:
            os.unlink(f"{path}{suffix}")
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
