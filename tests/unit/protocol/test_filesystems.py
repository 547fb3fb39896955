"""Whether a directory is on a local disk, according to /proc/self/mountinfo."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from sidecar.protocol.filesystems import local_directory, on_local_disk

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
31 30 8:2 / /home/scratch rw shared:3 - xfs /dev/sdb1 rw
32 22 0:41 / /data rw - lustre mgs@tcp:/data rw
33 22 0:42 / /mnt/with\\040space rw - fuse.sshfs host:/ rw
34 22 0:43 / /dev/shm rw - tmpfs tmpfs rw
35 22 0:44 / /over rw - ext4 /dev/sdc1 rw
36 35 0:45 / /over rw - nfs server:/over rw
a line that is not valid
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        ("/tmp/run", True),
        ("/home/anna/run", False),
        ("/home", False),
        ("/homestead/run", True),
        ("/home/scratch/run", True),
        ("/data/run", False),
        ("/mnt/with space/run", False),
        ("/dev/shm/run", True),
        ("/over/run", False),
    ],
)
def test_the_innermost_mount_decides(path: str, local: bool) -> None:
    assert on_local_disk(Path(path), MOUNTS) is local


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/data/run")
    assert not on_local_disk(tmp_path / "link" / "windows", MOUNTS)


def test_an_unknown_file_system_counts_as_local() -> None:
    assert on_local_disk(Path("/home"), "")


def test_the_mounts_of_this_machine_are_used_by_default(tmp_path: Path) -> None:
    assert on_local_disk(tmp_path) in (True, False)


@pytest.fixture
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_local_directory_is_private(temporary_directory: Path) -> None:
    directory = local_directory("run")
    assert directory == local_directory("run")
    assert directory.is_dir() and directory.is_relative_to(temporary_directory)
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700


def test_a_local_directory_of_another_user_is_refused(temporary_directory: Path) -> None:
    elsewhere = temporary_directory / "elsewhere"
    elsewhere.mkdir()
    (temporary_directory / f"tracker-windows-{os.getuid()}").symlink_to(elsewhere)
    with pytest.raises(OSError, match="belongs to another user"):
        local_directory("run")
