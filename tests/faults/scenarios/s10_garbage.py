"""Garbage at every socket of a sidecar that another client is using: whatever bytes come, only they are refused.

A round sends `EACH` messages of each sort to the record socket and as many to the door, and a part of that as bare
bytes to every Unix socket, below ZeroMQ. Twenty rounds are 100,000 of each sort; the one of seed 0, which the tests
play, is a small one.
"""

from __future__ import annotations

import math
import random
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.projections.rebuild import verify
from sidecar.protocol import PROTOCOL_VERSION, channels
from sidecar.protocol.channels import Channel
from sidecar.protocol.codec import encode, pack
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.frames import HEAD, MARK_BITS, frame
from sidecar.protocol.layout import RUNS_NAME
from sidecar.protocol.records import KINDS, Record
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer
from tests.support import TIMEOUT, LaunchedSidecar, RawClient, wait_until

EACH, FEW = 5_300, 300
_BARE_PART = 20
_WAVES = 5
_MIB = 1024 * 1024

PEAK_BYTES = 512 * _MIB
"""What the sidecar may take, however much garbage comes: what its sockets queue and its allocator keeps."""

_TAKEN = 3
"""So many numbers a message of garbage takes at most."""

_RUN, _CLIENT = "garbage", "mallory"
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)

Make = Callable[[random.Random, int], bytes]


# -- what is sent -----------------------------------------------------------------------------------------------------


def _noise(chance: random.Random, seq: int) -> bytes:
    """Random bytes; some look like a frame at first."""
    data = chance.randbytes(chance.choice((0, 1, 7, 8, 9, 60, 500, chance.randrange(5000))))
    if chance.random() < 0.3:
        data = (
            HEAD.pack(MARK_BITS | chance.choice((0, len(data), chance.getrandbits(24))), chance.getrandbits(32)) + data
        )
    return data


_BODIES: dict[str, list[dict[str, Any]]] = {
    "run": [
        {"project": "p", "name": "n", "tags": ["a", "b"], "pid": 7, "start_time": 1.5, "label": "l", "parent": None}
    ],
    "log": [{"step": 3, "data": {"loss": 0.5, "acc": 7, "text": "t", "flag": True, "m": {"_type": "image", "a": [1]}}}],
    "config": [{"set": {"lr": 0.1, "deep": {"a": [1, {"b": None}]}}, "delete": ["old"]}],
    "summary": [{"set": {"best": 1.0}, "delete": ["loss"]}],
    "define": [
        {"metric": "loss*", "step_metric": "acc", "summary": ["min", "max", "best", "mean"], "goal": "maximize"}
    ],
    "losses": [{"counts": {"window full": 3}, "source": _CLIENT}],
    "preempting": [{}],
    "exit": [{"state": "failed", "exit_code": 3, "traceback": "…", "reason": None}, {"state": "finished"}],
    "rejected": [{"kind": "log", "code": "form", "message": "m"}],
    "request": [{"id": 1, "ask": "flush"}, {"id": 2, "ask": "state"}, {"id": 3, "ask": "progress"}],
    "beat": [{}],
    "detach": [{}],
    "ack": [{"seq": 12}],
    "unheard-of": [{"a": {"b": [1, 2.5, None, True, b"bytes"]}}],
}
_DOOR_BODIES: dict[str, list[dict[str, Any]]] = {
    "attach": [{"protocol": PROTOCOL_VERSION, "resume": "allow", "again": True, "label": None, "window": "/nowhere"}],
    "status": [{}],
    "attached": [{"protocol": 1, "records": "ipc://x", "results": "ipc://y", "last": 3, "state": {}, "resumed": False}],
}


def _mutate(chance: random.Random, data: bytes) -> bytes:
    """Change, take out, put in, double or cut a few bytes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 9))):
        at = chance.randrange(len(changed) + 1)
        what = chance.randrange(6)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif what == 1 and at < len(changed):
            changed[at] = chance.choice((0x00, 0x7F, 0x80, 0xC0, 0xC1, 0xC6, 0xC9, 0xDB, 0xDD, 0xDF, 0xFF))
        elif what == 2:
            changed[at : at + chance.randrange(1, 9)] = b""
        elif what == 3:
            changed[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif what == 4:
            changed[at:at] = changed[at : at + chance.randrange(1, 40)]
        elif chance.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def _some(chance: random.Random, bodies: dict[str, list[dict[str, Any]]], seq: int) -> Record:
    kind = chance.choice(list(bodies))
    if kind == "detach" and chance.random() < 0.99:  # nearly all that follows would be a stranger's
        kind = "beat"
    numbered = seq if kind not in KINDS or KINDS[kind].way == "record" else 0
    return Record(kind, _RUN, _CLIENT, numbered, time.time(), chance.choice(bodies[kind]))


def _good(seq: int) -> bytes:
    """Return a right record, for a number that the garbage before it may have taken or not."""
    return frame(encode(Record("log", _RUN, _CLIENT, seq, time.time(), {"step": seq, "data": {"loss": 0.25}})))


def _mutated(chance: random.Random, seq: int) -> bytes:
    """A right record with something wrong; half of them in a frame whose checksum is right all the same."""
    payload = encode(_some(chance, _BODIES, seq))
    how = chance.randrange(3)
    if how == 0:
        return _mutate(chance, payload)
    if how == 1:
        return _mutate(chance, frame(payload))
    several = [encode(_some(chance, _BODIES, seq + ahead)) for ahead in range(_TAKEN)]
    return b"".join(frame(_mutate(chance, payload) or b"\0") for payload in several)


def _huge(chance: random.Random, seq: int) -> bytes:
    """What is larger than anything may be, or only says so."""
    what = chance.random()
    body: dict[str, Any]
    if what < 0.7:  # headers that announce up to 4 GiB
        bomb = chance.choice(
            (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff")
        )
        payload = b"\x96\xa3log\xa7garbage\xa7mallory\x01\xcb" + bytes(8) + bomb * chance.randrange(1, 30)
        return payload if chance.random() < 0.5 else frame(payload)
    if what < 0.85:
        body = {"step": 1, "data": {f"{seq % 7}.{key}": 0.5 for key in range(chance.choice((10_001, 12_000)))}}
    elif what < 0.92:
        body = {"step": 1, "data": {"k" * chance.choice((513, 70_000)): 1.0}}
    elif what < 0.98:
        body = {"step": 1, "data": {"text": "x" * (_MIB + chance.choice((-9, 1)))}}
    elif what < 0.99:
        body = {"step": 1, "data": {"blob": {"_type": "image", "data": bytes(chance.randrange(8, 15) * _MIB)}}}
    elif what < 0.995:
        body = {"step": 1, "data": {b"\xfe" * (5 * _MIB): 1.0}}
    else:
        body = {"step": 1, "data": {"blob": {"_type": "image", "data": bytes(17 * _MIB)}}}  # over a message's bound
    payload = pack(["log", _RUN, _CLIENT, seq, time.time(), body])
    return payload if len(payload) >= 1 << 24 or chance.random() < 0.5 else frame(payload)


def _deep(chance: random.Random, seq: int) -> bytes:
    """Levels upon levels, of arrays, maps or both."""
    levels = chance.choice((15, 16, 17, 40, 500, 1_000, 10_000, 200_000))
    opening, end = chance.choice(
        ((b"\x91", b"\xc0"), (b"\x81\xa1k", b"\x01"), (b"\x91\x81\xa1k", b"\x01"), (b"\x81", b"\x80"))
    )
    start = pack(["config", _RUN, _CLIENT, seq, time.time(), {}])[:-1]
    payload = start + b"\x81\xa3set\x81\xa1a" + opening * levels + end
    return payload if chance.random() < 0.5 else frame(payload)


def _numbers(chance: random.Random, seq: int) -> bytes:
    """Right records with numbers that cannot be, or come too early, too late or again."""
    wrong: list[Any] = [
        0,
        1,
        seq - 1,
        seq + 1,
        seq + 1000,
        -1,
        2**31,
        2**53 + 1,
        2**63 - 1,
        2**63,
        2**64 - 1,
        -(2**63),
        0.5,
        True,
    ]
    wrong += [None, "7", math.nan, math.inf, [], {}]
    envelope: list[Any] = ["log", _RUN, _CLIENT, seq, time.time(), {"step": 1, "data": {"loss": 0.5}}]
    what = chance.randrange(6)
    if what < 3:
        envelope[3] = chance.choice(wrong)
    elif what == 3:
        envelope[4] = chance.choice(wrong)
    elif what == 4:
        envelope[5] = {"step": chance.choice(wrong), "data": {"loss": chance.choice(wrong)}}
    else:
        envelope[chance.randrange(6)] = chance.choice(wrong)
    payload = pack(envelope)
    return payload if chance.random() < 0.5 else frame(payload)


def _door_mutated(chance: random.Random, seq: int) -> bytes:
    return _mutate(chance, encode(_some(chance, _DOOR_BODIES, seq)._replace(seq=0)))


def _door_numbers(chance: random.Random, seq: int) -> bytes:
    wrong: list[Any] = [-1, 0, 2, 2**63, 2**64 - 1, 0.5, True, None, "1", math.nan, [], {}]
    request: list[Any] = ["attach", _RUN, _CLIENT, 0, time.time(), {"protocol": PROTOCOL_VERSION, "resume": "allow"}]
    if chance.random() < 0.5:
        request[chance.randrange(3, 6)] = chance.choice(wrong)
    else:
        request[5] = {
            "protocol": PROTOCOL_VERSION,
            chance.choice(("protocol", "pid", "place", "again", "resume")): chance.choice(wrong),
        }
    return pack(request)


_RECORDS: dict[str, Make] = {"noise": _noise, "mutated": _mutated, "huge": _huge, "deep": _deep, "numbers": _numbers}
_DOOR: dict[str, Make] = {
    "noise": _noise,
    "mutated": _door_mutated,
    "huge": _huge,
    "deep": _deep,
    "numbers": _door_numbers,
}


# -- sending it -------------------------------------------------------------------------------------------------------


class _Garbage:
    """Sends garbage to one sidecar."""

    def __init__(self, sidecar: LaunchedSidecar, chance: random.Random) -> None:
        self._sidecar = sidecar
        self._chance = chance
        self._started = 0
        self.sent = 0

    def wave(self, each: int) -> None:
        """Send `each` messages of each sort."""
        for make in _RECORDS.values():
            self._to_records(make, each)
        for make in _DOOR.values():
            self._to_door(make, each)
        self._bare(each // _BARE_PART)

    def _to_records(self, make: Make, each: int) -> None:
        for start in range(0, each, 500):
            self._started += 1
            client = wait_until(self._attach, "the run can be attached to again")
            assert client is not None
            seq = client.attached["last"] + 1
            for _ in range(min(500, each - start)):
                self._push(client._records, make(self._chance, seq))
                self._push(client._records, b"".join(_good(seq + ahead) for ahead in range(_TAKEN)))
                self.sent += 1
                seq += _TAKEN
            client.close()
            self._sidecar.status()

    def _attach(self) -> RawClient | None:
        try:
            return RawClient(self._sidecar, _RUN, _CLIENT, resume="allow", again=True, pid=None)
        except RefusedError as error:
            if error.code == "closing":  # the garbage had a good "detach" in it
                return None
            raise

    def _to_door(self, make: Make, each: int) -> None:
        with channels.dealer() as door:
            door.connect(self._sidecar.connection.control)
            for _ in range(each):
                self._push(door, make(self._chance, 1))
                self.sent += 1
                while door.receive() is not None:
                    continue
        self._sidecar.status()

    def _push(self, channel: Channel, message: bytes) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not channel.send(message):
            assert time.monotonic() < deadline and self._sidecar.alive(), (
                f"nothing is taken: {self._sidecar.log_text()[-2000:]}"
            )
            time.sleep(0.0005)

    def _bare(self, each: int) -> None:
        """Connect to every Unix socket there is, and send what no ZeroMQ peer would."""
        directory = Path(self._sidecar.connection.control.removeprefix("ipc://")).parent
        for path in sorted(directory.iterdir()):
            for _ in range(each):
                with socket.socket(socket.AF_UNIX) as bare:
                    try:
                        bare.connect(str(path))
                    except (ConnectionRefusedError, FileNotFoundError):
                        break  # a result socket whose client is gone
                    data = self._chance.choice((b"", _GREETING, _GREETING[:11]))
                    data += self._chance.choice((b"", b"\x04\x19\x05READY" + self._chance.randbytes(19)))
                    data += self._chance.choice((b"", b"\x02" + struct.pack(">Q", 2**62), self._chance.randbytes(200)))
                    try:
                        bare.sendall(data)
                    except OSError:
                        pass  # it hung up in the middle, as it may
                self.sent += 1


def _peak(pid: int) -> int:
    """Return what a process took at most so far, in bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(status["VmHWM"].split()[0]) * 1024


def run(directory: Path, seed: int) -> Figures:
    """Waves of the same size, while a trainer logs to a run of its own in the same sidecar."""
    chance = random.Random(seed)
    root = directory / "root"
    sidecar = LaunchedSidecar(root)
    try:
        garbage = _Garbage(sidecar, chance)
        with Trainer(root, "steady", "good", rate=1000, env={"TRACKER_SIDECAR": str(sidecar.file)}) as trainer:
            trainer.wait_for_calls(100)
            each = EACH if seed else FEW
            peaks: list[int] = []
            for _ in range(_WAVES):
                garbage.wave(each // _WAVES)
                peaks.append(_peak(sidecar.process.pid))
            status = sidecar.status()
            assert sidecar.alive() and status["pid"] == sidecar.process.pid, "the sidecar lives"
            trainer.tally.told = 1
            trainer.wait()
            back = read_back(root, "good", [trainer.tally])
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
            assert back.run.state == "finished" and not trainer.tally.raised(), f"the other run is {back.run.state}"
    finally:
        sidecar.close()
    assert sidecar.process.returncode == 0, sidecar.log_text()[-2000:]
    problems = verify(root / RUNS_NAME / _RUN).problems
    assert not problems, f"verify of the run that took the garbage: {problems}"
    told = " ".join(f"{peak / _MIB:.0f}" for peak in peaks)
    assert peaks[-1] < PEAK_BYTES, f"the sidecar took {told} MiB, wave by wave"
    refused = sum(status["refused"].values())
    note = f"{garbage.sent} messages, {refused} records refused; the sidecar's peak after each wave: {told} MiB"
    return Figures(back.calls, back.read, back.lost, back.twice, worst, p99, note)


SCENARIO = Scenario(
    10,
    "garbage at every socket: noise, mutated records, huge and deep ones, wrong numbers",
    run,
    rounds_in_ci=1,
    must="the sidecar lives, its memory is bounded, another client's run is untouched",
)
