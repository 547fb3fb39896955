"""Child processes for measured code, each with an empty directory and without the user's settings.

As a program: ``python -m tests.tools.benchmarks.child MODULE:FUNCTION RESULT ARGUMENTS``, where ARGUMENTS are the
keyword arguments of the function, and RESULT is the file for its return value, both as JSON. (A file, since trackers
write to standard output.)
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

QUIET = {
    "TRACKER_SILENT": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_CONSOLE": "off",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
"""Variables that keep the trackers from printing, prompting and using the network."""


class ChildError(Exception):
    """A child failed; the message ends with its output."""


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of a child that keeps all its files in `directory`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TRACKER_", "WANDB_", "MLFLOW_", "TRACKIO_"))}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {
        **inherited,
        **QUIET,
        "PYTHONPATH": path,
        "HOME": str(directory),
        "TRACKER_DIR": str(directory / "tracker"),
        "WANDB_DIR": str(directory),
        "MLFLOW_TRACKING_URI": f"sqlite:///{directory}/mlflow.db",
        "TRACKIO_DIR": str(directory / "trackio"),
    }


def start(function: str, directory: Path, result: Path, **arguments: Any) -> subprocess.Popen[str]:
    """Start ``MODULE:FUNCTION`` in a child; `finish` waits for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tools.benchmarks.child", function, str(result), json.dumps(arguments)],
        env=environment(directory),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], result: Path, timeout: float = 600.0) -> Any:
    """Return what the function returned.

    Raises:
        ChildError: the child failed, or took longer than `timeout` seconds.
    """
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired as error:
        process.kill()
        process.wait()
        raise ChildError(f"not finished after {timeout:.0f} s") from error
    if process.returncode != 0 or not result.exists():
        lines = [line for line in output.splitlines() if line.strip()]
        raise ChildError(f"exit code {process.returncode}: {lines[-1] if lines else 'no output'}\n{output[-3000:]}")
    return json.loads(result.read_text())


def call(function: str, parent: Path, timeout: float = 600.0, **arguments: Any) -> Any:
    """Run ``MODULE:FUNCTION`` of this package in a child with a new directory in `parent`; return what it returns."""
    with tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name:
        result = Path(name) / "result.json"
        return finish(start(function, Path(name), result, **arguments), result, timeout)


def main() -> None:
    function, result, arguments = sys.argv[1:]
    module, name = function.split(":")
    measured = getattr(importlib.import_module(f"tests.tools.benchmarks.{module}"), name)
    Path(result).write_text(json.dumps(measured(**json.loads(arguments))))


if __name__ == "__main__":
    main()
