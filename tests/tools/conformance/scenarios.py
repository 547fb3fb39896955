"""The scenarios: each plays one situation in a directory of its own, and returns the client's faults."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tools.conformance.checks import check_end, check_refused, check_run
from tests.tools.conformance.contract import Order
from tests.tools.conformance.manners import judge, judge_rows, unfinished
from tests.tools.conformance.processes import Program, Sidecar
from tests.tools.conformance.tap import Tap, Tricks

_PATIENCE = 30.0
"""Time allowed beyond what the logging itself takes, in seconds."""

_PER_KILL = 10.0
_LOGGING_PER_KILL = 4.0
"""Time for which the client logs per kill, in seconds: it may take two to notice one."""

_DOWN_SECONDS = 0.6
_AWAY_SECONDS = 32.0
_ABSENT_SECONDS = 2.5
_REFUSED_SECONDS = 20.0


@dataclass(frozen=True)
class Size:
    """How much is played.

    Attributes:
        steps: steps of each run.
        interval: milliseconds between two steps.
        kills: how often the sidecar is killed while a client is attached.
        seed: seed of every random moment.
    """

    steps: int = 300
    interval: int = 10
    kills: int = 3
    seed: int = 0


class Stage:
    """Where a scenario is played: a command, a root directory, and a sidecar that has not been started.

    Args:
        command: the client's command.
        directory: this scenario's own.
        size: how much is played.
        name: the scenario's name, which is part of the seed.

    Attributes:
        notes: what a reader of the result should know besides the faults.
    """

    def __init__(self, command: str, directory: Path, size: Size, name: str) -> None:
        self.command = command
        self.directory = directory
        self.size = size
        self.random = random.Random(f"{name} {size.seed}")
        self.root = directory / "root"
        self.root.mkdir(parents=True)
        self.sidecar = Sidecar(self.root)
        self.notes: list[str] = []
        self._programs: list[Program] = []

    def order(
        self, run: str = "run", label: str | None = None, steps: int = 0, interval: int = 0, *, notes: bool = True
    ) -> Order:
        return Order(run, steps or self.size.steps, interval or self.size.interval, label, notes=notes)

    def program(self, order: Order, door: str = "") -> Program:
        """Start the client's program."""
        self._programs.append(Program(self.command, order, door or self.sidecar.door, self.directory))
        return self._programs[-1]

    def results(self, *programs: Program, more: float = 0.0) -> list[str]:
        """Wait for `programs`, stop the sidecar, and check everything."""
        orders = [program.order for program in programs]
        ended: list[str] = []
        for program in programs:
            ended += check_end(program, program.order.seconds + _PATIENCE + more)
        ended += check_refused(self.sidecar.ask("status").body, self.sidecar.printed())
        self.sidecar.close()
        return ended + check_run(self.root, orders)

    def close(self) -> None:
        for program in self._programs:
            program.end()
        self.sidecar.close()


def plain(stage: Stage) -> list[str]:
    return _with_tap(stage, stage.order(), Tricks())


def killed(stage: Stage) -> list[str]:
    size = stage.size
    interval = max(size.interval, round(1000 * _LOGGING_PER_KILL * size.kills / size.steps))
    stage.sidecar.start()
    program = stage.program(stage.order(interval=interval))
    kills = 0
    while kills < size.kills and _kill_while_attached(stage, program):
        kills += 1
        time.sleep(stage.random.uniform(0.0, _DOWN_SECONDS))
        stage.sidecar.start()
    stage.notes.append(f"{kills} of {size.kills} kills hit the sidecar while the client was attached and sending.")
    faults = stage.results(program, more=_PER_KILL * size.kills)
    if size.kills and not kills and not faults:
        faults.append("The sidecar was never killed under the client, so nothing is proved: it ended too early.")
    return faults


def _kill_while_attached(stage: Stage, program: Program) -> bool:
    """Kill the sidecar at a random moment after it received records; return whether the client still ran."""
    more = stage.random.randint(1, max(1, stage.size.steps // (2 * stage.size.kills or 1)))
    while program.runs():
        status = stage.sidecar.ask("status").body
        if status["clients"] and status["records"] >= more:
            stage.sidecar.kill()
            return True
        time.sleep(0.01)
    return False


def away(stage: Stage) -> list[str]:
    stage.sidecar.start()
    program = stage.program(stage.order())
    if not _kill_while_attached(stage, program):
        stage.sidecar.close()
        return ["It ended before the sidecar could be killed.", *check_run(stage.root, [program.order])]
    time.sleep(_AWAY_SECONDS)
    stage.sidecar.start()
    return stage.results(program, more=2 * _PER_KILL)


def _pause(program: Program, until: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, until - time.monotonic()))


def absent(stage: Stage) -> list[str]:
    program = stage.program(stage.order())
    _pause(program, program.began + _ABSENT_SECONDS)
    if not program.runs():
        return [f"It did not wait for a sidecar that had not started yet. It wrote: {program.errors()[-500:]}"]
    stage.sidecar.start()
    return stage.results(program, more=_PER_KILL)


def two(stage: Stage) -> list[str]:
    stage.sidecar.start()
    return stage.results(*[stage.program(stage.order(label=label)) for label in ("left", "right")])


def refused(stage: Stage) -> list[str]:
    stage.sidecar.start()
    program = stage.program(stage.order(run="no/name"))
    status = program.wait(_REFUSED_SECONDS)
    said = program.errors()
    if status is None:
        return [
            f"It was refused, since a run id has no slash, and {_REFUSED_SECONDS:.0f} s later it was still running."
        ]
    found = []
    if status == 0:
        found.append("It was refused, since a run id has no slash, and ended with exit status 0.")
    if "no/name" not in said:
        wrote = f": {said[-500:]}" if said else "; it wrote nothing"
        found.append(f"Its standard error lacks the sidecar's message, which names the run id{wrote}.")
    return found


def tapped(stage: Stage) -> list[str]:
    steps = stage.size.steps
    tricks = Tricks(
        ignore_first_attach=True,
        refuse_second_attach=True,
        strange_results=True,
        foreign_result_after=max(2, 3 * steps // 4),
        lose_message_after=stage.random.randint(2, max(2, steps // 3)),
        silent_after=stage.random.randint(steps // 2, max(steps // 2, 2 * steps // 3)),
    )
    return _with_tap(stage, stage.order(), tricks)


def quiet(stage: Stage) -> list[str]:
    return _with_tap(stage, stage.order(steps=3, interval=3000), Tricks())


def records_only(stage: Stage) -> list[str]:
    lost = stage.random.randint(2, max(2, stage.size.steps // 2))
    return _with_tap(stage, stage.order(), Tricks(takes_rows_until=0, lose_message_after=lost))


def rows_only(stage: Stage) -> list[str]:
    lost = stage.random.randint(2, max(2, stage.size.steps // 2))
    return _with_tap(stage, stage.order(notes=False), Tricks(lose_message_after=lost), rows=True)


def mixed(stage: Stage) -> list[str]:
    lost = stage.random.randint(2, max(2, stage.size.steps // 2))
    return _with_tap(stage, stage.order(), Tricks(lose_message_after=lost), rows=True)


def declared(stage: Stage) -> list[str]:
    return _with_tap(stage, stage.order(notes=False), Tricks(restart_after_schema=True), rows=True)


def older(stage: Stage) -> list[str]:
    until = stage.random.randint(2, max(2, stage.size.steps // 2))
    return _with_tap(stage, stage.order(), Tricks(takes_rows_until=until, lose_message_after=until))


def _with_tap(stage: Stage, order: Order, tricks: Tricks, *, rows: bool = False) -> list[str]:
    stage.sidecar.start()
    with Tap(stage.sidecar, tricks) as tap:
        program = stage.program(order, tap.door)
        found = check_end(program, order.seconds + _PATIENCE + 2 * _PER_KILL)
    if found:
        found += unfinished(tap.events)
    found += check_refused(stage.sidecar.ask("status").body, stage.sidecar.printed())
    stage.sidecar.close()
    found += [*dict.fromkeys(tap.faults), *judge(tap.events)]
    if rows:
        found += judge_rows(tap.events, texts=order.notes)
    return [*found, *check_run(stage.root, [order])]


@dataclass(frozen=True)
class Scenario:
    """One situation.

    Attributes:
        name: a word.
        about: what happens.
        play: returns the faults, in sentences.
        rows: whether it is only for clients that write rows.
    """

    name: str
    about: str
    play: Callable[[Stage], list[str]]
    rows: bool = False


SCENARIOS = (
    Scenario("plain", "the sidecar is there all the time", plain),
    Scenario("killed", "the sidecar is killed and restarted while the client is attached", killed),
    Scenario("away", "the sidecar is gone for half a minute", away),
    Scenario("absent", "the sidecar starts after the client", absent),
    Scenario("two", "two clients write to one run, each with a label", two),
    Scenario("refused", "the sidecar refuses the run's id", refused),
    Scenario(
        "tapped", "messages, acks and answers are lost; a problem, unknown results and another's results come", tapped
    ),
    Scenario("quiet", "the client has nothing to send for seconds", quiet),
    Scenario("records", "the sidecar takes no rows; a message is lost", records_only),
    Scenario("rows", "all steps can be rows; a message is lost", rows_only, rows=True),
    Scenario("mixed", "some steps have a text, the others can be rows; a message is lost", mixed, rows=True),
    Scenario("declared", "the sidecar is killed and restarted between a schema and its rows", declared, rows=True),
    Scenario("older", "a sidecar that takes no rows follows one that takes them", older, rows=True),
)


@dataclass(frozen=True)
class Outcome:
    """The result of one scenario.

    Attributes:
        wrong: the client's faults, in sentences.
        seconds: how long it took.
        notes: what else a reader should know.
    """

    scenario: Scenario
    wrong: Sequence[str]
    seconds: float
    notes: Sequence[str] = ()


def play(scenario: Scenario, command: str, directory: Path, size: Size) -> Outcome:
    """Play one scenario in `directory`, which is created."""
    began = time.monotonic()
    with _stage(scenario, command, directory, size) as stage:
        wrong = scenario.play(stage)
    return Outcome(scenario, wrong, time.monotonic() - began, stage.notes)


@contextmanager
def _stage(scenario: Scenario, command: str, directory: Path, size: Size) -> Iterator[Stage]:
    stage = Stage(command, directory, size, scenario.name)
    try:
        yield stage
    finally:
        stage.close()


def play_all(
    scenarios: Sequence[Scenario], command: str, directory: Path, size: Size, tell: Callable[[Outcome], None]
) -> list[Outcome]:
    """Play all at once, since they mostly wait; `tell` is called with each outcome as it arrives."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(len(scenarios), "conformance") as pool:
        futures = {pool.submit(play, one, command, directory / one.name, size): one for one in scenarios}
        for future in as_completed(futures):
            tell(future.result())
    return [future.result() for future in futures]
