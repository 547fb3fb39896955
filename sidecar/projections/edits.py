"""Edits: what users changed in a run, and what their last edits replaced. A part of the run's state; no I/O.

An edited value takes precedence over what the run's writers say, before and after, until it is edited again or the edit
is undone: then the writers' current value shows again. `RunState` lays the values over its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sidecar.projections.registry import StatePart
from sidecar.protocol.bodies import EDITABLE
from sidecar.protocol.codec import pack
from sidecar.protocol.records import Record

MAX_UNDO = 20
MAX_UNDO_BYTES = 64 * 1024
"""Maximum number and size of the edits that can be undone; the last one can be, whatever its size."""

_MAX_IDS = 64
"""Number of edits whose ids are remembered, so that one that is sent again is applied once."""

MAPS = ("config", "summary")
"""Parts of a run that are edited key by key."""

Target = tuple[str, str]
"""What is edited: ``("config", "lr")``, ``("name", "")``."""


class _Step(NamedTuple):
    """What one edit replaced: for each target whether it was edited before, and to what value; when, and by whom."""

    replaced: list[tuple[Target, bool, Any]]
    time: float
    by: str | None


class Edits(StatePart):
    """The edits of a run.

    Attributes:
        values: target -> the value that a user gave it.
    """

    def __init__(self) -> None:
        self.values: dict[Target, Any] = {}
        self._steps: list[_Step] = []
        self._sizes: list[int] = []
        self._ids: list[str] = []

    def get(self, field: str) -> Any:
        """Return the value that a user gave to a field outside the config and the summary; None if unset."""
        return self.values.get((field, ""))

    def apply(self, record: Record) -> None:
        body = record.body
        id = body.get("id")
        if id:
            if id in self._ids:
                return
            self._ids = [*self._ids[1 - _MAX_IDS :], id]
        if body.get("undo"):
            self._undo()
        else:
            self._change(body, record.time)

    def _change(self, body: Mapping[str, Any], time: float) -> None:
        replaced: list[tuple[Target, bool, Any]] = []
        for target, value in _targets(body):
            edited = target in self.values
            before = self.values.get(target)
            if not edited or pack(before) != pack(value):  # 1 and True are equal
                replaced.append((target, edited, before))
                self.values[target] = value
        if replaced:
            step = _Step(replaced, time, body.get("by"))
            self._steps.append(step)
            self._sizes.append(len(pack(_dumped(step))))
            while len(self._steps) > MAX_UNDO or (len(self._steps) > 1 and sum(self._sizes) > MAX_UNDO_BYTES):
                del self._steps[0], self._sizes[0]

    def _undo(self) -> None:
        if not self._steps:
            return
        step = self._steps.pop()
        self._sizes.pop()
        for target, edited, before in step.replaced:
            if edited:
                self.values[target] = before
            else:
                self.values.pop(target, None)

    def shown(self) -> dict[str, Any]:
        """Return ``fields`` (what is edited, such as ``name`` and ``config.lr``), ``undo`` (how many edits can be
        undone), and ``time`` and ``by`` of the last of them."""
        last = self._steps[-1] if self._steps else None
        return {
            "fields": [f"{part}.{key}" if part in MAPS else part for part, key in self.values],
            "undo": len(self._steps),
            "time": last and last.time,
            "by": last and last.by,
        }

    def dump(self) -> dict[str, Any]:
        return {
            "values": [[*target, value] for target, value in self.values.items()],
            "steps": [_dumped(step) for step in self._steps],
            "ids": list(self._ids),
        }

    def restore(self, dumped: Any) -> None:
        self.values = {(part, key): value for part, key, value in dumped["values"]}
        self._steps = [
            _Step([((part, key), edited, before) for part, key, edited, before in replaced], time, by)
            for replaced, time, by in dumped["steps"]
        ]
        self._sizes = [len(pack(_dumped(step))) for step in self._steps]
        self._ids = list(dumped["ids"])


def _targets(body: Mapping[str, Any]) -> list[tuple[Target, Any]]:
    targets: list[tuple[Target, Any]] = []
    for field in EDITABLE:
        if field in MAPS:
            targets += [((field, key), value) for key, value in body.get(field, {}).items()]
        elif field in body:
            targets.append(((field, ""), body[field]))
    return targets


def _dumped(step: _Step) -> list[Any]:
    return [[[*target, edited, before] for target, edited, before in step.replaced], step.time, step.by]


PROJECTION = Edits
