"""``python -m tests.servers.faults``: plays every fault on the way to a server, as ``python -m tests.faults`` does.

Needs MLflow and ClickHouse, as the tests beside it do. Round 0 of each is short, every tenth a long one.
"""

from __future__ import annotations

import sys

from tests.faults.__main__ import main
from tests.servers.scenarios import bad_link, chain_killed, server_down

SCENARIOS = [*server_down.SCENARIOS, *chain_killed.SCENARIOS, *bad_link.SCENARIOS]

if __name__ == "__main__":
    sys.exit(main(None, SCENARIOS, "tests.servers.faults", __doc__))
