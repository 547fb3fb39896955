"""Helpers of all tests: real processes, a raw client, a reader of runs on disk, and a check for leaks.

Nothing here replaces a part of the product.
"""

from __future__ import annotations

from tests.support.leaks import Leaks, processes
from tests.support.raw_client import RawClient
from tests.support.readback import ReadBack, StoredRow, exact
from tests.support.subprocesses import CompletedScript, LaunchedSidecar, Script, Scripts
from tests.support.waiting import REPOSITORY, TIMEOUT, wait_until

__all__ = [
    "REPOSITORY",
    "TIMEOUT",
    "CompletedScript",
    "LaunchedSidecar",
    "Leaks",
    "RawClient",
    "ReadBack",
    "Script",
    "Scripts",
    "StoredRow",
    "exact",
    "processes",
    "wait_until",
]
