"""Options: arguments of the command that measurements need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Options of a measurement.

    Attributes:
        directory: directory for all measured files.
        quick: take a tenth of the samples; not for reported figures.
    """

    directory: Path
    quick: bool = False

    def count(self, full: int, quick: int | None = None) -> int:
        """Return a number of samples: `full`, or `quick` (default: a tenth of `full`) if the option is set."""
        return (quick or max(1, full // 10)) if self.quick else full
