"""Reading orphaned windows, from files in any state that a killed process can leave."""

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


def segment(first: int, last: int, old_content: bytes = b"", size: int = 4096) -> bytes:
    data = header(first) + b"".join(framed(seq) for seq in range(first, last + 1))
    return (data + old_content[len(data) :]).ljust(size, b"\0")


def write(directory: Path, *segments: bytes) -> None:
    for path in directory.glob("*.seg"):
        path.unlink()
    for number, data in enumerate(segments):
        (directory / f"{number:08d}.seg").write_bytes(data)


def numbers(directory: Path, after: int = 0) -> list[int]:
    return [record.seq for one in read_window(directory, after) for record in one.records]


def test_the_documented_format_of_a_header() -> None:
    made = header(7)
    assert len(made) == HEADER_BYTES == 32
    assert made[:8] == b"\x89TRKWIN\n" and made[8:20] == b"\0\0\0\2" + (7).to_bytes(8, "big")
    assert read_header(made) == read_header(header(7, version=1)) == 7
    assert read_header(header(7, version=3)) is None
    for position in range(HEADER_BYTES):
        assert read_header(made[:position] + bytes([made[position] ^ 1]) + made[position + 1 :]) is None
    assert read_header(made[:-1]) is None


@pytest.mark.parametrize("after", range(12))
def test_records_after_a_number_are_read_from_segments_in_any_order(tmp_path: Path, after: int) -> None:
    write(tmp_path, segment(7, 9), segment(1, 3), segment(4, 6))
    assert numbers(tmp_path, after) == list(range(after + 1, 10))
    assert [one.frames for one in read_window(tmp_path, after)] == [framed(seq) for seq in range(after + 1, 10)]


def test_reading_ends_at_a_missing_segment(tmp_path: Path) -> None:
    write(tmp_path, segment(1, 3), segment(7, 9))
    assert numbers(tmp_path) == [1, 2, 3]
    assert numbers(tmp_path, 6) == [7, 8, 9]


def test_a_segment_with_an_invalid_header_is_ignored(tmp_path: Path) -> None:
    write(tmp_path, segment(1, 3), b"\0" * 4096, b"", b"junk" * 100)
    assert numbers(tmp_path) == [1, 2, 3]


def test_an_empty_window(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []
    write(tmp_path, segment(1, 0))
    assert numbers(tmp_path) == []


def test_old_records_of_a_reused_segment_are_never_read(tmp_path: Path) -> None:
    """A reused segment still has old frames after the new ones: aligned with them, or cut in the middle."""
    old = segment(1, 20)
    for last in range(40, 52):
        write(tmp_path, segment(41, last, old_content=old))
        assert numbers(tmp_path, 0) == list(range(41, last + 1))
        assert numbers(tmp_path, 40) == list(range(41, last + 1))
    write(tmp_path, segment(41, 43, old_content=old), segment(44, 46, old_content=old))
    assert numbers(tmp_path, 42) == [43, 44, 45, 46]


def test_a_spare_segment_with_its_old_content_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, segment(1, 20), segment(41, 45), segment(21, 40))
    assert numbers(tmp_path, 30) == list(range(31, 46))
    write(tmp_path, segment(1, 20), segment(41, 45))
    assert numbers(tmp_path, 40) == [41, 42, 43, 44, 45]


@function_scoped
@given(st.data())
def test_reading_ends_before_a_frame_with_a_flipped_bit(tmp_path: Path, data: st.DataObject) -> None:
    flipped = bytearray(segment(1, 9, size=0))
    bit = data.draw(st.integers(HEADER_BYTES * 8, len(flipped) * 8 - 1))
    flipped[bit // 8] ^= 1 << bit % 8
    write(tmp_path, bytes(flipped), segment(10, 12))
    hit = next(seq for seq in range(1, 10) if bit // 8 < HEADER_BYTES + len(b"".join(map(framed, range(1, seq + 1)))))
    assert numbers(tmp_path) == list(range(1, hit))


@function_scoped
@given(st.integers(0, 400))
def test_reading_ends_at_a_torn_frame(tmp_path: Path, length: int) -> None:
    whole = segment(1, 9, size=0)
    length = min(length, len(whole))
    write(tmp_path, whole[:length].ljust(4096, b"\0"))
    size, count = HEADER_BYTES, 0
    while count < 9 and size + len(framed(count + 1)) <= length:
        size += len(framed(count + 1))
        count += 1
    assert numbers(tmp_path) == list(range(1, count + 1))


def test_reading_ends_at_a_payload_that_is_not_a_record(tmp_path: Path) -> None:
    data = header(1) + framed(1) + frame(b"\x01") + framed(3)
    write(tmp_path, data)
    assert numbers(tmp_path) == [1]
    assert len(framed(1)) > HEAD_BYTES


def test_a_window_can_be_taken_only_after_its_owner_has_died(tmp_path: Path) -> None:
    owner = OwnerLock.make(tmp_path, {"run": "r", "client": "c", "pid": 1})
    assert OwnerLock.take(tmp_path) is None
    owner.release()
    owner.release()
    lock = OwnerLock.take(tmp_path)
    assert lock is not None and lock.info == {"run": "r", "client": "c", "pid": 1}
    assert OwnerLock.take(tmp_path) is None, "a window was taken twice"
    lock.release()


@pytest.mark.parametrize(
    ("content", "info"), [(b"", {}), (b"[1]", {}), (json.dumps({"run": "r"}).encode(), {"run": "r"})]
)
def test_a_window_with_an_incomplete_owner_file_can_be_taken(
    tmp_path: Path, content: bytes, info: dict[str, str]
) -> None:
    (tmp_path / "owner").write_bytes(content)
    lock = OwnerLock.take(tmp_path)
    assert lock is not None and lock.info == info
    lock.release()


def test_a_window_with_a_torn_owner_file_can_be_taken(tmp_path: Path) -> None:
    """The owner died while writing the file: the window is empty, and another process must remove it."""
    (tmp_path / "owner").write_bytes(b'{"run": "r", "cli')
    lock = OwnerLock.take(tmp_path)
    assert lock is not None
    lock.release()


def test_a_window_without_an_owner_file_cannot_be_taken(tmp_path: Path) -> None:
    assert OwnerLock.take(tmp_path) is None
    assert OwnerLock.take(tmp_path / "missing") is None


def test_a_liveness_probe_does_not_count_as_an_owner(tmp_path: Path) -> None:
    OwnerLock.make(tmp_path, {}).release()
    with open(tmp_path / "owner") as probe, ThreadPoolExecutor(1) as other:
        fcntl.flock(probe, fcntl.LOCK_SH)
        assert not is_owned(tmp_path), "a probe counts as an owner"
        taking = other.submit(OwnerLock.take, tmp_path)
        with pytest.raises(FutureTimeoutError):
            taking.result(0.05)
        fcntl.flock(probe, fcntl.LOCK_UN)
        lock = taking.result(10.0)
        assert lock is not None and is_owned(tmp_path)
        lock.release()


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
    descriptors = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    of_lock = [int(fd) for fd in descriptors if os.readlink(f"/proc/self/fd/{fd}") == str(tmp_path / "owner")]
    assert [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in of_lock] == [fcntl.FD_CLOEXEC]
    lock.release()
