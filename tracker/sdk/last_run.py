"""The last run that has not ended well, for ``resume="auto"``: a file in the root with its id."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sidecar.protocol.atomic import replace_bytes

_NAME = "last-run"


def read(root: Path) -> str:
    """Return the run's id, or an empty string."""
    try:
        return (root / _NAME).read_text().strip()
    except OSError:
        return ""


def remember(root: Path, run_id: str) -> None:
    """Note that `run_id` begins. If that cannot be written, only ``resume="auto"`` misses it."""
    with contextlib.suppress(OSError):
        replace_bytes(root / _NAME, f"{run_id}\n".encode())


def forget(root: Path, run_id: str) -> None:
    """Note that `run_id` has ended well: ``resume="auto"`` starts a new run."""
    if read(root) == run_id:
        with contextlib.suppress(OSError):
            (root / _NAME).unlink()
