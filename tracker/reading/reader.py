"""RunReader: what a run is read through, whatever keeps it: the store in its directory, or a server it was sent to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sidecar.projections.store.blocks import Block


class RunReader(Protocol):
    """What keeps a run, and what it says of it. All methods raise `sidecar.protocol.errors.StoreError`."""

    def state(self) -> dict[str, Any]:
        """What the run is, as `RunState.to_map` gives it."""

    def checkpoint(self) -> int:
        """The offset in the run's log up to which everything is there."""

    def version(self) -> str:
        """A text that changes when the content does."""

    def keys(self) -> list[str]:
        """The metrics that were logged, in the order of their first appearance."""

    def columns(
        self,
        keys: Iterable[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        most: int | None = None,
    ) -> Iterator[Block]:
        """Yield blocks of rows, ordered by their smallest step, all of one moment, for `projections.store.rows`.

        Args:
            keys: only these metrics, and no blocks without any of them; a key that was never logged is no error.
            min_step: leave out blocks whose steps are all smaller. Blocks are whole: other steps may be in them.
            max_step: leave out blocks whose steps are all larger.
            most: read at most this many blocks, evenly spaced, the first and the last among them; None: all.
        """


class ReadableRun(Protocol):
    """The part of a stored run that pictures of it are made from."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def project(self) -> str | None: ...
    @property
    def state(self) -> str: ...
    @property
    def start_time(self) -> float | None: ...
    @property
    def end_time(self) -> float | None: ...
    @property
    def last_time(self) -> float | None: ...
    @property
    def step(self) -> int | None: ...
    @property
    def records(self) -> int: ...
    @property
    def config(self) -> Mapping[str, Any]: ...
    @property
    def summary(self) -> Mapping[str, Any]: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...

    def keys(self) -> Sequence[str]: ...

    def store(self) -> RunReader: ...
