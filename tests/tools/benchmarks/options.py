"""What the user of the benchmarks chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """
    Attributes:
        directory: where all that is measured keeps its files.
        quick: take a tenth of the samples: a look, not a figure to report.
    """

    directory: Path
    quick: bool = False

    def count(self, full: int, quick: int | None = None) -> int:
        return (quick or max(1, full // 10)) if self.quick else full
