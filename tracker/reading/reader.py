"""Interfaces of what is read: RunReader, a store or a server with one run; ReadableRun, a run as charts need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from sidecar.projections.store.blocks import Block
    from sidecar.projections.store.buckets import Buckets
    from sidecar.projections.store.cache import BucketCache

DEFAULT_COUNT = 400
"""Number of buckets if not given, as of `sidecar.projections.store.buckets`, which is slow to import for a list of
runs."""


class RunReader(Protocol):
    """Reads one run from its store or from a server. All methods raise `sidecar.protocol.errors.StoreError`."""

    def state(self) -> dict[str, Any]:
        """Return the run's state, as `RunState.to_map` does."""

    def checkpoint(self) -> int:
        """Return the offset in the run's log up to which the content is complete."""

    def version(self) -> str:
        """Return a string that changes whenever the content does."""

    def keys(self) -> list[str]:
        """Return the metrics that were logged, in the order of their first appearance."""

    def columns(
        self,
        keys: Iterable[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
        *,
        most: int | None = None,
    ) -> Iterator[Block]:
        """Yield the blocks, ordered by their smallest step, as a snapshot, for `projections.store.rows`.

        Args:
            keys: only these metrics, and no blocks without any of them; a key that was never logged is not an error.
            min_step: leave out blocks whose steps are all smaller. Blocks are whole: they may hold other steps too.
            max_step: leave out blocks whose steps are all larger.
            most: read at most this many blocks, evenly spaced, the first and the last among them; None: all.
        """

    def buckets(
        self,
        keys: Iterable[str],
        x: str = "step",
        low: float | None = None,
        high: float | None = None,
        count: int = DEFAULT_COUNT,
        *,
        log_x: bool = False,
        cache: BucketCache | None = None,
    ) -> Iterator[Buckets]:
        """Yield the buckets of each key and writer: by key as given, then by writer in order of the first row.

        Args:
            keys: the metrics; those without numbers are left out, as are keys that were never logged.
            x: ``"step"``, ``"relative"`` (seconds since the start), ``"time"`` (Unix seconds) or a metric.
            low, high: the range of x, both ends included; None for the series' own.
            count: maximum number of buckets.
            log_x: whether buckets have equal ratios of x instead of equal widths.
            cache: of what was read before, for a process that reads often; a server's reader does not use it.

        Raises:
            ValueError: an invalid range or count.
        """


@runtime_checkable
class SamplingReader(Protocol):
    """A reader that can choose rows of a long history where they are, without reading all of them."""

    def sampled(self, keys: Iterable[str], samples: int, x: str) -> dict[str, list[Any]] | None:
        """Return at most `samples` rows as `projections.store.rows.history` does; None if that must do it."""


class ReadableRun(Protocol):
    """The part of a stored run that tables and charts are made from."""

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
