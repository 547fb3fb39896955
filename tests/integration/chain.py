"""A chain of sidecars, each with an address that survives a restart, and what must be equal in all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidecar.projections.rebuild import verify
from sidecar.protocol.layout import FILES_NAME, LOG_NAME, RUNS_NAME, needs_recovery
from sidecar.protocol.sink_progress import all_progress
from tests.integration.serving import Keys, Serving, free_ports
from tests.support import TIMEOUT, ReadBack, exact, wait_until


class Link:
    """One sidecar of a chain; it may be killed and restarted.

    Args:
        root: its root directory.
        upstream: the sidecar to which it forwards every run.
        keys: its key pair; None: no encryption.
        remote: whether it and its clients behave as on different machines: it sees neither their processes nor
            their windows, and they do not access its directory.
    """

    def __init__(
        self, root: Path, upstream: Link | None = None, keys: Keys | None = None, *, remote: bool = False
    ) -> None:
        self.root = root
        root.parent.mkdir(parents=True, exist_ok=True)
        ports = free_ports(40)
        self.control = f"tcp://127.0.0.1:{ports[0]}"
        self.address = f"sidecar+{self.control}" + (f"?key={keys.public}" if keys else "")
        self._arguments = ["--ports", f"{ports[1]}-{ports[-1]}"]
        self._arguments += ["--sinks", upstream.address] if upstream else []
        self._arguments += ["--key", str(keys.secret)] if keys else []
        self._arguments += ["--insecure"] if remote and not keys else []
        self._listen = f"tcp://0.0.0.0:{ports[0]}" if remote else self.control
        self._serving: Serving | None = None

    def start(self) -> Link:
        assert self._serving is None
        self._serving = Serving(self.root, *self._arguments, listen=self._listen)
        return self

    @property
    def serving(self) -> Serving:
        assert self._serving is not None
        return self._serving

    def kill(self) -> None:
        """Kill the sidecar with SIGKILL."""
        self.serving.process.kill()
        self.close()

    def close(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.close()

    def run(self, run_id: str) -> Path:
        return run_directory(self.root, run_id)


def run_directory(root: Path, run_id: str) -> Path:
    return root / RUNS_NAME / run_id


def wait_until_arrived(directory: Path, servers: int = 1, seconds: float = TIMEOUT) -> None:
    """Wait until a run's log has been sent to its servers completely."""

    def behind() -> list[int]:
        return [progress.behind_bytes(directory) for progress in all_progress(directory)]

    wait_until(lambda: behind() == [0] * servers, f"{directory} has been sent", seconds)


def wait_until_closed(directory: Path) -> Path:
    """Wait until the sidecar has closed a run, so that its store is complete; return `directory`."""
    wait_until(lambda: (directory / LOG_NAME).exists(), f"{directory} exists")
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), f"{directory} is closed")
    return directory


def full_content(directory: Path, *, killed: bool = False) -> Any:
    """Return what must be equal in every sidecar that has the run; also check the run's invariants.

    Records that a sidecar writes itself have no client in its own log, and a relay as their client further up.

    Args:
        directory: the run's directory.
        killed: whether a sidecar of the chain was killed. The next one may then have recorded some writers as gone, so
            the number of their sessions and the time of the last record are left out.
    """
    problems = verify(wait_until_closed(directory)).problems
    assert not problems, problems
    run = ReadBack(directory).check()
    state: dict[str, Any] = run.state
    relays = {client for client, writer in state["writers"].items() if writer["parent"] == "relay"}

    def origin(client: str) -> str:
        return "" if client in relays else client

    aggregates = state["aggregates"]
    losses = sorted([origin(client), origin(source), counts] for client, source, counts in aggregates["losses"])
    writers = {client: {**writer} for client, writer in state["writers"].items() if client not in relays}
    state = {**state, "writers": writers, "aggregates": {**aggregates, "losses": losses}}
    if killed:
        state["last_time"] = None
        for counters in (*writers.values(), state["aggregates"]):
            counters["session"] = None
    rows: dict[str, list[Any]] = {}
    for row in run.rows:
        rows.setdefault(origin(row.client), []).append((row.step, row.time, row.data))
    return exact({"state": state, "rows": rows, "files": run_files(directory)})


def run_files(directory: Path) -> Mapping[str, bytes]:
    """Return the content of each of the run's files, by name."""
    top = directory / FILES_NAME
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}
