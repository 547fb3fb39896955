"""Files put together from records: in order, repeated, from the middle, with gaps, and under names that cannot be."""

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


class Place:
    """A run's directory, and what is in its files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "run1"
        self.directory.mkdir()
        self.top = self.directory / FILES_NAME

    def apply(self, records: Sequence[Record]) -> None:
        files = Files(self.directory)  # each time a new one, as after a restart
        for record in records:
            files.take(record)

    def found(self) -> dict[str, bytes]:
        """Return the files that are whole: name -> content."""
        paths = (path for path in self.top.rglob("*") if path.is_file() and not path.name.startswith(PART_PREFIX))
        return {path.relative_to(self.top).as_posix(): path.read_bytes() for path in paths}

    def parts(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if path.name.startswith(PART_PREFIX)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("name", ["model.bin", "a/b/c/model.bin", "ünï cödé ☃", "." + "a" * 200, "a" * 255])
def test_a_file_appears_whole_once_its_last_part_is_there(place: Place, name: str) -> None:
    records = chunks(name)
    for record in records[:-1]:
        place.apply([record])
        assert place.found() == {}
    place.apply(records[-1:])
    assert place.found() == {name: CONTENT}
    assert place.parts() == []


@pytest.mark.parametrize("content", [b"", b"x", CONTENT])
def test_a_file_of_one_part(place: Place, content: bytes) -> None:
    place.apply(chunks("one", content, parts=1))
    assert place.found() == {"one": content}


@pytest.mark.parametrize("begin", range(PARTS))
@pytest.mark.parametrize("end", range(PARTS + 1))
def test_what_is_replayed_from_anywhere_changes_nothing(place: Place, begin: int, end: int) -> None:
    """As after a kill: something of it was done, and the store's checkpoint lies at or before that."""
    records = chunks("model.bin")
    place.apply(records[:end])
    if begin <= end:
        place.apply(records[begin:])
        assert place.found() == {"model.bin": CONTENT}
        place.apply(records)
        assert place.found() == {"model.bin": CONTENT}
        assert place.parts() == []


def test_each_part_twice(place: Place) -> None:
    place.apply([record for record in chunks("model.bin") for _ in range(2)])
    assert place.found() == {"model.bin": CONTENT}


def test_a_later_file_of_the_same_name_takes_its_place_whole(place: Place) -> None:
    first, second = chunks("model.bin"), chunks("model.bin", CONTENT[::-1])
    place.apply([*first, *second[:-1]])
    assert place.found() == {"model.bin": CONTENT}
    place.apply(second[-1:])
    assert place.found() == {"model.bin": CONTENT[::-1]}
    place.apply([*first[2:], *second])
    assert place.found() == {"model.bin": CONTENT[::-1]}
    assert place.parts() == []


def test_two_clients_send_the_same_name_at_the_same_time(place: Place) -> None:
    one, other = chunks("model.bin", CONTENT, "client1"), chunks("model.bin", CONTENT[::-1], "client2")
    place.apply([record for pair in zip(one, other, strict=True) for record in pair])
    assert place.found() == {"model.bin": CONTENT[::-1]}, "the last that is whole"
    assert place.parts() == []


def test_a_part_that_is_missing_leaves_the_file_out_and_is_said(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    records = chunks("model.bin")
    with caplog.at_level(logging.ERROR):
        place.apply(records[1:])
        assert "the beginning of file model.bin is missing" in caplog.text
        place.apply([*records[:2], *records[3:]])
    assert "a part of file model.bin is missing" in caplog.text
    assert place.found() == {} and place.parts() == []
    place.apply(records)
    assert place.found() == {"model.bin": CONTENT}


def test_a_wrong_sum_leaves_the_file_out_and_the_one_of_before_in(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.apply(chunks("model.bin"))
    wrong = [record._replace(body={**record.body, "sha256": "0" * 64}) for record in chunks("model.bin", b"other")]
    with caplog.at_level(logging.ERROR):
        place.apply(wrong)
    assert "is left out: its SHA-256" in caplog.text
    assert place.found() == {"model.bin": CONTENT} and place.parts() == []


NO_NAMES = ["", ".", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/", "a\\b", "a\nb", "a\0b", ".part-x", "a/.part-x",
            "x" * 256, "a/" * 600 + "x", "\udc80"]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES, ids=range(len(NO_NAMES)))
def test_a_name_that_is_none_writes_nothing(place: Place, name: str, caplog: pytest.LogCaptureFixture) -> None:
    before = sorted(place.directory.parent.rglob("*"))
    with caplog.at_level(logging.ERROR):
        place.apply(chunks(name, parts=1))
    assert sorted(place.directory.parent.rglob("*")) == before
    assert "cannot be stored" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [{"size": 1}, {"size": -1}, {"offset": -1}, {"offset": 1}, {"sha256": "0"}, {"sha256": "../x"}, {"size": 2**63}],
    ids=str,
)
def test_a_body_that_cannot_be_writes_nothing(place: Place, changes: Body) -> None:
    (record,) = chunks("model.bin", parts=1)
    place.apply([record._replace(body={**record.body, **changes})])
    assert place.found() == {} and place.parts() == []


def test_a_record_without_content_says_that_the_file_is_there_already(place: Place) -> None:
    (record,) = chunks("model.bin", parts=1)
    place.apply([record._replace(body={key: value for key, value in record.body.items() if key != "data"})])
    assert not place.top.exists()


def test_a_directory_in_the_way(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    (place.top / "model").mkdir(parents=True)
    with caplog.at_level(logging.ERROR):
        place.apply(chunks("model"))
    assert "cannot be stored" in caplog.text
    assert place.parts() == [] and (place.top / "model").is_dir()


def test_a_file_in_the_way_of_a_directory(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.apply(chunks("model"))
    with caplog.at_level(logging.ERROR):
        place.apply(chunks("model/weights"))
    assert "cannot be stored" in caplog.text
    assert place.found() == {"model": CONTENT}


def test_a_link_where_a_part_would_be_is_not_followed(place: Place, tmp_path: Path) -> None:
    records = chunks("model.bin")
    place.apply(records[:1])
    (part,) = place.parts()
    part.unlink()
    outside = tmp_path / "outside"
    outside.write_text("of somebody else")
    part.symlink_to(outside)
    with pytest.raises(OSError) as caught:
        place.apply(records)
    assert caught.value.errno == errno.ELOOP
    assert outside.read_text() == "of somebody else"


def test_what_cannot_be_written_now_is_applied_again_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    records = chunks("model.bin")
    place.apply(records[:2])
    opened = os.open

    def full(path: object, flags: int, *more: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            place.apply(records[2:3])
    monkeypatch.setattr(os, "open", opened)
    place.apply(records[2:])
    assert place.found() == {"model.bin": CONTENT}
