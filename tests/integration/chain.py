"""Sidecars in a chain, each at an address that stays when it is killed and started again; what is equal in all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidecar.projections.rebuild import verify
from sidecar.protocol.layout import FILES_NAME, LOG_NAME, RUNS_NAME, needs_recovery
from sidecar.protocol.sink_progress import all_progress
from tests.integration.serving import Keys, Serving, free_ports
from tests.support import PATIENCE, ReadBack, exact, wait_until


class Link:
    """A sidecar that serves a root, and that may be killed and started again.

    Args:
        root: its root.
        upstream: another of them, to which it passes every run.
        keys: what it encrypts with.
        afar: whether it takes its clients for processes of other machines, and they it: it knows neither their
            processes nor their windows, and they do not reach its directory.
    """

    def __init__(
        self, root: Path, upstream: Link | None = None, keys: Keys | None = None, *, afar: bool = False
    ) -> None:
        self.root = root
        root.parent.mkdir(parents=True, exist_ok=True)
        ports = free_ports(40)
        self.door = f"tcp://127.0.0.1:{ports[0]}"
        self.address = f"sidecar+{self.door}" + (f"?key={keys.public}" if keys else "")
        self._arguments = ["--ports", f"{ports[1]}-{ports[-1]}"]
        self._arguments += ["--sinks", upstream.address] if upstream else []
        self._arguments += ["--key", str(keys.secret)] if keys else []
        self._arguments += ["--insecure"] if afar and not keys else []
        self._listen = f"tcp://0.0.0.0:{ports[0]}" if afar else self.door
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
        """SIGKILL."""
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


def wait_until_arrived(directory: Path, servers: int = 1, seconds: float = PATIENCE) -> None:
    """Wait until all of a run's log is at its servers."""

    def behind() -> list[int]:
        return [progress.behind_bytes(directory) for progress in all_progress(directory)]

    wait_until(lambda: behind() == [0] * servers, f"{directory} has arrived", seconds)


def closed(directory: Path) -> Path:
    """Wait until the sidecar has let a run go, so that its store holds all of it."""
    wait_until(lambda: (directory / LOG_NAME).exists(), f"{directory} is there")
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), f"{directory} is let go")
    return directory


def whole(directory: Path, *, killed: bool = False) -> Any:
    """Return all that must be equal in every sidecar that has the run; check what is true of every good run.

    What the sidecars say themselves has no client where it was written, and comes from a relay further up.

    Args:
        directory: the run's.
        killed: whether a sidecar was killed on the way. The one after it may have taken writers for gone, and have said
            so: then how often they came again, and when something was last said, is left out.
    """
    problems = verify(closed(directory)).problems
    assert not problems, problems
    found = ReadBack(directory).check()
    state: dict[str, Any] = found.state
    relays = {client for client, writer in state["writers"].items() if writer["parent"] == "relay"}

    def plain(client: str) -> str:
        return "" if client in relays else client

    inner = state["aggregates"]
    losses = sorted([plain(client), plain(source), counts] for client, source, counts in inner["losses"])
    writers = {client: {**writer} for client, writer in state["writers"].items() if client not in relays}
    state = {**state, "writers": writers, "aggregates": {**inner, "losses": losses}}
    if killed:
        state["last_time"] = None
        for counting in (*writers.values(), state["aggregates"]):
            counting["session"] = None
    rows: dict[str, list[Any]] = {}
    for row in found.rows:
        rows.setdefault(plain(row.client), []).append((row.step, row.time, row.data))
    return exact({"state": state, "rows": rows, "files": files(directory)})


def files(directory: Path) -> Mapping[str, bytes]:
    """Return the run's files: name -> content."""
    top = directory / FILES_NAME
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}
