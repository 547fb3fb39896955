"""One per process: the backends, the active runs, and the hooks for forks and for the end of the process.

Nothing happens at import: `get` makes it at the first `init`.
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
from tracker.sdk.exits import Exit, ExitHooks, exit_of
from tracker.settings import Settings
from tracker.transport.backend import Backend

if TYPE_CHECKING:
    from tracker.sdk.run import Run
    from tracker.transport.interface import Interface

_log = logging.getLogger("tracker")

_FINAL_RECORDS_SECONDS = 3.0
"""How long SIGTERM is held up for a sidecar on another machine: less than anybody waits before SIGKILL follows."""


class Setup:
    """What this process shares among its runs."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.lock = threading.RLock()
        self._backends: dict[tuple[Path, str | None, str, str | None, str | None], Backend] = {}
        self._hooks = ExitHooks(self._on_signal)
        self._finalized_in = 0
        self._masks = threading.local()
        os.register_at_fork(
            before=self._hold_signals, after_in_parent=self._let_signals, after_in_child=self._after_fork
        )

    def start(self) -> None:
        """A run begins: install the hooks, once; what they have seen before was not the end of this process."""
        if not _started:
            _started.append(True)
            atexit.register(self._at_exit)
            _log_to_stderr()
        self._hooks.install()
        self._hooks.how = None
        self._end_as_multiprocessing_does()

    def _end_as_multiprocessing_does(self) -> None:
        """A child of `multiprocessing` may end by ``os._exit``, without `atexit`, but runs finalizers of its own."""
        process = sys.modules.get("multiprocessing.process")
        if process is not None and process.parent_process() is not None and self._finalized_in != os.getpid():
            from multiprocessing.util import Finalize

            self._finalized_in = os.getpid()
            Finalize(None, self._at_child_exit, exitpriority=0)

    def backend(self, settings: Settings) -> Backend:
        """Return the backend for these settings."""
        key = (settings.root, settings.sidecar, settings.durability, settings.sidecar_key, settings.client_key)
        with self.lock:
            if key not in self._backends:
                self._backends[key] = Backend(*key)
            return self._backends[key]

    def make_interface(self, run: Run, parent: str | None = None) -> Interface:
        """Return a new attachment of this process to `run`, its window made, nothing sent."""
        from tracker.transport.interface import Interface

        settings = run._settings
        return Interface(
            self.backend(settings),
            run.id,
            run._windows_in,
            run.losses,
            label=run.label,
            parent=parent,
            window_bytes=settings.window_bytes,
            pump_interval=settings.pump_interval,
            sinks=settings.sinks,
            offline=settings.mode == "offline",
        )

    def adopt(self, run: Run, interface: Interface) -> None:
        """Make `interface` the one that `run` writes to."""
        run._interface = interface
        run._window = interface.window

    def attach_child(self, run: Run) -> None:
        """In a forked child that logs to its parent's run: attach on its own, without waiting for the sidecar."""
        with self.lock:
            if run._interface is None:
                interface = self.make_interface(run, run._parent_client)
                interface.publish("run", {"parent": run._parent_client, "label": run.label, "pid": os.getpid()})
                self.adopt(run, interface)
                interface.attach_later()
                if run._far:  # a sidecar on this machine takes what is left in the window
                    self._end_as_multiprocessing_does()

    def forget(self, run: Run) -> None:
        """`run` has ended."""
        with contextlib.suppress(ValueError):  # and no lock: whoever has it may wait for this run's end
            self.runs.remove(run)

    # -- hooks --------------------------------------------------------------------------------------------------

    def _hold_signals(self) -> None:
        """Before a fork: no signal handler shall run in the child while it still has its parent's window, in which it
        would write over what the parent logs. What comes meanwhile comes once `_let_signals` was called."""
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def _let_signals(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def _after_fork(self) -> None:
        try:
            self.lock = threading.RLock()
            self._hooks.in_child()
            for backend in self._backends.values():
                backend.reset_in_child()
            for run in self.runs:
                run._forked()
        finally:
            self._let_signals()

    def _at_child_exit(self) -> None:
        if sys.exc_info()[0] is not None:
            self._hooks.how = exit_of(*sys.exc_info())
        self._at_exit()

    def _at_exit(self) -> None:
        how = self._hooks.how or Exit("finished", exit_code=0)
        for run in list(self.runs):
            try:
                run._end(how)
            except Exception:
                _log.exception("run %s could not be finished; its sidecar takes the rest", run.id)

    def _on_signal(self, how: Exit) -> None:
        """Put down how each run ends. A sidecar on this machine takes it from the window; another has to be sent it."""
        far = []
        for run in list(self.runs):
            if run._interface is not None and run.state == "running":
                run._append_end(how, run._interface.window.append_final_in_signal_handler)
                if run._far:
                    far.append(run._interface)
        deadline = Deadline(_FINAL_RECORDS_SECONDS)
        for interface in far:
            interface.send_final_records(deadline)


_started: list[bool] = []
_setup: Setup | None = None


def get() -> Setup:
    """Return this process's setup."""
    global _setup
    if _setup is None:
        _setup = Setup()
    return _setup


def _log_to_stderr() -> None:
    """Warnings go to standard error, unless the program has set up logging for them."""
    logger = logging.getLogger("tracker")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("tracker: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
