"""``tracker export``: the history of a run as CSV, JSON lines or Parquet, streamed to a file or a pipe."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import stat
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from sidecar.protocol.atomic import replace
from sidecar.protocol.limits import MIN_STEP
from sidecar.protocol.plain import json_value
from tracker.cli.common import RUN_HELP, CommandError, Commands, UsageError, api_of, json_line, say, whole_number
from tracker.cli.select import add_keys, never_logged, read_keys
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
_OWN = ("_step", "_timestamp", "_label")
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}

Row = dict[str, Any]


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add("export", run, about=_ABOUT, examples=_EXAMPLES)
    parser.add_argument("run_ref", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--format", choices=sorted(_WRITERS), help="format (default: by the suffix of FILE, else csv)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="output file (default: standard output)")
    add_keys(parser)
    parser.add_argument("--min-step", metavar="N", type=whole_number(MIN_STEP), help="first step")
    parser.add_argument("--max-step", metavar="N", type=whole_number(MIN_STEP), help="last step")


class Source:
    """The rows to export.

    Attributes:
        keys: the metrics, in the order of the columns.
        own: what every row has besides; ``_label`` only where there are several writers.
    """

    def __init__(self, run: StoredRun, args: argparse.Namespace) -> None:
        self._run = run
        self._bounds = {"min_step": args.min_step, "max_step": args.max_step}
        logged = run.keys()
        self.own = _OWN if len(run.writers) > 1 else _OWN[:2]
        self.keys, unknown = (logged, []) if args.keys is None else read_keys(args.keys, logged)
        if unknown:
            raise never_logged(run, unknown, logged)

    def rows(self, progress: Progress) -> Iterator[Row]:
        """Yield the rows."""
        total = self._run.records
        scan: Iterable[Row] = self._run.scan_history(self.keys, **self._bounds)
        for done, row in enumerate(scan):
            if not done & 1023:
                progress(done, total)
            yield row

    def types(self) -> dict[str, set[type]]:
        """Return the types of each metric's values."""
        types: dict[str, set[type]] = {key: set() for key in self.keys}
        for block in self._run.store().columns(self.keys, **self._bounds):
            for key, (_, values) in block.columns.items():
                if isinstance(values, array):
                    types[key].add(float if values.typecode == "d" else int)
                else:
                    types[key].update(map(type, values))
        return types


def run(args: argparse.Namespace) -> int:
    """Export a run."""
    form = args.format or _form_of(args.output)
    run = api_of(args).run(args.run_ref)
    write = _WRITERS[form]
    with Progress(f"export {run.id}") as progress:
        if args.output is None:
            if form == "parquet" and sys.stdout.isatty():
                raise UsageError("Parquet cannot be printed on a terminal; name a file with -o, or use a pipe")
            write(Source(run, args), sys.stdout.buffer, progress)
            sys.stdout.buffer.flush()
        else:
            rows = _to_file(write, Source(run, args), args.output, progress)
            progress.close()
            say(f"{counted(rows, 'row')} in {args.output}")
    return 0


def _form_of(path: Path | None) -> str:
    if path is None or not path.suffix:
        return "csv"
    form = _SUFFIXES.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{path.name!r} does not end in .csv, .jsonl or .parquet; name the format with --format")
    return form


def _to_file(write: Write, source: Source, path: Path, progress: Progress) -> int:
    """Write to a file, which appears when it is complete; to a device or a pipe directly."""
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            return write(source, file, progress)
    path = path.resolve()  # a symbolic link is kept

    def whole(file: IO[bytes]) -> int:
        rows = write(source, file, progress)
        if path.exists():
            os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
        return rows

    return replace(path, whole)


class _LineFeeds(io.StringIO):
    """Text buffer that replaces the CR LF at the end of each row by LF.

    The `csv` module of Python 3.11 quotes a carriage return only if it is part of the line terminator.
    """

    def write(self, row: str) -> int:
        return super().write(row[:-2] + "\n")


def write_csv(source: Source, out: IO[bytes], progress: Progress) -> int:
    """Write CSV (RFC 4180, but lines end with LF); return the number of rows, without the heading."""
    keys = source.keys
    text = _LineFeeds(newline="")
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow([*source.own, *keys])
    count = 0
    rows = source.rows(progress)
    while batch := list(islice(rows, 256)):
        for row in batch:
            cells = map(row.get, keys)
            lines.writerow([*map(row.get, source.own), *map(_cell, cells)])
        count += len(batch)
        _drain(text, out)
    _drain(text, out)
    return count


def _drain(text: io.StringIO, out: IO[bytes]) -> None:
    out.write(text.getvalue().encode())
    text.seek(0)
    text.truncate()


def _cell(value: Any) -> Any:
    if value is None or type(value) in (float, int, str):
        return value  # csv writes a float's repr, which reads back as the same float
    return json.dumps(json_value(value), ensure_ascii=False, default=str)


def write_jsonl(source: Source, out: IO[bytes], progress: Progress) -> int:
    """Write one JSON object per line; return the number of rows."""
    count = 0
    rows = source.rows(progress)
    while batch := list(islice(rows, 256)):
        out.write("".join([json_line(row) + "\n" for row in batch]).encode())
        count += len(batch)
    return count


def write_parquet(source: Source, out: IO[bytes], progress: Progress) -> int:
    """Write Parquet, in groups of rows; return the number of rows.

    A metric of floats, or of integers and floats, becomes float64; of integers int64; of booleans bool; of strings
    string; of anything else JSON in a string.
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
    count = 0
    rows = source.rows(progress)
    with pyarrow.parquet.ParquetWriter(_Counted(out), schema) as writer:
        while batch := list(islice(rows, _BATCH_ROWS)):
            columns = {name: [row.get(name) for row in batch] for name in source.own}
            for key, (_, change) in convert.items():
                columns[key] = [None if (value := row.get(key)) is None else change(value) for row in batch]
            try:
                writer.write_table(pyarrow.table(columns, schema=schema))
            except OverflowError as error:
                raise CommandError(
                    "a metric has integers over 63 bits, which Parquet cannot hold; try --format csv"
                ) from error
            except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
                raise CommandError(f"a metric changed its type during the export; try again ({error})") from error
            count += len(batch)
    return count


def _same(value: Any) -> Any:
    return value


def _conversion(types: set[type]) -> tuple[str, Callable[[Any], Any]]:
    """Return the Parquet type for values of these types, and the function that converts one."""
    if types <= {float}:
        return "float64", float
    if types == {int}:
        return "int64", _same
    if types == {int, float}:
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


Write: TypeAlias = Callable[[Source, IO[bytes], Progress], int]
_WRITERS: Mapping[str, Write] = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
