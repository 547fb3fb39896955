"""Resends what an earlier process on this machine could not send to the sidecar that it was attached to.

Only orphaned windows below ``<root>/remote/`` are resent: a window of a run in this root is taken by its own sidecar.
Runs on a thread of its own, in the background of a run that is attached to the same sidecar.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sidecar.protocol.codec import encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError
from sidecar.protocol.frames import frame
from sidecar.protocol.keys import KeyPair
from sidecar.protocol.layout import REMOTE_NAME
from sidecar.protocol.orphans import Orphan, read_orphan
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Rows, Schema
from sidecar.protocol.segments import WINDOWS_NAME, Framed, read_owner
from tracker.errors import TrackerError
from tracker.transport.backend import Attached, Backend
from tracker.transport.mailbox import Mailbox
from tracker.transport.pump import Pump

_log = logging.getLogger("tracker")

_MESSAGE_BYTES = 256 * 1024
"""Size from which on a message takes no further record, in bytes."""

_ATTACH_TIMEOUT = 10.0
_SEND_TIMEOUT = 600.0
_FLUSH_TIMEOUT = 5.0
_CLOSE_TIMEOUT = 5.0


class OrphanedWindow:
    """A dead client's window as the source of a pump. A crash record is added if the run was not finished."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.run = directory.parent.parent.name
        self.client = directory.name
        self.seq = self.sent = self.acked = 0
        self._crash_record = b""
        self._unsent: Iterator[Framed] = iter(())
        self._schemas: dict[int, Schema] = {}
        last = None
        for last in read_orphan(directory, self.run):
            if last.schema is not None:
                self._schemas[last.schema.word] = last.schema
        if last is not None:
            self.seq = last.last
            if isinstance(last.item, Rows) or last.item.kind != "exit":
                self.seq += 1
                body = {"state": "crashed", "reason": "the process died; a later one on its machine sent its records"}
                self._crash_record = frame(encode(Record("exit", self.run, self.client, self.seq, time.time(), body)))

    def take(self) -> tuple[bytes, int] | None:
        """Return the next frames, at most one message, and the number of the last one; None if all were taken."""
        frames: list[bytes] = []
        size = 0
        for framed in self._unsent:
            frames.append(framed.frames)
            size += len(framed.frames)
            self.sent = framed.last
            if size >= _MESSAGE_BYTES:
                break
        else:
            if self._crash_record and self.sent < self.seq:
                frames.append(self._crash_record)
                self.sent = self.seq
        return (b"".join(frames), self.sent) if frames else None

    def schemas(self) -> Sequence[Schema]:
        """Return the schemas of the rows in the window."""
        return list(self._schemas.values())

    def rewind(self, acked: int) -> None:
        """Let `take` continue with the record after `acked`."""
        self.acked = self.sent = acked
        self._unsent = read_orphan(self._directory, self.run, acked)

    def release(self, acked: int) -> None:
        """Records up to `acked` are durable."""
        self.acked = max(self.acked, acked)

    def prepare(self) -> None:
        """Nothing: the window is only read."""

    def close(self) -> None:
        """Nothing: the files are removed by the owner of the window's lock."""


def send_in_background(root: Path, backend: Backend, address: str, interval: float) -> threading.Thread | None:
    """Start to resend the orphaned windows for the sidecar at `address`; return None if there are none.

    Args:
        interval: see `Pump`.
    """
    windows = [path for path in (root / REMOTE_NAME).glob(f"*/{WINDOWS_NAME}/*") if _is_for(path, address)]
    if not windows:
        return None
    arguments = (windows, backend, interval)
    thread = threading.Thread(target=_send_all, args=arguments, name="tracker-resend", daemon=True)
    thread.start()
    return thread


def _is_for(directory: Path, address: str) -> bool:
    return read_owner(directory).get("sidecar") == address


def _send_all(directories: list[Path], backend: Backend, interval: float) -> None:
    for directory in directories:
        orphan = Orphan.take(directory)
        if orphan is None:
            continue  # its process lives
        try:
            if _send(orphan, backend, interval):
                orphan.remove()
                with contextlib.suppress(OSError):  # not empty
                    directory.parent.rmdir()
                    directory.parent.parent.rmdir()
        except (SidecarError, TrackerError, OSError) as error:
            run = directory.parent.parent.name
            _log.warning("run %s: the records left by client %s could not be sent: %s", run, directory.name, error)
        finally:
            orphan.release()


def _send(orphan: Orphan, backend: Backend, interval: float) -> bool:
    """Send one window; return whether all of it is durable."""
    source = OrphanedWindow(orphan.directory)
    if source.seq == 0:
        return True
    info = orphan.info
    pair = KeyPair(*info["pair"]) if info.get("pair") else None
    body = {"label": info.get("label"), "parent": info.get("parent"), "again": True}

    def attach(again: bool, deadline: Deadline) -> Attached:
        return backend.attach(source.run, source.client, dict(body), deadline, pair)[0]

    mailbox = Mailbox()
    pump = Pump(source, mailbox, attach, lambda: True, interval)
    pump.start(attach(True, Deadline(_ATTACH_TIMEOUT)))
    try:
        deadline = Deadline(_SEND_TIMEOUT)
        while source.acked < source.seq and not deadline.over():
            patience = Deadline(deadline.left(_FLUSH_TIMEOUT))
            number = pump.ask("flush", patience)
            mailbox.wait(number, patience)
            mailbox.forget(number)
    finally:
        pump.close(Deadline(_CLOSE_TIMEOUT))
    _log.info("run %s: %d records left by client %s were sent", source.run, source.seq, source.client)
    return source.acked >= source.seq
