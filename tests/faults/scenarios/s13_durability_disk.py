"""``durability="disk"``: every system call of trainer and sidecar is traced, and no number leaves before its fsync.

strace(1) stops a thread at the end of its fsync until it has noted it, so an ack that is posted after the fsync is
noted after it: the order of the trace is the order in which things happened. An fsync that fails is taken as Linux has
it: what it should have written is no longer known to be dirty, so it counts only once it was written and synced again.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from sidecar.log.reader import HEADER_BYTES, LogReader
from sidecar.protocol.frames import HEAD_BYTES, scan
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME
from sidecar.protocol.records import Record
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, find_sidecar
from tests.parts import parts_of
from tests.support import wait_until

_CALLS = "pwrite64,write,writev,fsync,fdatasync,sendto,sendmsg"
_SAID = re.compile(rb"\x96(?:\xa3ack|\xa6answer|\xa8attached)")
_LINE = re.compile(r"(\d+) +(?:(\w+)\(|<\.\.\. (\w+) resumed>)(.*)")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_TAIL = 256

_PLAIN, _SLOW, _FAILING, _KILLED = "plain", "slow", "failing", "killed"


def traced(told: dict[str, Any]) -> None:
    """The program: ``steady``, under strace, and with it the sidecar that it launches."""
    command = ["strace", "-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", "signal=none", "-e", f"trace={_CALLS}"]
    command += [*told["strace"], "-o", told["trace"]]
    os.execvp("strace", [*command, sys.executable, "-m", "tests.faults.trainers", "steady", json.dumps(told)])


class _Disk:
    """What is on the disk of the log, call by call of a trace.

    Args:
        log: the log as it is in the end: says which number of which client ends where.
    """

    def __init__(self, log: Path) -> None:
        self._name = str(log)
        data = log.read_bytes()
        self._ends: dict[str, list[int]] = defaultdict(list)
        self._safe = bytearray(len(data))
        self._dirty: list[tuple[int, int]] = []
        self._begun: dict[str, tuple[str, str]] = {}
        self._syncing: dict[str, list[tuple[int, int]]] = {}
        self._tails: dict[str, bytes] = {}
        self.told: list[tuple[str, str, int]] = []
        self.syncs = self.failed = 0
        with LogReader(log) as reader:
            records = [record for batch in reader.batches() for record in batch.records]
        for (_, end, _), record in zip(scan(data, HEADER_BYTES), records, strict=True):
            if record.client:
                self._ends[record.client].append(end)

    def take(self, line: str) -> None:
        """Take a line of the trace."""
        match = _LINE.match(line)
        if match is None:
            return
        thread, begun, resumed, rest = match.groups()
        if begun:
            self._begin(thread, begun, rest)
            self._begun[thread] = begun, rest
        if (resumed or not rest.endswith("<unfinished ...>")) and thread in self._begun:
            name, arguments = self._begun.pop(thread)
            result = re.search(r"\) += (-?\d+)", rest)
            if result is not None:  # else its process was killed in the middle
                self._end(thread, name, arguments, int(result.group(1)))

    def _file(self, arguments: str) -> str:
        found = _FILE.match(arguments)
        return _bytes(found.group(1)).decode(errors="replace") if found else ""

    def _begin(self, thread: str, name: str, arguments: str) -> None:
        if name in ("fsync", "fdatasync") and self._file(arguments) == self._name:
            self._syncing[thread] = list(self._dirty)
        elif name in ("sendto", "sendmsg", "write", "writev") and "socket:" in self._file(arguments):
            self._leaves(arguments)

    def _end(self, thread: str, name: str, arguments: str, result: int) -> None:
        if self._file(arguments) != self._name:
            return
        if name == "pwrite64":
            start = int(arguments.split("<unfinished")[0].split(")")[0].rpartition(", ")[2])
            self._dirty.append((start, start + result))
            self._safe[start : start + result] = bytes(result)
        elif name in ("write", "writev"):
            raise AssertionError(f"the log is written by {name}, which this scenario cannot follow")
        elif name in ("fsync", "fdatasync"):
            covered = self._syncing.pop(thread)
            self.syncs += result == 0
            self.failed += result != 0
            self._dirty = [stretch for stretch in self._dirty if stretch not in covered]
            for start, end in covered if result == 0 else ():
                self._safe[start:end] = b"\1" * (end - start)

    def _leaves(self, arguments: str) -> None:
        """Bytes are about to leave by a socket: look for numbers that a client takes for durable."""
        file = self._file(arguments)
        tail = self._tails.get(file, b"")
        data = tail
        for text, cut in _TEXT.findall(arguments):
            assert not cut, "strace cut a message short"
            data += _bytes(text)
        for match in _SAID.finditer(data):
            part = next(parts_of(data[match.start() :]))
            if part.record is not None and match.start() + len(part.frame) - HEAD_BYTES > len(tail):
                self._check(part.record)
        self._tails[file] = data[-_TAIL:]

    def _check(self, said: Record) -> None:
        number = said.body.get("last" if said.kind == "attached" else "seq", 0)
        self.told.append((said.kind, said.client, number))
        if not number:
            return
        ends = self._ends[said.client]
        assert number <= len(ends), f"{said.kind!r} says {number} to {said.client}, and the log has {len(ends)}"
        end = ends[number - 1]
        if 0 in self._safe[HEADER_BYTES:end]:
            first = self._safe.index(0, HEADER_BYTES)
            raise AssertionError(
                f"{said.kind!r} says {number} to {said.client}, whose record ends at byte {end} of the log; "
                f"from byte {first} on it is not synced ({self.syncs} fsyncs, {self.failed} failed)"
            )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _play(directory: Path, seed: int, kind: str) -> Figures:
    chance = random.Random(seed)
    assert shutil.which("strace"), "this scenario needs strace (apt-get install strace)"
    root, trace = directory / "root", directory / "trace"
    calls, rate = chance.randrange(500, 1500), chance.choice((400, 1000))
    begin = chance.randrange(4, 8)  # of a thread; the first three are of the attach, which would be refused
    extra = {
        _PLAIN: [],
        _SLOW: ["-e", f"inject=fsync:delay_enter={chance.randrange(5_000, 60_000)}"],
        _FAILING: ["-e", f"inject=fsync:error=EIO:when={begin}..{begin + chance.randrange(3)}"],
        _KILLED: ["-e", "inject=fsync:delay_enter=150000"],
    }[kind]
    if kind == _KILLED:
        calls, rate = 0, 1000
    program = f"{__name__}:traced"
    options: dict[str, Any] = {"trace": str(trace), "strace": extra, "calls": calls, "rate": rate}
    with Trainer(root, program, env={"TRACKER_DURABILITY": "disk"}, **options) as trainer:
        if kind == _KILLED:
            trainer.wait_for_stage()
            for _ in range(2):
                trainer.wait_for_calls(trainer.tally.returned() + chance.randrange(50, 500))
                _kill_sidecar(root)
            trainer.wait_for_calls(trainer.tally.returned() + 100)
            trainer.tally.told = 1
        trainer.wait()
        back = read_back(root, "run", [trainer.tally])
        worst, p99 = trainer.tally.worst(), trainer.tally.p99()
    disk = _Disk(root / RUNS_NAME / "run" / LOG_NAME)
    with open(trace) as lines:
        for line in lines:
            disk.take(line.rstrip("\n"))
    acks = [number for said, _, number in disk.told if said == "ack"]
    assert disk.syncs > 1 and acks and max(acks) > back.calls, (
        f"the trace shows {disk.syncs} fsyncs and {len(acks)} acks"
    )
    assert disk.failed or kind != _FAILING, "no fsync failed"
    note = f"{len(disk.told)} numbers told, {disk.syncs} fsyncs, {disk.failed} failed (under strace)"
    return Figures(back.calls, back.read, back.lost, back.twice, worst, p99, note)


def _kill_sidecar(root: Path) -> None:
    """Kill the sidecar, and wait for the next."""
    pid = wait_until(lambda: find_sidecar(root), "a sidecar holds the run")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: find_sidecar(root) not in (None, pid), "another one holds the run")


def _scenario(kind: str, name: str) -> Scenario:
    def run(directory: Path, seed: int) -> Figures:
        return _play(directory, seed, kind)

    return Scenario(13, name, run, rounds_in_ci=1, must="no ack, answer or attach tells a number before its fsync")


SCENARIOS = [
    _scenario(_PLAIN, 'durability="disk", every system call traced'),
    _scenario(_SLOW, 'durability="disk", fsync takes 5 to 60 ms more'),
    _scenario(_FAILING, 'durability="disk", fsync fails with EIO'),
    _scenario(_KILLED, 'durability="disk", SIGKILL of the sidecar between write and fsync'),
]
