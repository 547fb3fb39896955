"""How a process ends, as far as it can be seen from inside: uncaught exceptions, sys.exit, signals, the script's end.

The hooks are chained: whoever was there before is called too. They only note what happened; `tracker.sdk.setup` acts.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple

_MAX_TRACEBACK_CHARS = 100_000


class Exit(NamedTuple):
    """How a run ends; the body of its ``exit`` record."""

    state: str
    exit_code: int | None = None
    signal: int | None = None
    traceback: str | None = None

    def to_body(self) -> dict[str, Any]:
        return {key: value for key, value in self._asdict().items() if value is not None}


def exit_of(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> Exit:
    """Return what an exception that leaves a ``with`` block, or the script, means for the run."""
    if kind is None:
        return Exit("finished", exit_code=0)
    if issubclass(kind, SystemExit):
        code = exit_code_of(getattr(error, "code", None))
        return Exit("failed" if code else "finished", exit_code=code)
    text = "".join(traceback.format_exception(kind, error, trace))[-_MAX_TRACEBACK_CHARS:]
    text = text.encode(errors="backslashreplace").decode()  # file names may have half characters in them
    if issubclass(kind, KeyboardInterrupt):
        return Exit("killed", exit_code=128 + signal.SIGINT, signal=int(signal.SIGINT), traceback=text)
    return Exit("failed", exit_code=1, traceback=text)


def exit_code_of(argument: Any) -> int:
    """Return the exit code that ``sys.exit(argument)`` makes."""
    if argument is None:
        return 0
    if isinstance(argument, int):
        return int(argument) & 0xFF
    return 1


class ExitHooks:
    """Notes how this process ends.

    Args:
        on_signal: called in the main thread on SIGTERM, before the process dies of it.

    Attributes:
        how: what was seen so far; None while nothing was.
    """

    def __init__(self, on_signal: Callable[[Exit], None]) -> None:
        self._on_signal = on_signal
        self._installed = False
        self.how: Exit | None = None

    def install(self) -> None:
        """Install the hooks, once; that of SIGTERM again where `in_child` took it away."""
        if not self._installed:
            self._installed = True
            self._excepthook = sys.excepthook
            sys.excepthook = self._on_exception
            self._exit = sys.exit
            sys.exit = self._on_exit
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def in_child(self) -> None:
        """In a forked child, which has no say in how the run ends: SIGTERM ends it at once, as without these hooks.

        Python runs a handler only between two steps of the main thread: one that is about to wait for a lock would
        wait on, and a pool could not end its workers.
        """
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        self.how = exit_of(kind, error, trace)
        self._excepthook(kind, error, trace)

    def _on_exit(self, argument: Any = None, /) -> Any:
        code = exit_code_of(argument)
        if threading.current_thread() is threading.main_thread():  # elsewhere it ends a thread, not the process
            self.how = Exit("failed" if code else "finished", exit_code=code)
        return self._exit(argument)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        try:
            self._on_signal(Exit("preempted", exit_code=128 + number, signal=number))
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # process 1 of a container is not killed by that
