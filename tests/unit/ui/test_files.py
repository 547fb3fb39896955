"""tracker.ui.files: what is listed, what is opened, and what never is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.run_builder import RunBuilder
from tracker import Api
from tracker.reading.stored_run import StoredRun
from tracker.ui.files import FileNotListedError, RangeError, byte_range, listed, open_file

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    builder = RunBuilder(tmp_path / "root", "files001").finish()
    top = builder.dir / "files"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "b.txt").write_bytes(b"0123456789")
    (top / "deep" / "er" / "image.jpg").write_bytes(PNG)
    (top / "a.html").write_bytes(b"<script>")
    (top / ".part-1").write_bytes(b"half")
    return Api(tmp_path / "root").run("files001")


def test_regular_files_are_listed_by_name(run: StoredRun) -> None:
    files, left_out = listed(run)
    assert [(file.number, file.name, file.size) for file in files] == [
        (0, "a.html", 8),
        (1, "b.txt", 10),
        (2, "deep/er/image.jpg", 16),
    ]
    assert left_out == 0


def test_the_type_is_that_of_the_content(run: StoredRun) -> None:
    kinds = []
    for number in range(3):
        opened = open_file(run, number)
        kinds.append(opened.media_type)
        opened.file.close()
    assert kinds == ["application/octet-stream", "application/octet-stream", "image/png"]


def test_no_link_and_nothing_special_is_listed(run: StoredRun, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("secret")
    top = run.dir / "files"
    (top / "link").symlink_to(tmp_path / "secret" / "key")
    (top / "links").symlink_to(tmp_path / "secret")
    os.mkfifo(top / "pipe")
    files, left_out = listed(run)
    assert len(files) == 3 and left_out == 3


def test_a_directory_of_files_that_is_a_link_has_none(tmp_path: Path) -> None:
    builder = RunBuilder(tmp_path / "root", "files002").finish()
    (builder.dir / "files").symlink_to(tmp_path)
    assert listed(Api(tmp_path / "root").run("files002")).files == []


def test_a_number_without_a_file(run: StoredRun) -> None:
    for number in (-1, 3):
        with pytest.raises(FileNotListedError, match=f"no file number {number}; it has 3 files"):
            open_file(run, number)


def test_a_file_that_moved_in_the_list_is_found_by_its_name(run: StoredRun) -> None:
    (run.dir / "files" / "0").write_bytes(b"new")
    opened = open_file(run, 1, "b.txt")
    assert opened.file.read() == b"0123456789" and opened.size == 10
    opened.file.close()
    (run.dir / "files" / "b.txt").unlink()
    with pytest.raises(FileNotListedError, match=r"no file 'b\.txt' any more"):
        open_file(run, 1, "b.txt")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("lines=1-2", None),
        ("bytes=0-1,4-5", None),
        ("bytes=5-2", None),
        ("bytes=0-3", (0, 4)),
        ("bytes=4-", (4, 10)),
        ("bytes=4-400", (4, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-30", (0, 10)),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == expected


def test_a_range_beyond_the_end() -> None:
    with pytest.raises(RangeError, match="which has 10 bytes"):
        byte_range("bytes=10-", 10)
