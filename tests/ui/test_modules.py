"""Modules that are joined do what they do one by one: Node.js runs both ways."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from playwright.sync_api import expect

from tests.support import TIMEOUT
from tests.ui.browser import Dashboard, Pages
from tests.ui.looking import rows, wait_for_charts
from tracker.ui.modules import joined

MODULES = {
    "js/main.js": """import { counter, add } from "./lib/counter.js";
import {
  late, Shape as Form,
} from "./lib/late.js";
import "./effect.js";
import { early } from "./early.js";
const counter2 = await Promise.resolve(counter);
function local() { return `${early()} ${new Form(3).area} ${counter2.n}`; }
add(2);
console.log("main", local(), late(), this === undefined);
""",
    "js/lib/counter.js": """console.log("counter");
export const counter = { n: 0 };
export function add(by) { counter.n += by; }
""",
    "js/lib/late.js": """import { add, counter } from "./counter.js";
console.log("late", hoisted());
export async function* unused() {}
function hoisted() { add(1); return counter.n; }
const inner = () => counter.n * 10;
class Shape { constructor(side) { this.area = side * side; } }
export { inner as late, Shape };
// a comment at the end""",
    "js/effect.js": """import { add } from "./lib/counter.js";
const local = "effect";
add(100);
console.log(local);
""",
    "js/early.js": """console.log("early");
export const early = () => "ahead";
""",
}


def _output(directory: Path, name: str) -> str:
    node = shutil.which("node")
    assert node is not None, "tests/ui needs Node.js: run tests/install-packages.sh"
    run = subprocess.run([node, name], cwd=directory, capture_output=True, text=True, timeout=TIMEOUT)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_joined_modules_do_the_same(tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for path, text in MODULES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / path).write_text(text)
    (tmp_path / "page.js").write_text(joined(MODULES, "js/main.js")[0])
    (tmp_path / "apart.js").write_text(joined(MODULES, "js/main.js", apart=["js/early.js"])[0])
    expected = _output(tmp_path, "js/main.js")
    assert "main ahead 9 103 1030 true" in expected
    assert _output(tmp_path, "page.js") == expected
    apart = _output(tmp_path, "apart.js").splitlines()
    assert sorted(apart) == sorted(expected.splitlines()) and apart[0] == "early"


def test_the_page_asks_for_three_files_and_for_nothing_twice(ten_ui: Dashboard, pages: Pages) -> None:
    page = pages.blank(ten_ui)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    page.goto(ten_ui.url("#/charts"))
    wait_for_charts(page)
    expect(rows(page).first).to_be_visible()
    files = [one.rpartition("/")[2] for one in asked if "/static/" in one and "icon" not in one]
    assert sorted(files) == ["ahead.js", "page.css", "page.js"]
    first = [one for one in asked if one.startswith("GET") and "/api/" in one and "changes" not in one]
    assert sorted(set(first)) == sorted(first)
    page.reload()
    wait_for_charts(page)
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').filter(one => /page[.]|ahead/.test(one.name))"
        ".map(one => one.transferSize)"
    )
    assert sizes == [0, 0, 0]  # from the browser's cache
