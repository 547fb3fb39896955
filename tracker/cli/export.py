"""``tracker export``: the history of a run as CSV, JSON lines or Parquet, streamed to a file or a pipe."""

from __future__ import annotations

import argparse
import io
import os
import stat
import sys
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from sidecar.protocol.atomic import replace
from sidecar.protocol.limits import MIN_STEP
from tracker.cli.common import (
    RUN_HELP,
    CommandError,
    Commands,
    UsageError,
    api_of,
    json_line,
    say,
    shows_unicode,
    whole_number,
)
from tracker.cli.select import add_keys, never_logged, read_keys
from tracker.reading.exporting import HistoryRows, Negative, Unsigned, csv_parts, json_parts
from tracker.terminal.progress import Progress
from tracker.terminal.text import counted

if TYPE_CHECKING:
    from tracker.reading.api import StoredRun

_ABOUT = """\
A row has _step, _timestamp (Unix seconds), _label (the writer, if the run has several) and the metrics logged at that
step; in CSV and Parquet a metric that was not logged there is empty. In JSON, NaN and infinities are the strings "NaN",
"Infinity" and "-Infinity", since JSON has no numbers for them. Parquet needs: pip install pyarrow"""

_EXAMPLES = """\
  tracker export last > run.csv
  tracker export 7f3k2m9q -o run.parquet
  tracker export lr=0.1 --format jsonl --keys loss,val.acc | jq .loss
  tracker export 7f3k --min-step 1000 --max-step 2000 | head"""

_BATCH_ROWS = 16_384
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("export", run, about=_ABOUT, examples=_EXAMPLES)
    parser.add_argument("run_ref", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--format", choices=sorted(_WRITERS), help="format (default: by the suffix of FILE, else csv)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="output file (default: standard output)")
    add_keys(parser)
    parser.add_argument("--min-step", metavar="N", type=whole_number(MIN_STEP), help="first step")
    parser.add_argument("--max-step", metavar="N", type=whole_number(MIN_STEP), help="last step")


def _rows(run: StoredRun, args: argparse.Namespace, progress: Progress) -> HistoryRows:
    keys = None
    if args.keys is not None:
        logged = run.keys()
        keys, unknown = read_keys(args.keys, logged)
        if unknown:
            raise never_logged(run, unknown, logged)
    return HistoryRows(run, keys, args.min_step, args.max_step, progress)


def run(args: argparse.Namespace) -> int:
    """Export a run."""
    form = args.format or _form_of(args.output)
    run = api_of(args).run(args.run_ref)
    write = _WRITERS[form]
    with Progress(f"export {run.id}") as progress:
        if args.output is None:
            if form == "parquet" and sys.stdout.isatty():
                raise UsageError("Parquet cannot be printed on a terminal; name a file with -o, or use a pipe")
            write(_rows(run, args, progress), sys.stdout.buffer)
            sys.stdout.buffer.flush()
        else:
            rows = _rows(run, args, progress)
            _to_file(write, rows, args.output)
            progress.close()
            say(f"{counted(rows.count, 'row')} in {args.output}")
    return 0


def _form_of(path: Path | None) -> str:
    if path is None or not path.suffix:
        return "csv"
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path.name!r} does not end in .csv, .jsonl or .parquet; name the format with --format")
    return form


def _to_file(write: Write, rows: HistoryRows, path: Path) -> None:
    """Write to a file, which appears when it is complete; to a device or a pipe directly."""
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            write(rows, file)
        return
    path = path.resolve()  # a symbolic link is kept

    def whole(file: IO[bytes]) -> None:
        write(rows, file)
        if path.exists():
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))

    replace(path, whole)


def write_csv(rows: HistoryRows, out: IO[bytes]) -> None:
    """Write CSV; see `csv_parts`."""
    out.writelines(csv_parts(rows))


def write_jsonl(rows: HistoryRows, out: IO[bytes]) -> None:
    """Write one JSON object per line."""
    out.writelines(json_parts(rows, ascii_only=not shows_unicode(sys.stdout)))


def write_parquet(source: HistoryRows, out: IO[bytes]) -> None:
    """Write Parquet, in groups of rows.

    A metric of floats, or of integers and floats, becomes float64; of integers int64, or uint64 if one needs it and
    none is negative; of booleans bool; of strings string; of anything else JSON in a string.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CommandError("Parquet needs pyarrow, which is not installed: pip install pyarrow") from error
    types = source.types()
    convert = {key: _conversion(types[key]) for key in source.keys}
    fields = {name: {"_step": "int64", "_timestamp": "float64", "_label": "string"}[name] for name in source.own}
    fields |= {key: name for key, (name, _) in convert.items()}
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in fields.items()])
    rows = iter(source)
    with pyarrow.parquet.ParquetWriter(_Counted(out), schema) as writer:
        while batch := list(islice(rows, _BATCH_ROWS)):
            columns = {name: [row.get(name) for row in batch] for name in source.own}
            for key, (_, change) in convert.items():
                columns[key] = [None if (value := row.get(key)) is None else change(value) for row in batch]
            try:
                writer.write_table(pyarrow.table(columns, schema=schema))
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, OverflowError) as error:
                raise CommandError(f"a metric changed its type during the export; try again ({error})") from error


def _same(value: Any) -> Any:
    return value


def _conversion(types: set[type]) -> tuple[str, Callable[[Any], Any]]:
    """Return the Parquet type for values of these types, and the function that converts one."""
    if types <= {float}:
        return "float64", float
    if types <= {int, Negative}:
        return "int64", _same
    if types == {int, Unsigned}:
        return "uint64", _same
    if types <= {int, float, Negative, Unsigned} and float in types:
        return "float64", float
    if types == {bool}:
        return "bool", _same
    if types == {str}:
        return "string", _same
    return "string", lambda value: json_line(value)


class _Counted(io.RawIOBase):
    """A stream that counts the bytes written, which a pipe does not, and stays open when its user closes it."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._out.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written


Write: TypeAlias = Callable[[HistoryRows, IO[bytes]], None]
_WRITERS: Mapping[str, Write] = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
