"""The runs that this process has open, oldest first. The current run is the newest that is still running.

Knows runs only by their lifecycles, and imports nothing of them: ``import tracker`` reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from tracker.sdk.exits import Exit
    from tracker.settings import Settings
    from tracker.transport.interface import Interface


class Active(Protocol):
    """What a process does with the runs that it has open; see `tracker.sdk.lifecycle.Lifecycle`."""

    id: str
    settings: Settings
    state: str
    phase: str
    records: bool
    child: bool

    def end(self, how: Exit) -> None: ...
    def append_end_in_signal_handler(self, how: Exit) -> Interface | None: ...
    def report_signal(self, how: Exit) -> None: ...
    def in_child(self) -> None: ...


_entries: list[tuple[Any, Active]] = []


def enter(run: Any, lifecycle: Active) -> None:
    """Make a run the current one. Runs that have ended are forgotten."""
    _entries[:] = [(one, its) for one, its in _entries if its is not lifecycle and its.phase != "ended"]
    _entries.append((run, lifecycle))


def leave(lifecycle: Active) -> None:
    """Forget a run."""
    _entries[:] = [(run, its) for run, its in _entries if its is not lifecycle]


def get() -> Any:
    """Return the current `Run`, or None."""
    return next((run for run, lifecycle in reversed(_entries) if lifecycle.state == "running"), None)


def latest() -> Any:
    """Return the current `Run`, else the last one to have ended, or None."""
    return get() or (_entries[-1][0] if _entries else None)


def find(run_id: str, root: Path) -> Any:
    """Return the newest `Run` of this process with this id in this root directory, or None."""
    return next((run for run, its in reversed(_entries) if its.id == run_id and its.settings.root == root), None)


def recording() -> tuple[Any, Active] | None:
    """Return the newest running `Run` that is not disabled, with its lifecycle, or None."""
    running = (entry for entry in reversed(_entries) if entry[1].state == "running" and entry[1].records)
    return next(running, None)


def lifecycles() -> list[Active]:
    """Return the lifecycles of all runs that have not ended, oldest first."""
    return [lifecycle for _, lifecycle in list(_entries) if lifecycle.phase != "ended"]
