"""What a sink is that sends a run to a server, and what goes wrong with one. Knows no server, no file, no thread."""

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
    """The root of what a sink raises; anything else that leaves one is a defect of this program."""


class SinkUnavailableError(SinkError):
    """The server cannot be reached, is busy or broken: the same batch is sent again later.

    Attributes:
        retry_after: seconds the server asked to wait (HTTP's ``Retry-After``), or None.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SinkRefusedError(SinkError):
    """The server does not want what it got (a wrong password, no such database): somebody must mend it. The same batch
    is tried again, seldom, since that may have happened meanwhile."""


class SinkTarget(NamedTuple):
    """What a sink is made for: one run and one server.

    Attributes:
        address: the server.
        run: the run's id.
        directory: the run's directory; ``files/`` is in it.
        memory: plain data that the sink may keep over restarts, such as the server's own id of the run. What stands in
            it when `Sink.send` returns is kept with the checkpoint, after a kill perhaps that of a second before.
    """

    address: SinkAddress
    run: str
    directory: Path
    memory: dict[str, Any]


class Sink(Protocol):
    """Takes one run's log, batch by batch, to one server. Used by one thread at a time.

    Attributes:
        batch_bytes: how much of the log a batch should be, about; a run that is going on is sent smaller ones.
    """

    batch_bytes: int

    def open(self) -> None:
        """Reach the server, and make there what is needed (an experiment, tables). Called again after an error.

        Raises:
            SinkError: it cannot be done.
        """

    def send(self, batch: Batch, state: RunState) -> int:
        """Return when the server keeps the batch for good.

        Args:
            batch: what comes next in the log; after an error or a kill some of it may have been sent before.
            state: what the run is with the batch applied; only to be read.

        Returns:
            the checkpoint: the offset in the log up to which the server has everything, so ``batch.end``; an earlier
            one where it has lost what it had, and is to be sent that again.

        Raises:
            SinkError: not all of it; the server may have kept a part.
        """

    def version(self) -> str:
        """Ask the server for its version; `open` need not have been called.

        Raises:
            SinkError: it cannot be reached, or does not say.
        """

    def close(self, deadline: Deadline) -> None:
        """Let go of connections. Sends nothing."""


OpenSink = Callable[[SinkTarget], Sink]

__all__ = ["Batch", "OpenSink", "Sink", "SinkError", "SinkRefusedError", "SinkTarget", "SinkUnavailableError"]
