"""Messages to people: which stream they go to, and that none fails."""

from __future__ import annotations

import io
import os
import sys
from types import ModuleType

import pytest

from tracker.terminal.messages import is_writable, show


class KernelStream(io.StringIO):
    """Standard output as a Jupyter kernel replaces it."""

    __module__ = "ipykernel.iostream"


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    show("to people\n")
    assert capsys.readouterr() == ("", "to people\n")


def test_in_a_kernel_they_go_to_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    show("imported only\n")
    cell = KernelStream()
    monkeypatch.setattr(sys, "stdout", cell)
    show("to people\n")
    monkeypatch.undo()
    assert cell.getvalue() == "to people\n" and capsys.readouterr().err == "imported only\n"


def test_a_stream_that_cannot_be_written_harms_nothing() -> None:
    closed = io.StringIO()
    closed.close()
    show("lost", closed)
    written = io.BytesIO()
    ascii_only = io.TextIOWrapper(written, encoding="ascii", write_through=True)
    show("a · b", ascii_only)
    assert written.getvalue() == b"a ? b"


def test_whether_a_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        assert is_writable()
        os.set_blocking(writing, False)
        with pytest.raises(BlockingIOError):
            while os.write(writing, bytes(4096)):
                pass
        assert not is_writable()
    for stand_in in (None, io.StringIO(), pipe):
        monkeypatch.setattr(sys, "stderr", stand_in)
        assert is_writable()
