"""A run of mode ``"disabled"``: the same calls, none of which launches, writes or waits."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tracker.sdk.exits import Exit
from tracker.sdk.run import Run
from tracker.settings import Settings


class DisabledRun(Run):
    """Takes everything, keeps only its config and what was set in the summary."""

    def __init__(self, settings: Settings, config: dict[str, Any]) -> None:
        super().__init__(None, settings, settings.run_id or "disabled", settings.name or "disabled", Path("."))  # type: ignore[arg-type]
        self.start_time = time.time()
        self.config._load(config)

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Do nothing."""

    def _publish(self, kind: str, body: dict[str, Any]) -> None:
        """Do nothing."""

    @property
    def files_dir(self) -> Path:
        raise RuntimeError("a run of mode 'disabled' has no files")

    def save(self, path: str | os.PathLike[str], name: str | None = None, timeout: float | None = None) -> list[str]:
        """Do nothing."""
        return []

    def flush(self, timeout: float | None = None) -> bool:
        """Return True: there is nothing to wait for."""
        return True

    def _end(self, how: Exit) -> None:
        self._state = how.state
