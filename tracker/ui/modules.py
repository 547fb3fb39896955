"""Joins the page's modules into one file, so that a browser asks once and not for each of a hundred.

Each module becomes a block of the file, in the order in which a browser would run them, with its lines as they are.
Its imports become constants, its exports properties of an object. Modules must be written so that this means the same:
named static imports at the start of a line, exports that are never assigned to again, no cycles.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Collection, Mapping, Sequence
from posixpath import dirname, normpath

_IMPORT = re.compile(r'^import (?:\{([^{}]*)\} from )?"(\.{1,2}/[^"\n]+)";?', re.MULTILINE)
_EXPORT = re.compile(
    r"^export (?:(?P<start>(?:async )?function\*? |const |class )(?P<name>[\w$]+)|\{(?P<list>[^{}]*)\};?)", re.MULTILINE
)
_RENAMED = re.compile(r"^([\w$]+)(?: as ([\w$]+))?$")
_OTHER = re.compile(r"^(?:import|export|var)\b.*", re.MULTILINE)
_DYNAMIC = re.compile(r"\bimport\s*\(|\bimport\.meta\b")
_DIGITS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
_COMMENT = re.compile(r"/\*.*?\*/|^\s*//.*$", re.DOTALL | re.MULTILINE)


class NotJoinableError(ValueError):
    """Raised if a module is written in a way that cannot be joined."""


def joined(modules: Mapping[str, str], main: str, apart: Collection[str] = ()) -> tuple[str, list[tuple[str, int]]]:
    """Return the text of one module that does what `main` and its imports do, and where its lines come from: the
    path of the module and number of the line in it, from 0.

    Args:
        modules: path -> text.
        main: the path of the module that the page starts.
        apart: paths of modules that the page starts besides; they stay modules, imported by the joined one, which must
            be served in the same directory as the paths begin at.

    Raises:
        NotJoinableError: a module is missing, imports itself through others, imports what is not exported, or has
            statements that cannot be joined.
    """
    order = _order(modules, main, apart)
    names = {path: f"module{number}" for number, path in enumerate([*apart, *order])}
    parts = [f'import * as {names[path]} from "./{path}";\n' for path in apart]
    lines = [(path, 0) for path in apart]
    for path in [*apart, *order]:
        _check_imports(path, modules)
    for path in order:
        block = f"const {names[path]} = {{}}; {{ {_block(path, modules[path], names)}}}\n"
        parts.append(block)
        lines += [(path, number) for number in range(block.count("\n"))]
    return "".join(parts), lines


def _check_imports(path: str, modules: Mapping[str, str]) -> None:
    """Check that what a module imports is exported, as a browser does before it runs modules.

    Raises:
        NotJoinableError: it is not.
    """
    for names, specifier in _IMPORT.findall(modules[path]):
        other = _resolved(path, specifier)
        exported: set[str] = set()
        for match in _EXPORT.finditer(modules[other]):
            exported |= {match["name"]} if match["name"] else {b or a for a, b in _names(other, match["list"])}
        for name, _ in _names(path, names):
            if name not in exported:
                raise NotJoinableError(f"{path} imports {name} from {other}, which does not export it")


def source_map(lines: Sequence[tuple[str, int]]) -> str:
    """Return the source map of a joined module, from which a browser's tools show the modules themselves."""
    sources = {path: number for number, path in enumerate(dict.fromkeys(path for path, _ in lines))}
    mappings = []
    before = (0, 0)
    for path, line in lines:
        source = sources[path]
        mappings.append("A" + _vlq(source - before[0]) + _vlq(line - before[1]) + "A")
        before = (source, line)
    return json.dumps({"version": 3, "sources": list(sources), "names": [], "mappings": ";".join(mappings)})


def _vlq(number: int) -> str:
    """Return a number in base 64, as source maps have it: five bits a digit, the lowest first, the sign in front."""
    rest = -number << 1 | 1 if number < 0 else number << 1
    digits = ""
    while True:
        rest, digit = rest >> 5, rest & 31
        digits += _DIGITS[digit | 32 if rest else digit]
        if not rest:
            return digits


def _order(modules: Mapping[str, str], main: str, apart: Collection[str]) -> list[str]:
    """Return the paths in the order of execution: what a module imports comes before it."""
    for path in [main, *apart]:
        _require(path, modules)
    order: dict[str, None] = {}
    under_way: set[str] = set()

    def visit(path: str) -> None:
        if path in order or path in apart:
            return
        if path in under_way:
            raise NotJoinableError(f"{path} imports itself, directly or through others")
        under_way.add(path)
        for _, specifier in _IMPORT.findall(modules[path]):
            other = _resolved(path, specifier)
            _require(other, modules)
            visit(other)
        order[path] = None

    visit(main)
    return list(order)


def _require(path: str, modules: Mapping[str, str]) -> None:
    if path not in modules:
        raise NotJoinableError(f"there is no module {path}")


def _resolved(path: str, specifier: str) -> str:
    return normpath(f"{dirname(path)}/{specifier}")


def _block(path: str, text: str, names: Mapping[str, str]) -> str:
    exports: list[str] = []

    def import_(match: re.Match[str]) -> str:
        bindings = [f"{name}: {local}" if local else name for name, local in _names(path, match[1] or "")]
        object_ = names[_resolved(path, match[2])]
        return f"const {{ {', '.join(bindings)} }} = {object_};" + "\n" * match[0].count("\n")

    def export(match: re.Match[str]) -> str:
        if match["name"]:
            exports.append(match["name"])
            return match["start"] + match["name"]
        exports.extend(f"{alias}: {name}" if alias else name for name, alias in _names(path, match["list"]))
        return "\n" * match[0].count("\n")

    code = _EXPORT.sub(export, _IMPORT.sub(import_, text))
    bare = _COMMENT.sub("", code)
    other = _OTHER.search(bare) or _DYNAMIC.search(bare)
    if other:
        raise NotJoinableError(f"{path} has a statement that cannot be joined: {other[0]}")
    return f"{code.rstrip()}\nObject.assign({names[path]}, {{ {', '.join(exports)} }}); "


def _names(path: str, text: str) -> list[tuple[str, str | None]]:
    """Return (name, other name) of each part of a list such as ``a, b as c``."""
    found: list[tuple[str, str | None]] = []
    for part in text.split(","):
        match = _RENAMED.match(" ".join(part.split()))
        if match:
            found.append((match[1], match[2]))
        elif part.strip():
            raise NotJoinableError(f"{path} has a list of names that cannot be joined: {part.strip()}")
    return found
