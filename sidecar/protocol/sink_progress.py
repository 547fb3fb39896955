"""The progress of a run on its way to a server: a small file per server in ``<run>/sinks/``. Both sides read it; the
process that holds its lock writes it. Knows no server and no thread.

``<name>`` (`SinkAddress.name`) is a msgpack map: ``format``, ``address``, ``checkpoint`` (the log offset up to which
the server has everything), ``memory`` (`SinkTarget.memory`), ``error`` (why sending fails, or nil), ``offline``
(whether only ``tracker sync`` sends), ``state`` and ``state_end`` (the run's state, and the log offset it belongs to,
not beyond the checkpoint). ``<name>.lock`` is locked (``flock``) by the process that sends.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sidecar.protocol.atomic import replace_bytes
from sidecar.protocol.codec import pack, unpack
from sidecar.protocol.errors import RecordError
from sidecar.protocol.layout import LOG_NAME, SINKS_NAME
from sidecar.protocol.sink_address import SinkAddress, parse_sink

FORMAT = 1
_LOCK_SUFFIX = ".lock"


@dataclass
class SinkProgress:
    """The content of a progress file; the module's docstring describes the fields."""

    address: str
    checkpoint: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    offline: bool = False
    state: dict[str, Any] = field(default_factory=dict)
    state_end: int = 0
    format: int = FORMAT

    def behind_bytes(self, run_directory: Path) -> int:
        """Return how many bytes of the run's log the server does not have yet."""
        try:
            return max(0, (run_directory / LOG_NAME).stat().st_size - self.checkpoint)
        except OSError:
            return 0


def read_progress(run_directory: Path, address: SinkAddress) -> SinkProgress:
    """Return the progress; that of a run of which nothing was sent, if there is no valid file."""
    return _read(run_directory / SINKS_NAME / address.name) or SinkProgress(address.text)


def all_progress(run_directory: Path) -> list[SinkProgress]:
    """Return the progress of a run to each server that it goes to."""
    try:
        paths = sorted((run_directory / SINKS_NAME).iterdir())
    except OSError:
        return []
    read = [_read(path) for path in paths if path.suffix == "" and not path.name.startswith(".")]
    return [progress for progress in read if progress is not None]


def write_progress(run_directory: Path, progress: SinkProgress) -> None:
    """Write the file, atomically.

    Raises:
        OSError: it cannot be written.
    """
    name = parse_sink(progress.address).name
    directory = run_directory / SINKS_NAME
    directory.mkdir(exist_ok=True)
    replace_bytes(directory / name, pack(asdict(progress)))


def _read(path: Path) -> SinkProgress | None:
    try:
        content = unpack(path.read_bytes())
        known = {each.name: content[each.name] for each in fields(SinkProgress) if each.name in content}
        progress = SinkProgress(**known)
        parse_sink(progress.address)
        if not (_is_offset(progress.checkpoint) and _is_offset(progress.state_end) and type(progress.offline) is bool):
            return None
        if type(progress.memory) is not dict or type(progress.state) is not dict:
            return None
    except (OSError, RecordError, TypeError, KeyError, ValueError):
        return None
    return progress if progress.format == FORMAT else None


def _is_offset(value: object) -> bool:
    return type(value) is int and value >= 0


class SinkLock:
    """The right to send one run to one server. The system releases it when its holder dies."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, run_directory: Path, address: SinkAddress) -> SinkLock | None:
        """Return the lock, or None if another process holds it.

        Raises:
            OSError: the directory cannot be written.
        """
        directory = run_directory / SINKS_NAME
        directory.mkdir(exist_ok=True)
        fd = os.open(directory / (address.name + _LOCK_SUFFIX), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return cls(fd)

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
