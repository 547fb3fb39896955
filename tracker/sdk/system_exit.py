"""SystemExit: learns of the one that ends the process, whoever raised it: `sys.exit`, `exit`, `raise SystemExit`.

CPython calls no hook for an uncaught `SystemExit`; it reads the exception's ``code`` and ends. So that attribute is
replaced by a property. Where no Python function asks for it, the interpreter does.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

_member = SystemExit.__dict__["code"]


def watch(on_end: Callable[[SystemExit], None]) -> bool:
    """Have `on_end` called with the `SystemExit` that ends this process, or this child of `multiprocessing`.

    Returns:
        whether this interpreter allows it.
    """

    def code(error: SystemExit) -> Any:
        asking = sys._getframe().f_back
        if (asking is None or runs_child(asking)) and threading.current_thread() is threading.main_thread():
            on_end(error)
        return _member.__get__(error)

    return _replace(property(code, _member.__set__))


def unwatch() -> None:
    """Undo `watch`."""
    _replace(_member)


def runs_child(frame: FrameType) -> bool:
    """Whether `frame` is that of the function which runs a child of `multiprocessing`, and catches what it raises."""
    return frame.f_code.co_name == "_bootstrap" and frame.f_globals.get("__name__") == "multiprocessing.process"


def _replace(attribute: Any) -> bool:
    (attributes,) = gc.get_referents(SystemExit.__dict__) or ({},)  # the dictionary behind the read-only view
    if sys.implementation.name != "cpython" or type(attributes) is not dict or "code" not in attributes:
        return False
    attributes["code"] = attribute
    clear = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
    clear()
    return True
