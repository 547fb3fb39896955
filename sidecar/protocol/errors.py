"""What can go wrong between a client and a sidecar: one root, each class named for what went wrong and what to do.

Exceptions of ``zmq``, ``sqlite3`` and ``requests`` never leave the file that imports them: they become one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sidecar.protocol.envelope import Record


class SidecarError(Exception):
    """The root of all errors that ``sidecar`` raises."""


class RecordError(SidecarError):
    """A record that cannot be used. `code` is stable and short, for programs; the message is for people.

    Attributes:
        code: one of ``"encoding"``, ``"form"``, ``"kind"``, ``"size"``, ``"depth"``, ``"key"``, ``"value"``,
            ``"run"``, ``"checksum"``.
        record: as far as it could be read, where its client and number could; else None.
    """

    def __init__(self, code: str, message: str, record: Record | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.record = record


class RefusedError(SidecarError):
    """The door refused an attach. `code` says why, `where` names another sidecar's connection file if that helps.

    Attributes:
        code: ``"protocol"``, ``"run"``, ``"client"``, ``"exists"``, ``"missing"``, ``"elsewhere"``, ``"storage"``,
            ``"closing"``, ``"key"``, ``"sinks"``; or that of a `RecordError`, where the request itself is none.
        where: the connection file of the sidecar that holds the run, for ``"elsewhere"``; else None.
    """

    def __init__(self, code: str, message: str, where: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.where = where


class RunHeldError(SidecarError):
    """Another sidecar holds the run, so nobody else may write it now.

    Attributes:
        where: that sidecar's connection file, or "" if it left no word.
    """

    def __init__(self, run: str, where: str) -> None:
        by = f" ({where})" if where else ""
        super().__init__(f"run {run!r} is held by a live sidecar{by}; finish the run first")
        self.where = where


class UnreachableError(SidecarError):
    """Nobody answered at an address before the deadline."""


class ChannelError(SidecarError):
    """A socket could not be made or bound: the address is malformed, in use, or not allowed."""


class LogFormatError(SidecarError):
    """A file that is not a transaction log, or one of a later format; the message says what was found."""


class StoreError(SidecarError):
    """The embedded store cannot be read or written; ``tracker rebuild`` makes it anew from the log."""


class ConnectionFileError(SidecarError):
    """A connection file is missing, unreadable, or not of a version this program knows."""


class KeyFileError(SidecarError):
    """A file of keys is missing, unreadable, or holds no key."""
