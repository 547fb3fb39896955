"""Kills for lack of memory, as files of the kernel say them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.pipeline.oom import OomKills, killed_since, read_oom_kills

EVENTS = "low 0\nhigh 0\nmax 12\noom 3\noom_kill {}\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(tmp_path: Path, pid: int = 17) -> OomKills | None:
    return read_oom_kills(pid, proc=tmp_path / "proc", cgroups=tmp_path / "cgroup")


def test_cgroup_v2(tmp_path: Path) -> None:
    write(tmp_path / "proc/17/cgroup", "0::/user.slice/job.scope\n")
    events = write(tmp_path / "cgroup/user.slice/job.scope/memory.events", EVENTS.format(2))
    before = read(tmp_path)
    assert before == OomKills(events, 2)
    assert not killed_since(before)
    events.write_text(EVENTS.format(3))
    assert killed_since(before)


def test_cgroup_v1(tmp_path: Path) -> None:
    write(tmp_path / "proc/17/cgroup", "5:cpu,cpuacct:/cpu/job\n4:memory:/docker/job\n")
    control = write(tmp_path / "cgroup/memory/docker/job/memory.oom_control", CONTROL.format(0))
    before = read(tmp_path)
    assert before == OomKills(control, 0)
    control.write_text(CONTROL.format(1))
    assert killed_since(before)


def test_both_versions_mounted_the_first_that_can_be_read_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/17/cgroup", "4:memory:/job\n0::/\n")
    events = write(tmp_path / "cgroup/memory.events", EVENTS.format(1))
    assert read(tmp_path) == OomKills(events, 1)


@pytest.mark.parametrize("events", [None, "", "oom_kill", "oom_kill many\n", "low 0\n"])
def test_what_cannot_be_read_is_no_kill(tmp_path: Path, events: str | None) -> None:
    write(tmp_path / "proc/17/cgroup", "0::/job\n")
    path = tmp_path / "cgroup/job/memory.events"
    if events is not None:
        write(path, events)
    assert read(tmp_path) is None and read(tmp_path, 18) is None
    assert not killed_since(None) and not killed_since(OomKills(path, 0))
