"""``python -m tests.faults``: plays every fault some rounds, and prints a line of figures for each.

It exits with 1 if something did not hold; the directory of such a round is kept, and its path and seed are printed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sidecar.protocol import channels
from tests.faults.scenario import Figures, Scenario, play
from tests.faults.scenarios import every

_HEADS = ("#", "fault", "rounds", "calls", "read back", "lost", "twice", "worst log() ms", "p99 µs", "holds")


@dataclass
class Line:
    """What came of one scenario.

    Attributes:
        rounds: how many were played.
        figures: of all rounds that held.
        failures: of each round that did not: its seed, its directory and why.
    """

    scenario: Scenario
    rounds: int = 0
    figures: Figures = field(default_factory=Figures)
    failures: list[dict[str, object]] = field(default_factory=list)

    def cells(self) -> list[str]:
        found, p99 = self.figures, self.figures.p99_seconds
        holds = f"NO: {len(self.failures)} of {self.rounds} rounds" if self.failures else "yes"
        return [
            str(self.scenario.number),
            self.scenario.name,
            str(self.rounds),
            f"{found.calls:,}",
            f"{found.read:,}",
            str(found.lost),
            str(found.twice),
            f"{found.worst_seconds * 1e3:.1f}" if found.calls else "",
            f"{p99 * 1e6:.0f}" if p99 is not None else "",
            f"{holds}; {found.note}" if found.note else holds,
        ]

    def to_map(self) -> dict[str, object]:
        scenario = self.scenario
        about = {"number": scenario.number, "fault": scenario.name, "must": scenario.must, "rounds": self.rounds}
        return {**about, **asdict(self.figures), "holds": not self.failures, "failures": self.failures}


def main(
    arguments: list[str] | None = None,
    scenarios: Sequence[Scenario] | None = None,
    program: str = "tests.faults",
    about: str | None = __doc__,
) -> int:
    """Run the command for these scenarios, or for `every`; return its exit status: 0 all held, 1 something did not, 2
    bad usage."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--rounds", type=int, help="how many of each (default: the few that the tests play)")
    parser.add_argument("--only", help="the numbers of some faults, such as 1,2 (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the next has the next (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--markdown", action="store_true", help="print them as a table in Markdown")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds is at least 1")
    scenarios = every() if scenarios is None else scenarios
    if options.only:
        try:
            wanted = {int(number) for number in options.only.split(",")}
        except ValueError:
            parser.error(f"--only {options.only}: numbers with commas between them, such as 1,2")
        unknown = wanted - {scenario.number for scenario in scenarios}
        if unknown:
            parser.error(f"--only: no fault has the number {', '.join(map(str, sorted(unknown)))}")
        scenarios = [scenario for scenario in scenarios if scenario.number in wanted]
    channels.pull().close()  # the context's own threads and descriptors stay until the end
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    plain = not options.json and not options.markdown
    widths = [
        max(len(head), *(len(line.cells()[at]) for line in map(Line, scenarios))) for at, head in enumerate(_HEADS)
    ]
    widths[3] = widths[4] = 10
    if plain:
        print(_aligned(_HEADS, widths), flush=True)
    lines = []
    for scenario in scenarios:
        line = _play_rounds(scenario, options.rounds or scenario.rounds_in_ci, options.seed, directory)
        lines.append(line)
        if plain:
            print(_aligned(line.cells(), widths), flush=True)
    if options.json:
        print(json.dumps([line.to_map() for line in lines], indent=1))
    elif options.markdown:
        print(_markdown(lines))
    if any(line.failures for line in lines):
        return 1
    directory.rmdir()
    return 0


def _play_rounds(scenario: Scenario, rounds: int, seed: int, directory: Path) -> Line:
    line = Line(scenario)
    begun = time.monotonic()
    for number in range(rounds):
        _show(f"{scenario.number} {scenario.name}: round {number + 1} of {rounds}, {time.monotonic() - begun:.0f} s")
        name = "".join(letter if letter.isalnum() else "-" for letter in scenario.name)
        place = directory / f"{scenario.number:02d}-{name}-{seed + number}"
        line.rounds += 1
        try:
            line.figures += play(scenario, place, seed + number)
        except Exception as error:
            _show("")
            print(f"{scenario.number} {scenario.name}: seed {seed + number}, kept in {place}: {error}", file=sys.stderr)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            line.failures.append({"seed": seed + number, "directory": str(place), "reason": str(error)})
        else:
            shutil.rmtree(place, ignore_errors=True)
    _show("")
    return line


def _show(text: str) -> None:
    """Show how far it is, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _aligned(cells: Sequence[str], widths: list[int]) -> str:
    placed = [
        cell.ljust(width) if at in (1, len(cells) - 1) else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(placed).rstrip()


def _markdown(lines: list[Line]) -> str:
    rows = [_HEADS, tuple("---" if at in (1, len(_HEADS) - 1) else "---:" for at in range(len(_HEADS)))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [*rows, *(line.cells() for line in lines)])


if __name__ == "__main__":
    sys.exit(main())
