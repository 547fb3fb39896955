"""What a client's program is told, and what the run must hold afterwards. Pure: no processes, no files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Order:
    """What one program is told to do.

    Attributes:
        run: the run's id.
        steps: how many ``log`` records.
        interval: milliseconds between two of them.
        label: the writer's label, or None.
        project: the project's name.
        notes: whether some steps have a text; without, every ``log`` record can be a row.
    """

    run: str
    steps: int
    interval: int
    label: str | None = None
    project: str = "conformance"
    notes: bool = True

    def arguments(self, door: str) -> list[str]:
        """Return what is appended to the command."""
        found = ["--door", door, "--run", self.run, "--steps", str(self.steps), "--interval", str(self.interval)]
        if self.label is not None:
            found += ["--label", self.label]
        if not self.notes:
            found += ["--notes", "no"]
        return [*found, "--project", self.project]

    @property
    def seconds(self) -> float:
        """How long it logs."""
        return self.steps * self.interval / 1000

    def config(self) -> dict[str, Any]:
        return {
            "lr": 0.1,
            "steps": self.steps,
            "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
            "unicode": "größe ✓",
            "nothing": None,
            "flag": True,
        }

    def best(self) -> float:
        return 1 / self.steps

    def rows(self) -> list[tuple[int, dict[str, Any]]]:
        """Return step and data of every ``log`` record."""
        return [(i, row(i, notes=self.notes)) for i in range(self.steps)]


def row(i: int, *, notes: bool = True) -> dict[str, Any]:
    """Return the metrics of step `i`."""
    found: dict[str, Any] = {"loss": 1 / (i + 1), "acc": i * 0.25, "count": i * 1000003, "odd": i % 2 == 1}
    if notes and i % 10 == 0:
        found["note"] = f"step {i}"
    return {**found, "wild": (math.nan, math.inf, -math.inf)[i % 3]}


def same(expected: Any, found: Any) -> bool:
    """Whether a value equals the expected one.

    A float that is a whole number may be an integer: some languages have a single number type.
    """
    if isinstance(expected, float):
        if isinstance(found, bool) or not isinstance(found, float | int):
            return False
        return found == expected or (math.isnan(expected) and math.isnan(found))
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(same(value, found[key]) for key, value in expected.items())
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, expected, found))
    return type(found) is type(expected) and bool(found == expected)
