"""Reading orphaned windows, from files in any state that a dead process may leave."""

from __future__ import annotations

import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.protocol.codec import encode
from sidecar.protocol.frames import HEAD_BYTES, frame
from sidecar.protocol.records import Record
from sidecar.protocol.segments import (
    HEADER_BYTES,
    OwnerLock,
    header,
    is_owned,
    read_header,
    read_window,
    remove_window,
    window_directories,
)

function_scoped = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def framed(seq: int) -> bytes:
    return frame(encode(Record("log", "run", "client", seq, 1.0, {"step": seq, "data": {"x": seq}})))


def segment(first: int, last: int, leftover: bytes = b"", size: int = 4096) -> bytes:
    data = header(first) + b"".join(framed(seq) for seq in range(first, last + 1))
    return (data + leftover[len(data) :]).ljust(size, b"\0")


def write(directory: Path, *segments: bytes) -> None:
    for path in directory.glob("*.seg"):
        path.unlink()
    for number, data in enumerate(segments):
        (directory / f"{number:08d}.seg").write_bytes(data)


def numbers(directory: Path, after: int = 0) -> list[int]:
    return [one.record.seq for one in read_window(directory, after)]


def test_a_header_is_what_its_description_says() -> None:
    made = header(7)
    assert len(made) == HEADER_BYTES == 32
    assert made[:8] == b"\x89TRKWIN\n" and made[8:20] == b"\0\0\0\1" + (7).to_bytes(8, "big")
    assert read_header(made) == 7
    for position in range(HEADER_BYTES):
        assert read_header(made[:position] + bytes([made[position] ^ 1]) + made[position + 1 :]) is None
    assert read_header(made[:-1]) is None


@pytest.mark.parametrize("after", range(12))
def test_what_is_after_a_number_is_read_over_segments_in_any_order(tmp_path: Path, after: int) -> None:
    write(tmp_path, segment(7, 9), segment(1, 3), segment(4, 6))
    assert numbers(tmp_path, after) == list(range(after + 1, 10))
    assert [one.frame for one in read_window(tmp_path, after)] == [framed(seq) for seq in range(after + 1, 10)]


def test_a_missing_segment_ends_it(tmp_path: Path) -> None:
    write(tmp_path, segment(1, 3), segment(7, 9))
    assert numbers(tmp_path) == [1, 2, 3]
    assert numbers(tmp_path, 6) == [7, 8, 9]


def test_a_segment_without_a_good_header_is_none(tmp_path: Path) -> None:
    write(tmp_path, segment(1, 3), b"\0" * 4096, b"", b"junk" * 100)
    assert numbers(tmp_path) == [1, 2, 3]


def test_nothing_is_read_of_nothing(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []
    write(tmp_path, segment(1, 0))
    assert numbers(tmp_path) == []


def test_leftovers_of_an_earlier_use_are_never_read(tmp_path: Path) -> None:
    """A segment that is used again still has old frames behind the new ones: aligned with them, or cut through."""
    old = segment(1, 20)
    for last in range(40, 52):
        write(tmp_path, segment(41, last, leftover=old))
        assert numbers(tmp_path, 0) == list(range(41, last + 1))
        assert numbers(tmp_path, 40) == list(range(41, last + 1))
    write(tmp_path, segment(41, 43, leftover=old), segment(44, 46, leftover=old))
    assert numbers(tmp_path, 42) == [43, 44, 45, 46]


def test_a_spare_segment_with_its_old_content_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, segment(1, 20), segment(41, 45), segment(21, 40))
    assert numbers(tmp_path, 30) == list(range(31, 46))
    write(tmp_path, segment(1, 20), segment(41, 45))
    assert numbers(tmp_path, 40) == [41, 42, 43, 44, 45]


@function_scoped
@given(st.data())
def test_a_flipped_bit_ends_it_before_the_frame_it_touches(tmp_path: Path, data: st.DataObject) -> None:
    made = bytearray(segment(1, 9, size=0))
    bit = data.draw(st.integers(HEADER_BYTES * 8, len(made) * 8 - 1))
    made[bit // 8] ^= 1 << bit % 8
    write(tmp_path, bytes(made), segment(10, 12))
    hit = next(seq for seq in range(1, 10) if bit // 8 < HEADER_BYTES + len(b"".join(map(framed, range(1, seq + 1)))))
    assert numbers(tmp_path) == list(range(1, hit))


@function_scoped
@given(st.integers(0, 400))
def test_a_torn_frame_ends_it(tmp_path: Path, length: int) -> None:
    whole = segment(1, 9, size=0)
    length = min(length, len(whole))
    write(tmp_path, whole[:length].ljust(4096, b"\0"))
    size, count = HEADER_BYTES, 0
    while count < 9 and size + len(framed(count + 1)) <= length:
        size += len(framed(count + 1))
        count += 1
    assert numbers(tmp_path) == list(range(1, count + 1))


def test_a_right_checksum_over_what_is_no_record_ends_it(tmp_path: Path) -> None:
    data = header(1) + framed(1) + frame(b"\x01") + framed(3)
    write(tmp_path, data)
    assert numbers(tmp_path) == [1]
    assert len(framed(1)) > HEAD_BYTES


def test_a_window_can_be_taken_only_when_its_owner_is_gone(tmp_path: Path) -> None:
    owner = OwnerLock.make(tmp_path, {"run": "r", "client": "c", "pid": 1})
    assert OwnerLock.take(tmp_path) is None
    owner.release()
    owner.release()
    taken = OwnerLock.take(tmp_path)
    assert taken is not None and taken.info == {"run": "r", "client": "c", "pid": 1}
    assert OwnerLock.take(tmp_path) is None, "another process has taken it"
    taken.release()


@pytest.mark.parametrize(
    ("content", "info"), [(b"", {}), (b"[1]", {}), (json.dumps({"run": "r"}).encode(), {"run": "r"})]
)
def test_an_owner_file_that_says_little_can_be_taken(tmp_path: Path, content: bytes, info: dict[str, str]) -> None:
    (tmp_path / "owner").write_bytes(content)
    taken = OwnerLock.take(tmp_path)
    assert taken is not None and taken.info == info
    taken.release()


def test_an_owner_file_that_is_torn_can_be_taken_all_the_same(tmp_path: Path) -> None:
    """Its process died before it had written it: the window is empty, and must be removed by another process."""
    (tmp_path / "owner").write_bytes(b'{"run": "r", "cli')
    taken = OwnerLock.take(tmp_path)
    assert taken is not None
    taken.release()


def test_a_directory_without_an_owner_cannot_be_taken(tmp_path: Path) -> None:
    assert OwnerLock.take(tmp_path) is None
    assert OwnerLock.take(tmp_path / "missing") is None


def test_who_only_looks_is_not_taken_for_an_owner(tmp_path: Path) -> None:
    OwnerLock.make(tmp_path, {}).release()
    with open(tmp_path / "owner") as looked_at, ThreadPoolExecutor(1) as other:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert not is_owned(tmp_path), "nor does one who looks"
        taking = other.submit(OwnerLock.take, tmp_path)
        with pytest.raises(FutureTimeoutError):
            taking.result(0.05)
        fcntl.flock(looked_at, fcntl.LOCK_UN)
        taken = taking.result(10.0)
        assert taken is not None and is_owned(tmp_path)
        taken.release()


def test_the_windows_of_a_run(tmp_path: Path) -> None:
    assert window_directories(tmp_path) == []
    windows = tmp_path / "windows"
    for name in ("b", "a", ".being-made"):
        (windows / name).mkdir(parents=True)
    (windows / "file").touch()
    assert window_directories(tmp_path) == [windows / "a", windows / "b"]
    write(windows / "a", segment(1, 3))
    OwnerLock.make(windows / "a", {}).release()
    remove_window(windows / "a")
    remove_window(windows / "a")
    assert window_directories(tmp_path) == [windows / "b"]


def test_a_lock_is_not_inherited_by_another_program(tmp_path: Path) -> None:
    lock = OwnerLock.make(tmp_path, {})
    found = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    held = [int(fd) for fd in found if os.readlink(f"/proc/self/fd/{fd}") == str(tmp_path / "owner")]
    assert [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in held] == [fcntl.FD_CLOEXEC]
    lock.release()
