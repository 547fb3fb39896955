"""Sends what an earlier process here left for a sidecar that it was attached to, and that it could not send any more.

Only windows below ``<root>/remote/`` are looked at: what is left of a run of this root is taken by its own sidecar.
Runs on a thread of its own, in the background of a run that is attached to the same sidecar.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from sidecar.protocol.codec import encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError
from sidecar.protocol.frames import frame
from sidecar.protocol.keys import KeyPair
from sidecar.protocol.layout import REMOTE_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.segments import WINDOWS_NAME, Kept, OwnerLock, read_owner, read_window, remove_window
from tracker.errors import TrackerError
from tracker.transport.backend import Attached, Backend
from tracker.transport.mailbox import Mailbox
from tracker.transport.pump import Pump

_log = logging.getLogger("tracker")

_MESSAGE_BYTES = 256 * 1024
_ATTACH_SECONDS = 10.0
_SEND_SECONDS = 600.0


class _Leftover:
    """A dead client's window, as a pump's source; its last record is that its process is gone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.run = directory.parent.parent.name
        self.client = directory.name
        self.seq = self.sent = self.acked = 0
        self._tail = b""
        last = None
        for kept in read_window(directory):
            last = kept.record
        if last is not None:
            self.seq = last.seq
            if last.kind != "exit":
                self.seq += 1
                body = {"state": "crashed", "reason": "its process died; the next one here has sent what it left"}
                self._tail = frame(encode(Record("exit", self.run, self.client, self.seq, time.time(), body)))
        self._kept: Iterator[Kept] = iter(())

    def take(self) -> tuple[bytes, int] | None:
        frames: list[bytes] = []
        size = 0
        for kept in self._kept:
            frames.append(kept.frame)
            size += len(kept.frame)
            self.sent = kept.record.seq
            if size >= _MESSAGE_BYTES:
                break
        else:
            if self._tail and self.sent < self.seq:
                frames.append(self._tail)
                self.sent = self.seq
        return (b"".join(frames), self.sent) if frames else None

    def rewind(self, acked: int) -> None:
        self.acked = self.sent = acked
        self._kept = read_window(self._directory, acked)

    def release(self, acked: int) -> None:
        self.acked = max(self.acked, acked)

    def prepare(self) -> None:
        """Nothing is written, so nothing needs to be ready."""


def send_in_background(root: Path, backend: Backend, address: str, pump_interval: float) -> threading.Thread | None:
    """Begin to send what was left for the sidecar at `address`; None where nothing was."""
    left = [path for path in (root / REMOTE_NAME).glob(f"*/{WINDOWS_NAME}/*") if _is_for(path, address)]
    if not left:
        return None
    thread = threading.Thread(
        target=_send_all, args=(left, backend, pump_interval), name="tracker-leftovers", daemon=True
    )
    thread.start()
    return thread


def _is_for(directory: Path, address: str) -> bool:
    return read_owner(directory).get("sidecar") == address


def _send_all(directories: list[Path], backend: Backend, pump_interval: float) -> None:
    for directory in directories:
        lock = OwnerLock.take(directory)
        if lock is None:
            continue  # its process lives
        try:
            if _send(directory, lock, backend, pump_interval):
                remove_window(directory)
                with contextlib.suppress(OSError):  # not empty
                    directory.parent.rmdir()
                    directory.parent.parent.rmdir()
        except (SidecarError, TrackerError, OSError) as error:
            run = directory.parent.parent.name
            _log.warning("what %s left for run %s could not be sent: %s", directory.name, run, error)
        finally:
            lock.release()


def _send(directory: Path, lock: OwnerLock, backend: Backend, pump_interval: float) -> bool:
    """Send one window; return whether all of it is durable."""
    source = _Leftover(directory)
    if source.seq == 0:
        return True
    pair = KeyPair(*lock.info["pair"]) if lock.info.get("pair") else None
    about = {"label": lock.info.get("label"), "parent": lock.info.get("parent"), "again": True}

    def attach(again: bool, deadline: Deadline) -> Attached:
        return backend.attach(source.run, source.client, dict(about), deadline, pair)[0]

    mailbox = Mailbox()
    pump = Pump(source, mailbox, attach, lambda: True, pump_interval)
    pump.start(attach(True, Deadline(_ATTACH_SECONDS)))
    deadline = Deadline(_SEND_SECONDS)
    while source.acked < source.seq and not deadline.over():
        number = pump.ask("flush")
        mailbox.wait(number, Deadline(deadline.left(5.0)))
        mailbox.forget(number)
    pump.close(Deadline(5.0))
    _log.info("run %s: %d records that %s had left were sent", source.run, source.seq, source.client)
    return source.acked >= source.seq
