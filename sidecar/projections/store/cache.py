"""BucketCache: pieces and buckets that were read before, bounded in bytes. Shared by threads, for a server's lifetime.

An entry is never stale: its key identifies the content by the id and the version of the store.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

DEFAULT_BYTES = 64 * 1024 * 1024
"""Maximum size of the content if not given: the pieces of 200 series of 10,000,000 points."""

_ENTRY_BYTES = 1200
"""Approximate size of an entry without its numbers."""


class BucketCache:
    """A mapping that drops the least recently used entries.

    Args:
        max_bytes: maximum size of the content, approximately.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Size of the content, in bytes, approximately."""
        return self._size

    def get(self, key: Hashable) -> Any:
        """Return an entry's content; None if there is no such entry."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, content: Any, size: int) -> None:
        """Keep an entry, unless it alone is too large.

        Args:
            key: identifies the content.
            content: must not be changed afterwards.
            size: of its numbers, in bytes.
        """
        size += _ENTRY_BYTES
        if size > self.max_bytes:
            return
        with self._lock:
            before = self._entries.pop(key, None)
            if before is not None:
                self._size -= before[1]
            self._entries[key] = (content, size)
            self._size += size
            while self._size > self.max_bytes:
                _, (_, dropped) = self._entries.popitem(last=False)
                self._size -= dropped

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._size = 0


__all__ = ["DEFAULT_BYTES", "BucketCache"]
