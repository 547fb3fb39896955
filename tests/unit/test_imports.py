"""Who imports whom: read from the syntax trees of both packages."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import pytest

from tests.tools import REPOSITORY, Scripts

FILES = sorted(path for package in ("tracker", "sidecar") for path in (REPOSITORY / package).rglob("*.py"))

READERS = ("sidecar", "sidecar.protocol", "sidecar.log", "sidecar.store", "sidecar.state", "sidecar.rebuild",
           "sidecar.clickhouse")  # fmt: skip
"""What `tracker` may import of `sidecar`: the ground, the readers, and what makes a store anew from its log."""

ONE_HOME = ("zmq", "msgpack", "sqlite3", "requests")
HEAVY = ("zmq", "msgpack", "requests", "numpy", "psutil", "sqlite3", "pandas", "subprocess", "asyncio")


def module_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


@functools.cache
def imports(path: Path) -> list[str]:
    """The modules that a file imports, anywhere in it, by their full names."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.append(inner if inner in MODULES else str(node.module))
    return found


def below(module: str, *tops: str) -> bool:
    return any(module == top or module.startswith(top + ".") for top in tops)


def test_there_is_something_to_read() -> None:
    assert {"tracker.run", "sidecar.handler", "sidecar.protocol.codec"} <= MODULES


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_downward_only(path: Path) -> None:
    module = module_of(path)
    found = sorted(set(imports(path)))
    ours = [name for name in found if below(name, "tracker", "sidecar")]
    if below(module, "sidecar.protocol"):
        assert [name for name in ours if not below(name, "sidecar.protocol")] == []
    elif below(module, "sidecar"):
        assert [name for name in ours if below(name, "tracker")] == []
        if below(module, "sidecar.log", "sidecar.store"):
            inner = ("sidecar.protocol", "sidecar.log", "sidecar.store", "sidecar.state")
            assert [name for name in ours if not below(name, *inner)] == []
    else:
        reads = [name for name in ours if below(name, "sidecar")]
        deep = [name for name in READERS if name != "sidecar"]
        assert [name for name in reads if name != "sidecar" and not below(name, *deep)] == []
    assert [name for name in found if below(name, "tests", "examples")] == []


@pytest.mark.parametrize("package", ["tracker", "sidecar"])
@pytest.mark.parametrize("library", ONE_HOME)
def test_a_library_has_one_home_in_a_package(package: str, library: str) -> None:
    inside = [path for path in FILES if below(module_of(path), package)]
    homes = [module_of(path) for path in inside if any(below(found, library) for found in imports(path))]
    assert len(homes) <= 1, homes


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_the_standard_library_and_what_is_installed_with_it(path: Path) -> None:
    allowed = {"tracker", "sidecar", "zmq", "msgpack", "psutil", "requests"} | set(sys.stdlib_module_names)
    optional = {"pandas", "pyarrow", "numpy"}
    top_level = {node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)}
    for node in top_level:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        assert {name.partition(".")[0] for name in names} <= allowed
    assert {name.partition(".")[0] for name in imports(path)} <= allowed | optional


def test_every_module_says_what_it_is() -> None:
    assert [module_of(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_importing_tracker_is_light(scripts: Scripts) -> None:
    done = scripts.run(
        """
        import sys
        before = set(sys.modules)
        import tracker
        tracker.init, tracker.run, tracker.finish
        dir(tracker)
        print(" ".join(sorted(set(sys.modules) - before)))
        """
    )
    found = {name.partition(".")[0] for name in done.out.split()}
    light = scripts.run("import sys, tracker; print(' '.join(sys.modules))").out.split()
    assert not {name.partition(".")[0] for name in light} & set(HEAVY)
    assert not found & {"requests", "numpy", "pandas", "sqlite3", "asyncio"}


def test_importing_starts_nothing(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import os, threading
        import tracker, tracker.init, tracker.run, tracker.backend, tracker.pump, sidecar.server, sidecar.cli
        assert threading.active_count() == 1
        assert not os.path.exists(os.environ["TRACKER_DIR"])
        """
    )
    assert not root.exists()
