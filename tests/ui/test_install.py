"""What is installed: a wheel, a wheel built from an sdist, and an editable install serve one and the same page."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support import REPOSITORY
from tests.ui.browser import WAIT, Pages
from tests.ui.conftest import Serve
from tests.ui.looking import panel
from tests.unit.run_builder import RunBuilder

IGNORED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "node_modules")

Digests = dict[str, str]


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a distribution with setuptools, as pip does, without asking an index; return its file."""
    script = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    run(sys.executable, "-c", script, cwd=source)
    (built,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def in_tree(top: Path) -> Digests:
    """The page's files, by their path under ``tracker/ui/``."""
    files = [path for path in (top / "tracker/ui").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    return {str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_wheel(wheel: Path) -> Digests:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith("tracker/ui/") and not name.endswith(".py")]
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


@pytest.fixture(scope="module")
def wheels(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel built from the tree, and one built from an sdist of the tree."""
    top = tmp_path_factory.mktemp("build")
    shutil.copytree(REPOSITORY, top / "tree", ignore=IGNORED)
    archive = build("sdist", top / "tree", top / "sdist")
    with tarfile.open(archive) as opened:
        opened.extractall(top / "unpacked", filter="data")
    (unpacked,) = (top / "unpacked").iterdir()
    return {
        "tree": build("wheel", top / "tree", top / "wheel"),
        "sdist": build("wheel", unpacked, top / "sdist-wheel"),
    }


def test_wheel_sdist_and_checkout_have_the_same_page(wheels: dict[str, Path]) -> None:
    here = in_tree(REPOSITORY)
    assert "tracker/ui/static/index.html" in here and len(here) > 100
    assert in_wheel(wheels["tree"]) == here
    assert in_wheel(wheels["sdist"]) == here


@pytest.mark.parametrize("origin", ["tree", "sdist"])
def test_the_page_of_an_installed_wheel(
    wheels: dict[str, Path], origin: str, tmp_path: Path, serve: Serve, pages: Pages
) -> None:
    built = RunBuilder(tmp_path / "root", "one", name="first run")
    built.row(0, loss=0.5)
    built.finish()
    site = tmp_path / "site"
    with zipfile.ZipFile(wheels[origin]) as archive:
        archive.extractall(site)
    # -S: no .pth files, so that the interpreter sees the wheel and the packages that it needs, and not this tree.
    packages = os.pathsep.join([str(site), *(path for path in sys.path if path.endswith("site-packages"))])
    place = {"env": {"PYTHONPATH": packages}, "cwd": tmp_path}
    found = subprocess.run(
        [sys.executable, "-S", "-c", "import tracker; print(tracker.__file__)"],
        env={**os.environ, "PYTHONPATH": packages},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(site))
    served = serve(tmp_path / "root", options=("-S",), **place)
    page = pages.open(served, "#/charts?runs=one")
    expect(panel(page, "loss")).to_have_attribute("aria-label", re.compile("first run: last 0.5"), timeout=WAIT)
