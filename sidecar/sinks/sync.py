"""What ``tracker sync`` and ``tracker doctor`` run in a process of their own: sends runs to their servers, several at
once, and checks servers.

`sync` prints lines of JSON about a *pair*, a run and a server: ``run``, ``sink``, ``done_bytes``, ``all_bytes``,
``error``, and ``end`` (true in the last line of a pair).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME, is_held
from sidecar.protocol.sink_address import SinkAddress, parse_sink
from sidecar.protocol.sink_progress import all_progress
from sidecar.sinks.contract import SinkError, SinkTarget
from sidecar.sinks.delivery import Delivery
from sidecar.sinks.registry import open_sink

MAX_CONCURRENT = 4
"""Maximum number of pairs that are sent at the same time."""

WATCH_SECONDS = 5.0
"""Pause between passes with ``--watch``, in seconds."""

_REPORT_SECONDS = 0.2
_CLOSE_SECONDS = 5.0

Report = Callable[[dict[str, object]], None]


def pairs(root: Path, run_ids: Iterable[str] | None, sinks: Iterable[SinkAddress]) -> list[tuple[Path, SinkAddress]]:
    """Return the pairs to send: each run with the servers in `sinks`, and with those that it was started with."""
    given = list(sinks)
    names = sorted(path.name for path in (root / RUNS_NAME).glob("*")) if run_ids is None else list(run_ids)
    found = []
    for name in names:
        directory = root / RUNS_NAME / name
        if not (directory / LOG_NAME).exists():
            continue
        recorded = [parse_sink(progress.address) for progress in all_progress(directory)]
        found += [(directory, address) for address in {each.name: each for each in (*recorded, *given)}.values()]
    return found


def send_all(todo: list[tuple[Path, SinkAddress]], patience: float, report: Report, *, again: bool = False) -> bool:
    """Send what the logs contain now; return whether all of it was sent.

    Args:
        todo: the pairs.
        patience: seconds without progress after which a pair is given up.
        report: takes the lines; called from several threads.
        again: resend all of each log.
    """
    with ThreadPoolExecutor(MAX_CONCURRENT) as pool:
        return all(list(pool.map(lambda pair: _Pair(pair[0], pair[1], report, again).send(patience), todo)))


class _Pair:
    """A run and a server while `send_all` is at it."""

    def __init__(self, directory: Path, address: SinkAddress, report: Report, again: bool) -> None:
        self._directory = directory
        self._address = address
        self._report = report
        self._size = (directory / LOG_NAME).stat().st_size
        self._delivery = Delivery(directory, address)
        if again:
            self._delivery.resend()
        # A checkpoint behind the end of the log belongs to another log, so only one at its end means "nothing to do".
        self._position = -1 if again else self._delivery.progress.checkpoint

    def send(self, patience: float) -> bool:
        """Send to the end of the log, or until there is no progress for `patience` seconds; return whether all was
        sent."""
        try:
            if self._position != self._size:
                self._step_until_done(patience)
        finally:
            self._delivery.close(Deadline(_CLOSE_SECONDS))
        self._print(end=True)
        return self._delivery.progress.checkpoint >= self._size

    def _step_until_done(self, patience: float) -> None:
        reported_at = 0.0
        moved_at = time.monotonic()
        tail = 0
        while True:
            now = time.monotonic()
            self._delivery.wake()
            wait = self._delivery.step(now)
            now = time.monotonic()  # an attempt to reach a server may take longer than the patience
            if self._delivery.progress.checkpoint != self._position:
                self._position, moved_at = self._delivery.progress.checkpoint, now
            if tail and tail == self._delivery.tail_bytes and is_held(self._directory) is None:
                self._size = self._position  # the rest is an incomplete record, which no process is writing
            tail = self._delivery.tail_bytes
            if self._position >= self._size or now - moved_at > patience:
                return
            if now - reported_at > _REPORT_SECONDS:
                reported_at = now
                self._print(end=False)
            time.sleep(min(wait, 1.0))

    def _print(self, *, end: bool) -> None:
        progress = self._delivery.progress
        sent = min(progress.checkpoint, self._size)
        pair: dict[str, object] = {"run": self._directory.name, "sink": self._address.text, "done_bytes": sent}
        self._report({**pair, "all_bytes": self._size, "error": progress.error, "end": end})


def sync(
    root: Path,
    run_ids: list[str] | None,
    sinks: Iterable[SinkAddress],
    patience: float,
    *,
    watch: bool = False,
    again: bool = False,
) -> int:
    """Send runs and print the progress; return the exit status. With `watch`, repeat forever; with `again`, the first
    pass resends everything."""
    printing = threading.Lock()

    def report(line: dict[str, object]) -> None:
        with printing:
            print(json.dumps(line), flush=True)

    given = list(sinks)
    while True:
        complete = send_all(pairs(root, run_ids, given), patience, report, again=again)
        again = False
        if not watch:
            return 0 if complete else 1
        time.sleep(WATCH_SECONDS)


def check(addresses: Iterable[SinkAddress]) -> Iterator[dict[str, object]]:
    """Yield for each server its address, and its version or the error that prevented asking for it."""
    for address in addresses:
        answer: dict[str, object] = {"sink": address.text, "version": None, "error": None}
        try:
            sink = open_sink(SinkTarget(address, "none", Path(), {}))
            try:
                answer["version"] = sink.version()
            finally:
                sink.close(Deadline(1.0))
        except SinkError as error:
            answer["error"] = str(error)
        yield answer
