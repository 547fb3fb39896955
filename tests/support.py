"""What tests of all kinds use: real processes, a client of bare bytes, a reader of what is left on disk, and a look at
what a test has left behind. Nothing here stands in for a part of the product."""

from __future__ import annotations

import gc
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sidecar.log.reader import LogReader
from sidecar.projections.run_state import RunState
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol import PROTOCOL_VERSION, channels
from sidecar.protocol.ask import ask
from sidecar.protocol.channels import Channel
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.connection import Connection, machine_id, read_connection
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Record

REPOSITORY = Path(__file__).resolve().parent.parent

PATIENCE = 30.0
"""Seconds after which what should have happened counts as not happening; no test is about how long something takes."""

Found = TypeVar("Found")


def wait_until(condition: Callable[[], Found], what: str = "", seconds: float = PATIENCE) -> Found:
    """Return the first true answer of `condition`; fail the test if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what or condition}")
        time.sleep(0.005)


def exact(value: Any) -> Any:
    """Return something that is equal for two values only if they are of the same type and have the same bits."""
    if isinstance(value, float):
        return float, struct.pack(">d", value) if value == value else "nan"
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return type(value), value


# -- reading a run ----------------------------------------------------------------------------------------------------


class StoredRow(NamedTuple):
    """One ``log`` record as the store has it."""

    client: str
    step: int
    time: float
    data: dict[str, Any]


class ReadBack:
    """A run as it lies on disk, read through the log and through the store.

    Attributes:
        log: all records of the log.
        damage: the stretches of it that hold no good record.
        state: the run's state, of the store.
        rows: what was logged, of the store, for each client in the order of arrival.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log: list[Record] = []
        with LogReader(directory / "transactions.log") as reader:
            for batch in reader.batches():
                self.log.extend(batch.records)
            self.damage = reader.damage
        store = StoreReader(directory / "store.db")
        self.state = store.state()
        self.rows: list[StoredRow] = []
        for block in sorted(store.columns(), key=lambda block: block.first):  # they come ordered by step
            made: list[dict[str, Any]] = [{} for _ in block.steps]
            for key, (present, values) in block.columns.items():
                for index, value in zip(range(len(made)) if present is None else present, values, strict=True):
                    made[index][key] = value
            rows = zip(block.steps, block.times, made, strict=True)
            self.rows += [StoredRow(block.writer, step, moment, data) for step, moment, data in rows]

    def logged(self, client: str | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Return step and data of every ``log`` record in the log, in order."""
        return [
            (record.body["step"], record.body["data"])
            for record in self.log
            if record.kind == "log" and client in (None, record.client)
        ]

    def stored(self, client: str | None = None) -> list[tuple[int, dict[str, Any]]]:
        """Return the same as the store has it."""
        return [(row.step, row.data) for row in self.rows if client in (None, row.client)]

    def kinds(self) -> list[str]:
        return [record.kind for record in self.log]

    def check(self) -> ReadBack:
        """Check what is true of every good run: numbers without gaps or repeats, a store that is what the log is."""
        assert self.damage == []
        numbers: dict[str, list[int]] = {}
        for record in self.log:
            if record.client:
                numbers.setdefault(record.client, []).append(record.seq)
        for client, found in numbers.items():
            assert found == list(range(1, len(found) + 1)), f"the numbers of {client}"
        for client in {record.client for record in self.log if record.kind == "log"}:
            assert exact(sorted(self.stored(client), key=_step)) == exact(sorted(self.logged(client), key=_step))
        again = RunState()
        for record in self.log:
            again.apply(record)
        assert exact(again.to_map()) == exact(self.state)
        return self


def _step(row: tuple[int, dict[str, Any]]) -> int:
    return row[0]


# -- processes --------------------------------------------------------------------------------------------------------


class Done(NamedTuple):
    """A script that has ended."""

    code: int
    out: str
    err: str


class Script:
    """A Python script in a process of its own, which is talked to in lines."""

    def __init__(self, process: subprocess.Popen[str], output: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._output = output

    def line(self) -> str:
        """Return the next line it prints; fail the test if it ends first."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait()}: {self.errors()}"
        return line.rstrip("\n")

    def tell(self, line: str = "") -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def errors(self) -> str:
        """Return what it has written to standard error."""
        return self._output.read_text(errors="replace")

    def wait(self, code: int | None = 0) -> Done:
        """Wait for its end, and check its exit status."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        out = self.process.stdout.read()
        self.process.stdout.close()
        found = Done(self.process.wait(PATIENCE), out, self.errors())
        assert code is None or found.code == code, f"exit status {found.code}, {found.out}{found.err}"
        return found

    def end(self) -> None:
        """Have it ended, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


class Scripts:
    """Runs Python scripts in processes that import this very source tree.

    Args:
        directory: where the scripts are written, and their working directory.
        root: what ``TRACKER_DIR`` says to them.
    """

    def __init__(self, directory: Path, root: Path) -> None:
        self._directory = directory
        self._root = root
        self._begun: list[Script] = []

    def start(self, code: str, *arguments: object, env: Mapping[str, str | None] | None = None) -> Script:
        """Start `code` with `arguments` on its command line; `env` changes its environment (None removes)."""
        name = f"script{len(self._begun)}"
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
        self._begun.append(script)
        return script

    def run(
        self, code: str, *arguments: object, env: Mapping[str, str | None] | None = None, exit_code: int | None = 0
    ) -> Done:
        """Start a script, and wait for its end."""
        return self.start(code, *arguments, env=env).wait(exit_code)

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        found = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
        found |= {"PYTHONPATH": str(REPOSITORY), "TRACKER_DIR": str(self._root), "TRACKER_SILENT": "1"}
        for name, value in (changes or {}).items():
            found.pop(name, None)
            if value is not None:
                found[name] = value
        return found

    def close(self) -> None:
        for script in self._begun:
            script.end()


class Launched:
    """A sidecar that a test has launched as ``tracker`` does, to talk to it in bare bytes.

    Args:
        root: its root directory.
        parent: the process that it watches.
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
            assert ready.readline() == b"ready\n", self.said()
        self.connection: Connection = read_connection(self.file)

    def said(self) -> str:
        """Return what it wrote to its log file."""
        return self._output.read_text(errors="replace")

    def ask(self, kind: str, body: dict[str, Any] | None = None, run: str = "", client: str = "") -> Record:
        """Ask at its door."""
        request = Record(kind, run, client, 0, time.time(), body or {})
        return ask(self.connection.control, request, Deadline(PATIENCE))

    def status(self) -> dict[str, Any]:
        return self.ask("status").body

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            if self.alive():
                self.process.kill()
                self.process.wait()


class RawClient:
    """A client that is written with nothing but the protocol: it numbers records and sends bytes.

    Args:
        sidecar: whom it attaches to.
        run: the run's id.
        name: its client id.
        body: more of what it says at the door.
    """

    def __init__(self, sidecar: Launched, run: str, name: str, **body: Any) -> None:
        self.run = run
        self.name = name
        self.seq = 0
        self.results: list[Record] = []
        request = {"protocol": PROTOCOL_VERSION, "pid": os.getpid(), "place": machine_id(), **body}
        self.attached = sidecar.ask("attach", request, run, name).body
        self._records: Channel = channels.push()
        self._records.connect(self.attached["records"])
        self._results: Channel = channels.pull()
        self._results.connect(self.attached["results"])

    def send(self, message: bytes) -> None:
        wait_until(lambda: self._records.send(message), "the record socket takes a message")

    def record(self, kind: str, body: dict[str, Any], seq: int | None = None) -> Record:
        """Return the next record, numbered."""
        self.seq = self.seq + 1 if seq is None else seq
        return Record(kind, self.run, self.name, self.seq, time.time(), body)

    def say(self, kind: str, body: dict[str, Any]) -> None:
        """Send a numbered record, bare."""
        self.send(encode(self.record(kind, body)))

    def log(self, step: int, **data: Any) -> None:
        self.say("log", {"step": step, "data": data})

    def unnumbered(self, kind: str, body: dict[str, Any]) -> None:
        self.send(encode(Record(kind, self.run, self.name, 0, time.time(), body)))

    def ask(self, what: str, number: int = 1) -> dict[str, Any]:
        """Ask something, and return the answer's body."""
        self.unnumbered("request", {"id": number, "ask": what})
        return self.result("answer", lambda body: bool(body["id"] == number))

    def result(self, kind: str, wanted: Callable[[dict[str, Any]], bool] = lambda body: True) -> dict[str, Any]:
        """Return the body of the next result of this kind; results that came before are in `results`."""

        def look() -> dict[str, Any] | None:
            self._results.wait(0.05)
            while (message := self._results.receive()) is not None:
                self.results.append(decode(message))
            for position, found in enumerate(self.results):
                if found.kind == kind and wanted(found.body):
                    del self.results[position]
                    return found.body
            return None

        found = wait_until(look, f"a result {kind!r}; there are {[(r.kind, r.body) for r in self.results]}")
        assert found is not None
        return found

    def close(self) -> None:
        self._records.close()
        self._results.close()


# -- what is left behind ----------------------------------------------------------------------------------------------


class Leaks:
    """What a test must leave as it found it: threads, processes, file descriptors, directories of sockets.

    Args:
        temporary: the directory of temporary files that all processes of these tests have as their ``TMPDIR``.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        self._running = frozenset(filter(str.isdigit, os.listdir("/proc")))
        self._before = self._now()
        self._sockets_may_stay = False

    def let_socket_directories_stay(self) -> None:
        """A sidecar that is killed cannot remove its sockets."""
        self._sockets_may_stay = True

    def _now(self) -> dict[str, set[str]]:
        return {
            "thread": {f"{thread.name} ({thread.ident})" for thread in threading.enumerate()},
            "process": {f"{pid}: {command}" for pid, command in processes(self._temporary, self._running)},
            "file descriptor": set(_descriptors()),
            "socket directory": {path.name for path in self._temporary.glob("tracker-*")},
        }

    def found(self, seconds: float = 10.0) -> list[str]:
        """Return what is there now and was not before, once it has had the time to go."""
        deadline = time.monotonic() + seconds
        while True:
            new = [f"{what} {name}" for what, names in self._now().items() for name in names - self._before[what]]
            if self._sockets_may_stay:
                new = [line for line in new if not line.startswith("socket directory")]
            if not new or time.monotonic() > deadline:
                return new
            gc.collect()
            time.sleep(0.01)

    def kill_processes(self) -> None:
        """End the processes that were left, so that the next test is not disturbed."""
        for pid, _ in processes(self._temporary, self._running):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def processes(temporary: Path, but: frozenset[str] = frozenset()) -> Iterator[tuple[int, str]]:
    """Yield the processes of these tests, orphans too: this one's children, and those whose ``TMPDIR`` is ours."""
    mark = b"TMPDIR=" + os.fsencode(temporary)
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or entry in but or int(entry) == os.getpid():
            continue
        try:
            status = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()
            ours = mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if (ours or int(status[1]) == os.getpid()) and "resource_tracker" not in command:
            yield int(entry), command.strip()


def _descriptors() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield f"{name}: {os.readlink(f'/proc/self/fd/{name}')}"
        except OSError:
            continue
