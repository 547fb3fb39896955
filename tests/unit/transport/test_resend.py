"""Orphaned windows of remote runs: what is read of them, and that a later process resends them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from sidecar.protocol.codec import decode_frames
from sidecar.protocol.layout import REMOTE_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.rows import records_of
from tests.unit.transport.peer import CLIENT, Peer, PeerBackend, UnavailableError
from tracker.transport.backend import Backend
from tracker.transport.losses import Losses
from tracker.transport.resend import OrphanedWindow, send_in_background
from tracker.transport.window import Window

ADDRESS = "tcp://127.0.0.1:5757"


def orphan(root: Path, kinds: list[str], run: str = "run", address: str = ADDRESS) -> Path:
    """Leave a window as a process that died did; return its directory."""
    pair = ["p" * 40, "s" * 40]
    info = {"label": "rank1", "parent": None, "sidecar": address, "pair": pair}
    window = Window(root / REMOTE_NAME / run, run, CLIENT, info, Losses(), 1 << 26)
    for kind in kinds:
        with window.lock:
            window.append(kind, {"state": "finished"} if kind == "exit" else {"step": 0, "data": {"x": 1.0}})
    window.close()
    return window.directory


def take_all(source: OrphanedWindow) -> list[Record]:
    records: list[Record] = []
    while (taken := source.take()) is not None:
        part = records_of(decode_frames(taken[0])[0])
        assert part[-1].seq == taken[1] == source.sent
        records += part
    return records


def test_a_crash_record_follows_the_records_of_a_run_that_was_not_finished(tmp_path: Path) -> None:
    source = OrphanedWindow(orphan(tmp_path, ["log", "log"]))
    source.rewind(0)
    records = take_all(source)
    assert [(record.seq, record.kind) for record in records] == [(1, "log"), (2, "log"), (3, "exit")]
    assert records[-1].body["state"] == "crashed" and source.seq == 3


def test_no_crash_record_for_a_run_that_was_finished(tmp_path: Path) -> None:
    source = OrphanedWindow(orphan(tmp_path, ["log", "exit"]))
    source.rewind(0)
    assert [record.seq for record in take_all(source)] == [1, 2] and source.seq == 2


@pytest.mark.parametrize(("acked", "sent"), [(1, [2, 3]), (2, [3]), (3, [])])
def test_it_continues_behind_what_the_sidecar_has(tmp_path: Path, acked: int, sent: list[int]) -> None:
    source = OrphanedWindow(orphan(tmp_path, ["log", "log"]))
    source.rewind(acked)
    assert [record.seq for record in take_all(source)] == sent
    source.release(3)
    source.release(2)
    assert source.acked == 3


def test_large_windows_are_taken_a_message_at_a_time(tmp_path: Path) -> None:
    source = OrphanedWindow(orphan(tmp_path, ["log"] * 12_000))
    source.rewind(0)
    first = source.take()
    assert first is not None and len(first[0]) < 512 * 1024 and first[1] < 12_000
    assert take_all(source)[-1].seq == source.seq == 12_001


def test_an_orphaned_window_is_resent_and_removed(tmp_path: Path) -> None:
    directory = orphan(tmp_path, ["log", "log"])
    other = orphan(tmp_path, ["log"], run="other", address="tcp://127.0.0.1:1")
    with Peer() as peer:
        backend = PeerBackend(peer)
        thread = send_in_background(tmp_path, cast(Backend, backend), ADDRESS, 0.005)
        assert thread is not None
        records: list[Record] = []
        while not records or records[-1].kind != "request":
            records += peer.receive()
        peer.send("answer", id=records.pop().body["id"], seq=3)
        thread.join(20.0)
        assert not thread.is_alive()
    assert [record.kind for record in records] == ["log", "log", "exit"]
    assert backend.bodies == [{"label": "rank1", "parent": None, "again": True}]
    assert backend.pair == ("p" * 40, "s" * 40)
    assert not directory.exists() and not (tmp_path / REMOTE_NAME / "run").exists()
    assert other.exists()


def test_a_window_that_cannot_be_sent_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = orphan(tmp_path, ["log"])
    with Peer() as peer:
        peer.failure = UnavailableError("no sidecar answers")
        thread = send_in_background(tmp_path, cast(Backend, PeerBackend(peer)), ADDRESS, 0.005)
        assert thread is not None
        thread.join(20.0)
    assert directory.exists()
    assert caplog.messages == [f"run run: the records left by client {CLIENT} could not be sent: no sidecar answers"]


def test_without_orphans_nothing_is_started(tmp_path: Path) -> None:
    with Peer() as peer:
        assert send_in_background(tmp_path, cast(Backend, PeerBackend(peer)), ADDRESS, 0.005) is None
