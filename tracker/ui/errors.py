"""The errors of the API's answers."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error that the API returns; its message is what is wrong and what to do.

    Attributes:
        status: the HTTP status.
        code: stable, for programs.
        details: more members of the answer's ``error``.
    """

    def __init__(self, status: int, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details


class CancelledError(Exception):
    """The client closed the connection; its answer is not needed."""
