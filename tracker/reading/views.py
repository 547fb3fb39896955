"""Read-only views: what a stored run returns, so that a change in memory is not mistaken for a change of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class ReadOnlyError(TypeError):
    """Raised by an attempt to change what was read from a stored run: it would change nothing on disk."""


def _refuse(view: ReadOnlyDict | ReadOnlyList, *_: object, **__: object) -> NoReturn:
    raise ReadOnlyError(
        f"the {view._what} of stored run {view._run!r} cannot be changed: work on a copy, copy.deepcopy(run."
        f"{view._what}), or change the run with run.update({view._what}=...)"
    )


class ReadOnlyDict(dict[str, Any]):
    """A dict that cannot be changed; copies of it are plain dicts. Nested dicts and lists are read-only too."""

    _run = ""
    _what = ""

    @classmethod
    def of(cls, values: Mapping[str, Any], run: str, what: str) -> ReadOnlyDict:
        """Return `values`, the `what` of `run`, as a view."""
        view = cls({key: _view(value, run, what) for key, value in values.items()})
        view._run, view._what = run, what
        return view

    def copy(self) -> dict[str, Any]:
        """Return a plain dict."""
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


class ReadOnlyList(list[Any]):
    """A list that cannot be changed; copies of it are plain lists."""

    _run = ""
    _what = ""

    @classmethod
    def of(cls, values: list[Any], run: str, what: str) -> ReadOnlyList:
        """Return `values`, the `what` of `run`, as a view."""
        view = cls(_view(value, run, what) for value in values)
        view._run, view._what = run, what
        return view

    def copy(self) -> list[Any]:
        """Return a plain list."""
        return list(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse


def _view(value: Any, run: str, what: str) -> Any:
    if isinstance(value, dict):
        return ReadOnlyDict.of(value, run, what)
    return ReadOnlyList.of(value, run, what) if isinstance(value, list) else value
