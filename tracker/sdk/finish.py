"""The end of a run: `drain` waits until everything is in the log and the store, then for the servers, and reports.

Runs on the caller's thread, within one deadline. The sidecar finishes in the background whatever is not done by then.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from tracker.sdk import last_run
from tracker.terminal.messages import show
from tracker.terminal.progress import Progress
from tracker.terminal.text import clean, fit, size

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.settings import Settings
    from tracker.transport.interface import Interface
    from tracker.transport.losses import Losses

_log = logging.getLogger("tracker")

_POLL_SECONDS = 0.1
"""Interval between two requests for the servers' progress, in seconds."""

_ANNOUNCE_SECONDS = 2.0
"""Time after which waiting for a server is announced although it has no error, in seconds."""

_ERROR_COLUMNS = 60


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended in this process.

    Args:
        id, name: the run's.
        state: how it ended.
        directory: the run's directory; None if another machine keeps it.
        location: where it is kept, for people.
        start_time: Unix seconds.
        settings: the run's.
        losses: what could not be kept.
    """

    id: str
    name: str
    state: str
    directory: Path | None
    location: str
    start_time: float
    settings: Settings
    losses: Losses


def drain(run: EndedRun, interface: Interface, deadline: Deadline) -> dict[str, Any] | None:
    """Wait for everything, as long as the deadline allows, and report how the run ended.

    Returns:
        the run's state as the store has it; None if it did not come in time.
    """
    settings = run.settings
    if not settings.silent:
        with contextlib.suppress(ImportError):  # takes a moment, while the pump and the sidecar are at work anyway
            import tracker.reading.closing  # noqa: F401
    total = interface.unacked()
    with Progress(f"tracker: run {run.name}", silent=settings.silent) as progress:
        answer = interface.ask("state", deadline, lambda: progress(total - interface.unacked(), total))
    state: dict[str, Any] | None = (answer.get("state") or None) if answer is not None else None
    if state is not None:
        run.losses.merge(state.get("losses", {}))
    if interface.unacked():
        _log.warning(
            "run %s: %d records are not yet in the log after %.0f s; they are kept in %s and recovered from there",
            run.id,
            interface.unacked(),
            settings.finish_timeout,
            interface.window.directory,
        )
    elif state is None:
        reason = answer.get("error") if answer else f"no answer in {settings.finish_timeout:.0f} s"
        _log.warning("run %s: everything is in the log; the store is not ready: %s", run.id, reason)
    if answer is not None and settings.mode == "online" and settings.sinks:
        _wait_for_sinks(run, interface, answer.get("sinks", {}), deadline)
    if run.state == "finished":
        last_run.forget(settings.root, run.id)
    report(run, state)
    return state


def report(run: EndedRun, state: dict[str, Any] | None) -> None:
    """Print how the run ended and what was lost.

    Args:
        run: the run.
        state: its state as the store has it, or None.
    """
    counts = run.losses.counts()
    if counts:
        reasons = ", ".join(f"{count} ({reason})" for reason, count in sorted(counts.items()))
        show(f"tracker: run {clean(run.name)}: lost: {reasons}\n")
    if not run.settings.silent:
        show("".join(f"{line}\n" for line in _closing_lines(run, state or {})))


def _closing_lines(run: EndedRun, state: dict[str, Any]) -> list[str]:
    """Return how the run ended, with curves if no other writer goes on with it."""
    try:
        from tracker.reading.closing import Ending, closing_lines
    except ImportError as error:  # such as a Python without sqlite3
        return [f"tracker: run {clean(run.name)} {run.state}, kept {run.location} (no curves: {error})"]
    ended = state.get("state") not in (None, "running")
    return closing_lines(
        Ending(
            run.id,
            run.name,
            run.state,
            time.time() - run.start_time,
            run.location,
            run.directory if ended else None,
            state.get("project"),
            (state.get("summary") or {}) if ended else {},
            state.get("step") if ended else None,
        )
    )


def _wait_for_sinks(run: EndedRun, interface: Interface, sinks: dict[str, Any], deadline: Deadline) -> None:
    """Wait for the servers that the run was given. Those that its sidecar adds are not waited for."""
    given = run.settings.sinks
    pending = _pending(sinks, given)
    total = sum(pending.values())
    started, announced = time.monotonic(), False
    with Progress(f"tracker: run {run.name} to its sinks", silent=run.settings.silent) as progress:
        while pending and not deadline.over():
            progress(max(0, total - sum(pending.values())), total)
            time.sleep(deadline.left(_POLL_SECONDS) or 0.0)
            answer = interface.ask("progress", Deadline(deadline.left(5.0)))
            sinks = answer.get("sinks", {}) if answer is not None else sinks
            pending = _pending(sinks, given)
            if pending and not announced and not run.settings.silent:
                announced = _announce_wait(sinks, pending, deadline, started)
    for address, size_bytes in pending.items():
        error = f", {sinks[address]['error']}" if sinks[address]["error"] else ""
        _log.warning(
            "run %s: %s pending for %s%s; the sidecar keeps trying in the background, see 'tracker ls'",
            run.id,
            size(size_bytes),
            address,
            error,
        )


def _announce_wait(sinks: dict[str, Any], pending: dict[str, int], deadline: Deadline, started: float) -> bool:
    """Say what is waited for, as soon as a server has an error or is slow; return whether that was said."""
    reasons = {address: sinks[address]["error"] for address in pending if sinks[address]["error"]}
    if not reasons and time.monotonic() - started < _ANNOUNCE_SECONDS:
        return False
    address, size_bytes = next(iter(pending.items())) if not reasons else (next(iter(reasons)), 0)
    why = _short(reasons[address]) if reasons else f"{size(size_bytes)} pending"
    remaining = deadline.left()
    limit = "" if remaining is None else f" up to {remaining:.0f} s"
    show(f"tracker: waiting{limit} for {address.partition('+')[0]} ({why}); Ctrl-C leaves it to the sidecar\n")
    return True


def _short(error: str) -> str:
    """Return the gist of a server's error."""
    text = clean(error)
    return "connection refused" if "refused" in text.lower() else fit(text, _ERROR_COLUMNS)


def _pending(sinks: dict[str, Any], given: Iterable[str]) -> dict[str, int]:
    """Return the given servers that lack something, and how many bytes of the log each lacks."""
    return {name: sinks[name]["behind_bytes"] for name in given if name in sinks and sinks[name]["behind_bytes"]}
