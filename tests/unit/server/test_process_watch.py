"""The process watch on real processes: with a descriptor per process, and with the polling of systems without them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sidecar.server import process_watch
from sidecar.server.process_watch import ProcessWatch
from tests.support import wait_until


@pytest.fixture
def watch() -> Iterator[ProcessWatch]:
    made = ProcessWatch()
    yield made
    made.close()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until its input is closed."""
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    yield made
    made.kill()
    made.communicate()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as short:
        short.wait()
        return short.pid


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without pidfd_open(2)."""
    monkeypatch.setattr(process_watch, "_pidfd_open", None)


def test_the_descriptor_becomes_readable_when_the_process_ends(
    watch: ProcessWatch, process: subprocess.Popen[bytes]
) -> None:
    fd = watch.add(process.pid, "trainer")
    assert fd is not None and select.select([fd], [], [], 0.0)[0] == []
    end(process)
    assert select.select([fd], [], [], 10.0)[0] == [fd]
    assert watch.ended(fd) == "trainer" and watch.ended(fd) is None
    assert list(watch.gone()) == []


def test_a_process_that_ended_before_is_reported_once(watch: ProcessWatch) -> None:
    assert watch.add(ended_pid(), "early") is None
    assert list(watch.gone()) == ["early"]
    assert list(watch.gone()) == []


def test_a_forgotten_process_is_not_reported(watch: ProcessWatch, process: subprocess.Popen[bytes]) -> None:
    fd = watch.add(process.pid, "trainer")
    assert watch.forget("trainer") == fd and watch.forget("trainer") is None
    end(process)
    assert list(watch.gone()) == []


@pytest.mark.parametrize("pid", [-1, 0, 2**70])
def test_a_number_that_is_not_a_process_counts_as_gone(watch: ProcessWatch, pid: int) -> None:
    fd = watch.add(pid, "made up")
    assert fd is None and list(watch.gone()) == ["made up"]


@pytest.mark.usefixtures("polling")
class TestPolling:
    def test_an_ended_process_is_reported_once(self, watch: ProcessWatch, process: subprocess.Popen[bytes]) -> None:
        assert watch.add(process.pid, "trainer") is None
        assert list(watch.gone()) == []
        end(process)
        assert list(watch.gone()) == ["trainer"]
        assert list(watch.gone()) == []

    def test_a_zombie_has_ended(self, watch: ProcessWatch, process: subprocess.Popen[bytes]) -> None:
        watch.add(process.pid, "trainer")
        process.kill()  # and not waited for
        wait_until(lambda: list(watch.gone()) == ["trainer"], "the zombie is reported")

    def test_a_forgotten_process_is_not_reported(self, watch: ProcessWatch, process: subprocess.Popen[bytes]) -> None:
        watch.add(process.pid, "trainer")
        assert watch.forget("trainer") is None
        end(process)
        assert list(watch.gone()) == []

    def test_a_process_that_ended_before_is_reported(self, watch: ProcessWatch) -> None:
        assert watch.add(ended_pid(), "early") is None
        assert list(watch.gone()) == ["early"]


def test_close_closes_every_descriptor(process: subprocess.Popen[bytes]) -> None:
    watch = ProcessWatch()
    fd = watch.add(process.pid, "trainer")
    assert fd is not None
    watch.close()
    with pytest.raises(OSError):
        os.fstat(fd)
