"""SidecarStore and SidecarReader: the runs that a sidecar keeps, read through its control socket.

The machine that looks and the one that trains need share no disk. Can be used from any thread; one request at a time.
Raises `StoreError`: errors of sockets end here.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sidecar.projections.store.blocks import Block
from sidecar.projections.store.buckets import DEFAULT_COUNT, Buckets, checked_grid
from sidecar.projections.store.cache import BucketCache
from sidecar.projections.store.wire import block_from_plain, buckets_from_plain
from sidecar.protocol.errors import (
    KeyFileError,
    RecordError,
    RefusedError,
    SidecarError,
    StoreError,
    UnreachableError,
    UnreachableStoreError,
)
from sidecar.protocol.limits import MAX_STEP, MIN_STEP, new_id
from sidecar.protocol.sink_address import parse_sink
from tracker.settings import resolve
from tracker.transport.remote_editor import RemoteEditor

if TYPE_CHECKING:
    from sidecar.protocol.ask import ControlChannel
    from sidecar.protocol.records import Record

_PATIENCE_SECONDS = 15.0
"""Maximum time without an answer, in seconds: making a page of a large run may take long."""

_TRIES = 2
"""Number of times that a read is begun if the connection to the sidecar was lost before its first page."""


class MissingRunError(StoreError):
    """The sidecar does not have the run, or has it no more."""


class Arrived(NamedTuple):
    """A ``log`` record: its end in the log, and what it holds of the metrics that were asked for."""

    position: int
    client: str
    step: int
    time: float
    data: dict[str, Any]


class FileInfo(NamedTuple):
    """A file of a run: its name below the run's files, its size in bytes, and when it was changed, in Unix seconds."""

    name: str
    size: int
    modified: float


class SidecarStore:
    """The runs that one sidecar keeps.

    Args:
        address: ``sidecar+tcp://host:5757``, with ``?key=FILE``, its public key, if it encrypts and the setting
            ``sidecar_key`` does not name it. It is connected to when something is read.

    Attributes:
        address: the same.
        patience: maximum time without an answer, in seconds.
        editor: edits the runs.

    Raises:
        ValueError: it is not an address of a sidecar.
    """

    def __init__(self, address: str) -> None:
        parsed = parse_sink(address)
        if parsed.kind != "sidecar":
            raise ValueError(f"{address!r} is not an address of a sidecar")
        unknown = sorted(set(parsed.options) - {"key"})
        if unknown:
            raise ValueError(f"{address!r}: unknown option {unknown[0]!r}; the only option is key=FILE")
        self.address = parsed.text
        self._control = parsed.url
        self._key = parsed.options.get("key")
        self._lock = threading.Lock()
        self._channel: ControlChannel | None = None
        self._pid = 0
        self._numbers = itertools.count(1)
        self.patience = _PATIENCE_SECONDS
        self.editor = RemoteEditor(self._new_channel)

    # -- all runs -----------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, str]:
        """Return id -> version of every run; a version changes whenever the content of the run does."""
        return dict(self.read("versions"))

    def runs(self, project: str | None = None, ids: Sequence[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Return id and state of every run, or of those of a project, or of some."""
        found = [(id, state) for id, state in self.read("states", ids=None if ids is None else list(ids))]
        return [(id, state) for id, state in found if project is None or state.get("project") == project]

    def names(self) -> dict[str, str]:
        """Return id -> name of every run that is not deleted."""
        return {id: state.get("name") or id for id, state in self.runs() if not state.get("deleted")}

    def run(self, id: str) -> SidecarReader:
        """Return the reader of a run, which need not exist."""
        return SidecarReader(self, id)

    def may_write(self) -> bool:
        """Whether the sidecar lets this client edit runs.

        Raises:
            StoreError: it cannot be asked.
        """
        return bool(self._ask("status", "", {}).body.get("may_write"))

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, what: str, run: str = "", **args: Any) -> Iterator[Any]:
        """Yield the values of a read.

        Raises:
            MissingRunError: there is no such run. StoreError: it cannot be read. UnreachableStoreError: the sidecar
            does not answer.
        """
        from sidecar.protocol.pages import PageReader

        number = next(self._numbers)
        reader = PageReader()
        more, first = True, True
        try:
            while more:
                body = {"id": number, "what": what, "args": args} if first else {"id": number}
                page = self._page(run, body)
                first, more = False, page["more"]
                yield from reader.feed(page["data"])
            reader.close()
        except (RecordError, KeyError, TypeError, ValueError) as error:
            raise StoreError(f"the sidecar at {self._control} gave an answer that cannot be read: {error}") from error
        finally:
            if more and not first:
                self._abandon(run, number)

    def _page(self, run: str, body: dict[str, Any]) -> Mapping[str, Any]:
        answer = self._ask("read", run, body)
        if answer.kind == "refused":
            code, message = answer.body["code"], answer.body["message"]
            if code == "missing":
                raise MissingRunError(f"{message} at {self._control}")
            if code in ("reads", "closing"):
                raise UnreachableStoreError(f"the sidecar at {self._control}: {message}")
            raise StoreError(f"the sidecar at {self._control} refused to read: {message}")
        body_of_page: Mapping[str, Any] = answer.body
        return body_of_page

    def _ask(self, kind: str, run: str, body: dict[str, Any]) -> Record:
        """Return the answer to a request, which is sent again if it begins a read and the connection was lost."""
        from sidecar.protocol.records import Record

        with self._lock:
            for attempt in range(1, _TRIES + 1):
                try:
                    channel = self._connected()
                    request = Record(kind, run, new_id(12), 0, time.time(), body)
                    return next(channel.ask_all([request], self.patience))[1]
                except UnreachableError as error:
                    self._disconnect()
                    if attempt == _TRIES or (kind == "read" and "what" not in body) or not _was_lost(error):
                        raise UnreachableStoreError(str(error)) from error
                except RefusedError as error:  # of the connection, or by a sidecar that does not know the request
                    self._disconnect()
                    raise StoreError(_advice(self._control, error)) from error
                except SidecarError as error:
                    self._disconnect()
                    raise StoreError(f"the sidecar at {self._control} cannot be read from: {error}") from error
        raise AssertionError("each attempt returns or raises")

    def _abandon(self, run: str, number: int) -> None:
        """Tell the sidecar that no more pages are needed; it also notices by itself."""
        try:
            self._page(run, {"id": number, "close": True})
        except StoreError:
            return

    def _new_channel(self) -> ControlChannel:
        from sidecar.protocol.ask import ControlChannel

        return ControlChannel(self._control, self._security())

    def _connected(self) -> ControlChannel:
        if self._pid != os.getpid():  # in a forked child the connection is the parent's
            self._channel, self._pid = None, os.getpid()
        if self._channel is None:
            self._channel = self._new_channel()
        return self._channel

    def _security(self) -> Any:
        settings = resolve({})
        key = self._key or settings.sidecar_key
        if not key:
            return None
        from sidecar.protocol.channels import new_key_pair
        from sidecar.protocol.keys import Security, read_key_pair, read_public_key

        try:
            own = read_key_pair(settings.client_key) if settings.client_key else new_key_pair()
            return Security(read_public_key(key), own)
        except KeyFileError as error:
            raise StoreError(str(error)) from error

    def _disconnect(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def close(self) -> None:
        """Close the connection; it is opened again on demand."""
        with self._lock:
            self._disconnect()


class SidecarReader:
    """Reads one run from a sidecar; see `tracker.reading.reader.RunReader`.

    Args:
        store: the sidecar's runs.
        id: the run's id.
    """

    def __init__(self, store: SidecarStore, id: str) -> None:
        self._store = store
        self.id = id

    @property
    def editor(self) -> RemoteEditor:
        """What edits the sidecar's runs."""
        return self._store.editor

    def about(self) -> dict[str, Any]:
        """Return ``state``, ``checkpoint``, ``sinks`` (as `StoredRun.sinks`) and ``sizes`` (of log and store)."""
        (about,) = self._store.read("state", self.id)
        if not isinstance(about, dict) or not isinstance(about.get("state"), dict):
            raise StoreError(f"the state of run {self.id!r} cannot be read: the answer of the sidecar is not valid")
        return about

    def moment(self) -> tuple[int, dict[str, Any]]:
        """Return the offset in the log up to which the run can be read, and its state there."""
        about = self.about()
        return about["checkpoint"], about["state"]

    def state(self) -> dict[str, Any]:
        """Return the run's state, as `RunState.to_map` does."""
        return self.moment()[1]

    def find(self) -> dict[str, Any] | None:
        """Return the same, or None if there is no such run."""
        try:
            return self.state()
        except MissingRunError:
            return None

    def checkpoint(self) -> int:
        """Return the offset in the log up to which the content is complete."""
        return self.moment()[0]

    def version(self) -> str:
        """Return a string that changes whenever the content does."""
        return f"{self.id}-{self.checkpoint()}"

    def keys(self) -> list[str]:
        """Return the metrics that were logged, in the order of their first appearance."""
        (keys,) = self._store.read("keys", self.id)
        return list(keys)

    def columns(
        self,
        keys: Iterable[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        most: int | None = None,
    ) -> Iterator[Block]:
        """Yield the blocks, as `StoreReader.columns` does."""
        wanted = None if keys is None else list(dict.fromkeys(keys))
        low = None if min_step is None else min(max(min_step, MIN_STEP), MAX_STEP)
        high = None if max_step is None else min(max(max_step, MIN_STEP), MAX_STEP)
        for plain in self._store.read("columns", self.id, keys=wanted, min_step=low, max_step=high, most=most):
            with _checked(self.id):
                block = block_from_plain(plain)
            yield block

    def buckets(
        self,
        keys: Iterable[str],
        x: str = "step",
        low: float | None = None,
        high: float | None = None,
        count: int = DEFAULT_COUNT,
        *,
        log_x: bool = False,
        cache: BucketCache | None = None,
    ) -> Iterator[Buckets]:
        """Yield the buckets of each key and writer, as `StoreReader.buckets` does; `cache` is not used: the sidecar has
        one."""
        checked_grid(low, high, count, log_x)
        return self._buckets(list(dict.fromkeys(keys)), x, low, high, count, log_x)

    def _buckets(
        self, keys: list[str], x: str, low: float | None, high: float | None, count: int, log_x: bool
    ) -> Iterator[Buckets]:
        args = {"keys": keys, "x": x, "low": low, "high": high, "count": count, "log_x": log_x}
        for plain in self._store.read("buckets", self.id, **args):
            with _checked(self.id):
                buckets = buckets_from_plain(plain)
            yield buckets

    def arrived(self, after: int, until: int, keys: Iterable[str] | None = None) -> Iterator[Arrived]:
        """Yield the ``log`` records between two offsets of the log.

        Args:
            after: offset of the first record.
            until: offset after the last record.
            keys: only these metrics, and only records that have any of them.
        """
        wanted = None if keys is None else list(dict.fromkeys(keys))
        for plain in self._store.read("arrived", self.id, after=after, until=until, keys=wanted):
            with _checked(self.id):
                record = Arrived(*plain)
            yield record

    def files(self) -> list[FileInfo]:
        """Return the files of the run, by name."""
        with _checked(self.id):
            return [FileInfo(*plain) for plain in self._store.read("files", self.id)]

    def file(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """Yield the content of a file, from an offset on."""
        return self._store.read("file", self.id, name=name, offset=offset)

    def download(self, name: str, to: Path | None = None) -> Path:
        """Write a file of the run to `to`, or into a new temporary directory; return its path."""
        path = to if to is not None else Path(tempfile.mkdtemp(prefix="tracker-")) / Path(name).name
        with open(path, "wb") as file:
            for chunk in self.file(name):
                file.write(chunk)
        return path

    def close(self) -> None:
        """Do nothing: the connection is the store's."""

    def __enter__(self) -> SidecarReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _checked:
    """Turns what goes wrong when an answer is decoded into `StoreError`."""

    def __init__(self, run: str) -> None:
        self._run = run

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError | TypeError | AttributeError | RecordError):
            raise StoreError(f"run {self._run!r}: the answer of its sidecar is not valid: {error}") from error


def _was_lost(error: UnreachableError) -> bool:
    return error.__cause__ is not None


def _advice(control: str, error: RefusedError) -> str:
    if error.code != "kind":
        return str(error)
    return f"the sidecar at {control} is older and cannot be read from: use one of this version, or its directory"
