"""The scenarios: each plays one situation in a directory of its own, and returns what the client got wrong."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.tools.conformance.checks import check_end, check_refused, check_run
from tests.tools.conformance.contract import Order
from tests.tools.conformance.manners import judge
from tests.tools.conformance.processes import Program, Sidecar
from tests.tools.conformance.tap import Tap, Tricks

_PATIENCE = 30.0
"""Seconds beyond what the logging itself takes."""

_PER_KILL = 10.0
_DOWN_SECONDS = 0.6
_ABSENT_SECONDS = 2.5
_REFUSED_SECONDS = 20.0


@dataclass(frozen=True)
class Size:
    """How much is played.

    Attributes:
        steps: of each run.
        interval: milliseconds between two steps.
        kills: how often the sidecar is killed under a client.
        seed: of every random moment.
    """

    steps: int = 300
    interval: int = 10
    kills: int = 3
    seed: int = 0


class Stage:
    """Where a scenario is played: a command, a root directory, and a sidecar that is not started yet.

    Args:
        command: the client's.
        directory: of this scenario alone.
        size: how much is played.
    """

    def __init__(self, command: str, directory: Path, size: Size, name: str) -> None:
        self.command = command
        self.directory = directory
        self.size = size
        self.random = random.Random(f"{name} {size.seed}")
        self.root = directory / "root"
        self.root.mkdir(parents=True)
        self.sidecar = Sidecar(self.root)
        self._programs: list[Program] = []

    def order(self, run: str = "run", label: str | None = None, steps: int = 0, interval: int = 0) -> Order:
        return Order(run, steps or self.size.steps, interval or self.size.interval, label)

    def program(self, order: Order, door: str = "") -> Program:
        """Start the client's program."""
        self._programs.append(Program(self.command, order, door or self.sidecar.door, self.directory))
        return self._programs[-1]

    def results(self, *programs: Program, more: float = 0.0) -> list[str]:
        """Wait for `programs`, end the sidecar, and check all."""
        orders = [program.order for program in programs]
        ended: list[str] = []
        for program in programs:
            ended += check_end(program, program.order.seconds + _PATIENCE + more)
        ended += check_refused(self.sidecar.ask("status").body)
        self.sidecar.close()
        return ended + check_run(self.root, orders)

    def close(self) -> None:
        for program in self._programs:
            program.end()
        self.sidecar.close()


def plain(stage: Stage) -> list[str]:
    stage.sidecar.start()
    return stage.results(stage.program(stage.order()))


def killed(stage: Stage) -> list[str]:
    """The moments are anywhere from the program's start until its logging is over, and while it is being over."""
    stage.sidecar.start()
    order = stage.order()
    moments = sorted(stage.random.uniform(0.1, order.seconds * 1.1 + 0.2) for _ in range(stage.size.kills))
    program = stage.program(order)
    for moment in moments:
        _pause(program, program.began + moment)
        stage.sidecar.kill()
        time.sleep(stage.random.uniform(0.0, _DOWN_SECONDS))
        stage.sidecar.start()
    return stage.results(program, more=_PER_KILL * stage.size.kills)


def _pause(program: Program, until: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    time.sleep(max(0.0, until - time.monotonic()))


def absent(stage: Stage) -> list[str]:
    program = stage.program(stage.order())
    _pause(program, program.began + _ABSENT_SECONDS)
    if not program.runs():
        return [f"It did not wait for a sidecar that was not there yet. It wrote: {program.errors()[-500:]}"]
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
        return [f"The door refused it, since a run id has no slash, and {_REFUSED_SECONDS:.0f} s later it still ran."]
    found = []
    if status == 0:
        found.append("The door refused it, since a run id has no slash, and it ended with exit status 0.")
    if "no/name" not in said:
        wrote = f": {said[-500:]}" if said else "; it wrote nothing"
        found.append(f"Its standard error does not hold the door's message, which names the run id{wrote}.")
    return found


def tapped(stage: Stage) -> list[str]:
    steps = stage.size.steps
    tricks = Tricks(
        ignore_first_attach=True,
        refuse_second_attach=True,
        strange_results=True,
        lose_message_after=stage.random.randint(2, max(2, steps // 3)),
        silent_after=stage.random.randint(steps // 2, max(steps // 2, 2 * steps // 3)),
    )
    return _with_tap(stage, stage.order(), tricks)


def quiet(stage: Stage) -> list[str]:
    return _with_tap(stage, stage.order(steps=3, interval=3000), Tricks())


def _with_tap(stage: Stage, order: Order, tricks: Tricks) -> list[str]:
    stage.sidecar.start()
    with Tap(stage.sidecar, tricks) as tap:
        program = stage.program(order, tap.door)
        found = check_end(program, order.seconds + _PATIENCE + 2 * _PER_KILL)
    found += check_refused(stage.sidecar.ask("status").body)
    stage.sidecar.close()
    return [*found, *dict.fromkeys(tap.faults), *judge(tap.events), *check_run(stage.root, [order])]


@dataclass(frozen=True)
class Scenario:
    """One situation.

    Attributes:
        name: a word.
        about: what happens.
        play: returns what was wrong, in sentences.
    """

    name: str
    about: str
    play: Callable[[Stage], list[str]]


SCENARIOS = (
    Scenario("plain", "a sidecar that is there all the time", plain),
    Scenario("killed", "the sidecar is killed and restarted while the client logs", killed),
    Scenario("absent", "the sidecar comes when the client has been waiting for it", absent),
    Scenario("two", "two clients write to one run, each with a label", two),
    Scenario("refused", "the door refuses the run's id", refused),
    Scenario("tapped", "messages, acks and answers of the door are lost; unknown results come", tapped),
    Scenario("quiet", "the client has nothing to say for seconds", quiet),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one scenario.

    Attributes:
        wrong: what the client got wrong, in sentences; empty if nothing.
        seconds: how long it took.
    """

    scenario: Scenario
    wrong: Sequence[str]
    seconds: float


def play(scenario: Scenario, command: str, directory: Path, size: Size) -> Outcome:
    """Play one scenario in `directory`, which is made."""
    began = time.monotonic()
    with _stage(scenario, command, directory, size) as stage:
        wrong = scenario.play(stage)
    return Outcome(scenario, wrong, time.monotonic() - began)


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
    """Play all at once, since they mostly wait; `tell` is called with each outcome when it is there."""
    from concurrent.futures import ThreadPoolExecutor, as_completed

    with ThreadPoolExecutor(len(scenarios), "conformance") as pool:
        futures = {pool.submit(play, one, command, directory / one.name, size): one for one in scenarios}
        for future in as_completed(futures):
            tell(future.result())
    return [future.result() for future in futures]
