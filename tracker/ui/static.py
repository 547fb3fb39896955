"""The page's files, read once: under a path that has their hash in it, so that browsers keep them for ever."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from pathlib import Path

STATIC = Path(__file__).with_name("static")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_LINK = re.compile(r'\b(href|src)="static/([^"?#]+)"')
_PRELOAD = "<!-- modulepreload -->"
_TEXTS = (".js", ".css", ".svg")
_NO_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>tracker</title></head>
<body><p>The page's files are missing from this installation; the API is at /api/v1/.</p></body></html>
"""


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
        self.refresh()

    def refresh(self) -> None:
        """Read the directory again: files are changed in place while the page is worked on."""
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

    def index(self) -> bytes:
        """Return the page, with links to the files below the path of their hash, and all modules to be loaded ahead."""
        self.refresh()
        path = self._files.get("index.html")
        if path is None:
            return _NO_PAGE.encode()
        text = _LINK.sub(lambda link: f'{link[1]}="static/{self.digest}/{link[2]}"', path.read_text("utf-8"))
        modules = [name for name in self._files if name.startswith("js/") and name.endswith(".js")]
        links = [f'<link rel="modulepreload" href="static/{self.digest}/{name}">' for name in modules]
        return text.replace(_PRELOAD, "\n".join(links), 1).encode()

    def texts(self) -> dict[str, str]:
        """Return the texts of the page, its modules and styles by name, for a page that is saved as one file."""
        self.refresh()
        names = [name for name in self._files if name == "index.html" or name.endswith(_TEXTS)]
        return {name: self._files[name].read_text("utf-8") for name in names}

    def read(self, name: str) -> bytes | None:
        """Return a file by its name below the directory; None if there is none. Only listed files are ever opened."""
        path = self._files.get(name)
        try:
            return None if path is None else path.read_bytes()
        except OSError:
            return None


def media_type(name: str) -> str:
    """Return the media type of a file by its name."""
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
