"""``durability="disk"``: system calls of trainer and sidecar are traced; nothing is acknowledged before its fsync.

strace(1) stops a thread at the end of an fsync until it has recorded the call, so an ack that is sent after the fsync
is recorded after it: the order of the trace is the order of events. A failed fsync is treated as Linux does: the kernel
no longer knows the pages as dirty, so they are durable only once they were written and synced again.
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
_ACK = re.compile(rb"\x96(?:\xa3ack|\xa6answer|\xa8attached)")
_LINE = re.compile(r"(\d+) +(?:(\w+)\(|<\.\.\. (\w+) resumed>)(.*)")
_FILE = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_TAIL = 256

_PLAIN, _SLOW, _FAILING, _KILLED = "plain", "slow", "failing", "killed"


def traced(options: dict[str, Any]) -> None:
    """Program: ``steady`` under strace, together with the sidecar that it launches."""
    command = ["strace", "-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", "signal=none", "-e", f"trace={_CALLS}"]
    command += [*options["strace"], "-o", options["trace"]]
    os.execvp("strace", [*command, sys.executable, "-m", "tests.faults.trainers", "steady", json.dumps(options)])


class _Disk:
    """The part of the log that is on the disk, followed through a trace.

    Args:
        log: the log at the end, which shows where the record of each number ends.
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
        self.acks: list[tuple[str, str, int]] = []
        self.syncs = self.failed = 0
        with LogReader(log) as reader:
            records = [record for batch in reader.batches() for record in batch.records]
        for (_, end, _), record in zip(scan(data, HEADER_BYTES), records, strict=True):
            if record.client:
                self._ends[record.client].append(end)

    def feed(self, line: str) -> None:
        """Process a line of the trace."""
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
            if result is not None:  # else its process was killed during the call
                self._end(thread, name, arguments, int(result.group(1)))

    def _file(self, arguments: str) -> str:
        match = _FILE.match(arguments)
        return _bytes(match.group(1)).decode(errors="replace") if match else ""

    def _begin(self, thread: str, name: str, arguments: str) -> None:
        if name in ("fsync", "fdatasync") and self._file(arguments) == self._name:
            self._syncing[thread] = list(self._dirty)
        elif name in ("sendto", "sendmsg", "write", "writev") and "socket:" in self._file(arguments):
            self._send(arguments)

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
            self._dirty = [written for written in self._dirty if written not in covered]
            for start, end in covered if result == 0 else ():
                self._safe[start:end] = b"\1" * (end - start)

    def _send(self, arguments: str) -> None:
        """Look for acknowledged numbers in bytes that are about to be sent."""
        file = self._file(arguments)
        tail = self._tails.get(file, b"")
        data = tail
        for text, cut in _TEXT.findall(arguments):
            assert not cut, "strace cut a message short"
            data += _bytes(text)
        for match in _ACK.finditer(data):
            part = next(parts_of(data[match.start() :]))
            if part.record is not None and match.start() + len(part.frame) - HEAD_BYTES > len(tail):
                self._check(part.record)
        self._tails[file] = data[-_TAIL:]

    def _check(self, ack: Record) -> None:
        number = ack.body.get("last" if ack.kind == "attached" else "seq", 0)
        self.acks.append((ack.kind, ack.client, number))
        if not number:
            return
        ends = self._ends[ack.client]
        assert number <= len(ends), f"{ack.kind!r} acknowledges {number} to {ack.client}, but the log has {len(ends)}"
        end = ends[number - 1]
        if 0 in self._safe[HEADER_BYTES:end]:
            first = self._safe.index(0, HEADER_BYTES)
            raise AssertionError(
                f"{ack.kind!r} acknowledges {number} to {ack.client}; its record ends at byte {end} of the log, "
                f"which is not synced from byte {first} on ({self.syncs} fsyncs, {self.failed} failed)"
            )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _play(directory: Path, seed: int, fault: str) -> Figures:
    rng = random.Random(seed)
    assert shutil.which("strace"), "strace not found; install it: apt-get install strace"
    root, trace = directory / "root", directory / "trace"
    calls, rate = rng.randrange(500, 1500), rng.choice((400, 1000))
    first = rng.randrange(4, 8)  # counted per thread; the first three are those of the attach, which would be refused
    extra = {
        _PLAIN: [],
        _SLOW: ["-e", f"inject=fsync:delay_enter={rng.randrange(5_000, 60_000)}"],
        _FAILING: ["-e", f"inject=fsync:error=EIO:when={first}..{first + rng.randrange(3)}"],
        _KILLED: ["-e", "inject=fsync:delay_enter=150000"],
    }[fault]
    if fault == _KILLED:
        calls, rate = 0, 1000
    program = f"{__name__}:traced"
    options: dict[str, Any] = {"trace": str(trace), "strace": extra, "calls": calls, "rate": rate}
    with Trainer(root, program, env={"TRACKER_DURABILITY": "disk"}, **options) as trainer:
        if fault == _KILLED:
            trainer.wait_for_stage()
            for _ in range(2):
                trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(50, 500))
                _kill_sidecar(root)
            trainer.wait_for_calls(trainer.tally.returned() + 100)
            trainer.tally.command = 1
        trainer.wait()
        result = read_back(root, "run", [trainer.tally])
        worst, p99 = trainer.tally.worst(), trainer.tally.p99()
    disk = _Disk(root / RUNS_NAME / "run" / LOG_NAME)
    with open(trace) as lines:
        for line in lines:
            disk.feed(line.rstrip("\n"))
    acks = [number for kind, _, number in disk.acks if kind == "ack"]
    assert disk.syncs > 1 and acks and max(acks) > result.calls, (
        f"the trace shows {disk.syncs} fsyncs and {len(acks)} acks"
    )
    assert disk.failed or fault != _FAILING, "no fsync failed"
    note = f"{len(disk.acks)} acks, {disk.syncs} fsyncs, {disk.failed} failed (under strace)"
    return Figures(result.calls, result.read, result.lost, result.duplicated, worst, p99, note)


def _kill_sidecar(root: Path) -> None:
    """Kill the sidecar, and wait for the next one."""
    pid = wait_until(lambda: find_sidecar(root), "a sidecar holds the run")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: find_sidecar(root) not in (None, pid), "another sidecar holds the run")


def _scenario(fault: str, name: str) -> Scenario:
    def run(directory: Path, seed: int) -> Figures:
        return _play(directory, seed, fault)

    return Scenario(
        13, name, run, rounds_in_ci=1, requirement="no ack, answer or attach acknowledges a record before its fsync"
    )


SCENARIOS = [
    _scenario(_PLAIN, 'durability="disk", system calls traced'),
    _scenario(_SLOW, 'durability="disk", fsync delayed by 5 to 60 ms'),
    _scenario(_FAILING, 'durability="disk", fsync fails with EIO'),
    _scenario(_KILLED, 'durability="disk", sidecar killed between write and fsync'),
]
