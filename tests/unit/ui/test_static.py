"""The page's files, as they are served."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tracker.ui.static import STATIC, StaticFiles, media_type


def test_the_page_and_its_modules(tmp_path: Path) -> None:
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "main.js").write_text("import './a.js'")  # with quotes that keep modules from being joined
    (tmp_path / "js" / "a.js").write_text("1")
    (tmp_path / "index.html").write_text(
        '<a href="#/runs"><link href="static/css/a.css"><!-- modulepreload --><script src="static/js/main.js">'
    )
    static = StaticFiles(tmp_path)
    before = static.digest
    text = static.index().decode()
    assert f'src="static/{before}/js/main.js"' in text and 'href="#/runs"' in text
    assert re.findall(r'modulepreload" href="static/\w+/(js/\w+\.js)"', text) == ["js/a.js", "js/main.js"]
    (tmp_path / "js" / "a.js").write_text("22")
    assert f'src="static/{before}' not in static.index().decode(), "a changed file has a new address"
    assert static.read("js/a.js") == b"22"


def test_only_files_below_the_directory_are_read(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (tmp_path / "outside").write_text("secret")
    (top / ".hidden").write_text("secret")
    (top / "inside").write_text("text")
    os.symlink(tmp_path / "outside", top / "link")
    os.symlink(tmp_path, top / "directory")
    static = StaticFiles(top)
    for name in (
        "link",
        ".hidden",
        "../outside",
        "directory/outside",
        "",
        ".",
        "/etc/passwd",
        str(tmp_path / "outside"),
    ):
        assert static.read(name) is None, name
    assert static.read("inside") == b"text"


def test_an_installation_without_a_page(tmp_path: Path) -> None:
    assert b"missing from this installation" in StaticFiles(tmp_path / "none").index()


def test_media_types() -> None:
    assert media_type("a/b.js") == "text/javascript; charset=utf-8"
    assert media_type("a.svg") == "image/svg+xml" and media_type("noext") == "application/octet-stream"


def test_our_page_has_no_inline_code() -> None:
    text = (STATIC / "index.html").read_text()
    assert (
        not re.search(r"<script(?![^>]*src=)", text)
        and "style=" not in text
        and " on" not in re.sub(r"<!--.*?-->", "", text).split("<body>")[0]
    )
    assert "http" not in text
