"""Files assembled from records: in order, repeated, from the middle, with gaps, and with invalid names."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sidecar.projections.files import Files
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import PART_PREFIX
from sidecar.protocol.records import Body, Record

CONTENT = bytes(range(256)) * 40
PARTS = 5


def chunks(name: str, content: bytes = CONTENT, client: str = "client1", parts: int = PARTS) -> list[Record]:
    """Return the records of a file, as a client makes them but with smaller parts."""
    about: Body = {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    size = max(1, -(-len(content) // parts))
    return [
        Record(
            "file", "run1", client, 1 + at, 1.0, {**about, "offset": offset, "data": content[offset : offset + size]}
        )
        for at, offset in enumerate(range(0, max(1, len(content)), size))
    ]


class RunFiles:
    """A run's directory and the files in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "run1"
        self.directory.mkdir()
        self.top = self.directory / FILES_NAME

    def apply(self, records: Sequence[Record]) -> None:
        files = Files(self.directory)  # a new one each time, as after a restart
        for record in records:
            files.take(record)

    def complete(self) -> dict[str, bytes]:
        """Return the complete files: name -> content."""
        paths = (path for path in self.top.rglob("*") if path.is_file() and not path.name.startswith(PART_PREFIX))
        return {path.relative_to(self.top).as_posix(): path.read_bytes() for path in paths}

    def parts(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if path.name.startswith(PART_PREFIX)]


@pytest.fixture
def run_files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path)


@pytest.mark.parametrize("name", ["model.bin", "a/b/c/model.bin", "ünï cödé ☃", "." + "a" * 200, "a" * 255])
def test_a_file_appears_once_its_last_part_has_arrived(run_files: RunFiles, name: str) -> None:
    records = chunks(name)
    for record in records[:-1]:
        run_files.apply([record])
        assert run_files.complete() == {}
    run_files.apply(records[-1:])
    assert run_files.complete() == {name: CONTENT}
    assert run_files.parts() == []


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_file_of_one_part(run_files: RunFiles, content: bytes) -> None:
    run_files.apply(chunks("one", content, parts=1))
    assert run_files.complete() == {"one": content}


@pytest.mark.parametrize("begin", range(PARTS))
@pytest.mark.parametrize("end", range(PARTS + 1))
def test_replaying_from_any_part_changes_nothing(run_files: RunFiles, begin: int, end: int) -> None:
    """As after a crash: some parts were applied, and the store's checkpoint is at or before them."""
    records = chunks("model.bin")
    run_files.apply(records[:end])
    if begin <= end:
        run_files.apply(records[begin:])
        assert run_files.complete() == {"model.bin": CONTENT}
        run_files.apply(records)
        assert run_files.complete() == {"model.bin": CONTENT}
        assert run_files.parts() == []


def test_each_part_twice(run_files: RunFiles) -> None:
    run_files.apply([record for record in chunks("model.bin") for _ in range(2)])
    assert run_files.complete() == {"model.bin": CONTENT}


def test_a_later_file_of_the_same_name_replaces_it_at_once(run_files: RunFiles) -> None:
    first, second = chunks("model.bin"), chunks("model.bin", CONTENT[::-1])
    run_files.apply([*first, *second[:-1]])
    assert run_files.complete() == {"model.bin": CONTENT}
    run_files.apply(second[-1:])
    assert run_files.complete() == {"model.bin": CONTENT[::-1]}
    run_files.apply([*first[2:], *second])
    assert run_files.complete() == {"model.bin": CONTENT[::-1]}
    assert run_files.parts() == []


def test_two_clients_send_the_same_name_at_the_same_time(run_files: RunFiles) -> None:
    one, other = chunks("model.bin", CONTENT, "client1"), chunks("model.bin", CONTENT[::-1], "client2")
    run_files.apply([record for pair in zip(one, other, strict=True) for record in pair])
    assert run_files.complete() == {"model.bin": CONTENT[::-1]}, "the last complete one"
    assert run_files.parts() == []


def test_a_missing_part_is_logged_and_the_file_omitted(run_files: RunFiles, caplog: pytest.LogCaptureFixture) -> None:
    records = chunks("model.bin")
    with caplog.at_level(logging.ERROR):
        run_files.apply(records[1:])
        assert "the beginning of file model.bin is missing" in caplog.text
        run_files.apply([*records[:2], *records[3:]])
    assert "a part of file model.bin is missing" in caplog.text
    assert run_files.complete() == {} and run_files.parts() == []
    run_files.apply(records)
    assert run_files.complete() == {"model.bin": CONTENT}


def test_after_a_wrong_digest_the_previous_file_remains(run_files: RunFiles, caplog: pytest.LogCaptureFixture) -> None:
    run_files.apply(chunks("model.bin"))
    wrong = [record._replace(body={**record.body, "sha256": "0" * 64}) for record in chunks("model.bin", b"other")]
    with caplog.at_level(logging.ERROR):
        run_files.apply(wrong)
    assert "is omitted: its SHA-256" in caplog.text
    assert run_files.complete() == {"model.bin": CONTENT} and run_files.parts() == []


INVALID_NAMES = [
    "", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/", "a\\b", "a\nb", "a\0b", ".part-x", "a/.part-x",
    "x" * 256, "a/" * 600 + "x", "\udc80",
]  # fmt: skip


@pytest.mark.parametrize("name", INVALID_NAMES, ids=range(len(INVALID_NAMES)))
def test_an_invalid_name_writes_nothing(run_files: RunFiles, name: str, caplog: pytest.LogCaptureFixture) -> None:
    before = sorted(run_files.directory.parent.rglob("*"))
    with caplog.at_level(logging.ERROR):
        run_files.apply(chunks(name, parts=1))
    assert sorted(run_files.directory.parent.rglob("*")) == before
    assert "cannot be stored" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"size": 1}, {"size": -1}, {"offset": -1}, {"offset": 1}, {"sha256": "0"}, {"sha256": "../x"}, {"size": 2**63}],
    ids=str,
)
def test_an_invalid_body_writes_nothing(run_files: RunFiles, changes: Body) -> None:
    (record,) = chunks("model.bin", parts=1)
    run_files.apply([record._replace(body={**record.body, **changes})])
    assert run_files.complete() == {} and run_files.parts() == []


def test_a_record_without_content_writes_nothing(run_files: RunFiles) -> None:
    (record,) = chunks("model.bin", parts=1)
    run_files.apply([record._replace(body={key: value for key, value in record.body.items() if key != "data"})])
    assert not run_files.top.exists()


def test_a_directory_in_the_way(run_files: RunFiles, caplog: pytest.LogCaptureFixture) -> None:
    (run_files.top / "model").mkdir(parents=True)
    with caplog.at_level(logging.ERROR):
        run_files.apply(chunks("model"))
    assert "cannot be stored" in caplog.text
    assert run_files.parts() == [] and (run_files.top / "model").is_dir()


def test_a_file_in_the_way_of_a_directory(run_files: RunFiles, caplog: pytest.LogCaptureFixture) -> None:
    run_files.apply(chunks("model"))
    with caplog.at_level(logging.ERROR):
        run_files.apply(chunks("model/weights"))
    assert "cannot be stored" in caplog.text
    assert run_files.complete() == {"model": CONTENT}


def test_a_symbolic_link_in_place_of_a_part_is_not_followed(run_files: RunFiles, tmp_path: Path) -> None:
    records = chunks("model.bin")
    run_files.apply(records[:1])
    (part,) = run_files.parts()
    part.unlink()
    outside = tmp_path / "outside"
    outside.write_text("of another user")
    part.symlink_to(outside)
    with pytest.raises(OSError) as caught:
        run_files.apply(records)
    assert caught.value.errno == errno.ELOOP
    assert outside.read_text() == "of another user"


def test_after_a_full_disk_the_records_can_be_applied_again(
    run_files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = chunks("model.bin")
    run_files.apply(records[:2])
    opened = os.open

    def full(path: object, flags: int, *more: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            run_files.apply(records[2:3])
    monkeypatch.setattr(os, "open", opened)
    run_files.apply(records[2:])
    assert run_files.complete() == {"model.bin": CONTENT}
