"""Process: what this process shares among its runs: the backends, and the hooks for forks, exit and signals.

Nothing happens at import: `get` makes it at the first `init`. Knows runs only through `tracker.sdk.current`.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.protocol.deadline import Deadline
from tracker.sdk import current
from tracker.sdk.exits import Exit, ExitHooks, exit_of
from tracker.settings import Settings
from tracker.terminal.messages import is_writable
from tracker.transport.backend import Backend

if TYPE_CHECKING:
    from tracker.transport.interface import Interface

_log = logging.getLogger("tracker")

_FINAL_RECORDS_SECONDS = 3.0
"""Longest that SIGTERM is delayed for a sidecar on another machine, in seconds: less than the usual grace period."""

_MAX_IDLE_BACKENDS = 3
"""Number of backends whose sidecars stay although they have no run: an `init()` in their directory starts faster."""

_Key = tuple[Path, str | None, str, str | None, str | None]


class Process:
    """What this process shares among its runs.

    Attributes:
        lock: held while a run starts, and while a forked child attaches.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._backends: dict[_Key, Backend] = {}
        self._released: list[Backend] = []
        self._hooks = ExitHooks(self._on_signal)
        self._started = False
        self._finalized_in = 0
        self._started_in = 0
        self._masks = threading.local()
        os.register_at_fork(
            before=self._block_signals, after_in_parent=self._unblock_signals, after_in_child=self._after_fork
        )

    def start(self) -> None:
        """Install the hooks, when a run has started. What they noted earlier was not the end of this process."""
        if not self._started:
            self._started = True
            atexit.register(self._at_exit)
            log_to_stderr()
        self._hooks.install()
        self._hooks.how = None
        self._start_before_multiprocessing()
        self.end_with_multiprocessing()

    def end_with_multiprocessing(self) -> None:
        """In a child of `multiprocessing`, which may end by ``os._exit`` and without `atexit`: run as its finalizer."""
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None and self._finalized_in != os.getpid():
            from multiprocessing.util import Finalize

            self._finalized_in = os.getpid()
            Finalize(None, self._at_child_exit, exitpriority=0)
            self._hooks.note_child_errors()

    def _start_before_multiprocessing(self) -> None:
        """Start also where a run is unpickled with the arguments of a child of `multiprocessing`, which is set up only
        then, and clears all finalizers."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None and self._started_in != os.getpid():
            self._started_in = os.getpid()
            util.register_after_fork(self, Process._once_multiprocessing_is_set_up)

    def _once_multiprocessing_is_set_up(self) -> None:
        if self._started_in == os.getpid():  # not in a forked child
            self._finalized_in = 0
            self.end_with_multiprocessing()

    def backend(self, settings: Settings) -> Backend:
        """Return the backend for these settings."""
        key = self._key(settings)
        with self.lock:
            backend = self._backends.pop(key, None) or Backend(*key)
            self._backends[key] = backend  # the last: it was used last
            self._release_others()
            return backend

    def _release_others(self) -> None:
        """Let sidecars exit whose directories had no run for a while: a sweep may use a directory for each run."""
        self._released = [backend for backend in self._released if not backend.reap()]
        used = {self._key(lifecycle.settings) for lifecycle in current.lifecycles()}
        for key in list(self._backends)[:-_MAX_IDLE_BACKENDS]:
            if key not in used:
                backend = self._backends.pop(key)
                backend.release()
                self._released.append(backend)

    @staticmethod
    def _key(settings: Settings) -> _Key:
        return settings.root, settings.sidecar, settings.durability, settings.sidecar_key, settings.client_key

    # -- hooks --------------------------------------------------------------------------------------------------

    def _block_signals(self) -> None:
        """Before a fork: no signal handler may run in the child while the child still has its parent's window, where
        it would overwrite what the parent logs. Signals that arrive are handled after `_unblock_signals`."""
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def _unblock_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _after_fork(self) -> None:
        try:
            self.lock = threading.RLock()
            self._hooks.in_child()
            for backend in [*self._backends.values(), *self._released]:
                backend.reset_in_child()
            for lifecycle in current.lifecycles():
                lifecycle.in_child()
        finally:
            self._unblock_signals()

    def _at_child_exit(self) -> None:
        if sys.exc_info()[0] is not None:
            self._hooks.how = exit_of(*sys.exc_info())
        self._at_exit()

    def _at_exit(self) -> None:
        how = self._hooks.how or Exit("finished", exit_code=0)
        for lifecycle in current.lifecycles():
            try:
                lifecycle.end(how)
            except Exception:
                _log.exception("run %s could not be finished; the sidecar recovers the rest", lifecycle.id)
        self._hooks.keep_interrupt()

    def _on_signal(self, how: Exit) -> None:
        """Append how each run ends. A sidecar on this machine reads it from the window; to another it is sent here."""
        remote: list[Interface] = []
        for lifecycle in current.lifecycles():
            interface = lifecycle.append_end_in_signal_handler(how)
            if interface is not None:
                remote.append(interface)
        deadline = Deadline(_FINAL_RECORDS_SECONDS)
        for interface in remote:
            interface.send_final_records(deadline)
        for lifecycle in current.lifecycles() if is_writable() else ():  # the process must die without waiting
            with contextlib.suppress(RuntimeError):  # the signal came in the middle of a write to standard error
                lifecycle.report_signal(how)


_process: Process | None = None


def get() -> Process:
    """Return this process's `Process`."""
    global _process
    if _process is None:
        _process = Process()
    return _process


def log_to_stderr() -> None:
    """Send warnings to standard error, unless the program has configured logging for them."""
    logger = logging.getLogger("tracker")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("tracker: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
