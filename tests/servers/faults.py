"""``python -m tests.servers.faults``: plays every fault between sidecar and server, like ``python -m tests.faults``.

Needs MLflow and ClickHouse, as the tests here do. The first round of each scenario is short, every tenth is long.
"""

from __future__ import annotations

import sys

from tests.faults.__main__ import main
from tests.servers.scenarios import bad_link, chain_killed, server_down

SCENARIOS = [*server_down.SCENARIOS, *chain_killed.SCENARIOS, *bad_link.SCENARIOS]

if __name__ == "__main__":
    sys.exit(main(None, SCENARIOS, "tests.servers.faults", __doc__))
