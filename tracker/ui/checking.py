"""Checks of runs' logs on demand, each on a thread of its own while the page shows its progress.

One check per run at a time and a few in all; the results of the last ones are kept. Changes nothing in a run. Does not
know about HTTP.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.projections.rebuild import verify
from tracker.errors import TrackerError

MAX_RUNNING = 2
"""Maximum number of checks at a time: each reads a whole log."""

MAX_RESULTS = 64


class BusyError(TrackerError):
    """Too many logs are being checked."""


@dataclass
class _Check:
    """One check: its progress in bytes, and what was found; `result` and `error` are set at its end."""

    started: float
    done: int = 0
    total: int = 0
    ended: float | None = None
    result: dict[str, Any] | None = None
    error: str | None = None

    def to_map(self) -> dict[str, Any]:
        state = "running" if self.ended is None else "failed" if self.error else "done"
        return {
            "state": state,
            "started": self.started,
            "ended": self.ended,
            "done": self.done,
            "total": self.total,
            "result": self.result,
            "error": self.error,
        }


class Checks:
    """The checks of one server; used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checks: OrderedDict[str, _Check] = OrderedDict()

    def start(self, ref: str, directory: Path) -> dict[str, Any]:
        """Start to check a run, unless it is being checked; return the progress.

        Raises:
            BusyError: `MAX_RUNNING` other runs are being checked.
        """
        with self._lock:
            known = self._checks.get(ref)
            if known is not None and known.ended is None:
                return known.to_map()
            running = sum(check.ended is None for check in self._checks.values())
            if running >= MAX_RUNNING:
                raise BusyError(f"{running} logs are being checked; try again when one of them has finished")
            check = self._checks[ref] = _Check(time.time())
            self._checks.move_to_end(ref)
            while len(self._checks) > MAX_RESULTS:
                oldest = next((name for name, old in self._checks.items() if old.ended is not None), None)
                if oldest is None:
                    break
                del self._checks[oldest]
        threading.Thread(target=self._run, args=(check, directory), name=f"verify {ref}", daemon=True).start()
        return check.to_map()

    def progress(self, ref: str) -> dict[str, Any] | None:
        """Return the progress or the result of the last check of a run; None if there was none."""
        with self._lock:
            check = self._checks.get(ref)
        return None if check is None else check.to_map()

    def _run(self, check: _Check, directory: Path) -> None:
        def report(done: int, total: int) -> None:
            check.done, check.total = done, total

        try:
            check.result = verify(directory, report).to_map()
        except Exception as error:  # shown to the user: a thread's error would go to standard error only
            check.error = str(error) or type(error).__name__
        finally:
            check.ended = time.time()
