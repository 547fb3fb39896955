"""The interpreter that runs a sidecar, and its environment: it must import what this process imports.

Any thread may call it; nothing here waits.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

from sidecar.protocol.sink_kinds import file_variables
from tracker.errors import LaunchError

PYTHON_VARIABLE = "TRACKER_PYTHON"
"""Path of the interpreter to run sidecars with, where `sys.executable` is not one."""

LAUNCHING_VARIABLE = "TRACKER_LAUNCHING"
"""Set in the environment of a sidecar, which removes it: a program that finds it was started in a sidecar's place."""

_PATH_VARIABLES = frozenset({"TRACKER_SIDECAR_KEY", "TRACKER_CLIENT_KEY"})
"""Environment variables that name files, besides those of the sinks."""

_PACKAGES = ("sidecar", "msgpack", "zmq", "psutil", "requests")
"""What a sidecar imports."""


def interpreter() -> str:
    """Return the path of the interpreter to run a sidecar with.

    Raises:
        LaunchError: there is none, as in a frozen program; or this program runs where a sidecar should.
    """
    if os.environ.get(LAUNCHING_VARIABLE):
        raise LaunchError(
            f"{sys.executable or sys.argv[0]} was started to run a sidecar and is not a Python interpreter: set "
            f"{PYTHON_VARIABLE} to the path of one"
        )
    given = os.environ.get(PYTHON_VARIABLE)
    if given:
        return given
    frozen = getattr(sys, "frozen", False)
    if sys.executable and not frozen and _is_python(sys.executable):
        return sys.executable
    for prefix in (sys.prefix, sys.exec_prefix, sys.base_prefix):
        path = os.path.join(prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")
        if os.access(path, os.X_OK):
            return path
    if sys.executable and not frozen:
        return sys.executable
    raise LaunchError(
        f"a sidecar needs a Python interpreter, and {sys.executable or 'sys.executable'!r} is not one: set "
        f"{PYTHON_VARIABLE} to the path of an interpreter of Python {sys.version_info.major}.{sys.version_info.minor}, "
        "or start `sidecar serve` and pass sidecar="
    )


def _is_python(path: str) -> bool:
    name = os.path.basename(path).lower()
    return "python" in name or "pypy" in name


def sidecar_environment() -> dict[str, str]:
    """Return the environment in which ``python -m sidecar`` finds the packages that this process uses."""
    environment = dict(os.environ)
    paths = _PATH_VARIABLES | file_variables()
    for name, value in os.environ.items():  # the sidecar runs in another directory than the program
        if name in paths and value and os.path.exists(value):
            environment[name] = os.path.abspath(value)
    environment[LAUNCHING_VARIABLE] = str(os.getpid())
    # glibc gives each thread its own heap (mallopt(3), M_ARENA_MAX); the sidecar's threads take turns anyway.
    environment.setdefault("MALLOC_ARENA_MAX", "1")
    standard = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    added = [path for path in dict.fromkeys(map(_home, _PACKAGES)) if path is not None and path not in standard]
    if added:
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([*added, rest] if rest else added)
    return environment


def _home(name: str) -> str | None:
    """Return the directory from which a package is imported; None if it is not known."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is not None:
        return str(Path(file).resolve().parent.parent)
    paths = (os.path.abspath(path) for path in sys.path if path)
    return next((path for path in paths if os.path.isfile(os.path.join(path, name, "__init__.py"))), None)
