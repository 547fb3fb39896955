"""Fixtures of all tests. Every test runs with temporary files of its own, and fails if it leaves something behind."""

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
from tests.support import Launched, Leaks, RawClient, Scripts

# Few examples each, so that the unit tests take half a minute; HYPOTHESIS_PROFILE=thorough takes its time.
hypothesis.settings.register_profile("quick", max_examples=25, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=1000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# Below nohup, or behind a shell's &, these are ignored, and so they would be by all that the tests start and signal.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that is the ``TMPDIR`` of this process and of all it starts; its name is short, for sockets."""
    tmp_path_factory.getbasetemp()  # stays where pytest has it, so that it can be looked at afterwards
    path = Path(tempfile.mkdtemp(prefix="t-"))
    path.chmod(0o755)  # some tests read as another user
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(path)
    for name in [name for name in os.environ if name.startswith("TRACKER_")]:
        del os.environ[name]
    channels.pull().close()  # the context's own threads and descriptors stay until the end
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
    found = Leaks(temporary)
    yield found
    left = found.found()
    found.kill_processes()
    if left:
        pytest.fail("left behind: " + ", ".join(sorted(left)), pytrace=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory, not made yet."""
    return tmp_path / "root"


@pytest.fixture
def scripts(tmp_path: Path, root: Path, leaks: Leaks) -> Iterator[Scripts]:
    """Runs Python scripts in processes of their own, their ``TRACKER_DIR`` being `root`."""
    made = Scripts(tmp_path, root)
    yield made
    made.close()


@pytest.fixture
def sidecar(root: Path, leaks: Leaks) -> Iterator[Launched]:
    """A real sidecar, launched as ``tracker`` does, that watches the process of the tests."""
    made = Launched(root)
    yield made
    made.close()


@pytest.fixture
def client(sidecar: Launched) -> Iterator[Callable[..., RawClient]]:
    """Attaches clients of bare bytes to `sidecar`: ``client("run id", "client id")``."""
    made: list[RawClient] = []

    def attach(run: str, name: str, **body: object) -> RawClient:
        made.append(RawClient(sidecar, run, name, **body))
        return made[-1]

    yield attach
    for one in made:
        one.close()
