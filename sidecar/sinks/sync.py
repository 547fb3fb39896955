"""Sends runs that wait to their servers, several at once, and says how far it is: what ``tracker sync`` calls.

A process of its own. What it prints are lines of JSON, one for each step of a run: ``run``, ``sink``, ``done_bytes``,
``all_bytes``, ``error``, and ``end`` (true in a pair's last line).
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

AT_ONCE = 4
"""Runs that are sent at the same time."""

WATCH_SECONDS = 5.0
_SAY_SECONDS = 0.2

Say = Callable[[dict[str, object]], None]


def pairs(root: Path, run_ids: Iterable[str] | None, sinks: Iterable[SinkAddress]) -> list[tuple[Path, SinkAddress]]:
    """Return which run goes to which server: to those given, and to those that were noted when it was made."""
    given = list(sinks)
    names = sorted(path.name for path in (root / RUNS_NAME).glob("*")) if run_ids is None else list(run_ids)
    found = []
    for name in names:
        directory = root / RUNS_NAME / name
        if not (directory / LOG_NAME).exists():
            continue
        noted = [parse_sink(progress.address) for progress in all_progress(directory)]
        found += [(directory, address) for address in {each.name: each for each in (*noted, *given)}.values()]
    return found


def send_all(todo: list[tuple[Path, SinkAddress]], patience: float, say: Say, *, again: bool = False) -> bool:
    """Send what is in the logs now; return whether all of it arrived.

    Args:
        todo: which run to which server.
        patience: seconds without progress after which a pair is given up.
        say: takes the lines, from several threads.
        again: send all of each log once more.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return all(list(pool.map(lambda pair: _send(pair[0], pair[1], patience, say, again), todo)))


def _send(directory: Path, address: SinkAddress, patience: float, say: Say, again: bool) -> bool:
    wanted = (directory / LOG_NAME).stat().st_size
    delivery = Delivery(directory, address)
    said_at = 0.0
    moved_at = time.monotonic()
    if again:
        delivery.again()
    before = -1 if again else delivery.progress.checkpoint
    tail = 0

    def line(*, end: bool) -> None:
        done = min(delivery.progress.checkpoint, wanted)
        about: dict[str, object] = {"run": directory.name, "sink": address.text, "done_bytes": done}
        say({**about, "all_bytes": wanted, "error": delivery.progress.error, "end": end})

    try:
        while before != wanted:  # one that is behind the end of the log is of another log
            now = time.monotonic()
            delivery.hurry()
            wait = delivery.step(now)
            if delivery.progress.checkpoint != before:
                before, moved_at = delivery.progress.checkpoint, now
            if tail and tail == delivery.tail_bytes and is_held(directory) is None:
                wanted = before  # what is behind it is no record, and nobody is about to write one
            tail = delivery.tail_bytes
            if before >= wanted or now - moved_at > patience:
                break
            if now - said_at > _SAY_SECONDS:
                said_at = now
                line(end=False)
            time.sleep(min(wait, 1.0))
    finally:
        delivery.close(Deadline(5.0))
    line(end=True)
    return delivery.progress.checkpoint >= wanted


def sync(
    root: Path,
    run_ids: list[str] | None,
    sinks: Iterable[SinkAddress],
    patience: float,
    *,
    watch: bool = False,
    again: bool = False,
) -> int:
    """Send (with `again` all of it once more), print, and with `watch` go on for ever; return the exit status."""
    printing = threading.Lock()

    def say(line: dict[str, object]) -> None:
        with printing:
            print(json.dumps(line), flush=True)

    given = list(sinks)
    while True:
        arrived = send_all(pairs(root, run_ids, given), patience, say, again=again)
        again = False
        if not watch:
            return 0 if arrived else 1
        time.sleep(WATCH_SECONDS)


def check(addresses: Iterable[SinkAddress]) -> Iterator[dict[str, object]]:
    """Yield, for each server, its version, or why it cannot be reached."""
    for address in addresses:
        said: dict[str, object] = {"sink": address.text, "version": None, "error": None}
        try:
            sink = open_sink(SinkTarget(address, "none", Path(), {}))
            try:
                said["version"] = sink.version()
            finally:
                sink.close(Deadline(1.0))
        except SinkError as error:
            said["error"] = str(error)
        yield said
