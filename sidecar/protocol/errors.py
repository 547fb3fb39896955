"""The errors of ``sidecar``: one root, each class named for what went wrong.

Exceptions of ``zmq``, ``sqlite3`` and ``requests`` never leave the file that imports them: they become one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.protocol.envelope import Record


class SidecarError(Exception):
    """The root of all errors that ``sidecar`` raises."""


class RecordError(SidecarError):
    """A record is not valid. `code` is stable, for programs; the message is for people.

    Attributes:
        code: one of ``"encoding"``, ``"form"``, ``"kind"``, ``"size"``, ``"depth"``, ``"key"``, ``"value"``,
            ``"run"``, ``"checksum"``.
        record: its envelope, if client and number could be read; else None.
    """

    def __init__(self, code: str, message: str, record: Record | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.record = record


class RefusedError(SidecarError):
    """A sidecar refused a request on its control socket.

    Attributes:
        code: ``"protocol"``, ``"run"``, ``"client"``, ``"exists"``, ``"missing"``, ``"elsewhere"``, ``"storage"``,
            ``"closing"``, ``"key"``, ``"sinks"``, ``"reads"``, ``"arguments"``; or that of a `RecordError`, if the
            request is not valid.
        where: the connection file of the sidecar that holds the run, for ``"elsewhere"``; else None.
    """

    def __init__(self, code: str, message: str, where: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.where = where


class RunHeldError(SidecarError):
    """Another sidecar holds the run, so this process must not write it.

    Attributes:
        where: that sidecar's connection file; "" if it is not known.
    """

    def __init__(self, run: str, where: str) -> None:
        by = f" ({where})" if where else ""
        super().__init__(f"run {run!r} is held by a live sidecar{by}; finish the run first")
        self.where = where


class UnreachableError(SidecarError):
    """No sidecar answered at an address before the deadline."""


class ChannelError(SidecarError):
    """A socket could not be made, bound or used: for example, its address is malformed, in use, or not allowed."""


class LogFormatError(SidecarError):
    """A file is not a transaction log, or has a later format."""


class StoreError(SidecarError):
    """The embedded store cannot be read or written; ``tracker rebuild`` rebuilds it from the log."""


class UnreachableStoreError(StoreError):
    """The server that runs are read from cannot be reached, or is busy; retrying later may help."""


class ConnectionFileError(SidecarError):
    """A connection file is missing, unreadable, or of another protocol version."""


class KeyFileError(SidecarError):
    """A key file is missing, unreadable, or not valid."""


def reason(error: Exception) -> str:
    """Return an error's text for people; an `OSError` without its number: ``"/data/run.log: Permission denied"``."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)
