"""Processes that tests start: Python scripts, and a sidecar launched as ``tracker`` launches one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.protocol.ask import ask
from sidecar.protocol.connection import Connection, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Record
from tests.support.waiting import REPOSITORY, TIMEOUT


class CompletedScript(NamedTuple):
    """Exit status and output of a script or command that has ended."""

    code: int
    out: str
    err: str


class Script:
    """A Python script in its own process; the test exchanges lines with it."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._output = output

    def read_line(self) -> str:
        """Return the next line that the script prints; fail the test if it ends first."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the script ended with {self.process.wait()}: {self.errors()}"
        return line.rstrip("\n")

    def send_line(self, line: str = "") -> None:
        """Write a line to the script's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def errors(self) -> str:
        """Return what the script has written to standard error."""
        return self._output.read_text(errors="replace")

    def wait(self, code: int | None = 0) -> CompletedScript:
        """Wait for the script to end, and check its exit status; None: any."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        out = self.process.stdout.read()
        self.process.stdout.close()
        done = CompletedScript(self.process.wait(TIMEOUT), out, self.errors())
        assert code is None or done.code == code, f"exit status {done.code}, {done.out}{done.err}"
        return done

    def close(self) -> None:
        """Kill the script if it still runs, and close its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(TIMEOUT)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


class Scripts:
    """Runs Python scripts in processes that import this source tree.

    Args:
        directory: where the scripts are written; also their working directory.
        root: the value of ``TRACKER_DIR`` in their environment.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        self._root = root
        self._started: list[Script] = []

    def start(self, code: str, *arguments: object, env: Mapping[str, str | None] | None = None) -> Script:
        """Start `code` with `arguments` on its command line; `env` changes its environment (None: unset)."""
        name = f"script{len(self._started)}"
        path = self._directory / f"{name}.py"
        path.write_text(textwrap.dedent(code))
        output = self._directory / f"{name}.err"
        with open(output, "w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-u", str(path), *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=self.environment(env),
                cwd=self._directory,
            )
        script = Script(process, output)
        self._started.append(script)
        return script

    def run(
        self, code: str, *arguments: object, env: Mapping[str, str | None] | None = None, exit_code: int | None = 0
    ) -> CompletedScript:
        """Start a script, and wait for it to end."""
        return self.start(code, *arguments, env=env).wait(exit_code)

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
        variables |= {"PYTHONPATH": str(REPOSITORY), "TRACKER_DIR": str(self._root), "TRACKER_SILENT": "1"}
        for name, value in (changes or {}).items():
            variables.pop(name, None)
            if value is not None:
                variables[name] = value
        return variables

    def close(self) -> None:
        for script in self._started:
            script.close()


class LaunchedSidecar:
    """A sidecar launched as ``tracker`` launches one.

    Args:
        root: its root directory.
        parent: id of the process that it watches; None: this process.
        durability: ``os`` or ``disk``.
    """

    def __init__(self, root: Path, parent: int | None = None, durability: str = "os") -> None:
        directory = root / "sidecars"
        directory.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.file = directory / f"test{os.urandom(3).hex()}.json"
        self._output = self.file.with_suffix(".log")
        read, write = os.pipe()
        command = [sys.executable, "-m", "sidecar", "launch", "--dir", str(root), "--ready-fd", str(write)]
        command += ["--connection-file", str(self.file), "--parent", str(parent or os.getpid())]
        with open(self._output, "wb") as output:
            self.process = subprocess.Popen(
                [*command, "--durability", durability],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                pass_fds=(write,),
                start_new_session=True,
            )
        os.close(write)
        with os.fdopen(read, "rb") as ready:
            assert ready.readline() == b"ready\n", self.log_text()
        self.connection: Connection = read_connection(self.file)

    def log_text(self) -> str:
        """Return the content of its log file."""
        return self._output.read_text(errors="replace")

    def ask(self, kind: str, body: dict[str, Any] | None = None, run: str = "", client: str = "") -> Record:
        """Send a request to its control socket, and return the answer."""
        request = Record(kind, run, client, 0, time.time(), body or {})
        return ask(self.connection.control, request, Deadline(TIMEOUT))

    def status(self) -> dict[str, Any]:
        return self.ask("status").body

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(TIMEOUT)
        finally:
            if self.alive():
                self.process.kill()
                self.process.wait()
