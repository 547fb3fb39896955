"""Reads a run back from disk, and reports in plain sentences where it differs from the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from sidecar.log.reader import LogReader
from sidecar.projections.rebuild import verify
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.limits import valid_name
from sidecar.protocol.records import Body, Record
from tests.support import ReadBack
from tests.tools.conformance.contract import Order, same
from tests.tools.conformance.processes import Program

_ABOUT_A_RUN: dict[str, tuple[type, ...]] = {
    "start_time": (int, float),
    "host": (str,),
    "pid": (int,),
    "program": (str,),
    "python": (str,),
}
_CLOCK_SECONDS = 600.0


def check_end(program: Program, seconds: float) -> list[str]:
    """Wait until `program` ends by itself; report if it did not, or if its exit status is not 0."""
    status = program.wait(seconds)
    if status is None:
        return [f"The program did not end by itself within {seconds:.0f} s.{_said(program)}"]
    return [] if status == 0 else [f"The program ended with exit status {status}, not 0.{_said(program)}"]


def check_refused(status: Body, output: str = "") -> list[str]:
    """Report what the sidecar refused.

    Records of a client that is not attached are not a fault, and neither are rows of an unknown schema: both come
    when a sidecar was restarted, and a tap notices rows that were never declared.

    Args:
        status: the body of its answer to ``status``.
        output: what the sidecar printed: its reasons are in it.
    """
    expected = ("refused: client", "refused: schema")
    counts = {reason: count for reason, count in status["refused"].items() if reason not in expected}
    reasons = [line.partition("refused: ")[2] for line in output.splitlines() if " refused: " in line]
    why = f" Its first reason: {reasons[0]}" if reasons and counts else ""
    return [f"The sidecar could not use {count} records ('{reason}').{why}" for reason, count in counts.items()]


def _said(program: Program) -> str:
    errors = program.errors()
    return f" It wrote: {errors[-500:]}" if errors else " It wrote nothing to standard error."


def check_run(root: Path, orders: Sequence[Order]) -> list[str]:
    """Check the run of `orders`, which are all of one run and differ in their label, after its sidecar has ended."""
    directory = root / "runs" / orders[0].run
    if not (directory / LOG_NAME).exists():
        return [f"The run {orders[0].run} does not exist: nothing of it was sent."]
    with LogReader(directory / LOG_NAME) as reader:
        log = [record for batch in reader.batches() for record in batch.records]
        damage = reader.damage
    found = [f"The log is damaged in bytes {start} to {end}." for start, end in damage]
    by_client: dict[str, list[Record]] = {}
    for record in log:
        if record.client:
            by_client.setdefault(record.client, []).append(record)
    unnumbered = sum(record.kind == "log" and not record.client for record in log)
    if unnumbered:
        found.append(f"{unnumbered} 'log' records have no client: they were sent as fire-and-forget, without numbers.")
    found += _check_writers(by_client, orders)
    if not found:
        found += _check_state(directory, orders)
    return found


def _check_writers(by_client: dict[str, list[Record]], orders: Sequence[Order]) -> list[str]:
    found = []
    if not by_client:
        return ["The run exists, but holds no numbered record."]
    if len(by_client) != len(orders):
        programs = "One program" if len(orders) == 1 else f"{len(orders)} programs"
        found.append(
            f"{programs} wrote under {len(by_client)} client ids ({', '.join(by_client)}): "
            "a program has one id, and keeps it when it attaches again."
        )
    left = {order.label: order for order in orders}
    for client, records in by_client.items():
        label = next((record.body.get("label") for record in records if record.kind == "run"), None)
        if label in left:
            found += [f"Client {client}: {line}" for line in check_writer(records, left.pop(label))]
        else:
            wanted = " or ".join(repr(order.label) for order in orders)
            found.append(f"Client {client}: its 'run' record has the label {label!r}, not {wanted}.")
    found += [f"No client wrote with the label {label!r}." for label in left]
    return found


def check_writer(records: Sequence[Record], order: Order) -> Iterator[str]:
    """Yield what is wrong with the records of one client, in the order of the log."""
    if not valid_name(records[0].client):
        yield f"the client id {records[0].client!r} is not a valid name."
    numbers = [record.seq for record in records]
    if numbers != list(range(1, len(records) + 1)):
        yield f"its numbers must be 1 to {len(records)} in order, but are {_ranges(numbers)}."
    for record in records:
        if record.kind == "rejected":
            yield f"its record {record.seq}, a {record.body['kind']!r}, was refused: {record.body['message']}."
    lost = [record.body["counts"] for record in records if record.kind == "losses"]
    if lost:
        yield f"it reports lost records: {lost[-1]}."
    if records[0].kind != "run":
        yield f"its first record must be a 'run', not a {records[0].kind!r}."
    if records[-1].kind != "exit" or sum(record.kind == "exit" for record in records) != 1:
        yield f"its last record must be its only 'exit', but is a {records[-1].kind!r}."
    elif (records[-1].body.get("state"), records[-1].body.get("exit_code")) != ("finished", 0):
        yield f"its 'exit' must have state 'finished' and exit_code 0, but is {records[-1].body}."
    yield from _check_about(records, order)
    yield from _check_rows([record for record in records if record.kind == "log"], order)


def _check_about(records: Sequence[Record], order: Order) -> Iterator[str]:
    about: dict[str, Any] = {}
    for record in records:
        if record.kind == "run":
            about |= record.body
    if about.get("project") != order.project:
        yield f"its 'run' record has the project {about.get('project')!r}, not {order.project!r}."
    for key, types in _ABOUT_A_RUN.items():
        if not isinstance(about.get(key), types):
            yield f"its 'run' record has {key} {about.get(key)!r}; it must be a {types[-1].__name__}."
    now = time.time()
    times = [record.time for record in records]
    if not all(abs(moment - now) < _CLOCK_SECONDS for moment in times):
        yield f"the times of its records, {min(times)} to {max(times)}, are not Unix seconds (it is {now:.1f})."
    started = about.get("start_time")
    if isinstance(started, int | float) and not abs(started - now) < _CLOCK_SECONDS:
        yield f"its 'start_time' {started} is not in Unix seconds (it is {now:.1f})."


def _check_rows(logs: Sequence[Record], order: Order) -> Iterator[str]:
    steps = [record.body["step"] for record in logs]
    wanted = list(range(order.steps))
    if steps != wanted:
        missing = sorted(set(wanted) - set(steps))
        twice = sorted({step for step in steps if steps.count(step) > 1})
        more = sorted(set(steps) - set(wanted))
        for what, which in (
            ("are missing", missing),
            ("are there more than once", twice),
            ("were not wanted", more),
        ):
            if which:
                yield f"{len(which)} of {order.steps} steps {what}: {_ranges(which)}."
        if not missing and not twice and not more:
            yield f"its steps are not in the order in which they were logged: {_ranges(steps)}."
    expected = dict(order.rows())
    for record in logs:
        row, data = expected.get(record.body["step"], {}), record.body["data"]
        wrong = [key for key in {**row, **data} if key not in row or key not in data or not same(row[key], data[key])]
        if row and wrong:
            key = wrong[0]
            yield (
                f"at step {record.body['step']} {key!r} is {_shown(data, key)}, not {_shown(row, key)}"
                + (f" ({len(wrong)} keys differ)." if len(wrong) > 1 else ".")
            )
            return  # the others will be wrong in the same way


def _shown(data: dict[str, Any], key: str) -> str:
    return f"{data[key]!r} ({type(data[key]).__name__})" if key in data else "missing"


def _check_state(directory: Path, orders: Sequence[Order]) -> Iterator[str]:
    """Yield what is wrong with the store, given a log that is right."""
    try:
        back = ReadBack(directory).check()
    except AssertionError as error:
        yield f"The store is not what the log says: {str(error)[:500]}"
        return
    state = back.state
    if (state["state"], state["exit_code"]) != ("finished", 0):
        yield f"The run is {state['state']!r} with exit code {state['exit_code']}, not 'finished' with 0."
    order = orders[0]
    if not same(order.config(), state["config"]):
        wanted = order.config()
        for key in {**wanted, **state["config"]}:
            if key not in wanted or key not in state["config"] or not same(wanted[key], state["config"][key]):
                yield f"The config has {key!r} {_shown(state['config'], key)}, not {_shown(wanted, key)}."
    if not same(order.best(), state["summary"].get("best")):
        yield f"The summary's 'best' is {state['summary'].get('best')!r}, not {order.best()!r}."
    defined = state["metrics"].get("acc") or {}
    if list(defined.get("summary") or ()) != ["max"] or defined.get("goal") != "maximize":
        yield f"The metric 'acc' is defined as {defined}, not with summary ['max'] and goal 'maximize'."
    elif not same((order.steps - 1) * 0.25, state["summary"].get("acc")):
        yield f"The summary's 'acc' is {state['summary'].get('acc')!r}, not the largest, {(order.steps - 1) * 0.25}."
    for problem in verify(directory).problems:
        yield f"'tracker verify' finds: {problem}"


def _ranges(numbers: Sequence[int]) -> str:
    """Return such as ``0 to 11, 14, 13 to 20``."""
    found = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        found.append(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return ", ".join(found[:6]) + (", and so on" if len(found) > 6 else "")
