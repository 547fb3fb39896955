"""Which run was last and has not ended well, for ``resume="auto"``: a file in the root with its id."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_NAME = "last-run"


def read(root: Path) -> str:
    """Return the run's id, or nothing."""
    try:
        return (root / _NAME).read_text().strip()
    except OSError:
        return ""


def remember(root: Path, run_id: str) -> None:
    """`run_id` begins. Where that cannot be written, only ``resume="auto"`` misses it."""
    beside = root / f".{_NAME}.{os.getpid()}"
    try:
        beside.write_text(run_id + "\n")
        beside.rename(root / _NAME)
    except OSError:
        return


def forget(root: Path, run_id: str) -> None:
    """`run_id` has ended well: ``resume="auto"`` starts a new run."""
    if read(root) == run_id:
        with contextlib.suppress(OSError):
            (root / _NAME).unlink()
