"""A few rounds of every scenario; ``python -m tests.faults`` plays more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scenario import Scenario, play
from tests.faults.scenarios import all_scenarios
from tests.support import Leaks


@pytest.mark.parametrize("scenario", all_scenarios(), ids=lambda scenario: f"{scenario.number:02d} {scenario.name}")
def test_fault(scenario: Scenario, tmp_path: Path, leaks: Leaks) -> None:
    leaks.allow_socket_directories()
    for seed in range(scenario.rounds_in_ci):
        play(scenario, tmp_path / str(seed), seed)
