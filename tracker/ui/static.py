"""The page's files, under a path that has their hash in it, so that browsers cache them forever.

The page that is served loads one module and one style sheet, which are made of its files; the files are served as well.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from pathlib import Path
from typing import NamedTuple

from tracker.ui.modules import NotJoinableError, joined, source_map

STATIC = Path(__file__).with_name("static")
MODULE, SHEET = "page.js", "page.css"
"""Names of the joined modules and style sheets."""

_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_TYPES |= {".map": "application/json"}
_LINK = re.compile(r'\b(href|src)="static/([^"?#]+)"')
_SCRIPT = re.compile(r'<script type="module"( async)? src="static/([^"?#]+)"></script>\n?')
_STYLE = re.compile(r'<link rel="stylesheet" href="static/([^"?#]+)">\n?')
_RELATIVE = re.compile(r"@import|url\((?!#|[\"']?data:)")
_PRELOAD = "<!-- modulepreload -->"
_TEXTS = (".js", ".css", ".svg")
_MIN_GZIP_BYTES = 1_000
_NO_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>tracker</title></head>
<body><p>The page's files are missing from this installation; the API is at /api/v1/.</p></body></html>
"""


class Content(NamedTuple):
    """A file as it is served: its bytes, and its bytes compressed if that makes it smaller."""

    plain: bytes
    gzip: bytes | None


class StaticFiles:
    """The files below a directory. Links that lead out of it are not followed.

    Args:
        top: the directory.

    Attributes:
        digest: changes whenever a file does.
    """

    def __init__(self, top: Path = STATIC) -> None:
        self._top = top
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self.digest = ""
        self._files: dict[str, Path] = {}
        self._page = ""
        self._made: dict[str, str] = {}
        self._contents: dict[str, Content] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the directory again, since files change in place during development."""
        top = self._top.resolve()
        paths = sorted(
            path
            for path in top.rglob("*")
            if path.is_file() and path.resolve().is_relative_to(top) and not path.name.startswith(".")
        )
        stamp = tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)
        if stamp == self._stamp and self.digest:
            return
        total = hashlib.sha256()
        for path in paths:
            total.update(path.relative_to(top).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
        self._files = {path.relative_to(top).as_posix(): path for path in paths}
        self._stamp, self.digest = stamp, total.hexdigest()[:16]
        self._page, self._made, self._contents = "", {}, {}

    def index(self) -> bytes:
        """Return the page: with one module and one style sheet if they can be joined, else with links to its files and
        all modules to be loaded ahead."""
        self.refresh()
        path = self._files.get("index.html")
        if path is None:
            return _NO_PAGE.encode()
        if not self._page:
            text = path.read_text("utf-8")
            made: dict[str, str] = {}
            try:
                text = self._joined(text, made)
                links = []
            except NotJoinableError:
                made.clear()
                modules = [name for name in self._files if name.startswith("js/") and name.endswith(".js")]
                links = [f'<link rel="modulepreload" href="static/{name}">' for name in modules]
            text = text.replace(_PRELOAD, "\n".join(links), 1)
            self._made = made
            self._page = _LINK.sub(lambda link: f'{link[1]}="static/{self.digest}/{link[2]}"', text)
        return self._page.encode()

    def _joined(self, text: str, made: dict[str, str]) -> str:
        """Return the page with one module and one style sheet, which are added to `made`.

        Raises:
            NotJoinableError: there is not one main module, or files cannot be joined.
        """
        texts = self._read_texts()
        scripts = _SCRIPT.findall(text)
        main = [name for is_async, name in scripts if not is_async]
        sheets = _STYLE.findall(text)
        styles = [texts.get(name, "") for name in sheets]
        if len(main) != 1 or any(map(_RELATIVE.search, styles)):
            raise NotJoinableError("there must be one main module, and no style sheet that refers to another file")
        module, sources = joined(texts, main[0], apart=[name for is_async, name in scripts if is_async])
        made[MODULE] = f"{module}//# sourceMappingURL={MODULE}.map\n"
        made[f"{MODULE}.map"] = source_map(sources)
        made[SHEET] = "".join(styles)
        once = f'<link rel="stylesheet" href="static/{SHEET}">\n'
        text = _STYLE.sub(lambda link: once if link[1] == sheets[0] else "", text)
        return text.replace(f'src="static/{main[0]}"', f'src="static/{MODULE}"')

    def texts(self) -> dict[str, str]:
        """Return the texts of the page, its modules and styles by name, for a page that is saved as one file."""
        self.refresh()
        return self._read_texts()

    def _read_texts(self) -> dict[str, str]:
        names = [name for name in self._files if name == "index.html" or name.endswith(_TEXTS)]
        return {name: self._files[name].read_text("utf-8") for name in names}

    def read(self, name: str) -> bytes | None:
        """Return a file by its name below the directory; None if there is no such file. Opens only listed files."""
        path = self._files.get(name)
        try:
            return None if path is None else path.read_bytes()
        except OSError:
            return None

    def content(self, name: str) -> Content | None:
        """Return a file, or one made of files for the page; None if the name is unknown. It is kept in memory."""
        content = self._contents.get(name)
        if content is None:
            if name in (MODULE, SHEET, f"{MODULE}.map") and not self._page:
                self.index()  # asked for by a page that an earlier process served
            made = self._made.get(name)
            plain = self.read(name) if made is None else made.encode()
            if plain is None:
                return None
            packed = gzip.compress(plain, 1) if len(plain) >= _MIN_GZIP_BYTES and is_text(name) else None
            content = self._contents[name] = Content(plain, packed)
        return content


def is_text(name: str) -> bool:
    """Whether a file gets smaller when it is compressed, by its name."""
    return name.endswith((*_TEXTS, ".html", ".map"))


def media_type(name: str) -> str:
    """Return the media type of a file by its name."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
