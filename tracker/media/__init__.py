"""Media that a run can log: one module per type, and one row per type in the table below."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.media.histogram import Histogram

TYPES = {
    "histogram": ("tracker.media.histogram", "Histogram"),
}
"""``_type`` of a media object's map -> module and class. The modules are imported when a class is first asked for."""

HOMES = {name: module for module, name in TYPES.values()}
"""Class -> module."""

HINT = ", ".join(f"tracker.{name}(...)" for name in HOMES)
"""The classes, for a message about a value of another type."""

__all__ = ["Histogram"]
