"""Colours: on a terminal that shows them, as the environment says, and never in a file."""

from __future__ import annotations

import io

import pytest

from tracker.terminal.style import STATE_COLOURS, Style, shows_colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "on_a_terminal", "in_a_file"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"CLICOLOR_FORCE": "1", "TERM": "dumb"}, True, True),
        ({"CLICOLOR_FORCE": "0"}, True, False),
        ({"CLICOLOR": "0"}, False, False),
    ],
)
def test_who_gets_colours(variables: dict[str, str], on_a_terminal: bool, in_a_file: bool) -> None:
    assert shows_colours(Terminal(), variables) is on_a_terminal
    assert shows_colours(io.StringIO(), variables) is in_a_file


def test_a_stream_that_is_closed_has_none() -> None:
    stream = io.StringIO()
    stream.close()
    assert not shows_colours(stream, {})


def test_states_have_colours() -> None:
    style = Style(True)
    assert style.state("finished") == "\x1b[32mfinished\x1b[0m"
    assert style.state("crashed", "crashed ") == "\x1b[31mcrashed \x1b[0m"
    assert style.state("unheard of") == "unheard of"
    assert style.paint("", "red") == ""
    for state in STATE_COLOURS:
        assert Style(False).state(state) == state
