"""The launcher: starts the sidecar of a root, or finds the one that this process or its parent started.

Also recovers runs in another process. Any thread may call it; it knows nothing of runs' records or sockets.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.connection import Connection, is_reachable, machine_id, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ConnectionFileError
from sidecar.protocol.limits import new_id
from tracker.errors import LaunchError
from tracker.transport.interpreter import interpreter, sidecar_environment

LAUNCHED_VARIABLE = "TRACKER_LAUNCHED"
"""The connection file of the sidecar that this process's parent launched, so that its children find it."""


class _Launched(subprocess.Popen[bytes]):
    """A launched sidecar's process. It ends some time after this one, so it is not waited for at exit."""

    def __del__(self, *unused: Any) -> None:
        """Nothing: `Popen` would warn that the process is still running."""


class _Starting(NamedTuple):
    """A sidecar that was launched and is not ready yet.

    Attributes:
        process: its process.
        ready: the descriptor that it writes to when it is ready; its end of file means that it failed.
        file: its connection file.
    """

    process: _Launched
    ready: int
    file: Path


class Launcher:
    """Launches the sidecar of a root for this process, and watches that it lives.

    Args:
        root: the directory that holds ``runs/``.
        durability: ``"os"`` or ``"disk"``.
        idle_exit: after how many seconds with nothing to do a launched sidecar exits; None: not while this process
            lives.

    Attributes:
        file: the connection file of the sidecar that `ensure` returned last.
    """

    def __init__(self, root: Path, durability: str, idle_exit: float | None = None) -> None:
        self.root = root
        self._idle_exit = idle_exit
        self._durability = durability
        self._lock = threading.RLock()
        self._process: _Launched | None = None
        self._released: list[_Launched] = []
        self._known: Connection | None = None
        self._starting: _Starting | None = None
        self._file_name = ""
        self._own_file: str | None = None
        self.file: str | None = None

    def begin(self) -> None:
        """Start a sidecar's process if one is needed, without waiting for it.

        Raises:
            LaunchError: the process cannot be started.
        """
        with self._lock:
            if not (self._starting or self._own() or self._inherited()):
                self._starting = self._spawn()

    def _spawn(self) -> _Starting:
        """Start a sidecar's process."""
        from sidecar.protocol.layout import SIDECARS_NAME

        directory = self.root / SIDECARS_NAME
        file = directory / f"{new_id()}.json"
        occupy_standard_descriptors()
        ready, ready_in_child = os.pipe()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with open(file.with_suffix(".log"), "wb") as log:
                process = _Launched(
                    self._launch_command(file, ready_in_child),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=directory,
                    env=sidecar_environment(),
                    pass_fds=(ready_in_child,),
                    start_new_session=True,
                )
        except (OSError, ValueError, TypeError) as error:
            os.close(ready)
            raise LaunchError(f"the sidecar cannot be started in {self.root}: {error}") from error
        finally:
            os.close(ready_in_child)
        return _Starting(process, ready, file)

    def _launch_command(self, file: Path, ready: int) -> list[str]:
        command = [interpreter(), "-m", "sidecar", "launch"]
        command += ["--dir", str(self.root), "--connection-file", str(file), "--parent", str(os.getpid())]
        if self._idle_exit is not None:
            command += ["--idle-exit", str(self._idle_exit)]
        return [*command, "--durability", self._durability, "--ready-fd", str(ready)]

    def ensure(self, deadline: Deadline) -> Connection:
        """Return the connection of this process's sidecar; launch one if there is none.

        Raises:
            LaunchError: it did not start; the message has the reason from its log.
        """
        with self._lock:
            known = self._own() or self._inherited()
            if known is not None and self._starting is None:
                self.file = self._own_file if self._own() else os.environ.get(LAUNCHED_VARIABLE)
                return known
            self.begin()
            assert self._starting is not None
            starting, self._starting = self._starting, None
            _wait_until_ready(starting, deadline)
            self._process = starting.process
            self._file_name = starting.file.name
            self.file = self._own_file = str(starting.file)
            self._known = read_connection(starting.file)
            os.environ[LAUNCHED_VARIABLE] = str(starting.file)
            return self._known

    def _own(self) -> Connection | None:
        """Return the sidecar that this process launched, while it lives."""
        if self._process is not None and self._process.poll() is None:
            return self._known
        return None

    def leave_unreachable(self) -> None:
        """Release the sidecar that this process launched if its sockets were removed; another takes its place."""
        if self._known is not None and not is_reachable(self._known):
            self.release()

    def _inherited(self) -> Connection | None:
        """Return the sidecar that a parent process launched for the same directory, while it lives."""
        file = os.environ.get(LAUNCHED_VARIABLE)
        if not file or Path(file).parent.parent != self.root:
            return None
        try:
            connection = read_connection(file)
        except ConnectionFileError:
            return None
        here = connection.machine_id == machine_id()  # a sidecar on another machine cannot be reached by its file
        return connection if here and is_reachable(connection) else None

    def close(self, deadline: Deadline) -> None:
        """End the sidecar that this process launched, when all that it was given is done. May be called twice."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            if self._known is not None and os.environ.get(LAUNCHED_VARIABLE, "").endswith(f"/{self._file_name}"):
                del os.environ[LAUNCHED_VARIABLE]
            process.terminate()
            try:
                process.wait(deadline.left())
            except subprocess.TimeoutExpired:
                return  # it ends later, like one whose parent is gone

    def release(self) -> None:
        """Let the sidecar that this process launched exit as soon as it has nothing to do, without waiting for it."""
        with self._lock:
            if self._process is None:
                return
            self._process.send_signal(signal.SIGUSR1)
            self._released.append(self._process)
            self._process = self._known = None

    def reap(self) -> bool:
        """Collect the released sidecars that have exited; return whether none is left."""
        self._released = [process for process in self._released if process.poll() is None]
        return not self._released

    def reset_in_child(self) -> None:
        """In a forked child: forget the sidecar's process, which is not a child of its own."""
        self._lock = threading.RLock()
        self._process = None
        self._starting = None
        self._released = []


def _wait_until_ready(starting: _Starting, deadline: Deadline) -> None:
    """Wait until a launched sidecar serves; end it if it does not in time.

    Raises:
        LaunchError: it did not start.
    """
    process, ready, file = starting
    try:
        poll = select.poll()  # select() takes no descriptor from 1024 on
        poll.register(ready, select.POLLIN)
        remaining = deadline.left()
        readable = poll.poll(None if remaining is None else remaining * 1000)
        if readable and os.read(ready, 16):
            return
        log = file.with_suffix(".log")
        reason = f"it exited: {_last_line(log)}" if readable else "it did not answer in time"
        raise LaunchError(f"the sidecar did not start: {reason} (its log: {log})")
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(ready)


def recover(root: Path, run_ids: list[str] | None = None, timeout: float = 60.0) -> None:
    """Recover the runs that a dead sidecar left, in another process; cheap if there are none.

    Args:
        root: the directory that holds ``runs/``.
        run_ids: the runs to look at; None: all.
        timeout: maximum time, in seconds.

    Raises:
        LaunchError: that process failed; the message has its reason.
    """
    from sidecar.protocol.layout import RUNS_NAME, needs_recovery

    runs = root / RUNS_NAME
    if run_ids is None:
        try:
            run_ids = [entry.name for entry in os.scandir(runs) if entry.is_dir()]
        except OSError:
            return
    orphaned = [run_id for run_id in run_ids if needs_recovery(runs / run_id)]
    if not orphaned:
        return
    try:
        done = subprocess.run(
            [interpreter(), "-m", "sidecar", "recover", "--dir", str(root), *orphaned],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=runs,
            env=sidecar_environment(),
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"{len(orphaned)} runs could not be recovered in {timeout:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise LaunchError(f"the runs of a dead sidecar could not be recovered: {lines[-1]}")


def occupy_standard_descriptors() -> None:
    """Open ``/dev/null`` as whichever of standard input, output and error is closed.

    Otherwise a file of ours would get its number, and receive what C libraries print, or be replaced in a child.
    """
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.open(os.devnull, os.O_RDWR)
    os.close(fd)


def _last_line(path: Path) -> str:
    """Return the last line of a sidecar's log that is not empty."""
    try:
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError as error:
        return f"and its log cannot be read: {error}"
    return lines[-1] if lines else "its log is empty"
