"""The clients in other languages: each is built, checked by the conformance kit, and trains a small model.

A missing tool fails the test of its language; the message says what to install. Builds go to a temporary directory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tracker
from tests.support import REPOSITORY
from tests.tools.conformance.processes import Sidecar

EXAMPLES = REPOSITORY / "examples" / "clients"
LANGUAGES = ("javascript", "ruby", "cpp", "rust", "java")

WITHOUT_ROWS = ("javascript", "ruby", "java")
"""The clients that write only ``log`` records."""

DEBIAN = {
    "javascript": "nodejs npm",
    "ruby": "ruby ruby-ffi-rzmq ruby-msgpack",
    "cpp": "g++ libzmq3-dev cppzmq-dev libmsgpack-cxx-dev",
    "rust": "cargo pkg-config libzmq3-dev librust-zmq-dev librust-rmp-dev",
    "java": "default-jdk-headless libjeromq-java libmsgpack-java",
}
"""The Debian packages that a build needs."""

Build = Callable[[str], Path]

pytestmark = pytest.mark.timeout(600)  # compilers are slow on two busy cores


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Builds a language's client once; returns the directory with the programs ``conformance`` and ``train``."""
    built: dict[str, Path] = {}

    def directory(language: str) -> Path:
        if language not in built:
            out = tmp_path_factory.mktemp(language)
            done = subprocess.run([EXAMPLES / language / "build.sh", out], capture_output=True, text=True)
            if done.returncode:
                output = (done.stdout + done.stderr)[-3000:]
                pytest.fail(f"cannot build {language}; on Debian install {DEBIAN[language]}\n{output}", pytrace=False)
            built[language] = out
        return built[language]

    yield directory


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Sidecar]:
    """A sidecar at a TCP endpoint of this machine."""
    (tmp_path / "root").mkdir()
    sidecar = Sidecar(tmp_path / "root")
    sidecar.start()
    yield sidecar
    sidecar.close()


@pytest.mark.parametrize("language", LANGUAGES)
def test_client_conforms_to_the_protocol(language: str, build: Build) -> None:
    program = build(language) / "conformance"
    command = [sys.executable, "-m", "tests.tools.conformance", "--command", str(program), "--json"]
    if language in WITHOUT_ROWS:
        command.append("--without-rows")
    done = subprocess.run(
        [*command, "--steps", "100", "--kills", "2"],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.stdout, done.stderr
    wrong = {
        scenario["name"]: scenario["wrong"] for scenario in json.loads(done.stdout)["scenarios"] if scenario["wrong"]
    }
    assert not wrong, json.dumps(wrong, indent=1, ensure_ascii=False)


def test_kit_reports_a_program_that_does_nothing() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.tools.conformance",
            "--command",
            "true",
            "--json",
            "--steps",
            "10",
            "--kills",
            "1",
        ],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 1, done.stderr
    wrong = {scenario["name"]: " ".join(scenario["wrong"]) for scenario in json.loads(done.stdout)["scenarios"]}
    assert all(wrong.values()), wrong
    assert "never asked the control socket" in wrong["tapped"] and "nothing of it was sent" in wrong["plain"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_training_run_is_stored(language: str, build: Build, serving: Sidecar, tmp_path: Path) -> None:
    program = build(language) / "train"
    done = subprocess.run(
        [program, "--door", serving.door, "--run", language], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    serving.close()
    run = tracker.Api(serving.root).run(language)
    losses = [row["loss"] for row in run.scan_history(keys=["loss"])]
    assert run.state == "finished"
    assert len(losses) >= 10
    assert losses[-1] < losses[0] / 2, f"the loss went from {losses[0]} to {losses[-1]}"
    assert run.config, "the run has no config"
