"""PROTOCOL.md describes the code: kinds, keys, limits and codes agree, and the hex dumps decode."""

from __future__ import annotations

import ast
import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sidecar
from sidecar.log.reader import LogReader
from sidecar.log.reader import header as log_header
from sidecar.pipeline.handler import Handler
from sidecar.pipeline.held_run import Session
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.messages import Event
from sidecar.pipeline.sessions import STALE_SECONDS, Sessions
from sidecar.pipeline.writer import ACK_SECONDS, Writer
from sidecar.projections.run_state import RunState, WriterState
from sidecar.protocol import PROTOCOL_VERSION, limits
from sidecar.protocol.channels import IPC_PATH_BYTES
from sidecar.protocol.codec import decode_envelope, decode_frames, encode
from sidecar.protocol.connection import FILE_KEYS, parse_connection
from sidecar.protocol.frames import frame, scan
from sidecar.protocol.records import KINDS, Kind, Record
from sidecar.protocol.rows import Schema
from sidecar.protocol.segments import header as segment_header
from sidecar.server.control import read_request
from sidecar.server.status import Status
from sidecar.sinks.senders import SinkSenders
from tests.unit.pipeline.stages import Stages

_PACKAGE = Path(sidecar.__file__).parent
_TEXT = (_PACKAGE / "PROTOCOL.md").read_text()
_WAYS = {
    "Records: numbered, kept in the log": "record",
    "Requests: number 0, not kept": "request",
    "Results: from the sidecar to one client, number 0, bare": "result",
    "On the control socket": "control",
}
_TYPES = {type(None): "nil"}


def section(heading: str) -> str:
    """Return the text below a heading, up to the next heading of its level or above."""
    level = heading.index(" ")
    start = _TEXT.index(f"\n{heading}\n") + len(heading) + 2
    end = re.search(rf"^#{{1,{level}}} ", without_blocks(_TEXT[start:]), re.MULTILINE)
    return _TEXT[start : start + end.start()] if end else _TEXT[start:]


def without_blocks(text: str) -> str:
    """Return `text` with the characters of code blocks replaced by spaces."""
    return re.sub(r"^```.*?^```$", lambda found: " " * len(found[0]), text, flags=re.MULTILINE | re.DOTALL)


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of the first table in `text`, without its header."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def names(text: str) -> list[str]:
    """Return the names in backticks in the first column of the first table in `text`."""
    return [name for row in table_rows(text) for name in re.findall(r"`([^`]+)`", row[0])]


class TestKinds:
    def documented(self) -> dict[str, tuple[str, str]]:
        """Return kind -> (way, text below its heading)."""
        kinds = {}
        for heading, way in _WAYS.items():
            text = section(f"### {heading}")
            for name in re.findall(r"^#### `(\w+)`$", text, re.MULTILINE):
                kinds[name] = (way, section(f"#### `{name}`"))
        return kinds

    def test_exactly_the_kinds_of_the_table_are_documented(self) -> None:
        assert {name: way for name, (way, _) in self.documented().items()} == {k: v.way for k, v in KINDS.items()}

    @pytest.mark.parametrize("name", KINDS)
    def test_meaning_and_keys_of_a_kind_are_those_of_the_table(self, name: str) -> None:
        kind: Kind = KINDS[name]
        text = self.documented()[name][1]
        assert text.strip().splitlines()[0] == kind.meaning[0].upper() + kind.meaning[1:] + "."
        if not kind.fields:
            assert "\n| `" not in text.split("status` is answered")[0]
            return
        expected = [
            [
                f"`{key}`",
                " or ".join(_TYPES.get(type_, type_.__name__) for type_ in field.types),
                "yes" if field.required else "no",
                field.meaning,
            ]
            for key, field in kind.fields.items()
        ]
        assert [[*row[:3], row[4]] for row in table_rows(text)] == expected


class TestCodes:
    def raised(self, error: str) -> set[str]:
        """Return the codes with which the sidecar's sources raise an error of this class."""
        codes = set()
        for path in _PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == error:
                    code = node.args[0]
                    if ast.unparse(code) == "body['code']":  # an error that was received
                        continue
                    assert isinstance(code, ast.Constant), f"{path}:{node.lineno}: the code must be a literal"
                    codes.add(str(code.value))
        return codes

    def answered(self) -> set[str]:
        """Return the codes in bodies, ``{"code": "…"}``, or in ``_refuse(request, "…", …)``."""
        codes = set()
        for path in _PACKAGE.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Dict):
                    for key, value in zip(node.keys, node.values, strict=True):
                        if isinstance(key, ast.Constant) and key.value == "code" and isinstance(value, ast.Constant):
                            codes.add(str(value.value))
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._refuse" and len(node.args) == 3:
                    codes.add(str(ast.literal_eval(node.args[1])))
        return codes

    def test_problems(self) -> None:
        text = section("## Table of errors")
        assert sorted(names(text)) == sorted(self.raised("RecordError"))

    def test_refusals(self) -> None:
        text = section("### Refusals")
        assert sorted(names(text)) == sorted(self.raised("RefusedError") | self.answered())


class TestLimits:
    def test_every_limit_is_documented_with_its_value(self) -> None:
        constants = {name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int)}
        rows = table_rows(section("## Limits"))
        assert {row[0].strip("`"): int(row[1].replace(",", "")) for row in rows} == constants

    def test_names_and_reserved_keys(self) -> None:
        assert f"`{limits._NAME.pattern}`" in section("## Attaching")
        listed = re.search(r"Three keys are reserved: (.*?)\.\n", _TEXT, re.DOTALL)
        assert listed is not None
        assert set(re.findall(r"`(\w+)`", listed[1])) == limits.RESERVED_KEYS

    def test_figures_in_the_text(self) -> None:
        assert f"has at most {IPC_PATH_BYTES} bytes" in _TEXT
        assert f"about {ACK_SECONDS * 1000:.0f} ms\n  after the write" in _TEXT
        assert f"sends nothing for {STALE_SECONDS:.0f} seconds is considered gone" in _TEXT
        assert f"protocol, version {PROTOCOL_VERSION}\n" in _TEXT


class TestOtherTables:
    def test_the_connection_file(self) -> None:
        assert sorted(names(section("## Finding a sidecar"))) == sorted(FILE_KEYS.values())
        block = re.search(r"^```json connection\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
        assert block is not None
        found = json.loads(block[1])
        assert list(found) == [FILE_KEYS[field] for field in parse_connection(found, "PROTOCOL.md")._fields]

    def test_the_answer_to_status(self, tmp_path: Path) -> None:
        stages = Stages(tmp_path)
        status = Status(tmp_path, stages.intake, stages.sessions, stages.writer, stages.sender, SinkSenders())
        of_the_asking = ["may_write"]  # which the control socket adds
        assert names(section("#### `stop`")) == [*status.body("", {}, encrypted=False), *of_the_asking]

    def test_the_state_of_a_run(self) -> None:
        text = section("## Requests and answers")
        state = text[text.index("`state` is a map") :]
        assert sorted(names(state)) == sorted(RunState().to_map())
        writers = state[state.index("Each of `writers` has") :]
        assert set(re.findall(r"`(\w+)`", writers.split("\n\n")[0])) == {*WriterState().to_map(), "losses", "writers"}


class TestHardValues:
    VALUES: tuple[tuple[Any, ...], ...] = (
        (float("nan"),),
        (float("inf"), float("-inf")),
        (1.0,),
        (-1,),
        (256,),
        (-(2**63), 2**64 - 1),
        (None, False, True),
        ("ö", ""),
        (b"\x00\xff",),
        ({}, []),
    )

    def test_their_bytes_are_what_the_codec_writes(self) -> None:
        text = section("## A record")
        rows = table_rows(text[text.index("Values that are easy to get wrong") :])
        for row, values in zip(rows, self.VALUES, strict=True):
            documented = [bytes.fromhex(dump) for dump in re.findall(r"`([^`]+)`", row[1])]
            empty = encode(Record("config", "", "", 0, 0.0, {"": None}))[: -len(b"\xc0")]
            assert [empty + dump for dump in documented] == [
                encode(Record("config", "", "", 0, 0.0, {"": value})) for value in values
            ], row[0]


class Dump(NamedTuple):
    """Records of the walk, as documented."""

    records: list[Record]
    data: bytes
    form: str


def dumps() -> dict[str, Dump]:
    """Return the records of the walk by name, with their bytes if the document shows them."""
    found = {}
    for name, text in re.findall(r"^```json (\w+)\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL):
        if name == "connection":
            continue
        records = [Record(*json.loads(line)) for line in text.splitlines()]
        block = re.search(rf"^```hex {name} (framed|bare|row)\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
        found[name] = Dump(records, bytes.fromhex(block[2]), block[1]) if block else Dump(records, b"", "")
    return found


_DUMPS = dumps()


class TestDumps:
    def test_every_dump_has_its_text(self) -> None:
        assert set(re.findall(r"^```hex (\w+) (?:framed|bare|row)$", _TEXT, re.MULTILINE)) == {
            name for name, dump in _DUMPS.items() if dump.data
        }

    @pytest.mark.parametrize("name", [name for name, dump in _DUMPS.items() if dump.data])
    def test_it_decodes_to_the_text_and_back(self, name: str) -> None:
        records, data, form = _DUMPS[name]
        if form == "row":
            schema = Schema.of(_DUMPS["schema"].records[0])
            items, ends = decode_frames(data, schemas={schema.word: schema})
            assert ends == [len(data)] and repr(items[0]) == repr(records[0]), "1, 1.0 and True differ"
            _, _, _, seq, time, body = records[0]
            assert frame(schema.pack(schema.word, seq, time, body["step"], *body["data"].values())) == data
        elif form == "framed":
            frames = list(scan(data))
            assert frames[-1].end == len(data)
            payloads = [part.payload for part in frames if part.payload is not None]
            assert len(payloads) == len(frames)
            assert [decode_envelope(payload) for payload in payloads] == records
            assert b"".join(frame(encode(record)) for record in records) == data
        else:
            assert [decode_envelope(data)] == records
            assert encode(records[0]) == data

    def test_the_headers_of_the_files(self) -> None:
        blocks = dict(re.findall(r"^```hex (log|segment 1)\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL))
        assert bytes.fromhex(blocks["log"]) == log_header()
        assert bytes.fromhex(blocks["segment 1"]) == segment_header(1)


class TestWalk:
    """The documented walk through a run, performed by the real Handler and Writer, stepped by hand."""

    def test_the_sidecar_answers_as_documented(self, tmp_path: Path) -> None:
        results: list[Record] = []
        attaches: list[dict[str, Any]] = []
        events: list[Event] = []

        def post(client: str, result: Record) -> None:
            assert client == result.client
            results.append(result)

        writer = Writer(lambda item: None, post)
        intake = Intake(writer.process, post)
        sessions = Sessions(tmp_path, "holder.json", writer.process, intake, events.append)
        handler = Handler(sessions, intake, writer.process)

        def attached(session: Session, answer: dict[str, Any]) -> None:
            attaches.append(
                {"last": session.ledger.durable, "state": answer.get("state", {}), "resumed": session.resumed}
            )

        moments = itertools.count(time.monotonic(), 1.0)

        def send(name: str) -> list[Record]:
            """Send the documented bytes, let a second pass, and return the results."""
            handler.process(_DUMPS[name].data)
            writer.idle(next(moments))
            received = [known(result) for result in results]
            results.clear()
            return received

        def shown(*names: str) -> list[Record]:
            return [known(record) for name in names for record in _DUMPS[name].records]

        def known(record: Record) -> Record:
            return record._replace(time=0.0)  # the times differ

        def attach(name: str, answer: str) -> None:
            sessions.attach(read_request(_DUMPS[name].data), attached)
            documented = _DUMPS[answer].records[0].body
            assert set(documented) <= set(KINDS["attached"].fields)
            assert attaches.pop() == {key: documented[key] for key in ("last", "state", "resumed")}

        attach("attach", "attached")
        assert send("first") == shown("ack3")
        assert [record.body for record in send("bare")] == [{"seq": 4}]
        problem, ack = send("bad")
        assert [problem] == shown("problem")
        assert ack.body == {"seq": 5}
        assert send("gap") == shown("reattach")
        attach("again", "attached_again")
        handler.process(_DUMPS["exit"].data)
        assert send("request") == shown("ack6", "answer")
        handler.process(_DUMPS["detach"].data)
        assert sessions.by_client == {}

        run = sessions.runs["r1"]
        written = [*_DUMPS["first"].records, *_DUMPS["bare"].records, *_DUMPS["rejected"].records]
        with LogReader(run.log.path) as reader:
            logged = [record for batch in reader.batches() for record in batch.records]
        assert logged == [*written, *_DUMPS["exit"].records]
        state = RunState()
        for record in logged:
            state.apply(record)
        assert state.state == "finished"
        run.release(clean=True)


class TestRows:
    """What section "Rows" says, done by the real stages."""

    @pytest.fixture
    def stages(self, tmp_path: Path) -> Iterator[Stages]:
        stages = Stages(tmp_path)
        stages.attach("r1", "q4k9")
        yield stages
        stages.close()

    def refused(self, stages: Stages, record: Record) -> tuple[str, int] | None:
        """Send a record; return code and number of the ``problem`` that it brings."""
        before = len(stages.told("problem"))
        stages.handler.process(frame(encode(record)))
        problems = stages.told("problem")[before:]
        return (problems[0]["code"], problems[0]["seq"]) if problems else None

    @pytest.mark.parametrize("seq", [0, 1])
    def test_the_codes_of_refused_schemas(self, stages: Stages, seq: int) -> None:
        documented = {row[1].strip("`") for row in table_rows(section("### If a schema is refused"))}
        next_seq = itertools.count(seq)
        good = {"id": 1, "keys": ["a"], "types": "d"}
        assert self.refused(stages, Record("schema", "r1", "q4k9", seq and next(next_seq), 1.0, good)) is None
        many = [str(number) for number in range(limits.MAX_KEYS + 1)]
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("value", {"id": 2**56}),
            ("value", {"id": -1}),
            ("value", {"id": 2, "types": "dd"}),
            ("value", {"id": 2, "types": "f"}),
            ("value", {"keys": ["b"]}),
            ("value", {"types": "q"}),
            ("value", {"id": 2, "client": "another"}),
            ("size", {"id": 2, "keys": [], "types": ""}),
            ("size", {"id": 2, "keys": many, "types": "d" * len(many)}),
            ("key", {"id": 2, "keys": [""]}),
            ("key", {"id": 2, "keys": ["_step"]}),
            ("key", {"id": 2, "keys": ["a", "a"], "types": "dd"}),
        ]
        for code, body in wrong:
            number = seq and next(next_seq)
            assert self.refused(stages, Record("schema", "r1", "q4k9", number, 1.0, good | body)) == (code, number)
        assert {code for code, _ in wrong} | {"kind"} == documented, "'kind' comes from older sidecars"
        for id in range(2, limits.MAX_SCHEMAS + 1):
            declared = Record("schema", "r1", "q4k9", seq and next(next_seq), 1.0, good | {"id": id})
            assert self.refused(stages, declared) is None
        number = seq and next(next_seq)
        assert self.refused(stages, Record("schema", "r1", "q4k9", number, 1.0, good | {"id": 999})) == ("size", number)

    def test_rows_of_an_unknown_schema_are_counted_and_what_follows_brings_reattach(self, stages: Stages) -> None:
        one = Schema(5, "r1", "q4k9", ("_step",), "d")
        assert self.refused(stages, Record("schema", "r1", "q4k9", 0, 1.0, one.body())) == ("key", 0)
        stages.handler.process(frame(one.pack(one.word, 1, 1.0, 0, 0.5)))
        assert stages.intake.losses["refused: schema"] == 1
        assert stages.told("reattach") == []
        stages.handler.process(frame(encode(Record("log", "r1", "q4k9", 2, 1.0, {"step": 1, "data": {"a": 0.5}}))))
        assert stages.told("reattach") == [{"expected": 1}]

    def test_rows_of_one_schema_too_many_are_rejected(self, stages: Stages) -> None:
        made = [Schema(id, "r1", "q4k9", ("a",), "d") for id in range(limits.MAX_SCHEMAS + 1)]
        for one in made:
            stages.handler.process(frame(encode(Record("schema", "r1", "q4k9", 0, 1.0, one.body()))))
        stages.handler.process(frame(made[-1].pack(made[-1].word, 1, 1.0, 0, 0.5)))
        stages.handler.process(frame(made[0].pack(made[0].word, 2, 1.0, 0, 0.5)))
        assert [(body["code"], body["seq"]) for body in stages.told("problem")] == [("size", 0), ("size", 1)]
        stages.step()
        assert stages.told("ack")[-1] == {"seq": 2}

    def test_a_wrong_row_is_rejected_under_its_number(self, stages: Stages) -> None:
        one = Schema(5, "r1", "q4k9", ("a",), "?")
        stages.handler.process(frame(encode(Record("schema", "r1", "q4k9", 0, 1.0, one.body()))))
        stages.handler.process(frame(one.pack(one.word, 1, 1.0, 0, 2)))
        assert [(body["code"], body["seq"]) for body in stages.told("problem")] == [("form", 1)]
        stages.handler.process(frame(one.pack(one.word, 2, 1.0, 1, 1)))
        stages.step()
        with LogReader(stages.sessions.runs["r1"].log.path) as reader:
            kept = [record for batch in reader.batches() for record in batch.records if record.client]
        assert [(record.kind, record.seq) for record in kept] == [("rejected", 1), ("log", 2)]
        assert kept[0].body["kind"] == "log"
