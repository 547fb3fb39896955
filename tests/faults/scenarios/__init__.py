"""The faults, a module each or one for a closely related pair; `every` finds them all."""

from __future__ import annotations

import importlib
import pkgutil

from tests.faults.scenario import Scenario


def every() -> list[Scenario]:
    """Return all scenarios, by number."""
    found: list[Scenario] = []
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("s"):
            named = importlib.import_module(f"{__name__}.{module.name}")
            found += named.SCENARIOS if hasattr(named, "SCENARIOS") else [named.SCENARIO]
    return sorted(found, key=lambda scenario: scenario.number)
