"""The user guide's tables of keys name the keys that the dashboard and the terminal view have, and no others."""

from __future__ import annotations

import re

from tests.support import REPOSITORY
from tracker.tui.widgets import KEYS
from tracker.ui.static import STATIC

GUIDE = (REPOSITORY / "tracker" / "README.md").read_text()
WRITTEN = {"Esc": "Escape", "Alt-←": "Alt+ArrowLeft", "Alt-→": "Alt+ArrowRight"}
"""Keys that the code names otherwise than by the same letters."""


def named_in_code(key: str) -> str:
    """Return the name that the code gives a key of the guide: ``Ctrl+Z`` for ``Ctrl-Shift-Z``."""
    if key.startswith("Ctrl-Shift-"):
        return f"Ctrl+{key[-1].upper()}"
    return f"Ctrl+{key[-1].lower()}" if key.startswith("Ctrl-") else WRITTEN.get(key, key)


def test_the_table_of_keys_has_every_key_with_a_label() -> None:
    scripts = "\n".join(path.read_text() for path in STATIC.glob("js/**/*.js"))
    bound = {key for key, label in re.findall(r'\b(?:bind|on)\("([^"]+)",\s*"([^"]*)"', scripts) if label}
    table = GUIDE.partition("<!-- keys -->")[2].partition("<!-- /keys -->")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {named_in_code(key) for cell in first_cells for key in re.findall(r"`([^`]+)`", cell)} == bound


def test_the_keys_of_the_terminal_view_are_those_it_lists() -> None:
    block = GUIDE.partition("<!-- terminal keys -->")[2].partition("<!-- /terminal keys -->")[0]
    assert block.strip() == f"```\n{KEYS}\n```"
