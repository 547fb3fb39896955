"""The dashboards that run on this machine: a register of small files in the user's state directory, and their token.

Read by `run.url` and by ``tracker ui``; written by the process of a dashboard. No sockets. A file whose process has
ended is ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sidecar.protocol.atomic import replace_bytes
from sidecar.protocol.connection import machine_id
from tracker.errors import TrackerError

_OWNER_ONLY = stat.S_IRUSR | stat.S_IWUSR
_DIRECTORY_NAME = "dashboards"
_TOKEN_NAME = "token"
_MAX_FILE_BYTES = 64 * 1024
_MIN_SECRET = 12
"""Minimum length of a token or password, in characters."""


class RunningDashboard(NamedTuple):
    """A dashboard.

    Attributes:
        pid: its process id.
        started: when that process started, in the machine's ticks, so that another process of this id is told apart.
        machine_id: where the id is valid.
        address: such as ``"http://127.0.0.1:7117/"``.
        port: the port it listens on.
        places: the root directories, absolute, and the addresses of servers that it shows, in order.
        usual: whether it serves the built-in page and opens with this user's token.
    """

    pid: int
    started: str
    machine_id: str
    address: str
    port: int
    places: tuple[str, ...]
    usual: bool = True

    def url(self, run: str = "", root: str = "") -> str:
        """Return the address of a run below `root`, one of `places`; without one, that of the dashboard."""
        if not run:
            return self.address
        number = self.places.index(root)
        return f"{self.address}#/run/{f'{number}~' if number else ''}{run}"


def state_directory() -> Path:
    """Return the user's directory for state: ``$XDG_STATE_HOME/tracker``, else ``~/.local/state/tracker``."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "state") / "tracker"


def register(address: str, port: int, places: Sequence[str], *, usual: bool = True) -> Path | None:
    """Register this process as a dashboard; return the file to remove at its end, None if it cannot be written."""
    pid = os.getpid()
    entry = RunningDashboard(pid, _started(pid), machine_id(), address, port, tuple(places), usual)
    path = state_directory() / _DIRECTORY_NAME / f"{pid}-{port}.json"
    try:
        _make_private(path.parent)
        replace_bytes(path, json.dumps(entry._asdict()).encode(), mode=_OWNER_ONLY)
    except OSError:
        return None
    return path


def running() -> Iterator[RunningDashboard]:
    """Yield the dashboards of this user whose processes are alive."""
    with contextlib.suppress(OSError):
        for path in sorted((state_directory() / _DIRECTORY_NAME).glob("*.json")):
            entry = _read(path)
            if entry is None or entry.machine_id != machine_id():
                continue
            if _started(entry.pid) == entry.started:
                yield entry
            else:
                with contextlib.suppress(OSError):
                    path.unlink()


def showing(places: Sequence[str], *, usual: bool = False) -> RunningDashboard | None:
    """Return a running dashboard that shows all of `places`, a usual one if `usual`; None if no dashboard does."""
    wanted = set(places)
    found = (one for one in running() if wanted <= set(one.places) and (one.usual or not usual))
    return next(found, None)


def run_url(root: Path, run: str) -> str | None:
    """Return the address of a run in a running dashboard; None if no dashboard shows its root directory."""
    place = os.path.realpath(root)
    found = showing([place])
    return None if found is None else found.url(run, place)


def read_token() -> str:
    """Return this user's token, creating it at the first call.

    Raises:
        TrackerError: the file cannot be read or written, or others may read it.
    """
    path = state_directory() / _TOKEN_NAME
    try:
        _make_private(path.parent)
        with contextlib.suppress(FileExistsError):
            import secrets

            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(24) + "\n")
        return read_secret(path)
    except OSError as error:
        raise TrackerError(f"the token file {path} cannot be used: {error.strerror}") from error


def read_secret(path: Path) -> str:
    """Return the token or password in a file that only its owner may read.

    Raises:
        TrackerError: others may read it, or it is too short. OSError: it cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        status = os.fstat(file.fileno())
        text = file.read(_MAX_FILE_BYTES).strip()
    if status.st_uid not in (os.getuid(), 0) or stat.S_IMODE(status.st_mode) & 0o077:
        raise TrackerError(f"{path} must belong to you and be readable by you only: chmod 600 {path}")
    if len(text) < _MIN_SECRET:
        raise TrackerError(f"{path} must hold a token or password of at least {_MIN_SECRET} characters")
    return text


def _make_private(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)


def _read(path: Path) -> RunningDashboard | None:
    try:
        content = json.loads(path.read_bytes()[:_MAX_FILE_BYTES])
        fields = {name: content[name] for name in RunningDashboard._fields}
        entry = RunningDashboard(**fields | {"places": tuple(map(str, content["places"]))})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if type(entry.pid) is int and type(entry.port) is int and type(entry.address) is str else None


def _started(pid: int) -> str:
    """Return when a process started, in ticks since the start of the machine; empty if it does not run."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return "unknown"
        except OSError:
            return ""
        return "unknown"  # no /proc on this system
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()
