"""The window: every record from `append` until its ack, in memory-mapped segment files that outlive the process.

`append` is the hot path, called by any thread that holds `lock`; everything else is called by the pump thread (or, at
the beginning and the end of a run, by its owner). Knows nothing of sockets. The files: `sidecar.protocol.segments`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import mmap
import os
import threading
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any

from sidecar.protocol.codec import new_packer
from sidecar.protocol.filesystems import local_directory, on_local_disk
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK_BITS
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.limits import MAX_RECORD_BYTES
from sidecar.protocol.segments import HEADER_BYTES, SEGMENT_SUFFIX, WINDOWS_NAME, OwnerLock, header, remove_window
from tracker.transport.losses import Losses

_log = logging.getLogger("tracker")

SEGMENT_BYTES = 2 * 1024 * 1024

RESERVE_BYTES = 512 * 1024
"""Kept aside for the last words of a run, which must find a place when all else is full: losses, and how it ended."""

_AGAIN_SECONDS = 0.1
"""After a segment that could not be made so long passes before `append` tries again: on a full disk that takes 1 ms."""

_MADV_POPULATE_WRITE = 23  # Linux 5.14, madvise(2); Python's mmap has no name for it before 3.13
_pack_head = HEAD.pack_into
_crc32 = zlib.crc32
_now = time.time


class Segment:
    """One file of the window.

    Attributes:
        first: the number of its first record.
        last, end: the number of its last record and where that ends, once the segment is no longer written to.
        memory: the mapping, while it is written to.
    """

    __slots__ = ("end", "fd", "first", "last", "memory", "path", "size")

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.first = self.last = self.end = 0
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.memory: mmap.mmap | None = None
        try:
            _allocate(self.fd, size)
            self.map()
        except BaseException:
            os.close(self.fd)
            path.unlink(missing_ok=True)
            raise

    def map(self) -> None:
        """Map it, its pages present and writable, so that the hot path meets no page fault."""
        if self.memory is None:
            self.memory = mmap.mmap(self.fd, self.size)
            try:
                self.memory.madvise(_MADV_POPULATE_WRITE)
            except (OSError, ValueError, AttributeError):
                return  # an older kernel: the first write to each page costs a fault

    def begin(self, first: int) -> None:
        """Make it the segment that begins with the record `first`."""
        self.map()
        assert self.memory is not None
        self.memory[:HEADER_BYTES] = header(first)
        self.first, self.last, self.end = first, 0, 0

    def close(self, *, remove: bool) -> None:
        if self.memory is not None:
            self.memory.close()
            self.memory = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if remove:
            self.path.unlink(missing_ok=True)


def _allocate(fd: int, size: int) -> None:
    """Give the file its blocks now, so that a full disk is an error here and never a SIGBUS in the hot path."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
        return
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        part = zeros[: size - offset]
        if os.pwrite(fd, part, offset) < len(part):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Window:
    """The records of one client that are not yet acked.

    Args:
        base: the run's directory, in which the window's own is made.
        run: the run's id.
        client: the client's id.
        info: what the ``owner`` file says besides these two.
        losses: where what cannot be kept is counted.
        limit_bytes: how large all segments together may become.

    Attributes:
        lock: to be held around `append`; reentrant, since a signal handler may log in the middle of a log.
        seq: the number of the last record.

    Raises:
        OSError: the directory cannot be made, or the disk is full.
    """

    def __init__(
        self,
        base: Path,
        run: str,
        client: str,
        info: dict[str, Any],
        losses: Losses,
        limit_bytes: int,
    ) -> None:
        self.lock = threading.RLock()
        self.seq = 0
        self.run = run
        self.client = client
        self.acked = 0
        self._losses = losses
        self._limit_bytes = limit_bytes
        self._pack = new_packer()
        self._busy = False
        self._deferred: deque[tuple[str, dict[str, Any]]] = deque()
        self._made = 0
        self._retired: list[mmap.mmap] = []
        self._refusal = ""
        self._said_lost = False
        self._again_at = 0.0
        self._spare: Segment | None = None
        self._reserve: Segment | None = None
        self._ending = False
        self._segments: deque[Segment] = deque()
        self._memory: mmap.mmap
        self._pos = self._size = 0
        named = base / WINDOWS_NAME / client
        named.parent.mkdir(parents=True, exist_ok=True)
        windows = named.parent if on_local_disk(named.parent) else local_directory(run)
        self.directory = windows / f".{client}"  # nobody looks at it before it has its lock and its final name
        self.directory.mkdir(mode=0o700)
        self._owner = OwnerLock.make(self.directory, {"run": run, "client": client, **info})
        try:
            segment = self._new_segment(SEGMENT_BYTES)
            self._reserve = self._new_segment(RESERVE_BYTES)
        except BaseException:
            self._owner.release()
            remove_window(self.directory)
            raise
        self.directory = self.directory.rename(windows / client)
        if self.directory != named:
            named.symlink_to(self.directory)  # so that whoever opens the run finds it
        for made in (segment, self._reserve):
            made.path = self.directory / made.path.name
        segment.begin(1)
        self._named = named
        self._segments.append(segment)
        self._use(segment)
        self._sent_segment = segment
        self._sent_pos = HEADER_BYTES
        self._sent_seq = 0

    # -- the hot path -------------------------------------------------------------------------------------------

    def append(self, kind: str, body: dict[str, Any]) -> bool:
        """Number a record and keep it; return False where it had to be counted as lost. Call it with `lock` held.

        Raises:
            TypeError, OverflowError, ValueError: the body cannot be packed, or is too large; nothing was kept.
        """
        if self._busy:  # a signal handler, or a finalizer, on the thread that is in the middle of an append
            self._deferred.append((kind, body))
            return True
        self._busy = True
        try:
            seq = self.seq + 1
            payload = self._pack((kind, self.run, self.client, seq, _now(), body))
            length = len(payload)
            start = self._pos
            end = start + HEAD_BYTES + length
            if end > self._size:
                if not self._roll(length):
                    return False
                start = self._pos
                end = start + HEAD_BYTES + length
            memory = self._memory
            _pack_head(memory, start, MARK_BITS | length, _crc32(payload))
            memory[start + HEAD_BYTES : end] = payload
            self.seq = seq  # these two lines are one step: no signal handler and no other thread runs between them
            self._pos = end
            return True
        finally:
            self._busy = False
            if self._deferred:
                self._append_deferred()

    def append_final(self, kind: str, body: dict[str, Any]) -> None:
        """Append the last words of the run, for which a place is reserved. Call it with `lock` held."""
        self._ending = True
        self.append(kind, body)

    def append_final_in_signal_handler(self, kind: str, body: dict[str, Any]) -> None:
        """`append_final` from a signal handler that never returns: an append that it interrupted never happened."""
        with self.lock:
            self._busy = False
            self.append_final(kind, body)

    def _append_deferred(self) -> None:
        while self._deferred and not self._busy:
            self.append(*self._deferred.popleft())

    def _roll(self, length: int) -> bool:
        """Go on in another segment that holds a record of `length`; return False where there is none to be had."""
        if length > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {length} bytes, at most {MAX_RECORD_BYTES}")
        segment = self._next_segment(HEADER_BYTES + HEAD_BYTES + length)
        if segment is None:
            self._losses.add(self._refusal)
            return False
        segment.begin(self.seq + 1)
        current = self._segments[-1]
        current.last, current.end = self.seq, self._pos
        if current.memory is not None:
            self._retired.append(current.memory)
            current.memory = None
        self._segments.append(segment)
        self._use(segment)
        return True

    def _next_segment(self, needed: int) -> Segment | None:
        """Return a segment of `needed` bytes: the spare one, a new one, for last words the reserve; else None."""
        spare, reserve = self._spare, self._reserve
        if spare is not None and spare.size >= needed:
            self._spare = None
            return spare
        size = max(SEGMENT_BYTES, -(-needed // 4096) * 4096)
        if self.size_bytes() + size > self._limit_bytes:
            self._refusal = "window full"
        elif time.monotonic() >= self._again_at:
            try:
                return self._new_segment(size)
            except OSError as error:
                self._refusal = "disk full" if error.errno == errno.ENOSPC else "window cannot grow"
                self._again_at = time.monotonic() + _AGAIN_SECONDS
        if self._ending and reserve is not None and reserve.size >= needed:
            self._reserve = None
            return reserve
        return None

    def _use(self, segment: Segment) -> None:
        assert segment.memory is not None
        self._memory = segment.memory
        self._size = segment.size
        self._pos = HEADER_BYTES

    def _new_segment(self, size: int) -> Segment:
        self._made += 1
        return Segment(self.directory / f"{self._made:08d}{SEGMENT_SUFFIX}", size)

    # -- the pump -----------------------------------------------------------------------------------------------

    def size_bytes(self) -> int:
        """Return what all segments take, in bytes, the reserve aside."""
        return sum(segment.size for segment in self._segments) + (self._spare.size if self._spare else 0)

    def half_empty(self) -> bool:
        """Whether another segment would leave half of what the window may take."""
        return 2 * (self.size_bytes() + SEGMENT_BYTES) <= self._limit_bytes

    @property
    def sent(self) -> int:
        """The number of the last record that `take` gave."""
        return self._sent_seq

    def take(self) -> tuple[bytes, int] | None:
        """Return frames that were not taken yet, and the number of the last of them; None where there are none.

        At most one segment's content at a time. They stay in the window until `release`.
        """
        while True:
            segment = self._sent_segment
            with self.lock:
                current = segment is self._segments[-1]
                end, last = (self._pos, self.seq) if current else (segment.end, segment.last)
            if end > self._sent_pos:
                data = os.pread(segment.fd, end - self._sent_pos, self._sent_pos)
                self._sent_pos, self._sent_seq = end, last
                return data, last
            if current:
                return None
            self._sent_segment = self._segments[self._segments.index(segment) + 1]
            self._sent_pos = HEADER_BYTES

    def rewind(self, acked: int) -> None:
        """Take again from the record after `acked` on: the sidecar says it has no more."""
        self.release(acked)
        with self.lock:
            segment = next((s for s in self._segments if s.last > acked or s is self._segments[-1]), self._segments[-1])
            end = self._pos if segment is self._segments[-1] else segment.end
        position, number = HEADER_BYTES, segment.first
        while number <= acked and position < end:
            head = HEAD.unpack(os.pread(segment.fd, HEAD_BYTES, position))[0]
            position += HEAD_BYTES + (head & LENGTH_BITS)
            number += 1
        self._sent_segment, self._sent_pos, self._sent_seq = segment, position, number - 1

    def release(self, acked: int) -> None:
        """Let go of what is durable in the log: every record up to the number `acked`."""
        if acked <= self.acked:
            return
        self.acked = min(acked, self.seq)
        while len(self._segments) > 1 and self._segments[0].last <= acked:
            with self.lock:
                segment = self._segments.popleft()
            if segment is self._sent_segment:
                self._sent_segment = self._segments[0]
                self._sent_pos = HEADER_BYTES
                self._sent_seq = self._sent_segment.first - 1
            if self._spare is None and segment.size == SEGMENT_BYTES:
                os.pwrite(segment.fd, bytes(HEADER_BYTES), 0)  # else its records would be taken for the window's first
                self._spare = segment
            else:
                segment.close(remove=True)

    def prepare(self) -> None:
        """Have the next segment ready before the hot path needs it, and unmap those it has left."""
        lost = self._losses.total()
        if lost and not self._said_lost:
            self._said_lost = True
            reasons = ", ".join(self._losses.counts())
            _log.warning("run %s: records are being lost (%s); finish() says how many", self.run, reasons)
        retired, self._retired = self._retired, []
        for memory in retired:
            memory.close()
        if self._pos <= self._size // 2:
            return
        spare = self._spare
        if spare is not None:
            spare.map()
        elif self.size_bytes() + SEGMENT_BYTES <= self._limit_bytes:
            try:
                segment = self._new_segment(SEGMENT_BYTES)
            except OSError:
                return  # the hot path will try it too, and count what it cannot keep
            with self.lock:
                if self._spare is None:
                    self._spare = segment
                    return
            segment.close(remove=True)

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Remove the files if everything is acked; else leave them to whoever opens the run next."""
        for segment in self._all_segments():
            segment.close(remove=False)
        self._spare = self._reserve = None
        if self.acked >= self.seq:
            remove_window(self._named)
            if not (self._named.parent.parent / LOG_NAME).exists():  # a run that another machine's directory keeps
                with contextlib.suppress(OSError):
                    self._named.parent.rmdir()
                    self._named.parent.parent.rmdir()
        self._owner.release()

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without touching it."""
        self._owner.release()
        for segment in self._all_segments():
            if segment.fd >= 0:
                os.close(segment.fd)
                segment.fd = -1

    def _all_segments(self) -> list[Segment]:
        return [*self._segments, *(segment for segment in (self._spare, self._reserve) if segment is not None)]
