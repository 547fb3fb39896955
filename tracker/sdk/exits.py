"""How a process ends, as seen from inside: uncaught exceptions, sys.exit, SIGTERM, the end of the script.

The hooks are chained: those installed before are called too. They only note what happened; `tracker.sdk.process` acts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple

_MAX_TRACEBACK_CHARS = 100_000


class Exit(NamedTuple):
    """How a run ends: the body of its ``exit`` record."""

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
        return exit_of_code(exit_code_of(getattr(error, "code", None)))
    text = "".join(traceback.format_exception(kind, error, trace))[-_MAX_TRACEBACK_CHARS:]
    text = text.encode(errors="backslashreplace").decode()  # a file name may contain a lone surrogate
    if issubclass(kind, KeyboardInterrupt):
        return Exit("killed", exit_code=128 + signal.SIGINT, signal=int(signal.SIGINT), traceback=text)
    return Exit("failed", exit_code=1, traceback=text)


def exit_of_code(code: int) -> Exit:
    """Return what a process's exit code means for its runs."""
    return Exit("failed" if code else "finished", exit_code=code)


def exit_code_of(argument: Any) -> int:
    """Return the exit code of a process that ends with ``sys.exit(argument)``."""
    if argument is None:
        return 0
    if isinstance(argument, int):
        return int(argument) & 0xFF
    return 1


def interactive() -> bool:
    """Whether a prompt follows where a script would have ended: ``python``, ``python -i``, ``PYTHONINSPECT``."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or bool(os.environ.get("PYTHONINSPECT"))


class _Token:
    """Attached to a `SystemExit` to learn when the exception is released."""


class ExitHooks:
    """Notes how this process ends.

    Args:
        on_signal: called in the main thread on SIGTERM, before the process dies of it.

    Attributes:
        how: what was noted so far; None while nothing was.
    """

    def __init__(self, on_signal: Callable[[Exit], None]) -> None:
        self._on_signal = on_signal
        self._installed = False
        self._exiting: weakref.ref[_Token] | None = None
        self.how: Exit | None = None

    def install(self) -> None:
        """Install the hooks once; install SIGTERM's again if `in_child` removed it."""
        if not self._installed:
            self._installed = True
            self._excepthook = sys.excepthook
            sys.excepthook = self._on_exception
            self._exit = sys.exit
            sys.exit = self._on_exit
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def in_child(self) -> None:
        """In a forked child, whose end is not the run's: let SIGTERM end it at once, as without these hooks.

        Python runs a handler only between two bytecodes of the main thread. If that is about to wait for a lock, it
        would wait for ever, and a pool could not terminate its workers.
        """
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # The interpreter sets `sys.last_value` before it calls this. A program that calls it itself carries on, and so
        # does a prompt.
        if getattr(sys, "last_value", None) is error and not interactive():
            self.how = exit_of(kind, error, trace)
        self._excepthook(kind, error, trace)

    def keep_interrupt(self) -> None:
        """After Ctrl-C, let the process still die of SIGINT, so that a shell stops its loop or script, too.

        Call it last. Python notes an uncaught `KeyboardInterrupt` when it leaves the main script, and clears the note
        whenever a string is executed, as in the import of a module with a named tuple or a dataclass.
        """
        if self.how is not None and self.how.signal == signal.SIGINT:
            with contextlib.suppress(KeyboardInterrupt):
                exec("raise KeyboardInterrupt")  # noqa: S102  (a constant; sets the note again)

    def _on_exit(self, argument: Any = None, /) -> Any:
        if threading.current_thread() is not threading.main_thread():  # it ends a thread, not the process
            return self._exit(argument)
        try:
            return self._exit(argument)
        except SystemExit as error:
            self._note_exit(error)
            raise

    def _note_exit(self, error: SystemExit) -> None:
        """Note an exit, and forget it if the program catches the exception and carries on.

        The program's outermost function still runs when a caught exception is released. One that ends the process is
        released by the interpreter, after that function.
        """
        noted = self.how = exit_of_code(exit_code_of(error.code))
        program = _outermost_code()

        def released(reference: object) -> None:
            if self.how is noted and _outermost_code() is program:
                self.how = None

        token = _Token()
        self._exiting = weakref.ref(token, released)
        error.__dict__["_tracker_token"] = token

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        try:
            self._on_signal(Exit("preempted", exit_code=128 + number, signal=number))
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # the signal does not kill process 1 of a container


def _outermost_code() -> CodeType:
    """Return the code of the outermost frame of this thread."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code
