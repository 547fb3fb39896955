"""Reading: answers ``read`` requests in pages. Its methods run on the HandlerThread, the reads on ReaderThreads.

A read stays open between its pages, each of which is asked for. Reads are bounded in number, per client and in all, and
are closed when the next page is not asked for. Knows nothing of sockets, or of what is read.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sidecar.protocol.errors import RefusedError
from sidecar.protocol.pages import pages
from sidecar.protocol.records import Body

_log = logging.getLogger("sidecar")

MAX_READS = 64
MAX_CLIENT_READS = 8
"""Maximum number of reads that are open at a time, and of those of one connection."""

IDLE_SECONDS = 30.0
"""Time after which a read is closed whose next page is not asked for, in seconds."""

_THREADS = 2
_LOOK_SECONDS = 5.0

Values = Callable[[str, str, Mapping[str, Any]], Iterator[Any]]
Answer = Callable[[RefusedError | None, Body], None]
"""Called once, on any thread: with why a read is refused, or with None and the body of the page."""


class _Read:
    """A read that is open.

    Attributes:
        pages: the pages that are left.
        busy: whether a page is being made.
        used_at: when a page was last asked for or made, in monotonic seconds.
    """

    def __init__(self, pages: Iterator[tuple[bytes, bool]]) -> None:
        self.pages = pages
        self.busy = True
        self.used_at = time.monotonic()


class Reading:
    """The reads of a sidecar's clients.

    Args:
        values: yields what is asked for, given what, the run and the arguments.
    """

    def __init__(self, values: Values) -> None:
        self._values = values
        self._reads: dict[tuple[bytes, int], _Read] = {}
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    def read(self, peer: bytes, run: str, body: Body, answer: Answer) -> None:
        """Answer the request for a page.

        Args:
            peer: the connection that it came from.
            run: the run's id.
            body: of the request.
            answer: called when the page is ready.

        Raises:
            RefusedError: there is no such read, or too many are open.
        """
        key = peer, body["id"]
        what = body.get("what")
        if body.get("close"):
            self._close(key)
            answer(None, {"data": b"", "more": False})
            return
        with self._lock:
            read = self._reads.get(key)
            if what is None:
                if read is None:
                    raise RefusedError("reads", f"no read {body['id']} is open here any more; begin again")
                if read.busy:
                    raise RefusedError("reads", f"a page of read {body['id']} is being made already")
                read.busy = True
            else:
                if len(self._reads) >= MAX_READS or sum(k[0] == peer for k in self._reads) >= MAX_CLIENT_READS:
                    raise RefusedError("reads", "too many reads are open; try again")
                if read is not None:
                    raise RefusedError("reads", f"read {body['id']} is open already")
                read = self._reads[key] = _Read(pages(self._values(what, run, body.get("args", {}))))
            threads = self._threads
            if threads is None:
                threads = self._threads = ThreadPoolExecutor(_THREADS, "ReaderThread")
        threads.submit(self._make_page, key, read, answer)

    def _make_page(self, key: tuple[bytes, int], read: _Read, answer: Answer) -> None:
        refused: RefusedError | None = None
        data, more = b"", False
        try:
            data, more = next(read.pages)
        except RefusedError as error:
            refused = error
        except Exception as error:  # an unforeseen failure of one read must not end the others
            _log.exception("a read failed")
            refused = RefusedError("storage", f"it cannot be read: {type(error).__name__}: {error}")
        with self._lock:
            read.busy, read.used_at = False, time.monotonic()
            if not more:
                self._reads.pop(key, None)
        if not more:
            _close(read)
        answer(refused, {"data": data, "more": more})

    def _close(self, key: tuple[bytes, int]) -> None:
        with self._lock:
            read = self._reads.get(key)
            if read is not None and not read.busy and self._threads is not None:
                del self._reads[key]
                self._threads.submit(_close, read)

    def idle(self, now: float) -> float:
        """Close the reads whose next page is not asked for; return when to be called again."""
        if not self._reads:
            return _LOOK_SECONDS
        with self._lock:
            stale = [key for key, read in self._reads.items() if not read.busy and now - read.used_at > IDLE_SECONDS]
            closed = [self._reads.pop(key) for key in stale]
        for read in closed:
            if self._threads is not None:
                self._threads.submit(_close, read)
        return _LOOK_SECONDS

    def close(self) -> None:
        """Make no more pages."""
        with self._lock:
            threads, self._threads = self._threads, None
            self._reads.clear()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


def _close(read: _Read) -> None:
    close = getattr(read.pages, "close", None)
    if close is not None:
        close()
