"""Fixtures of all tests. Tests run with their own temporary directory, and fail if they leave something behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from sidecar.protocol import channels
from tests.support import LaunchedSidecar, Leaks, RawClient, Scripts

# Few examples, so that the unit tests take half a minute; HYPOTHESIS_PROFILE=thorough runs many.
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Under nohup, or in the background of a shell, these signals are ignored, and child processes inherit that.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="DIR", help="keep pictures of the dashboard's pages there (tests/ui)")


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The ``TMPDIR`` of this process and its children; its path is short, as paths of sockets must be."""
    tmp_path_factory.getbasetemp()  # created outside the new TMPDIR, so that it can be inspected afterwards
    path = Path(tempfile.mkdtemp(prefix="t-"))
    path.chmod(0o755)  # some tests read it as another user
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(path)
    for name in [name for name in os.environ if name.startswith("TRACKER_")]:
        del os.environ[name]
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))  # where running dashboards are registered
    channels.pull().close()  # creates the ZeroMQ context, whose threads and descriptors stay until the end
    yield path
    tempfile.tempdir = None
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def leaks(temporary: Path) -> Iterator[Leaks]:
    """Fails a test that leaves a thread, a process, a file descriptor or a directory of sockets behind."""
    checker = Leaks(temporary)
    yield checker
    remaining = checker.remaining()
    checker.kill_processes()
    if remaining:
        pytest.fail("left behind: " + ", ".join(sorted(remaining)), pytrace=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory that does not exist yet."""
    return tmp_path / "root"


@pytest.fixture
def scripts(tmp_path: Path, root: Path, leaks: Leaks) -> Iterator[Scripts]:
    """Runs Python scripts in their own processes, with `root` as their ``TRACKER_DIR``."""
    runner = Scripts(tmp_path, root)
    yield runner
    runner.close()


@pytest.fixture
def sidecar(root: Path, leaks: Leaks) -> Iterator[LaunchedSidecar]:
    """A real sidecar, launched as ``tracker`` launches one; it watches the process of the tests."""
    launched = LaunchedSidecar(root)
    yield launched
    launched.close()


@pytest.fixture
def client(sidecar: LaunchedSidecar) -> Iterator[Callable[..., RawClient]]:
    """Attaches raw clients to `sidecar`: ``client("run id", "client id")``."""
    clients: list[RawClient] = []

    def attach(run: str, name: str, **body: object) -> RawClient:
        clients.append(RawClient(sidecar, run, name, **body))
        return clients[-1]

    yield attach
    for raw_client in clients:
        raw_client.close()
