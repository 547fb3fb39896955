"""The contract of a sink, which sends one run to one server, and its errors. Knows no server, no file, no thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sidecar.log.reader import Batch
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import SidecarError
from sidecar.protocol.sink_address import SinkAddress


class SinkError(SidecarError):
    """Base of the errors that a sink raises; any other exception from a sink is a bug."""


class SinkUnavailableError(SinkError):
    """The server cannot be reached, is busy or failed: the batch is retried later.

    Attributes:
        retry_after: seconds the server asked to wait (HTTP's ``Retry-After``), or None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SinkRefusedError(SinkError):
    """The server rejects the request (a wrong password, no such database) until somebody fixes the cause. The batch is
    retried at long intervals, in case that has happened."""


class SinkTarget(NamedTuple):
    """One run and one server: what a sink is made for.

    Attributes:
        address: the server.
        run: the run's id.
        directory: the run's directory, which contains ``files/``.
        memory: plain data that the sink keeps across restarts, such as the server's own id of the run. Its content when
            `Sink.send` returns is saved with the checkpoint; after a kill it may be that of a second earlier.
    """

    address: SinkAddress
    run: str
    directory: Path
    memory: dict[str, Any]


class Sink(Protocol):
    """Sends one run's log to one server, batch by batch. Used by one thread at a time.

    Attributes:
        batch_bytes: preferred size of a batch in bytes of the log; batches of a live run are usually smaller.
    """

    batch_bytes: int

    def open(self) -> None:
        """Connect, and create what the server needs (an experiment, tables). Called again after an error.

        Raises:
            SinkError: it failed.
        """

    def send(self, batch: Batch, state: RunState) -> int:
        """Send a batch; return when the server has stored it durably.

        Args:
            batch: the next records of the log. After an error or a kill, some of them may have been sent before.
            state: the run's state after the batch; read only.

        Returns:
            the checkpoint: the log offset up to which the server has everything. Normally ``batch.end``; an earlier
            offset if the server has lost records, which are then resent from there.

        Raises:
            SinkError: the batch was not stored completely; the server may have stored a part.
        """

    def version(self) -> str:
        """Return the server's version; works without `open`.

        Raises:
            SinkError: the server cannot be reached, or does not report a version.
        """

    def close(self, deadline: Deadline) -> None:
        """Close connections, without sending anything. May be called twice."""


OpenSink = Callable[[SinkTarget], Sink]

__all__ = ["Batch", "OpenSink", "Sink", "SinkError", "SinkRefusedError", "SinkTarget", "SinkUnavailableError"]
