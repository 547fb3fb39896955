"""tracker export: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.commands import Captured, fails
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main
from tracker.reading.api import Api


def test_export_csv(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "first001"]) == 0
    text = capsysbinary.readouterr().out.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == ["_step", "_timestamp", "loss", "note", "ok", "hist"]
    assert [float(row["loss"]) for row in rows if row["loss"] != "nan"] == [0.5, math.inf, 0.1 + 0.2]
    assert rows[0]["note"] == 'a "quoted", text'
    assert rows[1]["note"] == ""
    assert rows[2]["ok"] == "true"
    assert json.loads(rows[3]["hist"]) == {"_type": "histogram", "bins": [1, 2]}


def test_export_jsonl_is_json_that_every_program_reads(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "first001", "--format", "jsonl"]) == 0
    rows = [json.loads(line, parse_constant=pytest.fail) for line in capsysbinary.readouterr().out.splitlines()]
    assert [row["loss"] for row in rows] == [0.5, "NaN", "Infinity", 0.1 + 0.2]
    assert "note" not in rows[1]


def test_export_of_some_keys_and_steps(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", "first001", "--keys", "ok,loss", "--min-step", "2", "--max-step", "2"]) == 0
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert lines[0] == "_step,_timestamp,ok,loss"
    assert len(lines) == 2
    assert lines[1].endswith(",true,inf")


def test_export_of_a_key_that_was_never_logged(root: Path, capsys: Captured) -> None:
    assert "never logged los; it logged loss, note, ok, hist" in fails(capsys, 1, "export", "first001", "--keys", "los")


def test_export_to_a_file(root: Path, capsys: Captured) -> None:
    out = root / "out" / "run.jsonl"
    assert "No such file" in fails(capsys, 1, "export", "first001", "-o", str(out))
    out.parent.mkdir()
    assert main(["export", "first001", "-o", str(out)]) == 0
    assert "4 rows in" in capsys.readouterr().err
    assert len(out.read_text().splitlines()) == 4
    assert [path.name for path in out.parent.iterdir()] == ["run.jsonl"]


def test_export_into_what_is_no_regular_file(root: Path) -> None:
    regular, link, fifo = root / "regular.csv", root / "link.csv", root / "fifo"
    regular.touch(mode=0o600)
    link.symlink_to(regular)
    assert main(["export", "first001", "-o", str(link)]) == 0
    assert link.is_symlink() and regular.stat().st_mode & 0o777 == 0o600 and regular.read_text().count("\n") == 5
    os.mkfifo(fifo)
    reading = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE)
    assert main(["export", "first001", "-o", str(fifo)]) == 0
    assert reading.communicate(timeout=10.0)[0] == regular.read_bytes()
    assert fifo.is_fifo()


def test_export_csv_of_texts_with_line_ends(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    texts = ["a\rb", "a\nb", "a\r\nb", "plain"]
    run = RunBuilder(root, "texts001")
    for step, text in enumerate(texts):
        run.row(step, None, text=text)
    run.finish()
    assert main(["export", "texts001"]) == 0
    out = capsysbinary.readouterr().out.decode()
    assert [row["text"] for row in csv.DictReader(io.StringIO(out, newline=""))] == texts
    assert out.endswith("plain\n")


def test_export_of_a_run_that_logged_nothing(root: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    RunBuilder(root, "empty001").finish()
    assert main(["export", "empty001"]) == 0
    assert capsysbinary.readouterr().out == b"_step,_timestamp\n"


def test_export_parquet(root: Path, capsys: Captured) -> None:
    from pyarrow import parquet

    run = RunBuilder(root, "types001")
    for step in range(40_000):
        run.row(step, None, f=step / 2, i=step, b=step % 2 == 0, s=str(step), mix=step if step % 2 else 0.5)
    run.row(40_000, None, any="text")
    run.row(40_001, None, any=1)
    run.finish()
    out = root / "run.parquet"
    assert main(["export", "types001", "-o", str(out)]) == 0
    read = parquet.read_table(out)
    types = {field.name: str(field.type) for field in read.schema}
    assert types == {
        "_step": "int64",
        "_timestamp": "double",
        "f": "double",
        "i": "int64",
        "b": "bool",
        "s": "string",
        "mix": "double",
        "any": "string",
    }
    assert read.num_rows == 40_002
    history = Api(root).run("types001").history()
    for key in ("_step", "_timestamp", "f", "i", "b", "s", "mix"):
        assert read[key].to_pylist() == history[key]
    assert read["any"].to_pylist()[-2:] == ['"text"', "1"]
    piped = subprocess.run(
        [sys.executable, "-m", "tracker.cli.main", "export", "types001", "--format", "parquet"],
        capture_output=True,
        check=True,
        env={**os.environ, "TRACKER_DIR": str(root)},
    )
    assert parquet.read_table(io.BytesIO(piped.stdout)).equals(read)


def test_export_parquet_without_pyarrow(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    out = root / "run.parquet"
    assert "pip install pyarrow" in fails(capsys, 1, "export", "first001", "-o", str(out))
    assert not out.exists()


def test_export_parquet_of_unsigned_integers(root: Path, capsys: Captured) -> None:
    from pyarrow import parquet

    run = RunBuilder(root, "unsigned1")
    run.row(0, None, seed=2**63 + 5, both=2**64 - 1, small=-1, mixed=2**63)
    run.row(1, None, seed=1, both=-1, small=2**63 - 1, mixed=0.5)
    run.finish()
    out = root / "run.parquet"
    assert main(["export", "unsigned1", "-o", str(out)]) == 0
    read = parquet.read_table(out)
    types = {name: str(read.schema.field(name).type) for name in ("seed", "both", "small", "mixed")}
    assert types == {"seed": "uint64", "both": "string", "small": "int64", "mixed": "double"}
    assert read["seed"].to_pylist() == [2**63 + 5, 1]
    assert read["both"].to_pylist() == [str(2**64 - 1), "-1"]
    assert read["small"].to_pylist() == [-1, 2**63 - 1]
