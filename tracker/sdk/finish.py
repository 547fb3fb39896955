"""What `Run.finish` waits for: that all is in the log and readable in the store, then the servers; and what it says.

Runs on the caller's thread, inside one deadline. What is not done by then the run's sidecar does by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sidecar.protocol.deadline import Deadline
from tracker.sdk import last_run
from tracker.terminal.messages import show
from tracker.terminal.progress import Progress

if TYPE_CHECKING:
    from tracker.sdk.run import Run
    from tracker.transport.interface import Interface

_log = logging.getLogger("tracker")

_LOOK_SECONDS = 0.1
"""How often it is asked how far the servers are."""


def drain(run: Run, interface: Interface, deadline: Deadline) -> None:
    """Wait for everything, as long as the deadline allows, and say how the run ended."""
    settings = run._settings
    total = interface.unacked()
    with Progress(f"tracker: run {run.name}", silent=settings.silent) as progress:
        answer = interface.ask("state", deadline, lambda: progress(total - interface.unacked(), total))
    if answer is not None and answer.get("state"):
        run.summary._load(answer["state"]["summary"])
        run.losses.merge(answer["state"].get("losses", {}))
    if interface.unacked():
        _log.warning(
            "run %s: %d records are not yet in the log after %.0f s; they are kept in %s and taken from there",
            run.id,
            interface.unacked(),
            settings.finish_timeout,
            interface.window.directory,
        )
    elif answer is None or not answer.get("state"):
        reason = answer.get("error") if answer else f"no answer in {settings.finish_timeout:.0f} s"
        _log.warning("run %s: everything is in the log; the store is not ready: %s", run.id, reason)
    if answer is not None and settings.mode == "online" and settings.sinks:
        _wait_for_sinks(run, interface, answer.get("sinks", {}), deadline)
    if run.state == "finished":
        last_run.forget(settings.root, run.id)
    _say_goodbye(run)


def _wait_for_sinks(run: Run, interface: Interface, sinks: dict[str, Any], deadline: Deadline) -> None:
    """Wait until the servers that the run was given have it too; those that its sidecar adds are not waited for."""
    given = run._settings.sinks
    left = _behind(sinks, given)
    total = sum(left.values())
    with Progress(f"tracker: run {run.name} to its sinks", silent=run._settings.silent) as progress:
        while left and not deadline.over():
            progress(max(0, total - sum(left.values())), total)
            time.sleep(deadline.left(_LOOK_SECONDS) or 0.0)
            answer = interface.ask("progress", Deadline(deadline.left(5.0)))
            sinks = answer.get("sinks", {}) if answer is not None else sinks
            left = _behind(sinks, given)
    for address, size in left.items():
        why = f", {sinks[address]['error']}" if sinks[address]["error"] else ""
        _log.warning(
            "run %s: %d B are still on their way to %s%s; its sidecar goes on by itself, 'tracker ls' shows it",
            run.id,
            size,
            address,
            why,
        )


def _behind(sinks: dict[str, Any], given: Iterable[str]) -> dict[str, int]:
    """Return which of the given servers do not have all yet, and how many bytes of the log they lack."""
    return {name: sinks[name]["behind_bytes"] for name in given if name in sinks and sinks[name]["behind_bytes"]}


def _say_goodbye(run: Run) -> None:
    lost = run.losses.counts()
    if lost:
        told = ", ".join(f"{count} ({reason})" for reason, count in sorted(lost.items()))
        show(f"tracker: run {run.name}: not kept: {told}\n")
    if not run._settings.silent:
        show(f"tracker: run {run.name} {run.state}, kept {run._kept()}\n")
