"""The command tail: what a run logged last, and what it logs from now on, until it ends.

Rows that are there come from the store, new ones from the log, where they are first; the store's checkpoint is where
one ends and the other begins, so that no row is missing or there twice. A server that keeps the run is asked every so
often for what came since the last checkpoint.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sidecar.log.reader import LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.errors import StoreError
from sidecar.protocol.layout import LOG_NAME, is_held
from sidecar.protocol.limits import MIN_STEP
from sidecar.protocol.records import Record
from tracker.cli.common import CommandError, Commands, api_of, json_line, key_list, say, whole_number
from tracker.cli.table import clean, counted, duration, fit, number
from tracker.reading.api import RemoteRun, StoredRun, recover

_EVERY_SECONDS = 0.2
_SILENT_SECONDS = 5.0
"""After so long without a record it is asked whether anybody still holds the run."""

_POLL_SECONDS = 1.0
"""How often a server is asked. A run that is going on is sent to it about as often."""

_EXAMPLES = """\
  tracker tail 7f3k2m9q                     the last 10 rows, then each new one
  tracker tail 7f3k2m9q -n 0 --keys loss    only new rows, only the loss
  tracker tail 7f3k2m9q --no-follow         the last 10 rows, and that is all
  tracker tail 7f3k2m9q --json | jq .loss   rows for a program, one a line
  tracker tail 7f3k2m9q --dir clickhouse+http://host:8123/database   as a server has it"""

Row = dict[str, Any]


def add_to(commands: Commands) -> None:
    """Add tail."""
    tail = commands.add(
        "tail",
        run_tail,
        "Print what a run logged last, and follow it until it ends.",
        about="A row is what was logged at once. Ctrl-C stops the command, and does nothing to the run.",
        examples=_EXAMPLES,
        json_data=True,
    )
    tail.add_argument("id", metavar="RUN", help="the run's id")
    tail.add_argument("-n", metavar="N", type=whole_number(0), default=10, help="begin with the last N rows (10)")
    tail.add_argument("--keys", metavar="KEYS", type=key_list, help="only these metrics, with commas between")
    tail.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on until the run ends (the default), or do not",
    )


def run_tail(args: argparse.Namespace) -> int:
    """Print the last rows of a run and follow it."""
    run = api_of(args).run(args.id)
    state, offset, last = _begin(run, args.n, args.keys)
    show = _json_row if args.json else _text_row
    for row in last:
        print(show(row))
    sys.stdout.flush()
    if args.follow:

        def emit(row: Row) -> None:
            print(show(row), flush=True)

        if isinstance(run, RemoteRun):
            state = Poller(run, state, offset, args.keys, emit).follow()
        else:
            Follower(run, state, offset, args.keys, emit).follow()
        say(_end(run.id, state))
    return 0


def _begin(run: StoredRun, n: int, keys: list[str] | None) -> tuple[RunState, int, list[Row]]:
    """Return what the store says of one moment: the state, its place in the log, and the last rows."""
    try:
        store = run.store()
    except StoreError:  # a run that has just begun, and has no store yet
        return RunState(), 0, []
    while True:
        version = store.version()
        state, offset = RunState.from_map(store.state()), store.checkpoint()
        rows = last_rows(run, n, keys, state.step)
        if store.version() == version:
            return state, offset, rows


def last_rows(run: StoredRun, n: int, keys: list[str] | None, step: int | None) -> list[Row]:
    """Return the `n` rows with the highest steps, without reading more of the run than needed.

    Args:
        run: whose.
        n: how many.
        keys: only these metrics.
        step: the run's highest step.
    """
    if n == 0 or step is None:
        return []
    span = 4 * n
    while True:
        low = step - span if step - span > MIN_STEP else None
        rows = deque(run.scan_history(keys, min_step=low), maxlen=n)
        if len(rows) == n or low is None:
            return list(rows)
        span *= 64


class Follower:
    """Reads a run's log from `offset` on, and hands on each row, until the run has ended.

    Args:
        run: which.
        state: the run's state at `offset`; moved on with each record.
        offset: where in the log to begin.
        keys: only these metrics; None for all.
        emit: takes a row.
    """

    def __init__(
        self, run: StoredRun, state: RunState, offset: int, keys: list[str] | None, emit: Callable[[Row], None]
    ) -> None:
        self._run = run
        self._state = state
        self._offset = offset
        self._keys = None if keys is None else set(keys)
        self._emit = emit

    def follow(self) -> None:
        """Return when the run has ended.

        Raises:
            CommandError: the run has no log, or nobody writes to it any more and nobody says how it ended.
        """
        try:
            reader = LogReader(self._run.dir / LOG_NAME, self._offset)
        except FileNotFoundError as error:
            raise CommandError(f"run {self._run.id!r} has no transaction log to follow") from error
        with reader:
            heard = time.monotonic()
            while True:
                if self.step(reader):
                    heard = time.monotonic()
                if self._state.state != "running":
                    return
                if time.monotonic() - heard > _SILENT_SECONDS:
                    self._ask_who_writes(reader)
                    heard = time.monotonic()
                time.sleep(_EVERY_SECONDS)

    def step(self, reader: LogReader) -> int:
        """Hand on what is in the log now; return how many records it was."""
        count = 0
        for batch in reader.batches():
            count += len(batch.records)
            for record in batch.records:
                self._take(record)
        return count

    def _take(self, record: Record) -> None:
        self._state.apply(record)
        if record.kind != "log":
            return
        data = record.body["data"]
        if self._keys is not None:
            data = {key: value for key, value in data.items() if key in self._keys}
            if not data:
                return
        writer = self._state.writers.get(record.client)
        label = None if writer is None else writer.name
        self._emit({"_step": record.body["step"], "_timestamp": record.time, "_label": label, **data})

    def _ask_who_writes(self, reader: LogReader) -> None:
        """Where nobody holds the run any more, have it finished; its last records then are in the log."""
        if is_held(self._run.dir) is not None:
            return
        recover(self._run.dir.parent.parent, [self._run.id])
        if self.step(reader) == 0 and self._state.state == "running" and is_held(self._run.dir) is None:
            raise CommandError(f"nobody writes to run {self._run.id!r} any more, and it did not say how it ended")


class Poller:
    """Asks a server for what came of a run since `offset`, and hands on each row, until the run has ended.

    Args:
        run: which.
        state: the run's state at `offset`.
        offset: the checkpoint up to which everything was handed on.
        keys: only these metrics; None for all.
        emit: takes a row.
    """

    def __init__(
        self, run: RemoteRun, state: RunState, offset: int, keys: list[str] | None, emit: Callable[[Row], None]
    ) -> None:
        self._store = run.store()
        self._state = state
        self._offset = offset
        self._keys = keys
        self._emit = emit

    def follow(self) -> RunState:
        """Return the run's state when it has ended.

        A server that does not answer is asked again; of a run that nobody writes to any more it cannot tell.

        Raises:
            StoreError: the server's answer cannot be used, or it has the run no more.
        """
        from sidecar.sinks.clickhouse.reader import UnreachableStoreError

        silent = False
        while self._state.state == "running":
            try:
                self.step()
                silent = False
            except UnreachableStoreError as error:
                if not silent:
                    say(f"{error}; it is asked again")
                silent = True
            if self._state.state == "running":
                time.sleep(_POLL_SECONDS)
        return self._state

    def step(self) -> None:
        """Hand on what has come since."""
        checkpoint, found = self._store.moment()
        state = RunState.from_map(found)
        for record in self._store.arrived(self._offset, checkpoint, self._keys):
            writer = state.writers.get(record.client)
            label = None if writer is None else writer.name
            self._emit({"_step": record.step, "_timestamp": record.time, "_label": label, **record.data})
            self._offset = record.position
        self._offset = checkpoint
        self._state = state


def _json_row(row: Row) -> str:
    return json_line(row)


def _text_row(row: Row) -> str:
    parts = [time.strftime("%H:%M:%S", time.localtime(row["_timestamp"])), f"step {row['_step']}"]
    if row["_label"] is not None:
        parts.append(f"[{clean(row['_label'])}]")
    parts += [f"{clean(key)}={number(value)}" for key, value in row.items() if key[0] != "_" or key not in _OWN]
    line = "  ".join(parts)
    return fit(line, shutil.get_terminal_size().columns) if sys.stdout.isatty() else line


_OWN = frozenset({"_step", "_timestamp", "_label"})


def _end(run_id: str, state: RunState) -> str:
    """Say how it ended, by the log: the store may not have it yet."""
    length = (state.end_time or 0.0) - (state.start_time or 0.0)
    line = f"run {run_id} {state.state} after {duration(length)}, {counted(state.records, 'row')}"
    lost = sum(state.losses.values())
    return line + (f"; {counted(lost, 'record')} lost" if lost else "")
