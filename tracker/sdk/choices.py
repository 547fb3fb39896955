"""The strings that arguments may be, for type checkers. The tables that are checked against lie elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["online", "offline", "disabled"]
Resume: TypeAlias = Literal["allow", "must", "never", "auto"]
Reinit: TypeAlias = Literal["finish_previous", "return_previous", "create_new"]
Goal: TypeAlias = Literal["minimize", "maximize"]
Aggregate: TypeAlias = Literal["last", "min", "max", "mean", "best", "first", "none"]
Aggregates: TypeAlias = Aggregate | Sequence[Aggregate]
