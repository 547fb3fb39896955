"""How a process ends, as seen from inside: uncaught exceptions, sys.exit, SIGTERM, the end of the script.

The hooks are chained: those installed before are called too. They only note what happened; `tracker.sdk.process` acts.
An exception that the program catches is not noted: only the interpreter's own handling of an uncaught one is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from tracker.sdk import system_exit

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
        how = exit_of_code(exit_code_of(getattr(error, "code", None)))
        cause = _handled(error) if how.state == "failed" else None
        return how if cause is None else how._replace(traceback=_text_of(type(cause), cause, cause.__traceback__))
    text = _text_of(kind, error, trace)
    if issubclass(kind, KeyboardInterrupt):
        return Exit("killed", exit_code=128 + signal.SIGINT, signal=int(signal.SIGINT), traceback=text)
    return Exit("failed", exit_code=1, traceback=text)


def _handled(error: BaseException | None) -> BaseException | None:
    """Return the exception that was being handled when the exit was raised: launchers print it, then exit."""
    if error is None:
        return None
    cause = error.__cause__ or error.__context__
    return _handled(cause) if isinstance(cause, SystemExit) else cause


def _text_of(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> str:
    text = "".join(traceback.format_exception(kind, error, trace))[-_MAX_TRACEBACK_CHARS:]
    return text.encode(errors="backslashreplace").decode()  # a file name may contain a lone surrogate


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
        self._exits_are_seen = False
        self.how: Exit | None = None

    def install(self) -> None:
        """Install the hooks once; install SIGTERM's again if `in_child` removed it."""
        if not self._installed:
            self._installed = True
            self._excepthook = sys.excepthook
            sys.excepthook = self._on_exception
            self._exit = sys.exit
            sys.exit = self._on_exit
            self._exits_are_seen = system_exit.watch(self._on_system_exit)
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
        try:
            return self._exit(argument)
        except SystemExit as error:  # before 3.12, what was not caught in Python has no exception object yet
            if not self._exits_are_seen and threading.current_thread() is threading.main_thread():
                self.how = exit_of(SystemExit, error, None)
            raise

    def _on_system_exit(self, error: SystemExit) -> None:
        how = exit_of(SystemExit, error, None)
        if self.how is None or (self.how.exit_code, how.traceback) != (how.exit_code, None):
            self.how = how  # else it only passes on the exit code of the exception that was noted

    def note_child_errors(self) -> None:
        """In a child of `multiprocessing`, which catches and prints every exception: note the one that ends it."""
        if getattr(traceback.print_exc, "__self__", None) is not self:
            self._print_exc = traceback.print_exc
            traceback.print_exc = self._on_print_exc

    def _on_print_exc(self, *arguments: Any, **options: Any) -> None:
        if system_exit.runs_child(sys._getframe(1)):
            self.how = exit_of(*sys.exc_info())
        self._print_exc(*arguments, **options)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        try:
            self._on_signal(Exit("preempted", exit_code=128 + number, signal=number))
        finally:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            os._exit(128 + number)  # the signal does not kill process 1 of a container
