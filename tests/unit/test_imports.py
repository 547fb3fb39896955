"""Imports between modules, and private attributes: read from the syntax trees of both packages."""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path

import pytest

from tests.support import REPOSITORY, Scripts

FILES = sorted(path for package in ("tracker", "sidecar") for path in (REPOSITORY / package).rglob("*.py"))

FLOORS = (
    "sidecar.protocol",
    "sidecar.log",
    "sidecar.projections",
    "sidecar.pipeline",
    "sidecar.sinks",
    "sidecar.server",
    "sidecar.process",
    "sidecar.cli",
    "sidecar.__main__",
    "tracker.errors",
    "tracker.checks",
    "tracker.settings",
    "tracker.terminal",
    "tracker.media",
    "tracker.transport",
    "tracker.reading",
    "tracker.sdk",
    "tracker",
    "tracker.ui",
    "tracker.tui",
    "tracker.cli",
    "tracker.__main__",
)
"""The floor plan, from the ground up: a module imports from its own package and from lower floors."""

READERS = (
    "sidecar.protocol",
    "sidecar.log",
    "sidecar.projections",
    "sidecar.sinks.clickhouse",
    "sidecar.sinks.contract",
)
"""What `tracker` may import of `sidecar`: the ground, the readers, and what rebuilds a store from its log."""

ONE_HOME = ("zmq", "msgpack", "sqlite3", "requests")
HEAVY = ("zmq", "msgpack", "requests", "numpy", "psutil", "sqlite3", "pandas", "subprocess", "asyncio")


def module_of(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


@functools.cache
def imports(path: Path) -> list[str]:
    """The modules that a file imports, anywhere in it, by their full names."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.append(inner if inner in MODULES else str(node.module))
    return names


def below(module: str, *tops: str) -> bool:
    return any(module == top or module.startswith(top + ".") for top in tops)


def test_there_is_something_to_read() -> None:
    assert {"tracker.sdk.run", "sidecar.pipeline.handler", "sidecar.protocol.codec"} <= MODULES


def floor_of(module: str) -> int:
    """The index of a module's floor; the packages `tracker` and `sidecar` themselves are the public names above all."""
    for index, floor in enumerate(FLOORS):
        if below(module, floor) and (floor != "tracker" or module == "tracker"):
            return index
    raise AssertionError(f"{module} is in no package of the floor plan")


def our_imports(module: str, path: Path) -> set[str]:
    """The modules of ours that a module imports; the package `sidecar` itself holds only the version."""
    return {name for name in imports(path) if below(name, "tracker", "sidecar")} - {module, "sidecar"}


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path) != "sidecar"], ids=module_of)
def test_imports_go_downward_only(path: Path) -> None:
    module = module_of(path)
    ours = our_imports(module, path)
    assert {name for name in ours if floor_of(name) > floor_of(module)} == set()
    if below(module, "sidecar"):
        assert {name for name in ours if below(name, "tracker")} == set()
    else:
        assert {name for name in ours if below(name, "sidecar") and not below(name, *READERS)} == set()
    assert [name for name in imports(path) if below(name, "tests", "examples")] == []


def test_no_circles_between_modules() -> None:
    graph = {module_of(path): our_imports(module_of(path), path) & MODULES for path in FILES}
    done: set[str] = set()

    def visit(module: str, chain: tuple[str, ...]) -> None:
        assert module not in chain, " -> ".join((*chain[chain.index(module) :], module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*chain, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def own_objects(tree: ast.Module) -> set[str]:
    """`self`, `cls` and the classes of a module: whose private attributes the module may use."""
    return {"self", "cls", *(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))}


@pytest.mark.parametrize("path", [path for path in FILES if below(module_of(path), "tracker.sdk")], ids=module_of)
def test_private_attributes_are_used_by_their_owner_only(path: Path) -> None:
    tree = ast.parse(path.read_text())
    used = {
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and node.attr not in ("_asdict", "_replace")  # public, of a named tuple
        and not (isinstance(node.value, ast.Name) and node.value.id in own_objects(tree))
    }
    assert used <= {"sys._getframe", "sys._clear_type_cache", "os._exit"}, "these are part of Python"


@pytest.mark.parametrize("package", ["tracker", "sidecar"])
@pytest.mark.parametrize("library", ONE_HOME)
def test_a_library_has_one_home_in_a_package(package: str, library: str) -> None:
    inside = [path for path in FILES if below(module_of(path), package)]
    homes = [module_of(path) for path in inside if any(below(found, library) for found in imports(path))]
    assert len(homes) <= 1, homes


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_only_the_standard_library_and_what_is_installed_with_it(path: Path) -> None:
    allowed = {"tracker", "sidecar", "zmq", "msgpack", "psutil", "requests"} | set(sys.stdlib_module_names)
    optional = {"pandas", "pyarrow", "numpy", "starlette", "uvicorn", "anyio"}
    if below(module_of(path), "tracker.ui"):  # which is itself imported where it is used
        allowed |= {"starlette", "anyio"}
    if module_of(path) in ("tracker.tui.app", "tracker.tui.widgets"):
        allowed |= {"rich", "textual"}
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


def test_listing_runs_from_the_catalog_imports_no_store(scripts: Scripts, root: Path) -> None:
    """The modules that read a store's content take longer to import than ten thousand rows take to load."""
    done = scripts.run(
        """
        import os, sys
        import tracker.reading.reader
        from tracker.cli.main import main
        os.makedirs(os.environ["TRACKER_DIR"])
        main(["ls"])
        print(" ".join(name for name in sys.modules if name.startswith(("sidecar.projections", "tracker.reading.s"))))
        import sidecar.projections.store.buckets as buckets
        assert tracker.reading.reader.DEFAULT_COUNT == buckets.DEFAULT_COUNT
        """
    )
    assert set(done.out.split()) == {f"tracker.reading.{name}" for name in ("stored_run", "stores", "sources")}


def test_importing_starts_nothing(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import os, threading
        import tracker, tracker.sdk.init, tracker.sdk.run, tracker.transport.backend, tracker.transport.pump
        import sidecar.server.loop, sidecar.cli
        assert threading.active_count() == 1
        assert not os.path.exists(os.environ["TRACKER_DIR"])
        """
    )
    assert not root.exists()
