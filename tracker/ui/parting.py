"""Where two curves part: the first step at which the values of a metric in two runs differ.

Both runs are read block by block, in the order of steps; memory is bounded by the blocks whose steps overlap, not by
the length of the runs. Reading ends at the first clear difference. No other side effects; any thread.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import lt
from typing import NamedTuple

from sidecar.projections.store.blocks import Block
from tracker.reading.reader import RunReader

CLEAR = 0.01
"""A difference is clear if it is larger than this share of the range of both curves."""

_NUMBERS = (int, float, bool)
_RANGE_BUCKETS = 64


class Part(NamedTuple):
    """Values at ascending steps."""

    steps: Sequence[int]
    values: Sequence[float]


class Split(NamedTuple):
    """Values that differ at a step."""

    step: int
    value: float
    baseline: float


class Parting(NamedTuple):
    """Where two curves of one metric part.

    Attributes:
        exact: the first step at which the values are not equal; None if they are at all common steps.
        clear: the first step at which they differ by more than `CLEAR` of the range; None if they never do.
        common: number of steps that both have, up to `clear`.
        low, high: range of the finite values of both; None without any.
    """

    exact: Split | None
    clear: Split | None
    common: int
    low: float | None
    high: float | None


def parting(reader: RunReader, baseline: RunReader, key: str) -> Parting:
    """Return where the curves of `key` in two runs part. Only steps that both runs have are compared.

    Raises:
        sidecar.protocol.errors.StoreError: a store cannot be read.
    """
    low, high = _range((reader, baseline), key)
    if low is None or high is None:
        threshold = 0.0
    else:
        threshold = (high / 2 - low / 2) * CLEAR * 2
    exact: Split | None = None
    common = 0
    for steps, ours, theirs in _aligned(parts(reader.columns([key]), key), parts(baseline.columns([key]), key)):
        start = 0
        if exact is None:
            start = _first_difference(ours, theirs)
            if start == len(steps):
                common += start
                continue
            exact = Split(steps[start], ours[start], theirs[start])
        for index in range(start, len(steps)):
            value, other = ours[index], theirs[index]
            # Not `>`: a NaN or an infinity on one side only is a clear difference.
            if not abs(value - other) <= threshold and not _equal(value, other):
                return Parting(exact, Split(steps[index], value, other), common + index + 1, low, high)
        common += len(steps)
    return Parting(exact, None, common, low, high)


def _equal(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _first_difference(ours: Sequence[float], theirs: Sequence[float]) -> int:
    """Return the index of the first values that are not equal; the length if all are."""
    if ours == theirs:  # arrays are compared in C
        return len(ours)
    pairs = zip(ours, theirs, strict=True)
    return next((index for index, (one, other) in enumerate(pairs) if not _equal(one, other)), len(ours))


def _range(readers: Sequence[RunReader], key: str) -> tuple[float | None, float | None]:
    """Return the smallest and the largest finite value, from the readers' buckets: few values are read."""
    low, high = math.inf, -math.inf
    for reader in readers:
        for found in reader.buckets([key], count=_RANGE_BUCKETS):
            for least, greatest, count in zip(found.low, found.high, found.n, strict=True):
                if count:
                    low, high = min(low, least), max(high, greatest)
    return (low, high) if low <= high else (None, None)


def parts(blocks: Iterator[Block], key: str) -> Iterator[Part]:
    """Yield the numbers of a metric in ascending steps.

    Of several values at one step, the last of each writer counts; of several writers, their mean.
    """
    held: list[tuple[int, int, int, float]] = []  # step, writer, row, value: what a later block may come before
    ahead = next(blocks, None)
    while ahead is not None:
        block, ahead = ahead, next(blocks, None)
        ready = [point for point in held if point[0] < block.floor]
        if ready:
            held = [point for point in held if point[0] >= block.floor]
            yield _joined(ready)
        steps, values = _numbers(block, key)
        if not held and steps and (ahead is None or steps[-1] < ahead.floor) and all(map(lt, steps, steps[1:])):
            yield Part(steps, values)  # the usual case: one writer, ascending steps
            continue
        arrivals = range(block.first, block.first + len(steps))
        held += zip(steps, repeat(block.ordinal), arrivals, values, strict=False)
    if held:
        yield _joined(held)


def _numbers(block: Block, key: str) -> tuple[Sequence[int], Sequence[float]]:
    """Return the steps and the values of the numbers in a block."""
    rows, values = block.columns.get(key, ((), ()))
    steps: Sequence[int] = block.steps if rows is None else [block.steps[row] for row in rows]
    if not isinstance(values, array):
        numeric = [index for index, value in enumerate(values) if type(value) in _NUMBERS]
        steps, values = [steps[index] for index in numeric], [float(values[index]) for index in numeric]
    return steps, values


def _joined(held: list[tuple[int, int, int, float]]) -> Part:
    """Return points, in any order, as one value per step."""
    held.sort()
    steps = [point[0] for point in held]
    if len(set(steps)) == len(steps):
        return Part(steps, array("d", [point[3] for point in held]))
    latest: dict[int, dict[int, float]] = {}
    for step, ordinal, _, value in held:
        latest.setdefault(step, {})[ordinal] = value
    values = [sum(by.values()) / len(by) if len(by) > 1 else next(iter(by.values())) for by in latest.values()]
    return Part(list(latest), array("d", values))


def _aligned(
    ours: Iterator[Part], theirs: Iterator[Part]
) -> Iterator[tuple[Sequence[int], Sequence[float], Sequence[float]]]:
    """Yield the steps that both have, with the values of both."""
    one, other = next(ours, None), next(theirs, None)
    while one is not None and other is not None:
        if not one.steps or not other.steps:
            one = one if one.steps else next(ours, None)
            other = other if other.steps else next(theirs, None)
            continue
        end = min(one.steps[-1], other.steps[-1])
        head, one = _cut(one, end)
        other_head, other = _cut(other, end)
        if head.steps == other_head.steps:
            yield head.steps, head.values, other_head.values
        else:
            values = dict(zip(other_head.steps, other_head.values, strict=True))
            pairs = [(step, value) for step, value in zip(*head, strict=True) if step in values]
            if pairs:
                steps = [step for step, _ in pairs]
                yield steps, [value for _, value in pairs], [values[step] for step in steps]


def _cut(part: Part, end: int) -> tuple[Part, Part]:
    """Return the values up to the step `end`, and those after it."""
    if part.steps[-1] <= end:
        return part, Part((), ())
    low, high = 0, len(part.steps)
    while low < high:
        middle = (low + high) // 2
        if part.steps[middle] <= end:
            low = middle + 1
        else:
            high = middle
    return Part(part.steps[:low], part.values[:low]), Part(part.steps[low:], part.values[low:])
