"""DisabledLifecycle: a run of mode ``"disabled"``. Its calls do nothing: nothing is launched, written or waited for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.sdk.exits import Exit
from tracker.sdk.lifecycle import Lifecycle
from tracker.settings import Settings

if TYPE_CHECKING:
    from tracker.sdk.files import Source


class DisabledLifecycle(Lifecycle):
    """A run that records nothing."""

    records = False

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, settings.run_id or "disabled", settings.name or "disabled", Path("."))

    def ensure_attached(self) -> None:
        """Do nothing."""

    def publish(self, kind: str, body: dict[str, Any]) -> None:
        """Do nothing."""

    def stored_state(self) -> None:
        """Return None: nothing is stored."""

    def save(self, files: Sequence[tuple[Source, str]], timeout: float | None) -> None:
        """Do nothing."""

    def flush(self, timeout: float | None) -> bool:
        """Return True: there is nothing to wait for."""
        return True

    def end(self, how: Exit, *, explicit: bool = False) -> None:
        if self.phase == "open":
            self.state = how.state
            self.phase = "ended"
            self.changed()

    def append_end_in_signal_handler(self, how: Exit) -> None:
        """Do nothing."""

    def report_signal(self, how: Exit) -> None:
        """Do nothing."""

    def in_child(self) -> None:
        """Do nothing."""
