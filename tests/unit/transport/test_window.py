"""The window: records are stored until they are acked, for its owner and, if that dies, for other processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.protocol.codec import decode, decode_frames
from sidecar.protocol.limits import MAX_RECORD_BYTES
from sidecar.protocol.rows import records_of
from sidecar.protocol.segments import OwnerLock, read_window
from tracker.transport import window as window_module
from tracker.transport.losses import Losses
from tracker.transport.window import Window

SMALL_SEGMENT = 4096


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_module, "SEGMENT_BYTES", SMALL_SEGMENT)


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Window]:
    made = make(tmp_path)
    yield made
    made.close()


def make(base: Path, limit_bytes: int = 1 << 26) -> Window:
    return Window(base, "run", "client", {"pid": 1}, Losses(), limit_bytes)


def put(window: Window, size: int = 10) -> bool:
    with window.lock:
        return window.append("log", {"step": window.seq, "data": {"x": "x" * size}})


def take_all(window: Window) -> list[int]:
    """Take all records, as the pump does; return their numbers."""
    numbers: list[int] = []
    while (part := window.take()) is not None:
        items, ends = decode_frames(part[0])
        records = records_of(items)
        assert ends[-1] == len(part[0]) and records[-1].seq == part[1] == window.sent
        numbers += [record.seq for record in records]
    return numbers


def stored(window: Window, after: int = 0) -> list[int]:
    """Return the numbers of the records that another process reads from the files."""
    return [record.seq for one in read_window(window.directory, after) for record in one.records]


def test_appended_records_are_read_back(window: Window) -> None:
    with window.lock:
        assert window.append("log", {"step": 3, "data": {"loss": 0.5}})
    (one,) = read_window(window.directory)
    record = decode(one.frames[8:])
    assert record == one.records[0]
    assert (record.kind, record.run, record.client, record.seq) == ("log", "run", "client", 1)
    assert record.body == {"step": 3, "data": {"loss": 0.5}}
    assert take_all(window) == [1]


def test_a_spare_segment_is_not_read(small: None, window: Window) -> None:
    """Its records are acked, and so are some later ones: the first stored record has a higher number."""
    while len(window._segments) < 5:
        put(window, 200)
    first = window._segments[3].first
    window.release(first - 1)
    assert window._spare is not None
    assert stored(window)[0] == first and stored(window)[-1] == window.seq
    window.release(window.seq)
    window.prepare()


def test_other_processes_see_whether_the_owner_is_alive(tmp_path: Path) -> None:
    window = make(tmp_path)
    assert window.directory == tmp_path / "windows" / "client"
    assert OwnerLock.take(window.directory) is None
    put(window)
    window.close()
    lock = OwnerLock.take(window.directory)
    assert lock is not None and lock.info == {"run": "run", "client": "client", "pid": 1}
    assert stored(window) == [1]
    lock.release()


def test_close_removes_a_window_without_unacked_records(tmp_path: Path) -> None:
    window = make(tmp_path)
    put(window)
    window.release(1)
    window.close()
    assert not window.directory.exists()


def test_records_that_cannot_be_packed_are_not_stored(window: Window) -> None:
    for bad in ({"x": object()}, {"x": 2**64}, {"x": "\ud800"}):
        with pytest.raises((TypeError, OverflowError, ValueError)), window.lock:
            window.append("log", bad)
        put(window)
    with pytest.raises(ValueError, match=str(MAX_RECORD_BYTES)), window.lock:
        window.append("log", {"x": "x" * MAX_RECORD_BYTES})
    put(window)
    assert take_all(window) == stored(window) == [1, 2, 3, 4]


@pytest.mark.usefixtures("small")
def test_segments_are_added_and_reused(tmp_path: Path) -> None:
    window = make(tmp_path)
    for round_ in range(50):
        for _ in range(20):
            assert put(window, 100 + round_)
        assert take_all(window) == list(range(window.seq - 19, window.seq + 1))
        assert stored(window, window.acked) == list(range(window.acked + 1, window.seq + 1))
        window.release(window.seq - 5)
        window.prepare()
        assert stored(window, window.acked) == list(range(window.acked + 1, window.seq + 1))
    assert window.size_bytes() <= 4 * SMALL_SEGMENT
    assert len(list(window.directory.glob("*.seg"))) <= 4
    window.close()


@pytest.mark.usefixtures("small")
def test_the_size_is_the_sum_of_the_segments(tmp_path: Path, small: None) -> None:
    """It is a running sum, which any thread may read while others append."""
    window = make(tmp_path, 40 * SMALL_SEGMENT)
    sizes = {window.size_bytes()}
    for turn in range(60):
        assert put(window, 1000 if turn % 7 else 3 * SMALL_SEGMENT)
        window.prepare()
        take_all(window)
        if turn % 5 == 4:
            window.release(window.seq - turn % 3)
        files = [path.stat().st_size for path in window.directory.glob("*.seg")]
        sizes.add(window.size_bytes())
        assert window.size_bytes() == sum(files) - window_module.RESERVE_BYTES
    assert len(sizes) > 3
    window.release(window.seq)
    window.close()


def test_final_records_are_stored_when_the_window_is_full(tmp_path: Path) -> None:
    window = make(tmp_path, limit_bytes=2 * SMALL_SEGMENT)
    while put(window, 500):
        pass
    lost_at = window.seq
    traceback = "x" * 400_000
    with window.lock:
        window.append_final("losses", {"source": "client", "counts": {"window full": 1}})
        window.append_final("exit", {"state": "failed", "traceback": traceback})
    records = [record for one in read_window(window.directory) for record in one.records]
    assert [record.seq for record in records] == list(range(1, lost_at + 3))
    assert [record.kind for record in records[-2:]] == ["losses", "exit"] and records[-1].body["traceback"] == traceback
    assert take_all(window) == list(range(1, lost_at + 3))
    window.release(window.seq)
    window.close()
    assert not window.directory.exists()


@pytest.mark.usefixtures("small")
def test_a_record_larger_than_a_segment_has_one_of_its_own(tmp_path: Path) -> None:
    window = make(tmp_path)
    for size in (10, 50_000, 10, 3 * SMALL_SEGMENT, 10):
        assert put(window, size)
    assert take_all(window) == stored(window) == [1, 2, 3, 4, 5]
    window.release(4)
    assert stored(window, 4) == [5]
    assert window.size_bytes() <= 6 * SMALL_SEGMENT
    window.close()


@pytest.mark.usefixtures("small")
def test_records_of_a_full_window_are_counted_as_lost(tmp_path: Path) -> None:
    losses = Losses()
    window = Window(tmp_path, "run", "client", {}, losses, 3 * SMALL_SEGMENT)
    appended = sum(put(window, 100) for _ in range(200))
    assert 0 < appended < 200
    assert losses.counts() == {"window full": 200 - appended}
    assert window.seq == appended, "a lost record has a number"
    assert window.size_bytes() <= 3 * SMALL_SEGMENT
    assert take_all(window) == stored(window) == list(range(1, appended + 1))
    window.release(appended)
    assert put(window, 100)
    assert take_all(window) == [appended + 1]
    assert losses.total() == 200 - appended
    window.close()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("acked", [0, 1, 30, 31, 32, 33, 64, 99, 100])
def test_after_a_rewind_unacked_records_are_taken_again(tmp_path: Path, acked: int) -> None:
    window = make(tmp_path)
    for _ in range(100):
        put(window, 30)
    assert take_all(window) == list(range(1, 101))
    window.rewind(acked)
    assert window.sent == acked
    assert take_all(window) == list(range(acked + 1, 101))
    put(window)
    assert take_all(window) == [101]
    window.close()


def test_a_record_of_a_signal_handler_follows_the_record_that_it_interrupted(window: Window) -> None:
    with window.lock:
        window._busy = True
        assert window.append("log", {"inner": 1})
        assert window.seq == 0
        window._busy = False
        assert window.append("log", {"outer": 1})
    assert [record.body for one in read_window(window.directory) for record in one.records] == [
        {"outer": 1},
        {"inner": 1},
    ]


class WindowMachine(RuleBasedStateMachine):
    """A window compared with a simple model: numbers from 1, some released, some taken."""

    def __init__(self) -> None:
        super().__init__()
        self.before = window_module.SEGMENT_BYTES
        window_module.SEGMENT_BYTES = SMALL_SEGMENT
        self.directory = tempfile.TemporaryDirectory()
        self.losses = Losses()
        self.window = Window(Path(self.directory.name), "run", "client", {}, self.losses, 6 * SMALL_SEGMENT)
        self.sent = 0
        self.lost = 0

    @rule(sizes=st.lists(st.sampled_from([1, 40, 300, 1500, 5000]), max_size=20))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            before = self.window.seq
            appended = put(self.window, size)
            assert self.window.seq == before + appended
            self.lost += not appended

    @rule()
    def take(self) -> None:
        assert take_all(self.window) == list(range(self.sent + 1, self.window.seq + 1))
        self.sent = self.window.seq

    @rule(part=st.floats(0, 1))
    def release(self, part: float) -> None:
        self.window.release(self.window.acked + round((self.sent - self.window.acked) * part))

    @rule(part=st.floats(0, 1))
    def rewind(self, part: float) -> None:
        acked = self.window.acked + round((self.sent - self.window.acked) * part)
        self.window.rewind(acked)
        self.sent = acked

    @rule()
    def prepare(self) -> None:
        self.window.prepare()

    @precondition(lambda self: self.window.seq > 0)
    @rule()
    def attach_to_a_sidecar_that_has_more(self) -> None:
        """The records that were sent are durable, but their ack was lost."""
        self.window.rewind(self.sent)

    @invariant()
    def the_files_have_the_unacked_records(self) -> None:
        assert stored(self.window, self.window.acked) == list(range(self.window.acked + 1, self.window.seq + 1))

    @invariant()
    def the_size_is_bounded_and_lost_records_are_counted(self) -> None:
        assert self.window.size_bytes() <= 6 * SMALL_SEGMENT
        assert self.losses.total() == self.lost

    def teardown(self) -> None:
        self.window.close()
        window_module.SEGMENT_BYTES = self.before
        self.directory.cleanup()


WindowMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
test_any_order_of_calls = WindowMachine.TestCase


def test_a_window_of_a_forked_process_is_in_memory_where_no_file_can_be_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").write_text("a file where the run's directory would be")
    with pytest.raises(OSError):
        Window(tmp_path / "run", "run", "c", {}, Losses(), 1 << 30)
    losses = Losses()
    window = Window(tmp_path / "run", "run", "c", {}, losses, 1 << 30, needs_files=False)
    assert not window.has_files and "kept in memory" in caplog.text
    for number in range(100):
        with window.lock:
            assert window.append("log", {"step": number, "data": {"x": 0.5}})
    taken = window.take()
    assert taken is not None and taken[1] == 100
    window.release(90)
    window.close()
    assert losses.counts() == {"not on disk": 10}


def test_a_large_window_holds_few_descriptors(tmp_path: Path) -> None:
    window = Window(tmp_path, "run", "c", {}, Losses(), 1 << 30)
    before = len(os.listdir("/proc/self/fd"))
    with window.lock:
        for number in range(100):
            assert window.append("log", {"step": number, "data": {"x": "x" * 1_000_000}})
    window.prepare()
    assert len(os.listdir("/proc/self/fd")) - before <= 20
    (tmp_path / "windows" / "c").rename(tmp_path / "elsewhere")
    numbers = []
    while (taken := window.take()) is not None:
        numbers.append(taken[1])
    assert numbers[-1] == 100
    window.rewind(50)
    window.release(100)
    assert len(os.listdir("/proc/self/fd")) - before <= 3
    (tmp_path / "elsewhere").rename(tmp_path / "windows" / "c")
    window.close()
