"""Edits of stored runs: checks changes, and has them appended to the logs of the runs. Used on any thread.

Changes are made by users who look at runs: they do not resume a run, nor count as writing to it.
"""

from __future__ import annotations

import getpass
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sidecar.protocol.bodies import COLORS, EDITABLE
from tracker.errors import EditError, TrackerError
from tracker.settings import resolve

if TYPE_CHECKING:
    from tracker.transport.editor import Editor

UNDO = "undo"


class RunEditor(Protocol):
    """Has edits appended to runs."""

    def edit(self, edits: Sequence[tuple[str, dict[str, Any]]]) -> list[TrackerError | None]:
        """Return for each edit, a run's id and the body of its ``edit`` record, None or why it was not made."""


class EditableRun(Protocol):
    """The part of a stored run that an edit needs."""

    @property
    def id(self) -> str: ...

    def editor(self) -> RunEditor: ...

    def refresh(self) -> Any: ...


_editors: dict[Path, Editor] = {}
_lock = threading.Lock()


def edit_runs(edits: Iterable[tuple[EditableRun, Mapping[str, Any]]]) -> list[TrackerError | None]:
    """Edit many runs, those of a place with one sidecar; return for each edit None, or the error that prevented it.

    Args:
        edits: for each a run, and its changes: keys of `StoredRun.update`, ``deleted`` (True hides a run from listings,
            False shows it again), or only ``{"undo": True}``.

    Raises:
        TypeError, ValueError: a change is not valid; no run is edited then.
    """
    by = _user()
    checked = [(run, {**checked_changes(changes), "by": by}) for run, changes in edits]
    results: list[TrackerError | None] = [None] * len(checked)
    editors: dict[RunEditor, list[int]] = {}
    for index, (run, _) in enumerate(checked):
        try:
            editors.setdefault(run.editor(), []).append(index)
        except TrackerError as error:
            results[index] = EditError(f"{error}; edit it where it was logged")
    for editor, indexes in editors.items():
        answers = editor.edit([(checked[index][0].id, checked[index][1]) for index in indexes])
        for index, answer in zip(indexes, answers, strict=True):
            results[index] = answer
            checked[index][0].refresh()
    return results


def edit_run(run: EditableRun, changes: Mapping[str, Any]) -> None:
    """Edit one run.

    Raises:
        EditError: it could not be edited. TypeError, ValueError: a change that is not valid.
    """
    (error,) = edit_runs([(run, changes)])
    if error is not None:
        raise error


def close_editors() -> None:
    """End the sidecars that this process launched for edits; they end with it in any case."""
    with _lock:
        editors = list(_editors.values())
        _editors.clear()
    for editor in editors:
        editor.close()


def checked_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes as plain data.

    Raises:
        TypeError, ValueError: naming the change that is not valid, and what it must be.
    """
    if dict(changes) == {UNDO: True}:
        return {UNDO: True}
    unknown = [key for key in changes if key not in EDITABLE]
    if unknown:
        raise ValueError(f"{unknown[0]!r} cannot be edited; editable are {', '.join(EDITABLE)}")
    if not changes:
        raise ValueError(f"an edit must change something: {', '.join(EDITABLE)}")
    return {key: _CHECKS[key](key, value) for key, value in changes.items()}


def _name(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(key, "a non-empty string", value)
    return value


def _text(key: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _wrong(key, "a string or None", value)
    return value or None


def _tags(key: str, value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise _wrong(key, "a sequence of non-empty strings", value)
    tags = list(value)
    if not all(isinstance(tag, str) and tag for tag in tags):
        raise _wrong(key, "a sequence of non-empty strings", value)
    return list(dict.fromkeys(tags))


def _color(key: str, value: Any) -> str | None:
    color = value.lower() if isinstance(value, str) else value
    named = color is None or color in COLORS
    if not named and not (isinstance(color, str) and len(color) == 7 and color[0] == "#" and _is_hex(color[1:])):
        raise _wrong(key, f"'#rrggbb', None, or one of {', '.join(COLORS)}", value)
    return color


def _is_hex(text: str) -> bool:
    return all(digit in "0123456789abcdef" for digit in text)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, "True or False", value)
    return value


def _values(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value or not all(isinstance(name, str) and name for name in value):
        raise _wrong(key, "a non-empty mapping with strings as keys", value)
    return {name: _plain(f"{key}.{name}", item) for name, item in value.items()}


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | str | bytes):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{name} must be an integer of 64 bits, not {value}")
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(name, item) for item in value]
    if hasattr(value, "tolist"):  # an array or a scalar of NumPy or PyTorch
        return _plain(name, value.tolist())
    raise TypeError(f"{name} must be plain data (numbers, strings, lists, dicts), not a {type(value).__name__}")


def _wrong(key: str, must_be: str, value: Any) -> Exception:
    error = ValueError if isinstance(value, str | Sequence | Mapping) else TypeError
    return error(f"{key} must be {must_be}, not {value!r}")


_CHECKS = {
    "name": _name,
    "group": _text,
    "job_type": _text,
    "tags": _tags,
    "notes": _text,
    "color": _color,
    "deleted": _flag,
    "config": _values,
    "summary": _values,
}


def editor_of(root: Path) -> Editor:
    """Return the editor of a root directory's runs, which this process uses for all edits there."""
    from tracker.transport.editor import Editor

    with _lock:
        if root not in _editors:
            settings = resolve({"dir": root})
            _editors[root] = Editor(root, settings.durability, settings.client_key)
        return _editors[root]


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a process without a name in a container
        return None
