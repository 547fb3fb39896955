"""The scenarios; see `all_scenarios`."""

from __future__ import annotations

import importlib
import pkgutil

from tests.faults.scenario import Scenario


def all_scenarios() -> list[Scenario]:
    """Return the scenarios of all modules here, ordered by number."""
    scenarios: list[Scenario] = []
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("s"):
            module = importlib.import_module(f"{__name__}.{info.name}")
            scenarios += module.SCENARIOS if hasattr(module, "SCENARIOS") else [module.SCENARIO]
    return sorted(scenarios, key=lambda scenario: scenario.number)
