"""HeldRun: a run that this sidecar holds, with its lock, its log, its sessions and the ledgers of its clients.

Used on the HandlerThread; the Writer appends to the run's log, the Sender only reads the run's directory. Knows nothing
of sockets.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sidecar.log.reader import HEADER_BYTES
from sidecar.log.writer import LogWriter
from sidecar.pipeline.ledger import ClientLedger
from sidecar.pipeline.oom import OomKills
from sidecar.projections.replay import EachBatch, replay
from sidecar.projections.run_state import RunState
from sidecar.projections.store.database import set_aside
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.checks import check, is_usual
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import LogFormatError, RecordError, RefusedError, RunHeldError, StoreError
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, STORE_NAME, RunLock
from sidecar.protocol.limits import MAX_RUN_KEYS, MAX_SCHEMA_KEYS, MAX_SCHEMAS, NAME_RULE, valid_name
from sidecar.protocol.orphans import Orphan
from sidecar.protocol.records import KINDS, RELAY, Body, Record
from sidecar.protocol.rows import ROW, SCHEMA, Rows, Schema
from sidecar.protocol.segments import WINDOWS_NAME, window_directories

_log = logging.getLogger("sidecar")

_SLICE_BYTES = 1 << 20
"""Bytes of an orphaned window that are handed on together."""

REPEAT_BYTES = 1 << 20
"""Bytes of a log after which a schema is declared again before its next row."""

MAX_UNWRITTEN_BYTES = 4 * 1024 * 1024
"""Maximum size of the records kept for a log that cannot be written, in bytes. Clients keep what exceeds it."""

_CRASHED = "the process died without finishing the run"


@dataclass(eq=False)
class Session:
    """One client's attachment to a run.

    Attributes:
        ledger: the client's numbers.
        resumed: whether the run existed before the client attached.
        seen: when something last came from the client, in monotonic seconds.
        pid: the client's process, where it can be watched from here.
        window: directory of the client's window, where its last records are taken from if its process dies.
        key: the public key it attached with, "" without encryption.
        relay: whether it is a sidecar that passes another client's records on: a lost relay does not mean that its
            client is gone.
        oom_kills_before: processes of its cgroup that the kernel had killed for lack of memory when it attached.
        acked_at, unacked_bytes: the Writer's own: when it last sent an ack, and the bytes written since.
    """

    run: HeldRun
    ledger: ClientLedger
    label: str | None = None
    parent: str | None = None
    pid: int | None = None
    window: Path | None = None
    resumed: bool = False
    seen: float = field(default_factory=time.monotonic)
    key: str = ""
    relay: bool = False
    oom_kills_before: OomKills | None = None
    acked_at: float = 0.0
    unacked_bytes: int = 0

    @property
    def client(self) -> str:
        """The client's id."""
        return self.ledger.client


class HeldRun:
    """A run that this sidecar holds.

    Args:
        run_id: the run's id.
        directory: its directory.
        lock: its lock.
        log: where its records are appended.
        state: what its records say so far.
        schemas: word -> schema, of all runs of the sidecar; None: of this run alone.

    Attributes:
        id, directory, log: as given; the log is used by the Writer alone once the run is open.
        sessions: the sessions of attached and expected clients, by client id.
        clients: the ledger of each client that ever wrote to the run or attached to it, by client id.
        closing: whether the run is being closed; no client can attach then.
        awaited: whether something waits for the run's release; what the next owner can do as well is then left to it.
        keys: the metric keys that were checked.
        schemas: word -> schema, of the rows that can be taken.
        losses: records without a client that were refused, by reason, since the run began.
        put_back: number of times that the run's directory was removed and made again.
        handed_bytes, written_bytes: bytes of records handed to the Writer, and those in the log.
        write_error: why the log cannot be written now, or None; set by the Writer.
        losses_changed: whether `losses` has grown since the run was opened.
    """

    def __init__(
        self,
        run_id: str,
        directory: Path,
        lock: RunLock,
        log: LogWriter,
        state: RunState,
        schemas: dict[int, Schema] | None = None,
    ) -> None:
        self.id = run_id
        self.directory = directory
        self.log = log
        self.sessions: dict[str, Session] = {}
        self.clients = {
            client: ClientLedger(
                client,
                writer.seq,
                open=writer.state == "running" and writer.about["parent"] != RELAY,  # which needs no crash record
            )
            for client, writer in state.writers.items()
        }
        self.closing = False
        self.awaited = False
        self.keys: set[str] = set()
        self.schemas = schemas if schemas is not None else {}
        self._own_schemas: dict[str, list[Schema]] = {}
        self.losses = state.losses.by("", "sidecar")
        self.losses_changed = False
        self.put_back = 0
        self.handed_bytes = self.written_bytes = 0
        self.write_error: str | None = None
        self._lock: RunLock | None = lock
        self._holder = ""

    @classmethod
    def open(
        cls,
        root: Path,
        run_id: str,
        holder: str,
        *,
        sync: bool = False,
        patient: bool = False,
        schemas: dict[int, Schema] | None = None,
    ) -> HeldRun:
        """Lock a run, cut its log's torn tail, take the windows of dead clients, and write their crash records.

        Args:
            root: the directory that holds ``runs/``.
            run_id: the run; made if it does not exist.
            holder: path of this sidecar's connection file, told to others who want the run.
            sync: return when all of its log is on the disk; a sidecar that died may not have synced it.
            patient: wait for clients that have not ended and left no window: on another machine they may be alive.
                Otherwise they get a crash record.
            schemas: where to keep the schemas of the run's clients.

        Raises:
            RefusedError: the id is not valid, another sidecar holds the run, or its directory cannot be used.
        """
        if not valid_name(run_id):
            raise RefusedError("run", f"run id {run_id!r}: {NAME_RULE}")
        directory = root / RUNS_NAME / run_id
        try:
            lock = _lock(directory, holder)
            try:
                run = cls(run_id, directory, lock, *_restored(run_id, directory), schemas)
                run._holder = holder
            except BaseException:
                lock.release(remove=False)
                raise
            try:
                run._take_orphans(patient=patient)
                if sync:
                    run.log.sync()
            except BaseException:
                run.forget_schemas()
                run.release()
                raise
        except RunHeldError as error:
            raise RefusedError("elsewhere", str(error), error.where or None) from error
        except (OSError, LogFormatError, StoreError) as error:
            raise RefusedError("storage", f"run {run_id!r} cannot be opened: {error}") from error
        return run

    # -- clients ------------------------------------------------------------------------------------------------

    @property
    def existed(self) -> bool:
        """Whether a client has written to the run or attached to it."""
        return bool(self.clients)

    @property
    def open_clients(self) -> list[str]:
        """The clients that have not ended, sorted."""
        return sorted(client for client, ledger in self.clients.items() if ledger.open)

    @property
    def ended(self) -> bool:
        """Whether it had clients, and all of them have ended."""
        return self.existed and not any(ledger.open for ledger in self.clients.values())

    @property
    def unwritten_bytes(self) -> int:
        """Bytes that were handed to the Writer and are not in the log yet."""
        return self.handed_bytes - self.written_bytes

    @property
    def full(self) -> bool:
        """Whether no more records are taken, since the log cannot be written; their clients send them again."""
        return self.write_error is not None and self.unwritten_bytes > MAX_UNWRITTEN_BYTES

    def ledger(self, client: str) -> ClientLedger:
        """Return the ledger of a client, a new one if it has none."""
        ledger = self.clients.get(client)
        if ledger is None:
            ledger = self.clients[client] = ClientLedger(client)
        return ledger

    def check(self, record: Record, *, relay: bool = False) -> None:
        """Check the body of a client's numbered record; remember the metric keys it uses.

        Args:
            record: the record.
            relay: whether it comes from a relay.

        Raises:
            RecordError: the record cannot be used.
        """
        kind = KINDS.get(record.kind)
        if record.kind == "log" and is_usual(record.body, self.keys):
            return
        if kind is not None and kind.way != "record":
            raise RecordError("kind", f"a {record.kind!r} record is not kept; its seq must be 0, not {record.seq}")
        if kind is not None and kind.sender == "relay" and not relay:
            raise RecordError("kind", f"a {record.kind!r} record must come from a relay")
        check(record)
        writer = record.body.get("writer", record.client) if record.kind == "exit" else record.client
        if writer != record.client and not relay:
            raise RecordError("value", f"'writer' of an 'exit' must be its client, {record.client!r}, not {writer!r}")
        if record.kind == "log":
            self._take_keys(record.body["data"].keys())
        elif record.kind == SCHEMA:
            self.declare(record)

    def _take_keys(self, keys: Iterable[str]) -> None:
        new = set(keys) - self.keys
        if len(self.keys) + len(new) > MAX_RUN_KEYS:
            raise RecordError("size", f"the run would have more than {MAX_RUN_KEYS} different keys")
        self.keys |= new

    def declare(self, record: Record) -> Schema:
        """Take a client's ``schema`` record, which was checked; return the schema, the known one if it is the same.

        Raises:
            RecordError: the id is another schema's, or the client has too many.
        """
        schema = Schema.of(record)
        if record.body.get("client", record.client) != record.client:
            raise RecordError("value", f"'client' of a 'schema' must be its client, {record.client!r}")
        return self._adopt(schema)

    def _adopt(self, schema: Schema) -> Schema:
        """Take a schema; one that is refused is remembered too, so that its rows can be refused by their numbers."""
        known = self.schemas.get(schema.word)
        if known is None:
            own = self._own_schemas.setdefault(schema.client, [])
            try:
                self._check_room(own, schema)
                self._take_keys(schema.keys)
            except RecordError as error:
                schema.refusal = error
            if len(own) < 2 * MAX_SCHEMAS and sum(len(one.keys) for one in own) < 2 * MAX_SCHEMA_KEYS:
                own.append(schema)
                self.schemas[schema.word] = schema
            known = schema
        elif not known.same(schema):
            raise RecordError("value", f"schema {schema.id} was declared before, with other keys, types or client")
        if known.refusal is not None:
            raise known.refusal
        return known

    @staticmethod
    def _check_room(own: list[Schema], schema: Schema) -> None:
        keys = sum(len(one.keys) for one in own) + len(schema.keys)
        if len(own) >= MAX_SCHEMAS or keys > MAX_SCHEMA_KEYS:
            limits = f"{MAX_SCHEMAS} schemas and {MAX_SCHEMA_KEYS} keys in them"
            raise RecordError("size", f"client {schema.client} would have more than {limits}")

    def schema_of(self, record: Record) -> Schema | None:
        """Return the schema that a record declares, which was taken; None for any other record."""
        return self.schemas.get(record.body["id"] << 8 | ROW) if record.kind == SCHEMA else None

    def declarations(self, rows_of: Iterable[Schema]) -> bytes:
        """Return records of this sidecar that declare schemas again, those that its log has not declared lately.

        So a reader that begins anywhere in the log finds them near, and damage to a part of the log costs only that.
        """
        frames: list[bytes] = []
        for schema in rows_of:
            if schema.written is None or self.log.offset - schema.written >= REPEAT_BYTES:
                frames.append(frame(encode(self.own_record(SCHEMA, {**schema.body(), "client": schema.client}))))
                schema.written = self.log.offset
        return b"".join(frames)

    def forget_schemas(self, client: str | None = None) -> list[int]:
        """Forget the schemas of a client, or of all clients; return the words that name them."""
        words = []
        for name in [client] if client is not None else list(self._own_schemas):
            words += [schema.word for schema in self._own_schemas.pop(name, ())]
        for word in words:
            self.schemas.pop(word, None)
        return words

    # -- orphaned windows ---------------------------------------------------------------------------------------

    def take_orphan(
        self,
        orphan: Orphan,
        ledger: ClientLedger,
        append: Callable[[bytes, int, tuple[Schema, ...]], None],
        refuse: Callable[[Record, RecordError], None],
    ) -> None:
        """Hand on the records that a dead client left in its window, checked as those on the wire.

        Args:
            orphan: the window.
            ledger: the client's.
            append: takes frames, the number of the last, and the schemas of the rows in them; it must move the ledger's
                `accepted`.
            refuse: told of each record that cannot be used; a ``rejected`` takes its place in the frames.
        """
        frames: list[bytes] = []
        rows_of: dict[Schema, None] = {}
        size = seq = 0
        for framed in orphan.records(self.id, ledger.accepted):
            data = framed.frames
            try:
                if framed.schema is not None:
                    rows_of[self._adopt(framed.schema)] = None
                if isinstance(framed.item, Rows):
                    ledger.note("log")
                else:
                    self.check(framed.item)
                    ledger.note(framed.item.kind)
            except RecordError as error:
                data = b""
                for record in framed.records:
                    refuse(record, error)
                    data += reject(record, error)
                ledger.note("rejected")
            frames.append(data)
            size += len(data)
            seq = framed.last
            if size > _SLICE_BYTES:
                append(b"".join(frames), seq, tuple(rows_of))
                frames, size = [], 0
                rows_of.clear()
        if frames:
            append(b"".join(frames), seq, tuple(rows_of))

    def _take_orphans(self, *, patient: bool) -> None:
        """Take the orphaned windows, and decide which clients are gone."""
        alive: set[str] = set()
        dead: set[str] = set()
        for directory in window_directories(self.directory):
            orphan = Orphan.take(directory)
            if orphan is None:
                alive.add(directory.name)
                continue
            dead.add(orphan.client)
            try:
                self._append_orphan(orphan)
            finally:
                orphan.release()
        for client in self.open_clients:
            if client in alive:
                continue
            if patient and client not in dead:
                self.clients[client].expect()
            elif self.clients[client].detach():
                self.log.append(frame(encode(self.own_record("exit", crash_body(client)))))

    def _append_orphan(self, orphan: Orphan) -> None:
        """Append the records of an orphaned window to the log, and remove the window."""
        ledger = self.clients.get(orphan.client) or ClientLedger(orphan.client)
        before = ledger.accepted

        def append(frames: bytes, seq: int, rows_of: tuple[Schema, ...]) -> None:
            self.log.append(self.declarations(rows_of) + frames)
            ledger.accept(seq)
            ledger.confirm(seq)
            self.clients[orphan.client] = ledger

        def refuse(record: Record, error: RecordError) -> None:
            _log.warning("run %s: a record in a window was refused: %s", self.id, error)

        self.take_orphan(orphan, ledger, append, refuse)
        orphan.remove()
        if ledger.accepted > before:
            taken = ledger.accepted - before
            _log.info("run %s: took %d records from the window of %s", self.id, taken, orphan.client)

    def count_loss(self, code: str) -> None:
        """Count a record without a client that was refused."""
        count_refusal(self.losses, code)
        self.losses_changed = True

    # -- a removed directory ------------------------------------------------------------------------------------

    def check_directory(self) -> None:
        """If the run's directory was removed, make it again, with the log as it was. Called by the Writer.

        Raises:
            OSError: it cannot be made again, or another process has made a run of the same id meanwhile.
        """
        if not self.log.removed:
            return
        try:
            lock = _lock(self.directory, self._holder)
        except RunHeldError as error:
            raise FileExistsError(errno.EEXIST, "it was removed, and another process has made it again") from error
        try:
            self.log.put_back()
        except BaseException:
            lock.release(remove=False)
            raise
        old, self._lock = self._lock, lock
        if old is not None:
            old.release(remove=False)
        self.put_back += 1
        _log.warning("run %s: its directory was removed; it is made again from the log, without its files", self.id)

    # -- its end ------------------------------------------------------------------------------------------------

    def own_record(self, kind: str, body: Body) -> Record:
        """Return a record that this sidecar itself writes to the run's log."""
        return Record(kind, self.id, "", 0, time.time(), body)

    def release(self, *, clean: bool = False) -> None:
        """Close the log and unlock the run. May be called twice.

        Args:
            clean: whether nothing is left to do for the run; otherwise its lock file stays, and asks for a recovery.
        """
        self.log.close()
        if clean:
            _remove_windows(self.directory / WINDOWS_NAME)
        lock, self._lock = self._lock, None
        if lock is not None:
            try:
                lock.release(remove=clean)
            except OSError as error:  # the file stays, and asks for a recovery
                _log.warning("run %s: its lock cannot be removed: %s", self.id, error)

    def give_back(self) -> None:
        """Unlock a run that no client attached to; remove one that was made for it."""
        new = not self.existed and self.log.offset <= HEADER_BYTES  # otherwise it holds records without a client
        if new:
            self.log.path.unlink(missing_ok=True)  # while it is locked: the next holder makes a log of its own
        self.release(clean=True)
        if new:
            with contextlib.suppress(OSError):  # not empty
                self.directory.rmdir()


def reject(record: Record, error: RecordError) -> bytes:
    """Return the frame of the ``rejected`` that takes a record's place and number in the log."""
    body = {"kind": record.kind, "code": error.code, "message": str(error)}
    return frame(encode(record._replace(kind="rejected", body=body)))


def count_refusal(losses: dict[str, int], code: str) -> None:
    """Count one refusal among losses by reason."""
    reason = f"refused: {code}"
    losses[reason] = losses.get(reason, 0) + 1


def crash_body(client: str, reason: str = _CRASHED) -> Body:
    """Return the body of a crash record: the ``exit`` that a sidecar writes for a client that is gone."""
    return {"state": "crashed", "writer": client, "reason": reason}


def _lock(directory: Path, holder: str) -> RunLock:
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            return RunLock(directory, holder)
        except FileNotFoundError:
            continue  # another process has just given the run back, and removed it


def _restored(run_id: str, directory: Path) -> tuple[LogWriter, RunState]:
    """Return a run's log, and its state: from the store up to its checkpoint, then from the log."""
    path = directory / LOG_NAME
    state, checkpoint = _stored(run_id, directory / STORE_NAME)
    end = None
    if checkpoint > (path.stat().st_size if path.exists() else 0):
        backup = set_aside(directory / STORE_NAME)  # now: the log may have grown past it when the Sender looks
        _log.warning("run %s: its store is ahead of its log; it is kept as %s and rebuilt", run_id, backup.name)
        state, checkpoint = RunState(), 0
    if path.exists():
        replayed = replay(path, checkpoint, EachBatch(state.take))
        end = replayed.end
        for start, stop in replayed.damage:
            _log.error("run %s: bytes %d to %d of its log are damaged and skipped", run_id, start, stop)
    return LogWriter.open(path, end), state


def _stored(run_id: str, path: Path) -> tuple[RunState, int]:
    """Return the state in a run's store, and the store's checkpoint; a new state where there is no usable store."""
    if not path.exists():
        return RunState(), 0
    try:
        with StoreReader(path) as reader:
            return RunState.from_map(reader.state()), reader.checkpoint()
    except (StoreError, KeyError, TypeError, ValueError, AttributeError) as error:
        _log.warning("run %s: %s; it will be rebuilt", run_id, error)
        return RunState(), 0


def _remove_windows(directory: Path) -> None:
    with contextlib.suppress(OSError):  # not empty: a client is about to begin
        for link in directory.glob("*"):
            if link.is_symlink() and not link.exists():
                link.unlink(missing_ok=True)  # to a window that was taken
        directory.rmdir()
