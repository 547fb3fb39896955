"""Counts of records that could not be stored, by reason. Any thread may add to them; nothing here waits."""

from __future__ import annotations

import threading

INVALID = {part: f"invalid {part}" for part in ("value", "key", "step")}
"""Reasons for what could not be used of a call of `log`, by the part of it; each is warned of where it is counted."""


class Losses:
    """Counts of lost records by reason, since the writer started."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # reentrant, since a signal handler may count, too
        self._counts: dict[str, int] = {}

    def add(self, reason: str, count: int = 1) -> None:
        """Count `count` more records as lost."""
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + count

    def counts(self) -> dict[str, int]:
        """Return a copy: reason -> count."""
        with self._lock:
            return dict(self._counts)

    def total(self) -> int:
        """Return the sum over all reasons."""
        with self._lock:
            return sum(self._counts.values())

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} ({reason})" for reason, count in sorted(self.counts().items()))
        return f"<tracker.Losses: {counts or 'none'}>"

    def merge(self, counts: dict[str, int]) -> None:
        """Take over counts that include these and more, such as the sidecar's over all writers of a run."""
        with self._lock:
            for reason, count in counts.items():
                self._counts[reason] = max(count, self._counts.get(reason, 0))
