"""The window: every record from `append` until its ack, in memory-mapped segment files that outlive the process.

`append` is the hot path, called by any thread that holds `lock`; everything else is called on the pump thread, and by
the owner before that thread starts. Knows nothing of sockets. `sidecar.protocol.segments` describes the files.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import mmap
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sidecar.protocol.codec import new_packer
from sidecar.protocol.filesystems import local_directory, on_local_disk
from sidecar.protocol.frames import HEAD, HEAD_BYTES, LENGTH_BITS, MARK_BITS
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.limits import MAX_RECORD_BYTES, MAX_SCHEMA_KEYS, MAX_SCHEMAS
from sidecar.protocol.rows import SCHEMA, Schema, new_schema_id
from sidecar.protocol.segments import HEADER_BYTES, SEGMENT_SUFFIX, WINDOWS_NAME, OwnerLock, remove_window
from tracker.transport.losses import INVALID, Losses
from tracker.transport.segment import FileSegment, MemorySegment, Segment

_log = logging.getLogger("tracker")

SEGMENT_BYTES = 2 * 1024 * 1024
"""Size of a segment, in bytes; a larger record gets a larger one."""

RESERVE_BYTES = 512 * 1024
"""Size of the segment reserved for the final records of a run, its losses and its exit, when all else is full."""

_OPEN_SEGMENTS = 16
"""Number of segments from which on the descriptors of complete ones are closed; the program needs its descriptors."""

_ALLOCATION_BACKOFF = 0.1
"""Back-off after a failed segment allocation, in seconds: on a full disk an attempt takes 1 ms."""

_pack_head = HEAD.pack_into
_crc32 = zlib.crc32
_now = time.time


class Window:
    """The records of one client that are not yet acked.

    Args:
        base: the run's directory; the window's own directory is made in it.
        run: the run's id.
        client: the client's id.
        info: the content of the ``owner`` file besides these two.
        losses: counts the records that cannot be stored.
        limit_bytes: maximum size of all segments together.
        needs_files: whether it is an error if no file can be made; otherwise the window is in memory then.

    Attributes:
        lock: to be held around `append`; reentrant, since a signal handler may log in the middle of a log.
        seq: the number of the last record.
        acked: the number of the last record that is durable in the log.
        directory: where its files are, if it has files.
        has_files: whether what is in it outlives the process, but for what came while no file could be made.

    Raises:
        OSError: the directory cannot be made, or the disk is full, and it needs files.
    """

    def __init__(
        self,
        base: Path,
        run: str,
        client: str,
        info: dict[str, Any],
        losses: Losses,
        limit_bytes: int,
        *,
        needs_files: bool = True,
    ) -> None:
        self.lock = threading.RLock()
        self.seq = self.acked = 0
        self.run = run
        self.client = client
        self._losses = losses
        self._limit_bytes = limit_bytes
        self._pack = new_packer()
        self._busy = False
        self._deferred: deque[tuple[str, dict[str, Any]]] = deque()
        self._numbers = itertools.count(1)
        self._size_bytes = 0
        self._segments: deque[Segment] = deque()
        self._spare: Segment | None = None
        self._reserve: Segment | None = None
        self._retired: list[mmap.mmap] = []
        self._refusal = ""
        self._loss_warned = False
        self._allocate_after = self._files_after = 0.0
        self._final = False
        self._schemas: dict[tuple[tuple[str, ...], str], Schema] = {}
        self._schema_keys = 0
        self._memory: mmap.mmap
        self._pos = self._size = 0
        self._named = base / WINDOWS_NAME / client
        self.directory = self._named
        self.has_files = False
        self._directory_fd = -1
        self._owner: OwnerLock | None = None
        self._in_memory = False
        try:
            self._make_files({"run": run, "client": client, **info})
        except OSError as error:
            if needs_files:
                raise
            self._go_on_in_memory(error)
            self._begin(MemorySegment(SEGMENT_BYTES), MemorySegment(RESERVE_BYTES))
        self._sent_segment = self._segments[0]
        self._sent_pos = HEADER_BYTES
        self._sent_seq = 0

    def _make_files(self, info: dict[str, Any]) -> None:
        """Make the directory, the owner file and the first segments. After an error nothing of them remains."""
        directory = self._make_directory()
        try:
            self._owner = OwnerLock.make(directory, info)
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._begin(self._new_file(SEGMENT_BYTES), self._new_file(RESERVE_BYTES))
            self.directory = directory.rename(directory.with_name(self.client))  # by which a sidecar finds it
            if self.directory != self._named:
                self._named.symlink_to(self.directory)
        except BaseException:
            self._close_files()
            self._release_owner()
            remove_window(directory)
            remove_window(directory.with_name(self.client))
            self._segments.clear()
            raise
        self.has_files = True

    def _begin(self, first: Segment, reserve: Segment) -> None:
        self._segments.append(first)
        self._reserve = reserve
        first.begin(1)
        self._use(first)
        self._size_bytes = first.size

    def _go_on_in_memory(self, error: OSError) -> None:
        """Say, once, that records are not in files any more."""
        if not self._in_memory:
            self._in_memory = True
            _log.warning(
                "run %s: no file can be made for what is logged (%s); it is kept in memory until the sidecar has it, "
                "and would be lost with this process",
                self.run,
                error.strerror or error,
            )

    def _make_directory(self) -> Path:
        """Make the window's directory on a local disk. Its name begins with a dot until it has its lock and files."""
        windows = self._named.parent
        windows.mkdir(parents=True, exist_ok=True)
        if not on_local_disk(windows):
            windows = local_directory(self.run)
        directory = windows / f".{self.client}"
        directory.mkdir(mode=0o700)
        return directory

    # -- the hot path -------------------------------------------------------------------------------------------

    def append(self, kind: str, body: dict[str, Any]) -> bool:
        """Number a record and store it; return False if it was counted as lost. Call with `lock` held.

        Raises:
            TypeError, OverflowError, ValueError: the body cannot be packed, or is too large; nothing was stored.
        """
        if self._busy:  # a signal handler or a finalizer, on the thread that is in the middle of an append
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
            self.seq = seq  # no signal handler and no other thread runs between these two lines
            self._pos = end
            return True
        finally:
            self._busy = False
            if self._deferred:
                self._append_deferred()

    def append_row(self, schema: Schema, step: int, values: Iterable[Any]) -> bool:
        """`append` for metrics of a schema of this window, as a row.

        Raises:
            struct.error: a value does not fit its type; nothing was stored.
        """
        if self._busy:
            self._deferred.append(("log", {"step": step, "data": dict(zip(schema.keys, values, strict=True))}))
            return True
        self._busy = True
        try:
            start = self._pos
            end = start + schema.frame_bytes
            if schema.memory is not self._memory or end > self._size:
                if not self._declare(schema):
                    return False
                start = self._pos
                end = start + schema.frame_bytes
            memory = self._memory
            seq = self.seq + 1
            payload = schema.pack(schema.word, seq, _now(), step, *values)
            _pack_head(memory, start, schema.head, _crc32(payload))
            memory[start + HEAD_BYTES : end] = payload
            self.seq = seq  # as in `append`
            self._pos = end
            return True
        finally:
            self._busy = False
            if self._deferred:
                self._append_deferred()

    def schema(self, keys: tuple[str, ...], types: str) -> Schema | None:
        """Return the schema for rows with these keys and types; None if the window has too many. Call with `lock` held.

        Args:
            keys: the metric keys.
            types: see `Schema`.
        """
        schema = self._schemas.get((keys, types))
        if schema is None and self._schema_keys + len(keys) <= MAX_SCHEMA_KEYS and len(self._schemas) < MAX_SCHEMAS:
            schema = self._schemas[keys, types] = Schema(new_schema_id(), self.run, self.client, keys, types)
            self._schema_keys += len(keys)
        return schema

    def schemas(self) -> list[Schema]:
        """Return the schemas of the rows that are, or were, in the window. Any thread may call it."""
        with self.lock:
            return list(self._schemas.values())

    def _declare(self, schema: Schema) -> bool:
        """Make room for a row of `schema`, with its ``schema`` record before it in the same segment; False if lost."""
        payload = self._pack((SCHEMA, self.run, self.client, self.seq + 1, _now(), schema.body()))
        length = len(payload)
        if self._pos + HEAD_BYTES + length + schema.frame_bytes > self._size and not self._roll(
            length, schema.frame_bytes
        ):
            return False
        if schema.memory is not self._memory:
            start = self._pos
            end = start + HEAD_BYTES + length
            _pack_head(self._memory, start, MARK_BITS | length, _crc32(payload))
            self._memory[start + HEAD_BYTES : end] = payload
            self.seq += 1
            self._pos = end
            schema.memory = self._memory
        return True

    def append_final(self, kind: str, body: dict[str, Any]) -> None:
        """Append a final record of the run, for which space is reserved. Call with `lock` held."""
        self._final = True
        self.append(kind, body)

    def append_final_in_signal_handler(self, kind: str, body: dict[str, Any]) -> None:
        """`append_final` in a signal handler that never returns: an append that it interrupted is discarded."""
        with self.lock:
            self._busy = False
            self.append_final(kind, body)

    def _append_deferred(self) -> None:
        while self._deferred and not self._busy:
            kind, body = self._deferred.popleft()
            try:
                self.append(kind, body)
            except (TypeError, OverflowError, ValueError) as error:  # of another call than the one that is under way
                self._losses.add("not valid")
                _log.warning("run %s: a record that a signal handler made was not logged: %s", self.run, error)

    def _roll(self, length: int, room: int = 0) -> bool:
        """Switch to a segment that has room for a record of `length` bytes, and `room` bytes behind it.

        Returns:
            False if no segment can be made.
        """
        if length > MAX_RECORD_BYTES:
            raise ValueError(f"a record must have at most {MAX_RECORD_BYTES} bytes, not {length}")
        segment = self._next_segment(HEADER_BYTES + HEAD_BYTES + length + room)
        if segment is None:
            self._losses.add(self._refusal)
            return False
        segment.begin(self.seq + 1)
        current = self._segments[-1]
        current.last, current.end = self.seq, self._pos
        retired = current.retire()
        if retired is not None:
            self._retired.append(retired)
        if len(self._segments) >= _OPEN_SEGMENTS:
            current.close_descriptor()
        self._segments.append(segment)
        self._use(segment)
        return True

    def _next_segment(self, needed: int) -> Segment | None:
        """Return a segment of at least `needed` bytes: the spare, a new one, or the reserve for a final record."""
        spare, reserve = self._spare, self._reserve
        if spare is not None and spare.size >= needed and self._mapped(spare):
            self._spare = None
            return spare
        size = max(SEGMENT_BYTES, -(-needed // 4096) * 4096)
        if self._size_bytes + size > self._limit_bytes:
            self._refusal = "window full"
        elif time.monotonic() >= self._allocate_after:
            try:
                segment = self._new_segment(size)
            except OSError:
                self._refusal = "no memory"
                self._allocate_after = time.monotonic() + _ALLOCATION_BACKOFF
            else:
                self._size_bytes += size
                return segment
        if self._final and reserve is not None and reserve.size >= needed and self._mapped(reserve):
            self._reserve = None
            self._size_bytes += reserve.size
            return reserve
        return None

    def _mapped(self, segment: Segment) -> bool:
        try:
            segment.map()
        except OSError:
            self._refusal = "no memory"
            return False
        return True

    def _use(self, segment: Segment) -> None:
        assert segment.memory is not None
        self._memory = segment.memory
        self._size = segment.size
        self._pos = HEADER_BYTES

    def _new_segment(self, size: int) -> Segment:
        """Return a new segment, in a file if one can be made.

        Raises:
            OSError: there is no memory either.
        """
        if self._directory_fd >= 0 and time.monotonic() >= self._files_after:
            try:
                return self._new_file(size)
            except OSError as error:
                self._files_after = time.monotonic() + _ALLOCATION_BACKOFF
                self._go_on_in_memory(error)
        return MemorySegment(size)

    def _new_file(self, size: int) -> Segment:
        return FileSegment(self._directory_fd, f"{next(self._numbers):08d}{SEGMENT_SUFFIX}", size)

    # -- the pump -----------------------------------------------------------------------------------------------

    def size_bytes(self) -> int:
        """Return the size of all segments without the reserve, in bytes. Any thread may call it."""
        return self._size_bytes

    def half_empty(self) -> bool:
        """Whether at least half of the limit remains after another segment. Any thread may call it."""
        return 2 * (self.size_bytes() + SEGMENT_BYTES) <= self._limit_bytes

    @property
    def sent(self) -> int:
        """The number of the last record that `take` returned."""
        return self._sent_seq

    def take(self) -> tuple[bytes, int] | None:
        """Return the frames that follow those taken last, and the number of the last one; None if there are none.

        At most one segment's content at a time. Its records stay in the window until `release`.
        """
        while True:
            segment = self._sent_segment
            with self.lock:
                current = segment is self._segments[-1]
                end, last = (self._pos, self.seq) if current else (segment.end, segment.last)
            if end > self._sent_pos:
                data = segment.read(end - self._sent_pos, self._sent_pos)
                self._sent_pos, self._sent_seq = end, last
                return data, last
            if current:
                return None
            self._sent_segment = self._segments[self._segments.index(segment) + 1]
            self._sent_pos = HEADER_BYTES

    def rewind(self, acked: int) -> None:
        """Release the records up to `acked`, and let `take` continue behind it: the sidecar has no more than that."""
        self.release(acked)
        with self.lock:
            segment = next((s for s in self._segments if s.last > acked or s is self._segments[-1]), self._segments[-1])
            end = self._pos if segment is self._segments[-1] else segment.end
        position, number = HEADER_BYTES, segment.first
        while number <= acked and position < end:
            head = HEAD.unpack(segment.read(HEAD_BYTES, position))[0]
            position += HEAD_BYTES + (head & LENGTH_BITS)
            number += 1
        self._sent_segment, self._sent_pos, self._sent_seq = segment, position, number - 1

    def release(self, acked: int) -> None:
        """Release every record up to the number `acked`: they are durable in the log."""
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
                segment.invalidate()  # else a reader would take its records for current ones
                self._spare = segment
            else:
                with self.lock:
                    self._size_bytes -= segment.size
                segment.close(remove=True)

    def prepare(self) -> None:
        """Prepare the next segment before the hot path needs it, and unmap the complete ones."""
        if not self._loss_warned and self._losses.total():
            reasons = [reason for reason in self._losses.counts() if reason not in INVALID.values()]
            if reasons:
                self._loss_warned = True
                text = ", ".join(reasons)
                _log.warning("run %s: records are being lost (%s); finish() reports how many", self.run, text)
        retired, self._retired = self._retired, []
        for memory in retired:
            memory.close()
        if self._pos <= self._size // 2:
            return
        spare = self._spare
        if spare is not None:
            self._mapped(spare)
        elif self._size_bytes + SEGMENT_BYTES <= self._limit_bytes:
            try:
                segment = self._new_segment(SEGMENT_BYTES)
            except OSError:
                return  # the hot path tries too, and counts what it cannot store
            with self.lock:
                self._size_bytes += segment.size
                self._spare = segment

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Remove the files if every record is acked; else leave them to the next process that opens the run.

        Called on the pump thread when it ends, or by the owner of a window whose pump was never started.
        """
        self._count_unstored()
        self._close_files()
        if self.acked >= self.seq and self.has_files:
            remove_window(self._named)
            if not (self._named.parent.parent / LOG_NAME).exists():  # the run itself is on another machine
                with contextlib.suppress(OSError):
                    self._named.parent.rmdir()
                    self._named.parent.parent.rmdir()
        self._release_owner()

    def _release_owner(self) -> None:
        if self._owner is not None:
            self._owner.release()

    def _count_unstored(self) -> None:
        """Count the records that are lost with this process's memory."""
        lost = 0
        for segment in self._segments:
            last = self.seq if segment is self._segments[-1] else segment.last
            if isinstance(segment, MemorySegment) and last > self.acked:
                lost += last - max(self.acked, segment.first - 1)
        if lost:
            self._losses.add("not on disk", lost)
            _log.warning("run %s: %d records are lost: they were in memory only, and not sent", self.run, lost)

    def _close_files(self) -> None:
        for segment in self._all_segments():
            segment.close(remove=False)
        self._spare = self._reserve = None
        self._close_directory()

    def _close_directory(self) -> None:
        fd, self._directory_fd = self._directory_fd, -1
        if fd >= 0:
            os.close(fd)

    def abandon(self) -> None:
        """In a forked child: close this process's descriptors; the files belong to the parent."""
        self._release_owner()
        self._close_directory()
        for segment in self._all_segments():
            segment.close_descriptor()

    def _all_segments(self) -> list[Segment]:
        return [*self._segments, *(segment for segment in (self._spare, self._reserve) if segment is not None)]
