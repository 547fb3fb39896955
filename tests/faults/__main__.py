"""``python -m tests.faults``: plays rounds of every scenario, and prints a line of figures for each.

The exit status is 1 if a round failed; the directory of a failed round is kept, and its path and seed are printed.
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
from tests.faults.scenarios import all_scenarios

_HEADINGS = ("#", "fault", "rounds", "calls", "read back", "lost", "duplicated", "worst log() ms", "p99 µs", "passed")


@dataclass
class Line:
    """The result of a scenario, as a line of the table.

    Attributes:
        rounds: number of rounds played.
        figures: sum over the rounds that passed.
        failures: seed, directory and reason of each round that failed.
    """

    scenario: Scenario
    rounds: int = 0
    figures: Figures = field(default_factory=Figures)
    failures: list[dict[str, object]] = field(default_factory=list)

    def cells(self) -> list[str]:
        figures, p99 = self.figures, self.figures.p99_seconds
        passed = f"NO: {len(self.failures)} of {self.rounds} rounds failed" if self.failures else "yes"
        return [
            str(self.scenario.number),
            self.scenario.name,
            str(self.rounds),
            f"{figures.calls:,}",
            f"{figures.read:,}",
            str(figures.lost),
            str(figures.duplicated),
            f"{figures.worst_seconds * 1e3:.1f}" if figures.calls else "",
            f"{p99 * 1e6:.0f}" if p99 is not None else "",
            f"{passed}; {figures.note}" if figures.note else passed,
        ]

    def to_map(self) -> dict[str, object]:
        scenario = self.scenario
        return {
            "number": scenario.number,
            "fault": scenario.name,
            "requirement": scenario.requirement,
            "rounds": self.rounds,
            **asdict(self.figures),
            "passed": not self.failures,
            "failures": self.failures,
        }


def main(
    arguments: list[str] | None = None,
    scenarios: Sequence[Scenario] | None = None,
    program: str = "tests.faults",
    description: str | None = __doc__,
) -> int:
    """Run the command for these scenarios, or for `all_scenarios`; return its exit status: 0 if all rounds passed, 1 if
    one failed. Invalid arguments exit with 2."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=(description or "").replace("``", ""))
    parser.add_argument(
        "--rounds", type=int, help="number of rounds of each scenario (default: as many as the tests play)"
    )
    parser.add_argument("--only", help="numbers of the faults to play, such as 1,2 (default: all)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first round; each further round adds one (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--markdown", action="store_true", help="print the figures as a Markdown table")
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds must be at least 1, not {options.rounds}")
    scenarios = all_scenarios() if scenarios is None else scenarios
    if options.only:
        try:
            numbers = {int(number) for number in options.only.split(",")}
        except ValueError:
            parser.error(f"--only must be numbers separated by commas, such as 1,2, not '{options.only}'")
        unknown = numbers - {scenario.number for scenario in scenarios}
        if unknown:
            parser.error(f"--only: unknown fault {', '.join(map(str, sorted(unknown)))}")
        scenarios = [scenario for scenario in scenarios if scenario.number in numbers]
    channels.pull().close()  # so that the context's own threads and descriptors exist before leaks are looked for
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    plain = not options.json and not options.markdown
    widths = [
        max(len(heading), *(len(line.cells()[index]) for line in map(Line, scenarios)))
        for index, heading in enumerate(_HEADINGS)
    ]
    widths[3] = widths[4] = 10
    if plain:
        print(_aligned(_HEADINGS, widths), flush=True)
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
    start = time.monotonic()
    for number in range(rounds):
        elapsed = time.monotonic() - start
        _show(f"{scenario.number} {scenario.name}: round {number + 1} of {rounds}, {elapsed:.0f} s")
        name = "".join(letter if letter.isalnum() else "-" for letter in scenario.name)
        round_directory = directory / f"{scenario.number:02d}-{name}-{seed + number}"
        line.rounds += 1
        try:
            line.figures += play(scenario, round_directory, seed + number)
        except Exception as error:
            _show("")
            failure = f"{scenario.number} {scenario.name}: seed {seed + number}, directory {round_directory}: {error}"
            print(failure, file=sys.stderr)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            line.failures.append({"seed": seed + number, "directory": str(round_directory), "reason": str(error)})
        else:
            shutil.rmtree(round_directory, ignore_errors=True)
    _show("")
    return line


def _show(text: str) -> None:
    """Show progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _aligned(cells: Sequence[str], widths: list[int]) -> str:
    aligned = [
        cell.ljust(width) if index in (1, len(cells) - 1) else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(aligned).rstrip()


def _markdown(lines: list[Line]) -> str:
    rows = [_HEADINGS, tuple("---" if index in (1, len(_HEADINGS) - 1) else "---:" for index in range(len(_HEADINGS)))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [*rows, *(line.cells() for line in lines)])


if __name__ == "__main__":
    sys.exit(main())
