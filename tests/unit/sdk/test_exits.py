"""The hooks that note how a process ends: installed by hand, called as the interpreter calls them."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tracker.sdk import exits, system_exit
from tracker.sdk.exits import Exit, ExitHooks, exit_code_of, exit_of, exit_of_code


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[ExitHooks]:
    """Installed hooks; what they replace is put back."""
    monkeypatch.setattr(sys, "excepthook", lambda *error: None)
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(sys, "last_value", None, raising=False)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    made = ExitHooks(lambda how: None)
    made.install()
    yield made
    system_exit.unwatch()
    signal.signal(signal.SIGTERM, before)


def uncaught(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the interpreter does with an exception that nothing caught."""
    monkeypatch.setattr(sys, "last_value", error)
    sys.excepthook(type(error), error, error.__traceback__)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_an_uncaught_exception_is_noted_and_the_hook_before_is_called(
    hooks: ExitHooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: called.append(error))
    chained = ExitHooks(lambda how: None)
    chained.install()
    error = raised(ValueError("on purpose"))
    uncaught(error, monkeypatch)
    assert called == [(ValueError, error, error.__traceback__)]
    assert chained.how is not None and (chained.how.state, chained.how.exit_code) == ("failed", 1)
    assert chained.how.traceback is not None and chained.how.traceback.endswith("ValueError: on purpose\n")


def test_a_program_that_calls_the_hook_itself_goes_on(hooks: ExitHooks) -> None:
    error = raised(ValueError("handled"))
    sys.excepthook(ValueError, error, error.__traceback__)
    assert hooks.how is None


def test_an_error_at_a_prompt_is_not_the_end(hooks: ExitHooks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    uncaught(raised(ValueError("a typo")), monkeypatch)
    assert hooks.how is None


def test_an_exit_that_is_caught_is_not_noted(hooks: ExitHooks) -> None:
    for argument in (3, 0, None, "a message"):
        with pytest.raises(SystemExit) as caught:
            sys.exit(argument)
        assert caught.value.code == argument and hooks.how is None
        caught.value.code = 7
        assert caught.value.code == 7


def test_exits_are_noted_by_sys_exit_where_the_interpreter_does_not_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "exit", sys.exit)
    monkeypatch.setattr(system_exit, "watch", lambda on_end: False)
    before = signal.getsignal(signal.SIGTERM)
    hooks = ExitHooks(lambda how: None)
    hooks.install()
    with pytest.raises(SystemExit):
        sys.exit(3)
    assert hooks.how == Exit("failed", exit_code=3)
    signal.signal(signal.SIGTERM, before)


def test_an_exit_has_the_traceback_of_the_exception_that_was_being_handled() -> None:
    def launcher(code: int) -> Exit:
        try:
            try:
                raise ValueError("on purpose")
            except ValueError:
                sys.exit(code)
        except SystemExit as error:
            return exit_of(SystemExit, error, None)

    assert "ValueError: on purpose" in (launcher(3).traceback or "") and launcher(0).traceback is None


def test_an_exit_of_another_thread_ends_that_thread_only(hooks: ExitHooks) -> None:
    codes: list[Any] = []

    def work() -> None:
        try:
            sys.exit(3)
        except SystemExit as error:
            codes.extend((error.code, hooks.how))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [3, None] and hooks.how is None


def test_hooks_are_installed_once(hooks: ExitHooks) -> None:
    before = sys.excepthook, sys.exit, signal.getsignal(signal.SIGTERM)
    hooks.install()
    assert (sys.excepthook, sys.exit, signal.getsignal(signal.SIGTERM)) == before


def test_a_child_dies_of_sigterm_at_once_until_it_has_a_run_of_its_own(hooks: ExitHooks) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    hooks.in_child()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    hooks.install()
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_handler_of_the_program_stays(hooks: ExitHooks) -> None:
    def handler(number: int, frame: object) -> None:
        """The program's own."""

    signal.signal(signal.SIGTERM, handler)
    hooks.install()
    hooks.in_child()
    assert signal.getsignal(signal.SIGTERM) is handler


def test_sigterm_is_passed_on_and_then_kills(monkeypatch: pytest.MonkeyPatch, hooks: ExitHooks) -> None:
    done: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append(("kill", pid == os.getpid(), number)))
    monkeypatch.setattr(os, "_exit", lambda code: done.append(("exit", code)))

    def fails(how: Exit) -> None:
        done.append(how)
        raise RuntimeError("it dies all the same")

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    mine = ExitHooks(fails)
    mine.install()
    handler: Any = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError):
        handler(signal.SIGTERM, None)
    assert done == [Exit("preempted", 143, signal.SIGTERM), ("kill", True, signal.SIGTERM), ("exit", 143)]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("argument", "code"), [(None, 0), (0, 0), (3, 3), (True, 1), (256 + 7, 7), (-1, 255), ("text", 1), (1.5, 1)]
)
def test_exit_codes(argument: Any, code: int) -> None:
    assert exit_code_of(argument) == code
    assert exit_of(SystemExit, SystemExit(argument), None) == exit_of_code(code)
    assert exit_of_code(code).state == ("failed" if code else "finished")


def test_exceptions() -> None:
    assert exit_of(None, None, None) == Exit("finished", exit_code=0)
    killed = exit_of(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert (killed.state, killed.exit_code, killed.signal) == ("killed", 130, 2)
    failed = exit_of(ValueError, ValueError("half \udc80 " + "x" * 200_000), None)
    assert failed.traceback is not None and len(failed.traceback.encode()) < 110_000
    assert Exit("finished", exit_code=0).to_body() == {"state": "finished", "exit_code": 0}


@pytest.mark.parametrize(("name", "value"), [("ps1", ">>> "), ("PYTHONINSPECT", "1")])
def test_what_is_interactive(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.delattr(sys, "ps1", raising=False)
    assert not exits.interactive()
    if name.isupper():
        monkeypatch.setenv(name, value)
    else:
        monkeypatch.setattr(sys, name, value, raising=False)
    assert exits.interactive()
