"""``tracker tail``: the last rows of a run, and those it logs from now on, until it ends.

Past rows come from the store, new ones from the log, where they appear first; the store's checkpoint is where one ends
and the other begins, so that no row is missing or there twice. A server that keeps the run is polled for what came
after the last checkpoint.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sidecar.protocol.layout import LOG_NAME, is_held
from sidecar.protocol.limits import MIN_STEP
from tracker.cli.common import RUN_HELP, CommandError, Commands, api_of, json_line, say, whole_number
from tracker.cli.select import add_keys, never_logged, read_keys
from tracker.cli.table import screen_width
from tracker.terminal.style import Style
from tracker.terminal.text import clean, counted, duration, fit, number, some

if TYPE_CHECKING:
    from sidecar.log.reader import LogReader
    from sidecar.projections.run_state import RunState
    from sidecar.protocol.rows import Item
    from tracker.reading.api import RemoteRun, StoredRun

_POLL_SECONDS = 0.2
"""Interval at which the log is read."""

_SILENT_SECONDS = 5.0
"""Time without a record after which it is checked whether a process still holds the run, in seconds."""

_SERVER_POLL_SECONDS = 1.0
"""Interval at which a server is asked, in seconds; a running run is sent to it about as often."""

_ABOUT = """\
A row is what one call of log() recorded. Ctrl-C ends the command and leaves the run alone."""

_EXAMPLES = """\
  tracker tail last                    the last 10 rows, then each new one
  tracker tail 7f3k -n 0 --keys loss   only new rows, only the loss
  tracker tail 7f3k --no-follow        the last 10 rows and nothing else
  tracker tail 7f3k --json | jq .loss  rows for a program, one a line
  tracker tail 7f3k2m9q --dir clickhouse+http://host:8123/database   as a server has it"""

_OWN = frozenset({"_step", "_timestamp", "_label"})

Row = dict[str, Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("tail", run, about=_ABOUT, examples=_EXAMPLES, json_data=True)
    parser.add_argument("run_ref", metavar="RUN", help=RUN_HELP)
    parser.add_argument("-n", metavar="N", type=whole_number(0), default=10, help="start with the last N rows (10)")
    add_keys(parser)
    parser.add_argument(
        "-f",
        "--follow",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep printing new rows until the run ends (the default), or not",
    )


def run(args: argparse.Namespace) -> int:
    """Print the last rows of a run and follow it."""
    from tracker.reading.api import RemoteRun

    run = api_of(args).run(args.run_ref)
    keys = _keys(run, args)
    state, offset, last = _begin(run, args.n, keys)
    shown = json_line if args.json else _text_row
    for row in last:
        print(shown(row))
    sys.stdout.flush()
    if args.follow:

        def emit(row: Row) -> None:
            print(shown(row), flush=True)

        if isinstance(run, RemoteRun):
            state = Poller(run, state, offset, keys, emit).follow()
        else:
            Follower(run, state, offset, keys, emit).follow()
        say(_end(run.id, state))
    return 0


def _keys(run: StoredRun, args: argparse.Namespace) -> list[str] | None:
    """Return the metrics to print; None for all.

    Raises:
        CommandError: the run has ended, or is not followed, and never logged one of them.
    """
    from sidecar.protocol.errors import StoreError

    if args.keys is None:
        return None
    try:
        logged = run.keys()
    except StoreError:  # the run has just begun and has no store yet
        logged = []
    keys, unknown = read_keys(args.keys, logged)
    if unknown and not (args.follow and run.state in ("running", "stalled")):
        raise never_logged(run, unknown, logged)
    if unknown:
        say(f"run {run.id} has not logged {some(unknown)} yet; it logged {some(logged, 10)}")
    return keys


def _begin(run: StoredRun, n: int, keys: list[str] | None) -> tuple[RunState, int, list[Row]]:
    """Return what the store holds at one moment: the state, its offset in the log, and the last rows."""
    from sidecar.projections.run_state import RunState
    from sidecar.protocol.errors import StoreError

    try:
        store = run.store()
    except StoreError:  # the run has just begun and has no store yet
        return RunState(), 0, []
    while True:
        version = store.version()
        state, offset = RunState.from_map(store.state()), store.checkpoint()
        rows = last_rows(run, n, keys, state.step)
        if store.version() == version:
            return state, offset, rows


def last_rows(run: StoredRun, n: int, keys: list[str] | None, step: int | None) -> list[Row]:
    """Return the `n` rows with the highest steps, without reading more of the run than necessary.

    Args:
        run: the run.
        n: how many rows.
        keys: only these metrics; those that were not logged yet are left out.
        step: the run's highest step.
    """
    if n == 0 or step is None:
        return []
    logged = keys
    if keys is not None:
        known = set(run.keys())
        logged = [key for key in keys if key in known]
        if not logged:
            return []
    span = 4 * n
    while True:
        low = step - span if step - span > MIN_STEP else None
        rows = deque(run.scan_history(logged, min_step=low), maxlen=n)
        if len(rows) == n or low is None:
            return list(rows)
        span *= 64


class Follower:
    """Reads a run's log from `offset` on and emits each row, until the run has ended.

    Args:
        run: the run.
        state: the run's state at `offset`; every record is applied to it.
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
            CommandError: the run has no log, or its process died and how it ended is not known.
        """
        from sidecar.log.reader import LogReader

        try:
            reader = LogReader(self._run.dir / LOG_NAME, self._offset)
        except FileNotFoundError as error:
            raise CommandError(f"run {self._run.id!r} has no transaction log to follow") from error
        with reader:
            active = time.monotonic()
            while True:
                if self.step(reader):
                    active = time.monotonic()
                if self._state.state != "running":
                    return
                if time.monotonic() - active > _SILENT_SECONDS:
                    self._check_holder(reader)
                    active = time.monotonic()
                time.sleep(_POLL_SECONDS)

    def step(self, reader: LogReader) -> int:
        """Emit the rows that are in the log now; return the number of records read."""
        from sidecar.projections.replay import EachBatch, advance

        return advance(reader, EachBatch(self._take))

    def _take(self, items: Iterable[Item]) -> None:
        from sidecar.protocol.rows import Rows

        for item in items:
            self._state.take([item])
            if isinstance(item, Rows):
                for step, moment, data in item.points(self._keys):
                    self._emit(_row(self._state, item.schema.client, step, moment, data))
            elif item.kind == "log":
                data = item.body["data"]
                if self._keys is not None:
                    data = {key: value for key, value in data.items() if key in self._keys}
                    if not data:
                        continue
                self._emit(_row(self._state, item.client, item.body["step"], item.time, data))

    def _check_holder(self, reader: LogReader) -> None:
        """Have the run recovered if no process holds it any more; its last records are in the log then."""
        from tracker.reading.api import recover

        if is_held(self._run.dir) is not None:
            return
        recover(self._run.dir.parent.parent, [self._run.id])
        if self.step(reader) == 0 and self._state.state == "running" and is_held(self._run.dir) is None:
            raise CommandError(f"no process writes to run {self._run.id!r} any more, and how it ended is not known")


class Poller:
    """Polls a server for what came of a run after `offset` and emits each row, until the run has ended.

    Args:
        run: the run.
        state: the run's state at `offset`.
        offset: the checkpoint up to which everything was emitted.
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

        A server that does not answer is asked again. It cannot tell that the process of a run has died.

        Raises:
            StoreError: the server's answer cannot be used, or it no longer has the run.
        """
        from sidecar.protocol.errors import UnreachableStoreError

        warned = False
        while self._state.state == "running":
            try:
                self.step()
                warned = False
            except UnreachableStoreError as error:
                if not warned:
                    say(f"{error}; retrying")
                warned = True
            if self._state.state == "running":
                time.sleep(_SERVER_POLL_SECONDS)
        return self._state

    def step(self) -> None:
        """Emit the rows that have come since."""
        from sidecar.projections.run_state import RunState

        checkpoint, state_map = self._store.moment()
        state = RunState.from_map(state_map)
        for record in self._store.arrived(self._offset, checkpoint, self._keys):
            self._emit(_row(state, record.client, record.step, record.time, record.data))
            self._offset = record.position
        self._offset = checkpoint
        self._state = state


def _row(state: RunState, client: str, step: int, moment: float, data: Row) -> Row:
    """Return a row as `scan_history` does: with ``_label`` only if the run has several writers."""
    row: Row = {"_step": step, "_timestamp": moment}
    if len(state.writers) > 1:
        writer = state.writers.get(client)
        row["_label"] = None if writer is None else writer.name
    return row | data


def _text_row(row: Row) -> str:
    moment = time.strftime("%H:%M:%S", time.localtime(row["_timestamp"]))
    parts = [f"step {row['_step']}"]
    if row.get("_label") is not None:
        parts.append(f"[{clean(row['_label'])}]")
    parts += [f"{clean(key)}={number(value)}" for key, value in row.items() if key not in _OWN]
    text, total = "  ".join(parts), screen_width()
    if total is not None:
        text = fit(text, total - len(moment) - 2)
    return f"{Style.of(sys.stdout).paint(moment, 'dim')}  {text}"


def _end(run_id: str, state: RunState) -> str:
    """Return how the run ended, by the log: the store may not have it yet."""
    length = (state.end_time or 0.0) - (state.start_time or 0.0)
    ended = Style.of(sys.stderr).state(state.state)
    line = f"run {run_id} {ended} after {duration(length)}, {counted(state.records, 'row')}"
    lost = sum(state.losses.shown().values())
    return line + (f"; {counted(lost, 'record')} lost" if lost else "")
