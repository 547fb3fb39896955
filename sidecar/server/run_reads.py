"""What a sidecar reads for those who look at its runs: states, blocks, buckets, files. On the ReaderThreads.

Changes nothing: recovers no run, rebuilds no store, follows no link out of a run. Knows nothing of sockets.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sidecar.log.reader import LogReader
from sidecar.projections.replay import EachBatch, batches, replay
from sidecar.projections.run_state import RunState
from sidecar.projections.store.cache import BucketCache
from sidecar.projections.store.reader import StoreReader
from sidecar.projections.store.wire import block_to_plain, buckets_to_plain
from sidecar.protocol.errors import LogFormatError, RefusedError, StoreError, reason
from sidecar.protocol.layout import FILES_NAME, LOG_NAME, RUNS_NAME, STORE_NAME
from sidecar.protocol.limits import NAME_RULE, PART_PREFIX, valid_file_name, valid_name
from sidecar.protocol.rows import Rows, record_ends
from sidecar.protocol.sink_progress import all_progress

_CACHE_BYTES = 32 * 2**20
"""Maximum size of the pieces of series and the buckets that are cached, in bytes."""

_CHUNK_BYTES = 256 * 1024
_MAX_FILES = 10_000
_MAX_DEPTH = 32
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: do not wait for a named pipe

Args = Mapping[str, Any]


class RunReads:
    """Reads the runs of a root.

    Args:
        root: the directory that holds ``runs/``.
    """

    def __init__(self, root: Path) -> None:
        self._runs = root / RUNS_NAME
        self._cache = BucketCache(_CACHE_BYTES)
        self._routes: dict[str, Callable[[Path, Args], Iterator[Any]]] = {
            "state": self._state,
            "keys": self._keys,
            "columns": self._columns,
            "buckets": self._buckets,
            "arrived": self._arrived,
            "files": self._files,
            "file": self._file,
        }

    def values(self, what: str, run: str, args: Args) -> Iterator[Any]:
        """Yield what was asked for.

        Args:
            what: ``"versions"`` and ``"states"`` of all runs, or what a run has; see PROTOCOL.md.
            run: the run's id; empty for all.
            args: arguments.

        Raises:
            RefusedError: the run does not exist, or cannot be read; the arguments are not valid.
        """
        try:
            if what == "versions":
                yield from self._versions()
            elif what == "states":
                yield from self._states(args)
            else:
                yield from self._routes[what](self._directory(run), args)
        except (StoreError, LogFormatError, OSError) as error:
            gone = run and not self._exists(run)
            if gone:
                raise RefusedError("missing", f"run {run!r} does not exist any more") from error
            raise RefusedError("storage", reason(error)) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RefusedError("arguments", f"the arguments of {what!r} are not valid: {error}") from error

    def _exists(self, run: str) -> bool:
        return any((self._runs / run / name).is_file() for name in (LOG_NAME, STORE_NAME))

    def _directory(self, run: str) -> Path:
        if not valid_name(run):
            raise RefusedError("run", f"run id {run!r}: {NAME_RULE}")
        if not self._exists(run):
            raise RefusedError("missing", f"run {run!r} does not exist")
        return self._runs / run

    # -- all runs -----------------------------------------------------------------------------------------------

    def _ids(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._runs) if valid_name(name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _versions(self) -> Iterator[list[str]]:
        """Yield id and version of each run; a version changes whenever the content of the run does."""
        for id in self._ids():
            version = self._version(id)
            if version:
                yield [id, version]

    def _version(self, id: str) -> str:
        parts = []
        for name in (STORE_NAME, f"{STORE_NAME}-wal", LOG_NAME):
            try:
                status = os.stat(self._runs / id / name)
            except OSError:
                parts.append("")
                continue
            parts.append(f"{status.st_size:x}.{status.st_mtime_ns:x}.{status.st_ino:x}")
        if not parts[0] and not parts[2]:
            return ""
        return "-".join(parts if not parts[0] else parts[:2])

    def _states(self, args: Args) -> Iterator[list[Any]]:
        """Yield id and state of runs, those in ``ids`` or all, without what only `state` needs."""
        ids = args.get("ids")
        for id in self._ids() if ids is None else [id for id in ids if valid_name(id)]:
            if self._exists(id):
                state = read_state(self._runs / id)
                state["aggregates"] = {}
                yield [id, state]

    # -- one run ------------------------------------------------------------------------------------------------

    def _state(self, directory: Path, _: Args) -> Iterator[Any]:
        """Yield the state of a run, the offset in the log where it was so, and what is known besides."""
        checkpoint = 0
        try:
            reader = StoreReader(directory / STORE_NAME)
            while True:
                version = reader.version()
                state, checkpoint = reader.state(), reader.checkpoint()
                if reader.version() == version:
                    break
        except StoreError:
            state = read_state(directory)
        sinks = {
            progress.address: {
                "behind_bytes": progress.behind_bytes(directory),
                "error": progress.error,
                "offline": progress.offline,
            }
            for progress in all_progress(directory)
        }
        sizes = [_size(directory / LOG_NAME), _size(directory / STORE_NAME)]
        yield {"state": state, "checkpoint": checkpoint, "sinks": sinks, "sizes": sizes}

    def _keys(self, directory: Path, _: Args) -> Iterator[Any]:
        yield StoreReader(directory / STORE_NAME).keys()

    def _columns(self, directory: Path, args: Args) -> Iterator[Any]:
        reader = StoreReader(directory / STORE_NAME)
        blocks = reader.columns(args.get("keys"), args.get("min_step"), args.get("max_step"), most=args.get("most"))
        return map(block_to_plain, blocks)

    def _buckets(self, directory: Path, args: Args) -> Iterator[Any]:
        found = StoreReader(directory / STORE_NAME).buckets(
            args["keys"],
            args.get("x", "step"),
            args.get("low"),
            args.get("high"),
            args.get("count", 400),
            log_x=bool(args.get("log_x")),
            cache=self._cache,
        )
        return map(buckets_to_plain, found)

    def _arrived(self, directory: Path, args: Args) -> Iterator[Any]:
        """Yield the ``log`` records between two offsets of the log: end, client, step, time and data of each."""
        after, until, keys = args["after"], args["until"], args.get("keys")
        wanted = None if keys is None else frozenset(keys)
        with LogReader(directory / LOG_NAME, after) as reader:
            for batch in batches(reader, until):
                for item, end in zip(batch.items, batch.item_ends, strict=True):
                    if isinstance(item, Rows):
                        ends = record_ends([item], [end])
                        for (step, time, data), each_end in zip(item.points(wanted), ends, strict=False):
                            yield [each_end, item.schema.client, step, time, data]
                    elif item.kind == "log":
                        data = item.body["data"]
                        if wanted is not None:
                            data = {key: value for key, value in data.items() if key in wanted}
                        if data or wanted is None:
                            yield [end, item.client, item.body["step"], item.time, data]

    # -- files --------------------------------------------------------------------------------------------------

    def _files(self, directory: Path, _: Args) -> Iterator[Any]:
        """Yield name, size and time of change of each file."""
        for name, status in itertools.islice(_walk(directory / FILES_NAME, "", 0), _MAX_FILES):
            yield [name, status.st_size, status.st_mtime]

    def _file(self, directory: Path, args: Args) -> Iterator[Any]:
        """Yield the content of a file, from ``offset`` on, in pieces."""
        name, offset = args["name"], args.get("offset", 0)
        if not valid_file_name(name) or not isinstance(offset, int) or offset < 0:
            raise ValueError(f"invalid file {name!r}, or offset {offset!r}")
        descriptor = _open_below(directory / FILES_NAME, name.split("/"))
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError(f"{name!r} is not a file")
            file.seek(offset)
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk


def read_state(directory: Path) -> dict[str, Any]:
    """Return a run's state from its store, or from its log if the store cannot be read."""
    try:
        return StoreReader(directory / STORE_NAME).state()
    except StoreError:
        state = RunState()
    try:
        replay(directory / LOG_NAME, 0, EachBatch(state.take))
    except (OSError, LogFormatError) as error:
        return RunState().to_map() | {"id": directory.name, "state": "unreadable", "reason": reason(error)}
    return state.to_map()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _walk(top: Path, prefix: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the regular files below a directory, by name; no link is followed."""
    try:
        entries = sorted(os.scandir(top), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith(PART_PREFIX):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth < _MAX_DEPTH:
                yield from _walk(top / entry.name, f"{prefix}{entry.name}/", depth + 1)
        elif entry.is_file(follow_symlinks=False):
            try:
                yield f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _open_below(top: Path, parts: list[str]) -> int:
    """Return a descriptor of a file below `top`; no part of its name may be a link."""
    at = os.open(top, _DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, _DIRECTORY, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)
