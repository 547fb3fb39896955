"""Finds the projections that the table of kinds names.

A kind's row in `sidecar.protocol.records` names its projections. Projection ``console`` is the class
`PROJECTION` of the module ``sidecar.projections.console``, one of two sorts:

* a `StatePart`, folded into the run's state: it is stored, resumed and shown with the state;
* any other class is a `Projection` made with the run's directory: it keeps what it makes there.

So a new kind costs a row in the table, its description in PROTOCOL.md, and one module. ``state`` and ``store``, which
every run has, are `RunState` and `StoreWriter`. Nothing is imported before a run needs it. Knows no particular kind.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from sidecar.log.reader import Batch
from sidecar.projections.replay import Projection
from sidecar.protocol.records import KINDS, Record, kinds_of

BUILT_IN = ("state", "store")
"""Names in the table that are not modules of this package: `RunState` and `StoreWriter` use these kinds."""


class StatePart(ABC):
    """A part of a run's state that is folded from the records of its own kinds. Plain data, no I/O."""

    @abstractmethod
    def apply(self, record: Record) -> None:
        """Take one record of a kind that names this part."""

    @abstractmethod
    def shown(self) -> Any:
        """Return what the state shows under the part's name, as plain data."""

    @abstractmethod
    def dump(self) -> Any:
        """Return all that `restore` needs, as plain data."""

    @abstractmethod
    def restore(self, dumped: Any) -> None:
        """Continue from what `dump` returned."""


def names() -> list[str]:
    """Return the names of the projections in the table, without those that are built in."""
    named = dict.fromkeys(name for kind in KINDS.values() for name in kind.projections)
    return [name for name in named if name not in BUILT_IN]


def load(name: str) -> type[Any]:
    """Return the class of the projection named `name`."""
    projection: type[Any] = importlib.import_module(f"sidecar.projections.{name}").PROJECTION
    return projection


def state_parts() -> dict[str, StatePart]:
    """Return a new one of each part of the state, by name."""
    return {name: class_() for name in names() if issubclass(class_ := load(name), StatePart)}


class RunProjections:
    """The projections in a run's directory, without the store: each is given the batches that hold its kinds.

    A projection itself. What is made of a batch again after a crash is the same, so the caller's checkpoint counts.

    Args:
        run_directory: the run's directory.
    """

    def __init__(self, run_directory: Path) -> None:
        self._end = 0
        self._projections: list[tuple[frozenset[str], Projection]] = [
            (kinds_of(name), class_(run_directory))
            for name in names()
            if not issubclass(class_ := load(name), StatePart)
        ]

    def apply(self, batch: Batch) -> None:
        present = batch.kinds
        for kinds, projection in self._projections:
            if not kinds.isdisjoint(present):
                projection.apply(batch)
        self._end = batch.end

    def commit(self) -> int:
        for _, projection in self._projections:
            projection.commit()
        return self._end
