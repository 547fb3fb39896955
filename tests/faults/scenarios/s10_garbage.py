"""Garbage at every socket of a sidecar that another client is using: only the garbage is refused.

A round sends `EACH` messages of each kind to the record socket and to the control socket, and a part of that as raw
bytes to every Unix socket, below ZeroMQ. Twenty rounds send 100,000 messages of each kind; the round of seed 0, which
the tests play, is small.
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
from sidecar.protocol.rows import Schema
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer
from tests.support import TIMEOUT, LaunchedSidecar, RawClient, wait_until

EACH, FEW = 5_300, 300
_RAW_PART = 20
_WAVES = 5
_MIB = 1024 * 1024

PEAK_BYTES = 512 * _MIB
"""Maximum peak memory of the sidecar, in bytes: what its sockets queue and its allocator keeps."""

_SEQS_PER_MESSAGE = 3
"""Maximum number of sequence numbers that a message of garbage uses."""

_RUN, _CLIENT = "garbage", "mallory"
_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)

Make = Callable[[random.Random, int], bytes]


# -- the messages ------------------------------------------------------------------------------------------------------


def _noise(rng: random.Random, seq: int) -> bytes:
    """Return random bytes; some begin like a frame."""
    data = rng.randbytes(rng.choice((0, 1, 7, 8, 9, 60, 500, rng.randrange(5000))))
    if rng.random() < 0.3:
        data = HEAD.pack(MARK_BITS | rng.choice((0, len(data), rng.getrandbits(24))), rng.getrandbits(32)) + data
    return data


_BODIES: dict[str, list[dict[str, Any]]] = {
    "run": [
        {"project": "p", "name": "n", "tags": ["a", "b"], "pid": 7, "start_time": 1.5, "label": "l", "parent": None}
    ],
    "schema": [
        {"id": 1, "keys": ["loss"], "types": "d"},
        {"id": 2, "keys": ["a", "b"], "types": "q?", "client": _CLIENT},
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
_CONTROL_BODIES: dict[str, list[dict[str, Any]]] = {
    "attach": [{"protocol": PROTOCOL_VERSION, "resume": "allow", "again": True, "label": None, "window": "/nowhere"}],
    "status": [{}],
    "attached": [{"protocol": 1, "records": "ipc://x", "results": "ipc://y", "last": 3, "state": {}, "resumed": False}],
}


def _mutate(rng: random.Random, data: bytes) -> bytes:
    """Change, remove, insert, repeat or cut off a few bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 9))):
        at = rng.randrange(len(changed) + 1)
        what = rng.randrange(6)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif what == 1 and at < len(changed):
            changed[at] = rng.choice((0x00, 0x7F, 0x80, 0xC0, 0xC1, 0xC6, 0xC9, 0xDB, 0xDD, 0xDF, 0xFF))
        elif what == 2:
            changed[at : at + rng.randrange(1, 9)] = b""
        elif what == 3:
            changed[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif what == 4:
            changed[at:at] = changed[at : at + rng.randrange(1, 40)]
        elif rng.random() < 0.3:
            del changed[at:]
    return bytes(changed)


def _some(rng: random.Random, bodies: dict[str, list[dict[str, Any]]], seq: int) -> Record:
    kind = rng.choice(list(bodies))
    if kind == "detach" and rng.random() < 0.99:  # after a detach, nearly all later records would be refused
        kind = "beat"
    numbered = seq if kind not in KINDS or KINDS[kind].way == "record" else 0
    return Record(kind, _RUN, _CLIENT, numbered, time.time(), rng.choice(bodies[kind]))


def _good(seq: int) -> bytes:
    """Return a right record, for a number that the garbage before it may have taken or not."""
    return frame(encode(Record("log", _RUN, _CLIENT, seq, time.time(), {"step": seq, "data": {"loss": 0.25}})))


def _mutated(rng: random.Random, seq: int) -> bytes:
    """Return a mutated record; in half of the messages the checksum of the frame is valid nevertheless."""
    payload = encode(_some(rng, _BODIES, seq))
    how = rng.randrange(3)
    if how == 0:
        return _mutate(rng, payload)
    if how == 1:
        return _mutate(rng, frame(payload))
    several = [encode(_some(rng, _BODIES, seq + ahead)) for ahead in range(_SEQS_PER_MESSAGE)]
    return b"".join(frame(_mutate(rng, payload) or b"\0") for payload in several)


def _huge(rng: random.Random, seq: int) -> bytes:
    """Return a message that exceeds a limit, or announces a size that does."""
    what = rng.random()
    body: dict[str, Any]
    if what < 0.7:  # headers that announce up to 4 GiB
        bomb = rng.choice(
            (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff")
        )
        payload = b"\x96\xa3log\xa7garbage\xa7mallory\x01\xcb" + bytes(8) + bomb * rng.randrange(1, 30)
        return payload if rng.random() < 0.5 else frame(payload)
    if what < 0.85:
        body = {"step": 1, "data": {f"{seq % 7}.{key}": 0.5 for key in range(rng.choice((10_001, 12_000)))}}
    elif what < 0.92:
        body = {"step": 1, "data": {"k" * rng.choice((513, 70_000)): 1.0}}
    elif what < 0.98:
        body = {"step": 1, "data": {"text": "x" * (_MIB + rng.choice((-9, 1)))}}
    elif what < 0.99:
        body = {"step": 1, "data": {"blob": {"_type": "image", "data": bytes(rng.randrange(8, 15) * _MIB)}}}
    elif what < 0.995:
        body = {"step": 1, "data": {b"\xfe" * (5 * _MIB): 1.0}}
    else:
        body = {
            "step": 1,
            "data": {"blob": {"_type": "image", "data": bytes(17 * _MIB)}},
        }  # over the limit of a message
    payload = pack(["log", _RUN, _CLIENT, seq, time.time(), body])
    return payload if len(payload) >= 1 << 24 or rng.random() < 0.5 else frame(payload)


def _deep(rng: random.Random, seq: int) -> bytes:
    """Return deeply nested arrays, maps or both."""
    levels = rng.choice((15, 16, 17, 40, 500, 1_000, 10_000, 200_000))
    opening, end = rng.choice(
        ((b"\x91", b"\xc0"), (b"\x81\xa1k", b"\x01"), (b"\x91\x81\xa1k", b"\x01"), (b"\x81", b"\x80"))
    )
    start = pack(["config", _RUN, _CLIENT, seq, time.time(), {}])[:-1]
    payload = start + b"\x81\xa3set\x81\xa1a" + opening * levels + end
    return payload if rng.random() < 0.5 else frame(payload)


def _numbers(rng: random.Random, seq: int) -> bytes:
    """Return a valid record with an invalid number, or a seq that is too low, too high or repeated."""
    values: list[Any] = [
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
    values += [None, "7", math.nan, math.inf, [], {}]
    envelope: list[Any] = ["log", _RUN, _CLIENT, seq, time.time(), {"step": 1, "data": {"loss": 0.5}}]
    what = rng.randrange(6)
    if what < 3:
        envelope[3] = rng.choice(values)
    elif what == 3:
        envelope[4] = rng.choice(values)
    elif what == 4:
        envelope[5] = {"step": rng.choice(values), "data": {"loss": rng.choice(values)}}
    else:
        envelope[rng.randrange(6)] = rng.choice(values)
    payload = pack(envelope)
    return payload if rng.random() < 0.5 else frame(payload)


_SCHEMAS = [
    Schema(1, _RUN, _CLIENT, ("loss",), "d"),
    Schema(2, _RUN, _CLIENT, ("a", "b"), "q?"),
    Schema(2, _RUN, _CLIENT, ("a", "b"), "dd"),  # with the id of another
    Schema(3, _RUN, _CLIENT, ("a", "a"), "dd"),  # with a key twice
    Schema(4, _RUN, "other", ("loss",), "d"),
    Schema(5, "other", _CLIENT, ("loss",), "d"),
    Schema(6, _RUN, _CLIENT, tuple(str(key) for key in range(300)), "d" * 300),
]


def _rows(rng: random.Random, seq: int) -> bytes:
    """Return rows, with their schema before them, or another, or none; some are mutated, with a valid checksum."""
    frames: list[bytes] = []
    schema = rng.choice(_SCHEMAS)
    if rng.random() < 0.7:
        declared = schema if rng.random() < 0.8 else rng.choice(_SCHEMAS)
        number = rng.choice((0, 0, seq, seq + 1))
        frames.append(encode(Record("schema", _RUN, _CLIENT, number, time.time(), declared.body())))
    count = rng.choice((1, 2, _SEQS_PER_MESSAGE, 40))
    first = max(1, seq + _SEQS_PER_MESSAGE - count)
    moment = rng.choice((time.time(), time.time(), math.nan, 1e300))
    for number in range(first, first + count):
        values = [rng.choice((0, 1, 1, 1, 7)) for _ in schema.types]
        frames.append(schema.pack(schema.word, number, moment, number, *values))
    if rng.random() < 0.5:
        place = rng.randrange(len(frames))
        frames[place] = _mutate(rng, frames[place]) or b"\0"
    return b"".join(map(frame, frames))


def _control_mutated(rng: random.Random, seq: int) -> bytes:
    return _mutate(rng, encode(_some(rng, _CONTROL_BODIES, seq)._replace(seq=0)))


def _control_numbers(rng: random.Random, seq: int) -> bytes:
    values: list[Any] = [-1, 0, 2, 2**63, 2**64 - 1, 0.5, True, None, "1", math.nan, [], {}]
    request: list[Any] = ["attach", _RUN, _CLIENT, 0, time.time(), {"protocol": PROTOCOL_VERSION, "resume": "allow"}]
    if rng.random() < 0.5:
        request[rng.randrange(3, 6)] = rng.choice(values)
    else:
        request[5] = {
            "protocol": PROTOCOL_VERSION,
            rng.choice(("protocol", "pid", "place", "again", "resume")): rng.choice(values),
        }
    return pack(request)


_RECORDS: dict[str, Make] = {
    "noise": _noise,
    "mutated": _mutated,
    "huge": _huge,
    "deep": _deep,
    "numbers": _numbers,
    "rows": _rows,
}
_CONTROL: dict[str, Make] = {
    "noise": _noise,
    "mutated": _control_mutated,
    "huge": _huge,
    "deep": _deep,
    "numbers": _control_numbers,
}


# -- sending them -----------------------------------------------------------------------------------------------------


class _Garbage:
    """Sends garbage to a sidecar."""

    def __init__(self, sidecar: LaunchedSidecar, rng: random.Random) -> None:
        self._sidecar = sidecar
        self._rng = rng
        self._started = 0
        self.sent = 0

    def wave(self, each: int) -> None:
        """Send `each` messages of each kind."""
        for make in _RECORDS.values():
            self._to_records(make, each)
        for make in _CONTROL.values():
            self._to_control(make, each)
        self._raw(each // _RAW_PART)

    def _to_records(self, make: Make, each: int) -> None:
        for start in range(0, each, 500):
            self._started += 1
            client = wait_until(self._attach, "the run can be attached to again")
            assert client is not None
            seq = client.attached["last"] + 1
            for _ in range(min(500, each - start)):
                self._push(client._records, make(self._rng, seq))
                self._push(client._records, b"".join(_good(seq + ahead) for ahead in range(_SEQS_PER_MESSAGE)))
                self.sent += 1
                seq += _SEQS_PER_MESSAGE
            client.close()
            self._sidecar.status()

    def _attach(self) -> RawClient | None:
        try:
            return RawClient(self._sidecar, _RUN, _CLIENT, resume="allow", again=True, pid=None)
        except RefusedError as error:
            if error.code == "closing":  # the garbage contained a valid "detach"
                return None
            raise

    def _to_control(self, make: Make, each: int) -> None:
        with channels.dealer() as control:
            control.connect(self._sidecar.connection.control)
            for _ in range(each):
                self._push(control, make(self._rng, 1))
                self.sent += 1
                while control.receive() is not None:
                    continue
        self._sidecar.status()

    def _push(self, channel: Channel, message: bytes) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not channel.send(message):
            assert time.monotonic() < deadline and self._sidecar.alive(), (
                f"the sidecar accepts no messages: {self._sidecar.log_text()[-2000:]}"
            )
            time.sleep(0.0005)

    def _raw(self, each: int) -> None:
        """Connect to each Unix socket of the sidecar, and send bytes that are not valid ZeroMQ."""
        directory = Path(self._sidecar.connection.control.removeprefix("ipc://")).parent
        for path in sorted(directory.iterdir()):
            for _ in range(each):
                with socket.socket(socket.AF_UNIX) as raw:
                    try:
                        raw.connect(str(path))
                    except (ConnectionRefusedError, FileNotFoundError):
                        break  # a result socket whose client has detached
                    data = self._rng.choice((b"", _GREETING, _GREETING[:11]))
                    data += self._rng.choice((b"", b"\x04\x19\x05READY" + self._rng.randbytes(19)))
                    data += self._rng.choice((b"", b"\x02" + struct.pack(">Q", 2**62), self._rng.randbytes(200)))
                    try:
                        raw.sendall(data)
                    except OSError:
                        pass  # the sidecar closed the connection
                self.sent += 1


def _peak(pid: int) -> int:
    """Return the peak memory of a process so far, in bytes."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(status["VmHWM"].split()[0]) * 1024


def run(directory: Path, seed: int) -> Figures:
    """Send waves of the same size, while a trainer logs to its own run in the same sidecar."""
    rng = random.Random(seed)
    root = directory / "root"
    sidecar = LaunchedSidecar(root)
    try:
        garbage = _Garbage(sidecar, rng)
        with Trainer(root, "steady", "good", rate=1000, env={"TRACKER_SIDECAR": str(sidecar.file)}) as trainer:
            trainer.wait_for_calls(100)
            each = EACH if seed else FEW
            peaks: list[int] = []
            for _ in range(_WAVES):
                garbage.wave(each // _WAVES)
                peaks.append(_peak(sidecar.process.pid))
            status = sidecar.status()
            assert sidecar.alive() and status["pid"] == sidecar.process.pid, "the sidecar has died"
            trainer.tally.command = 1
            trainer.wait()
            result = read_back(root, "good", [trainer.tally])
            worst, p99 = trainer.tally.worst(), trainer.tally.p99()
            assert result.run.state == "finished" and not trainer.tally.raised(), f"the other run is {result.run.state}"
    finally:
        sidecar.close()
    assert sidecar.process.returncode == 0, sidecar.log_text()[-2000:]
    problems = verify(root / RUNS_NAME / _RUN).problems
    assert not problems, f"verify of the run that the garbage was sent to: {problems}"
    megabytes = " ".join(f"{peak / _MIB:.0f}" for peak in peaks)
    peak = f"peak memory of the sidecar after each wave: {megabytes} MiB"
    assert peaks[-1] < PEAK_BYTES, peak
    refused = sum(status["refused"].values())
    note = f"{garbage.sent:,} messages, {refused:,} records refused; {peak}"
    return Figures(result.calls, result.read, result.lost, result.duplicated, worst, p99, note)


SCENARIO = Scenario(
    10,
    "garbage at every socket: noise, mutated, huge and deeply nested records, invalid numbers and rows",
    run,
    rounds_in_ci=1,
    requirement="the sidecar survives, its memory is bounded, the run of another client is unharmed",
)
