"""The documents for users: their Python blocks and `tracker` commands run, what they show is what comes, links lead
somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.serving import environment
from tests.support import REPOSITORY, Scripts
from tracker.reading.api import Api

README = REPOSITORY / "README.md"
GUIDE = REPOSITORY / "tracker" / "README.md"
OPERATING = REPOSITORY / "sidecar" / "README.md"
COMING_FROM = sorted((REPOSITORY / "examples" / "coming-from").glob("*.md"))
DOCUMENTS = [README, GUIDE, OPERATING, *COMING_FROM]

MAX_README_BYTES = 12_000
MAX_PICTURE_BYTES = 150_000
HERE = {"TRACKER_DIR": None, "TRACKER_SILENT": None, "COLUMNS": "80"}
"""The environment in which a script keeps its runs in its working directory, and prints what a user sees."""


def blocks(document: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)


def same_for_all_runs(text: str) -> str:
    """Return the output of a script without what differs from run to run: the run's name, its id, its duration."""
    text = re.sub(r"run [a-z]+-[a-z]+-[0-9]{4}-[0-9a-z]{3} \([0-9a-z]{8}\)", "run NAME (ID)", text)
    return re.sub(r"tracker (tail|show) [0-9a-z]{8}", r"tracker \1 ID", re.sub(r" in [0-9.]+ s,", " in TIME,", text))


def test_the_first_block_prints_what_the_readme_shows(scripts: Scripts) -> None:
    printed = scripts.run(blocks(README, "python")[0], env=HERE).err
    assert same_for_all_runs(printed) == same_for_all_runs(blocks(README, "text")[0])


@pytest.mark.parametrize("document", [README, GUIDE, *COMING_FROM], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_python_blocks_run_one_after_the_other(scripts: Scripts, tmp_path: Path, document: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    code = "\n".join(blocks(document, "python"))
    assert "import tracker" in code
    scripts.run(code, env=HERE)
    runs = Api(tmp_path / ".tracker").runs()
    assert len(runs) > 0 and {run.state for run in runs} == {"finished"} and {run.project for run in runs} == {"digits"}


def test_the_commands_of_the_readme_run(scripts: Scripts, tmp_path: Path) -> None:
    scripts.run(
        """
        import tracker
        for lr in (0.1, 0.3):
            with tracker.init(name=f"lr={lr}", config={"lr": lr}) as run:
                run.log({"loss": lr, "val": {"acc": 0.95}})
        """,
        env=HERE,
    )
    lines = [line for block in blocks(README, "sh") for line in block.splitlines() if line.startswith("tracker ")]
    assert len(lines) >= 5
    for line in lines:
        command = [sys.executable, "-m", *shlex.split(line, comments=True)]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, check=False)
        assert done.returncode == 0 and done.stdout, (line, done.stderr)


def test_the_size_and_the_set_up_blocks_of_the_readme() -> None:
    text = README.read_text()
    assert len(text.encode()) <= MAX_README_BYTES
    assert re.findall(r"^<!-- set-up: (.*) -->\n```sh\n", text, re.MULTILINE) == ["quickstart", "tests"]


def test_the_pictures_of_the_readme() -> None:
    paths = re.findall(r"[\w./-]+\.png", README.read_text())
    assert len(paths) == 3
    for path in (REPOSITORY / path for path in paths):
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size <= MAX_PICTURE_BYTES, path


def anchors(document: Path) -> set[str]:
    """Return what links to headings of a document name, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)|\bsrc(?:set)?=\"([^\"]+)\"", document.read_text())
    for link in (link for pair in links for link in pair if link and "://" not in link):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
