"""Atomic replacement of files: the state after a failure, permissions, and the order of syncs and renames."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from sidecar.protocol.atomic import is_part, publish, replace, replace_bytes
from sidecar.protocol.limits import valid_file_name


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_bytes(path, b"one")
    assert replace(path, lambda file: file.write(b"three")) == 5
    assert path.read_bytes() == b"three"
    assert names_in(tmp_path) == ["file"]


def test_the_old_file_exists_beside_a_part_during_a_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: IO[bytes]) -> None:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        (part,) = (name for name in names_in(tmp_path) if name != "file")
        assert is_part(part) and not is_part("file")
        assert not valid_file_name(part)  # so no file of a run has such a name

    replace(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("old", [b"old", None])
def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def fail(file: IO[bytes]) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(path, fail)
    assert names_in(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_bytes() == old


def test_a_rename_that_fails_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "directory" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        replace_bytes(tmp_path / "directory", b"content")
    assert names_in(tmp_path) == ["directory"]


def test_permissions_are_the_requested_mode_under_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        replace_bytes(tmp_path / "usual", b"")
        replace_bytes(tmp_path / "owner", b"", mode=0o600)
        replace(tmp_path / "own", lambda file: os.fchmod(file.fileno(), 0o755))
    finally:
        os.umask(mask)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names_in(tmp_path)}
    assert modes == {"usual": 0o640, "owner": 0o600, "own": 0o755}


def test_the_new_file_has_its_permissions_even_if_the_old_one_had_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    path.chmod(0o666)
    replace_bytes(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def record_calls(monkeypatch: pytest.MonkeyPatch, top: Path) -> list[str]:
    """Return a list that records all further fsyncs and renames, with paths relative to `top`."""
    calls: list[str] = []

    def sync(real: Callable[[int], None], fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        calls.append("sync " + ("part" if is_part(path.name) else path.relative_to(top).as_posix()))
        real(fd)

    def rename(real: Callable[..., None], source: Any, target: Any) -> None:
        calls.append(f"rename to {Path(target).relative_to(top).as_posix()}")
        real(source, target)

    real_sync, real_rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: sync(real_sync, fd))
    monkeypatch.setattr(os, "replace", lambda source, target: rename(real_rename, source, target))
    return calls


def test_content_is_synced_before_the_rename_and_the_name_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record_calls(monkeypatch, tmp_path.parent)
    name = tmp_path.name
    replace_bytes(tmp_path / "file", b"content", sync=True)
    assert calls == ["sync part", f"rename to {name}/file", f"sync {name}"]


def test_without_sync_nothing_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, tmp_path)
    replace_bytes(tmp_path / "file", b"content")
    (tmp_path / ".part-x").write_bytes(b"other")
    publish(tmp_path / ".part-x", tmp_path / "file")
    assert calls == ["rename to file", "rename to file"]
    assert (tmp_path / "file").read_bytes() == b"other"


def test_a_sync_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        replace_bytes(path, b"new", sync=True)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_file_saved_with_sync_is_synced_with_all_its_parent_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracker.sdk.files import copy_into

    run, source = tmp_path / "run", tmp_path / "model.pt"
    run.mkdir()
    source.write_bytes(b"weights")
    source.chmod(0o750)
    calls = record_calls(monkeypatch, tmp_path)
    body = copy_into(run, source, "epoch1/model.pt", sync=True)
    assert calls == [
        "sync part",
        "rename to run/files/epoch1/model.pt",
        "sync run/files/epoch1",
        "sync run/files",
        "sync run",
    ]
    assert body["size"] == 7
    assert stat.S_IMODE((run / "files/epoch1/model.pt").stat().st_mode) == 0o750
