"""Orphan: a window whose owner is gone, and the one rule for reading it. Both sides take orphans with it.

Whether the records can be used is checked by the sidecar that appends them; here only their envelopes are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sidecar.protocol.rows import Rows
from sidecar.protocol.segments import Framed, OwnerLock, read_window, remove_window


def read_orphan(directory: Path, run: str, after: int = 0) -> Iterator[Framed]:
    """Yield the records for `run` in the window of a client, those with numbers above `after`, in order.

    They end at a gap, at damage, and at a record of another run or client.
    """
    for framed in read_window(directory, after):
        owner = framed.item.schema if isinstance(framed.item, Rows) else framed.item
        if owner.run != run or owner.client != directory.name:
            return
        yield framed


class Orphan:
    """A window whose owner is gone, locked until it is removed or released.

    Attributes:
        directory: the window.
        client: the client that the window is named for.
        info: the content of its owner file.
    """

    def __init__(self, directory: Path, lock: OwnerLock) -> None:
        self.directory = directory
        self.client = directory.name
        self._lock = lock

    @classmethod
    def take(cls, directory: Path) -> Orphan | None:
        """Lock the window in `directory`; return None if its owner is alive, or another process has taken it."""
        lock = OwnerLock.take(directory)
        return cls(directory, lock) if lock is not None else None

    @property
    def info(self) -> dict[str, Any]:
        return self._lock.info

    def records(self, run: str, after: int = 0) -> Iterator[Framed]:
        """Yield the client's records; see `read_orphan`."""
        return read_orphan(self.directory, run, after)

    def remove(self) -> None:
        """Remove the window: its records are durable elsewhere."""
        remove_window(self.directory)
        self.release()

    def release(self) -> None:
        """Unlock the window, which stays if it was not removed. May be called twice."""
        self._lock.release()
