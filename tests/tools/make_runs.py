"""Makes roots with many or long runs, for benchmarks and for tests of the dashboard.

    python -m tests.tools.make_runs ROOT --runs 10 --keys 20 --points 1000000
    python -m tests.tools.make_runs ROOT --runs 10000 --keys 4 --points 5
    python -m tests.tools.make_runs ROOT --varied

Long runs are written straight into their stores, a block at a time, as a sidecar would have left them: their logs hold
what the runs are and how they ended, and no rows, so that a root of 200 million points takes a minute. ``--varied``
makes a few small runs that have everything a run can have: NaN and infinities, text, histograms, files, several
writers, every end state, seeds, odd names.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import random
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.log.writer import LogWriter
from sidecar.projections.replay import replay
from sidecar.projections.store.blocks import BLOCK_ROWS, Column
from sidecar.projections.store.writer import StoreWriter
from sidecar.protocol.codec import encode
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import FILES_NAME, LOG_NAME, RUNS_NAME, STORE_NAME, make_root
from sidecar.protocol.records import Record

SPIKE = 2.5
"""Value of the one point that stands out in every long curve; all others are below 1.3."""

SPIKE_AT = 0.6180339887
"""Where that point is, as a part of the run's length."""

_NAMES = tuple(
    "amber calm brisk old quiet rapid still warm bright deep early faint green high keen late mild north pale".split()  # noqa: SIM905
)
_THINGS = tuple(
    "fern dune pier brook cliff field grove haven isle lake moss oak pond reef shore tide vale wood yard ash".split()  # noqa: SIM905
)
_KEYS = [
    "train.loss",
    "train.accuracy",
    "train.grad_norm",
    "train.lr",
    "val.loss",
    "val.accuracy",
    "val.f1",
    "val.perplexity",
    "optim.beta1",
    "optim.weight_norm",
    "layer.0.norm",
    "layer.1.norm",
    "layer.2.norm",
    "layer.3.norm",
    "time.step",
    "time.data",
    "memory.allocated",
    "memory.reserved",
    "eval.bleu",
    "eval.rouge",
]
_END_STATES = ("finished",) * 7 + ("failed", "crashed", "killed")


class Maker:
    """One run that is being made: its log and, in the end, its store.

    Args:
        root: the root directory.
        run_id: id of the run.
        start: time of its first record, Unix seconds.
        about: keys of its first record.
    """

    def __init__(self, root: Path, run_id: str, start: float, **about: Any) -> None:
        self.id = run_id
        self.dir = root / RUNS_NAME / run_id
        self.dir.mkdir(parents=True)
        self.clock = start
        self.client = "client" + hashlib.sha256(run_id.encode()).hexdigest()[:6]
        self._seqs: dict[str, int] = {}
        self._log = LogWriter.open(self.dir / LOG_NAME)
        self._frames: list[bytes] = []
        self.write("run", start_time=start, host="node-1", pid=4242, program="train.py", python="3.11.7", **about)

    def write(self, kind: str, client: str | None = None, /, **body: Any) -> None:
        """Append a record."""
        client = client or self.client
        self._seqs[client] = self._seqs.get(client, 0) + 1
        self._frames.append(frame(encode(Record(kind, self.id, client, self._seqs[client], self.clock, body))))
        if len(self._frames) >= 1000:
            self._flush()

    def row(self, step: int, data: dict[str, Any], client: str | None = None, seconds: float = 0.5) -> None:
        """Append one row of metrics, `seconds` after the record before it."""
        self.clock += seconds
        self.write("log", client, step=step, data=data)

    def end(self, state: str = "finished", **body: Any) -> None:
        self.write("exit", None, state=state, exit_code=0 if state == "finished" else 1, **body)

    def store(self) -> None:
        """Write the store from the log."""
        self.close()
        with StoreWriter(self.dir / STORE_NAME) as writer:
            replay(self.dir / LOG_NAME, writer.checkpoint, writer)
            writer.make_pieces()

    def close(self) -> None:
        self._flush()
        self._log.close()

    def _flush(self) -> None:
        self._log.append(b"".join(self._frames))
        self._frames.clear()


def curve(key: str, run: int, points: int) -> NDArray[np.float64]:
    """Return a noisy curve that falls (or rises) from 1 towards 0, with one point at `SPIKE`."""
    seed = int.from_bytes(hashlib.sha256(f"{key} {run}".encode()).digest()[:4], "little")
    generator = np.random.default_rng(seed)
    steps = np.arange(points, dtype=np.float64)
    rate = 4.0 * (0.6 + 0.8 * generator.random())
    level = np.exp(-rate * steps / max(1, points)) * (0.8 + 0.1 * run % 0.5)
    if "accuracy" in key or "bleu" in key or "f1" in key:
        level = 1.0 - level
    values = np.clip(level + generator.normal(0.0, 0.02, points), -0.2, 1.29).astype(np.float64)
    if points > 100:
        values[int(points * SPIKE_AT)] = SPIKE
    return values


def keys_of(count: int) -> list[str]:
    return [*_KEYS[:count], *(f"metric.{index:04d}" for index in range(len(_KEYS), count))]


def config_of(run: int) -> dict[str, Any]:
    choose = random.Random(run)
    return {
        "lr": round(10 ** choose.uniform(-4, -1), 6),
        "batch_size": choose.choice([16, 32, 64, 128]),
        "model": {"name": choose.choice(["resnet18", "resnet50", "vit-s"]), "depth": choose.choice([2, 4, 8])},
        "optimizer": choose.choice(["sgd", "adam", "adamw", "lion"]),
        "seed": run % 5,
        "dropout": choose.choice([0.0, 0.1, 0.2]),
        "augment": choose.random() < 0.5,
    }


def name_of(run: int) -> str:
    return f"{_NAMES[run % len(_NAMES)]}-{_THINGS[run // len(_NAMES) % len(_THINGS)]}-{run}"


def run_id(run: int) -> str:
    return f"r{hashlib.sha256(str(run).encode()).hexdigest()[:7]}"


def small_run(root: Path, run: int, keys: list[str], points: int, start: float, project: str) -> None:
    """Make a run whose rows are all in its log."""
    config = config_of(run)
    maker = Maker(root, run_id(run), start, project=project, name=name_of(run), tags=["sweep"] if run % 3 else [])
    maker.write("config", None, set=config)
    maker.write("define", None, metric="*loss", goal="minimize", summary=["last", "min"])
    maker.write("define", None, metric="*accuracy", goal="maximize", summary=["max"])
    columns = [curve(key, run, points) for key in keys]
    for step in range(points):
        maker.row(step, {key: float(column[step]) for key, column in zip(keys, columns, strict=True)})
    maker.end(_END_STATES[run % len(_END_STATES)])
    maker.store()


def long_run(root: Path, run: int, keys: list[str], points: int, start: float, project: str) -> None:
    """Make a run whose rows are only in its store."""
    maker = Maker(root, run_id(run), start, project=project, name=name_of(run), tags=["long"])
    maker.write("config", None, set=config_of(run))
    maker.write("define", None, metric="*loss", goal="minimize", summary=["last", "min"])
    maker.write("define", None, metric="*accuracy", goal="maximize", summary=["max"])
    columns = {key: curve(key, run, points) for key in keys}
    maker.row(points - 1, {key: float(column[-1]) for key, column in columns.items()}, seconds=0.25 * points)
    maker.end()
    maker.close()
    steps = np.arange(points, dtype=np.int64)
    times = start + 0.25 * steps
    with StoreWriter(maker.dir / STORE_NAME) as writer:
        replay(maker.dir / LOG_NAME, writer.checkpoint, _Without(writer))
        writer.state.records, writer.state.points = points, points * len(keys)
        for first in range(0, points, BLOCK_ROWS):
            part = slice(first, min(points, first + BLOCK_ROWS))
            block: dict[str, Column] = {key: (None, _floats(column[part])) for key, column in columns.items()}
            with writer._database.transaction(write=True):
                stored = writer._stored_of(maker.client)
                writer._append(stored, (array("q", steps[part].tobytes()), _floats(times[part]), block))
                writer._database.run("UPDATE writer SET rows = ? WHERE id = ?", (stored.rows, stored.number))
        writer.make_pieces()


class _Without:
    """Passes records on to a store, but for the rows, of which only the state hears."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self.checkpoint = writer.checkpoint

    def apply(self, batch: Any) -> None:
        for record in batch.records:
            if record.kind == "log":
                self._writer.state.apply(record)
        self._writer.add([record for record in batch.records if record.kind != "log"], batch.end)

    def commit(self) -> int:
        return self._writer.commit()


def _floats(values: NDArray[np.floating[Any]]) -> array[float]:
    return array("d", np.ascontiguousarray(values).tobytes())


def varied(root: Path, now: float) -> None:
    """Make a few runs that have everything a run can have."""
    for seed in range(5):
        for lr in (0.01, 0.1):
            run = seed * 2 + (lr > 0.05)
            maker = Maker(
                root,
                f"seeds{run:03d}",
                now - 86400 + 600 * run,
                project="seeds",
                name=f"lr={lr} seed={seed}",
                group="seeds",
                tags=["baseline"] if lr < 0.05 else [],
            )
            maker.write("config", None, set={"lr": lr, "seed": seed, "model": "mlp", "layers": [64, 32]})
            maker.write("define", None, metric="val.accuracy", goal="maximize", summary=["max", "last"])
            maker.write("define", None, metric="*loss", goal="minimize", summary=["min", "last"])
            length = 500 if seed < 4 else 320  # one seed ends early
            noise = np.random.default_rng(run)
            for step in range(length):
                base = math.exp(-step * lr / 8)
                data: dict[str, Any] = {"train.loss": base + 0.05 * float(noise.normal()) + 0.1}
                if step % 10 == 9:
                    data |= {"val.loss": base + 0.15, "val.accuracy": 1 - 0.9 * base}
                maker.row(step, data)
            maker.end()
            maker.store()
    maker = Maker(
        root,
        "odd00001",
        now - 3600,
        project="odd",
        name="NaN, infinities, text, histograms",
        notes="Everything at once.\nSecond line.",
        tags=["odd", "every kind"],
    )
    maker.write(
        "config",
        None,
        set={
            "lr": 1e-3,
            "nested": {"deep": {"er": [1, 2, {"x": None}]}},
            "long": "x" * 300,
            "none": None,
            "flag": True,
            "nan": math.nan,
        },
    )
    noise = np.random.default_rng(7)
    for step in range(1000):
        row: dict[str, Any] = {
            "loss": math.exp(-step / 200) + 0.02 * float(noise.normal()),
            "big": 1e300 * (1 + step),
            "offset": 1e9 + 0.001 * step,
            "count": step * 3,
            "constant": 4.0,
            "negative": -math.exp(step / 100),
        }
        if step in (300, 301, 302):
            row["loss"] = math.nan
        if step == 500:
            row["loss"] = math.inf
        if step == 501:
            row["loss"] = -math.inf
        row["only_nan"] = math.nan
        if step % 50 == 0:
            counts, edges = np.histogram(noise.normal(step / 200, 1 + step / 500, 500), bins=32)
            row["weights"] = {
                "_type": "histogram",
                "counts": [float(c) for c in counts],
                "edges": [float(e) for e in edges],
            }
            row["sample"] = f"step {step}: the quick brown fox jumps over {step} lazy dogs"
        if step % 100 == 0:
            row["passed"] = step % 200 == 0
        maker.row(step, row)
    maker.end(
        "failed",
        traceback='Traceback (most recent call last):\n  File "train.py", line 12\nValueError: loss is NaN\n',
        reason="ValueError: loss is NaN",
    )
    files = maker.dir / FILES_NAME
    (files / "plots").mkdir(parents=True)
    (files / "model.bin").write_bytes(bytes(range(256)) * 400)
    (files / "plots" / "note.txt").write_text("A file of the run.\n")
    (files / "page.html").write_text("<script>document.title='ran'</script><h1>hello</h1>")
    maker.store()
    hostile = "<img src=x onerror=document.title='ran'>"
    maker = Maker(
        root,
        "hostile1",
        now - 1800,
        project=hostile,
        name=hostile + "\u202egnp.exe " + "n" * 200,
        tags=[hostile, "\x1b[31mred"],
        notes=hostile,
        group=hostile,
    )
    maker.write("config", None, set={hostile: hostile, "k" * 200: "v" * 10000})
    for step in range(50):
        maker.row(
            step,
            {
                hostile: step * 1.0,
                "a" * 200 + "1": 1.0 * step,
                "a" * 200 + "2": 2.0 * step,
                "été/数": step % 7,
            },
        )
    maker.end("killed", signal=9)
    maker.store()
    maker = Maker(root, "writers1", now - 7200, project="distributed", name="four ranks", label="rank0")
    for rank in range(4):
        client = f"rank{rank}abcdef"
        maker.write("run", client, label=f"rank{rank}", host=f"node-{rank}", pid=100 + rank)
        for step in range(200):
            maker.row(step, {"loss": math.exp(-step / 50) + 0.1 * rank, "gpu": 50.0 + rank}, client, seconds=0.1)
        maker.write("exit", client, state="finished", exit_code=0)
    maker.end()
    maker.store()
    for state in ("crashed", "killed", "preempted"):
        maker = Maker(root, f"ended-{state}", now - 9000, project="ends", name=state)
        for step in range(30):
            maker.row(step, {"loss": 1 / (step + 1)})
        maker.end(state, reason="the process died without finishing the run" if state == "crashed" else None)
        maker.store()
    maker = Maker(root, "empty001", now - 100000, project="ends", name="no metrics")
    maker.end()
    maker.store()
    maker = Maker(root, "stalled1", now - 50000, project="ends", name="stalled: a running run without records")
    for step in range(30):
        maker.row(step, {"loss": 1 / (step + 1)})
    maker.store()
    maker = Maker(root, "manykeys", now - 60000, project="many", name="two thousand metrics")
    for step in range(20):
        maker.row(
            step, {f"layer.{index // 20:02d}/m{index % 20:02d}": math.sin(index + step / 3) for index in range(2000)}
        )
    maker.end()
    maker.store()


def make(
    root: Path, runs: int, keys: int, points: int, project: str = "sweep", now: float | None = None
) -> Iterator[int]:
    """Make `runs` runs of `points` rows with `keys` metrics each; yield the number of each that is done."""
    now = time.time() if now is None else now
    make_root(root)
    for run in range(runs):
        start = now - 60.0 * (runs - run) - 0.5 * min(points, 100_000)
        (small_run if points <= 20_000 else long_run)(root, run, keys_of(keys), points, start, project)
        yield run


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools.make_runs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("root", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--keys", type=int, default=20)
    parser.add_argument("--points", type=int, default=1000, help="rows of each run")
    parser.add_argument("--project", default="sweep")
    parser.add_argument("--varied", action="store_true", help="a few runs that have everything a run can have")
    args = parser.parse_args()
    make_root(args.root)
    if args.varied:
        varied(args.root, time.time())
        return
    for done in make(args.root, args.runs, args.keys, args.points, args.project):
        if sys.stderr.isatty():
            print(f"\r{done + 1} of {args.runs} runs", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
