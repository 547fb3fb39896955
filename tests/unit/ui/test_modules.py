"""Modules that are joined into one, and the page's own."""

from __future__ import annotations

import json

import pytest

from tracker.ui.modules import NotJoinableError, joined, source_map
from tracker.ui.static import MODULE, SHEET, STATIC, StaticFiles


def texts() -> dict[str, str]:
    return {path.relative_to(STATIC).as_posix(): path.read_text("utf-8") for path in STATIC.rglob("*.js")}


def test_the_modules_of_the_page_can_be_joined() -> None:
    static = StaticFiles()
    page = static.index().decode()
    assert page.count("stylesheet") == 1 and f"static/{static.digest}/{SHEET}" in page
    assert f"static/{static.digest}/{MODULE}" in page and "main.js" not in page and "modulepreload" not in page
    sheet = static.content(SHEET)
    assert sheet is not None and sheet.gzip is not None
    for path in STATIC.glob("css/*.css"):
        assert path.read_bytes() in sheet.plain


def test_every_line_is_in_the_joined_module_and_in_its_map() -> None:
    modules = texts()
    text, lines = joined(modules, "js/main.js", apart=["js/core/ahead.js"])
    result = text.splitlines()
    assert len(result) == len(lines)
    seen: dict[str, int] = {}
    for line, (path, number) in zip(result, lines, strict=True):
        seen[path] = seen.get(path, 0) + 1
        source = modules[path].splitlines()
        if 0 < number < len(source) and "import " not in source[number] and "export " not in source[number]:
            assert line in (source[number], "")
    for path, count in seen.items():
        assert path == "js/core/ahead.js" or count == len(modules[path].splitlines()) + 1, path


def test_each_module_comes_after_what_it_imports() -> None:
    modules = {
        "js/main.js": 'import { a } from "./a.js";\nimport "./b.js";\nmain(a);\n',
        "js/a.js": 'import { c as d } from "./deep/c.js";\nexport const a = d;\n',
        "js/b.js": 'import {\n  a,\n} from "./a.js";\nb(a);\n',
        "js/deep/c.js": "function c() {}\nexport { c };\n",
    }
    text, lines = joined(modules, "js/main.js")
    assert list(dict.fromkeys(path for path, _ in lines)) == ["js/deep/c.js", "js/a.js", "js/b.js", "js/main.js"]
    assert "const { c: d } = module0;" in text and "Object.assign(module1, { a })" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('import main from "./a.js";', "import main"),
        ('import * as all from "./a.js";', "import"),
        ('import { a } from "./none.js";', "no module js/none.js"),
        ('import { x } from "./a.js";', "does not export it"),
        ('import { main } from "./main.js";\nexport const main = 1;', "imports itself"),
        ("export default 1;", "export default"),
        ("export let a = 1;", "export let"),
        ('export * from "./a.js";', "export"),
        ("var a = 1;", "var a"),
        ('await import("./a.js");', "import"),
        ("log(import.meta.url);", "import.meta"),
    ],
)
def test_what_cannot_be_joined(text: str, message: str) -> None:
    with pytest.raises(NotJoinableError, match=message.replace("*", r"\*")):
        joined({"js/main.js": text, "js/a.js": "export const a = 1;\n"}, "js/main.js")


def test_words_in_comments_and_strings_are_no_statements() -> None:
    text = '/*\nimport x\nexport y\n*/\n// import("a")\nlog("import me");\n'
    assert "log" in joined({"js/main.js": text}, "js/main.js")[0]


def test_the_source_map() -> None:
    found = json.loads(source_map([("a", 0), ("a", 1), ("b", 0), ("b", 17), ("a", 16)]))
    assert found["sources"] == ["a", "b"]
    assert found["mappings"] == "AAAA;AACA;ACDA;AAiBA;ADDA"
