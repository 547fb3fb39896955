"""Status: what ``sidecar status`` shows, gathered from the stages. Used on the HandlerThread."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from sidecar import __version__
from sidecar.pipeline.intake import Intake
from sidecar.pipeline.sender import Sender
from sidecar.pipeline.sessions import Sessions
from sidecar.pipeline.writer import Writer
from sidecar.protocol import PROTOCOL_VERSION
from sidecar.protocol.layout import RUNS_NAME
from sidecar.protocol.records import Body
from sidecar.sinks.senders import SinkSenders, SinkStatus


class Status:
    """The answer to ``status``.

    Args:
        root: the directory that holds ``runs/``.
        intake, sessions, writer, sender, sink_senders: the sidecar's own.

    Attributes:
        started: when the sidecar started, in Unix seconds.
    """

    def __init__(
        self,
        root: Path,
        intake: Intake,
        sessions: Sessions,
        writer: Writer,
        sender: Sender,
        sink_senders: SinkSenders,
    ) -> None:
        self._root = root
        self._intake = intake
        self._sessions = sessions
        self._writer = writer
        self._sender = sender
        self._sink_senders = sink_senders
        self.started = time.time()

    def body(self, records_endpoint: str, handshakes_refused: dict[str, int], *, encrypted: bool) -> Body:
        """Return the body of the answer.

        Args:
            records_endpoint: where clients push their records.
            handshakes_refused: number of connections refused, by reason.
            encrypted: whether connections are encrypted.
        """
        uptime = max(1e-9, time.time() - self.started)
        sessions = list(self._sessions.by_client.values())
        return {
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "records_endpoint": records_endpoint,
            "pid": os.getpid(),
            "host": platform.node(),
            "uptime": uptime,
            "clients": sum(not session.ledger.expected for session in sessions),
            "runs": sorted(self._sessions.runs),
            "records": self._intake.records,
            "records_per_second": self._intake.records / uptime,
            "unwritten_bytes": self._writer.backlog_bytes,
            "log_error": self._writer.error or unwritable(self._root),
            "sinks": _merged(self._sender.backlog(), self._sink_senders.backlog()),
            "refused": dict(self._intake.losses),
            "handshakes_refused": handshakes_refused,
            "encrypted": encrypted,
        }


def _merged(one: dict[str, SinkStatus], other: dict[str, SinkStatus]) -> dict[str, SinkStatus]:
    return {run: {**one.get(run, {}), **other.get(run, {})} for run in sorted({*one, *other})}


def unwritable(root: Path) -> str | None:
    """Return why no new run can be made in `root`, as far as that shows without a write; None if it can."""
    directory = root / RUNS_NAME if (root / RUNS_NAME).exists() else root
    try:
        status = os.statvfs(directory)
    except OSError as error:
        return f"{directory}: {error.strerror}"
    if status.f_flag & os.ST_RDONLY:
        return f"{directory}: read-only file system"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{directory}: permission denied"
    return f"{directory}: no space left on device" if status.f_bavail == 0 else None
