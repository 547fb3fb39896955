"""A series of histograms over steps, merged to a number of columns that fits on a screen.

Reads a run's store in three passes; memory is bounded by the number of columns, not by the run's length. No other
side effects; any thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from tracker.reading.reader import RunReader

MAX_COLUMNS = 1000
_MAX_BINS = 64
"""Number of bins of a column that was merged from histograms with different bins."""


class Sample(NamedTuple):
    """One logged histogram."""

    step: int
    time: float
    counts: Sequence[float]
    edges: Sequence[float]
    left_out: float


@dataclass
class _Column:
    """Histograms of neighbouring steps: how many, their steps and times, and the bounds of their bins."""

    samples: int = 0
    step: int = 0
    last_step: int = 0
    time: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    left_out: float = 0.0
    edges: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)

    def see(self, sample: Sample) -> None:
        """Widen the column's bounds; before `prepare`."""
        if not self.samples or sample.step < self.step:
            self.step = sample.step
        if not self.samples or sample.step >= self.last_step:
            self.last_step, self.time = sample.step, sample.time
        same = list(sample.edges) if self.samples == 0 or self.edges == list(sample.edges) else []
        self.edges = same
        self.samples += 1
        self.low = min(self.low, sample.edges[0])
        self.high = max(self.high, sample.edges[-1])
        self.left_out += sample.left_out

    def prepare(self) -> None:
        """Make the bins."""
        if not self.edges:
            low, high = self.low, self.high
            # Halves, since the span of two floats may not be a float.
            width = (high / 2 - low / 2) / _MAX_BINS * 2
            self.edges = [low + width * index for index in range(_MAX_BINS)] + [high]
        self.counts = [0.0] * (len(self.edges) - 1)

    def add(self, sample: Sample) -> None:
        """Add the counts; after `prepare`."""
        if self.edges == list(sample.edges):
            self.counts = [mine + other for mine, other in zip(self.counts, sample.counts, strict=True)]
        else:
            spread(sample.counts, sample.edges, self.counts, self.edges)


def spread(
    counts: Sequence[float], edges: Sequence[float], onto_counts: list[float], onto_edges: Sequence[float]
) -> None:
    """Add counts to bins of equal width that cover theirs, each in proportion to the width that they share."""
    bins = len(onto_counts)
    low = onto_edges[0]
    width = onto_edges[-1] / bins - low / bins
    for index, count in enumerate(counts):
        if not count:
            continue
        start, end = edges[index], edges[index + 1]
        first = _bin(start, low, width, bins)
        last = _bin(end, low, width, bins)
        if first == last or not end > start:
            onto_counts[first] += count
            continue
        for bin in range(first, last + 1):
            left = max(start, onto_edges[bin])
            right = min(end, onto_edges[bin + 1])
            if right > left:
                onto_counts[bin] += count * ((right / 2 - left / 2) / (end / 2 - start / 2))


def _bin(value: float, low: float, width: float, bins: int) -> int:
    return min(bins - 1, max(0, int(value / width - low / width))) if width > 0 else 0


def histograms(reader: RunReader, key: str, count: int = 400) -> dict[str, Any]:
    """Return a series of histograms over steps.

    Args:
        reader: reads the run.
        key: the metric; values that are not histograms are left out.
        count: maximum number of columns; if more were logged, those of neighbouring steps are merged.

    Returns:
        A list per column for each of ``steps`` (the first that is merged into it), ``last_steps``, ``times`` (of the
        last), ``samples`` (number of histograms merged), ``left_out`` (values that were not finite), ``edges`` and
        ``counts``; and ``total``, the number of histograms logged. A column's edges are those that were logged, or, if
        they were not the same, 64 bins of equal width.

    Raises:
        sidecar.protocol.errors.StoreError: the store cannot be read.
    """
    count = max(1, min(count, MAX_COLUMNS))
    total, low, high = 0, 0, 0
    steps: set[int] = set()
    for sample in _samples(reader, key):
        low, high = (min(low, sample.step), max(high, sample.step)) if total else (sample.step, sample.step)
        total += 1
        if len(steps) <= count:
            steps.add(sample.step)
    apart = len(steps) <= count
    columns: dict[int, _Column] = {}

    def column_of(sample: Sample) -> int:
        return sample.step if apart else min(count - 1, (sample.step - low) * count // (high - low + 1))

    for sample in _samples(reader, key):
        columns.setdefault(column_of(sample), _Column()).see(sample)
    for column in columns.values():
        column.prepare()
    for sample in _samples(reader, key):
        known = columns.get(column_of(sample))
        if known is not None and known.edges[0] <= sample.edges[0] and known.edges[-1] >= sample.edges[-1]:
            known.add(sample)  # else it arrived after the first pass
    ordered = [columns[index] for index in sorted(columns)]
    return {
        "steps": [column.step for column in ordered],
        "last_steps": [column.last_step for column in ordered],
        "times": [column.time for column in ordered],
        "samples": [column.samples for column in ordered],
        "left_out": [column.left_out for column in ordered],
        "edges": [column.edges for column in ordered],
        "counts": [column.counts for column in ordered],
        "total": total,
    }


def _samples(reader: RunReader, key: str) -> Iterator[Sample]:
    for block in reader.columns([key]):
        rows, values = block.columns.get(key, (None, ()))
        indexes: Sequence[int] = range(len(values)) if rows is None else rows
        for index, value in zip(indexes, values, strict=True):
            sample = _sample(block.steps[index], block.times[index], value)
            if sample is not None:
                yield sample


def _sample(step: int, time: float, value: Any) -> Sample | None:
    """Return a histogram; None for any other value: a log may come from an untrusted source."""
    if not isinstance(value, Mapping) or value.get("_type") != "histogram":
        return None
    counts, edges = value.get("counts"), value.get("edges")
    if not isinstance(counts, list) or not isinstance(edges, list) or len(edges) != len(counts) + 1 or not counts:
        return None
    numbers = [*counts, *edges]
    if any(type(number) not in (int, float) or not math.isfinite(number) for number in numbers):
        return None
    if any(after < before for before, after in pairwise(edges)):
        return None
    left_out = value.get("left_out")
    return Sample(step, time, counts, edges, left_out if isinstance(left_out, int | float) else 0)
