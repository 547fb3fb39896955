"""Errors of the user's side: one root, each class named for what went wrong."""

from __future__ import annotations


class TrackerError(Exception):
    """Root of all errors that ``tracker`` raises of its own."""


class SettingsError(TrackerError, ValueError):
    """A setting is not valid: the message names it, where it was set, and what it must be."""


class NoRunError(TrackerError, AttributeError):
    """No run is active in this process: `init` was not called, or the run has ended."""


class LaunchError(TrackerError):
    """The sidecar could not be started or reached in time; the message says why."""


class EditError(TrackerError):
    """A run could not be edited; the message says why, and what to do."""


class ResumeError(TrackerError):
    """The run exists and must not, or does not and must, or is in use elsewhere."""


class RunActiveError(TrackerError):
    """`init` was called while a run is active in this process."""


class RunFinishedError(TrackerError):
    """A run was used after its end."""


class _KeyError(TrackerError, KeyError):
    """A `KeyError` whose text is shown as it is."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class RunNotFoundError(_KeyError):
    """No run fits the reference; the message names similar ones."""


class AmbiguousRunError(RunNotFoundError):
    """Several runs fit the reference; the message lists them."""


class UnknownMetricError(TrackerError, ValueError):
    """A metric that a run never logged; the message names those that it did."""


class FilterError(TrackerError, ValueError):
    """A filter or an order that cannot be answered: a field, an operator or a value that does not fit.

    Attributes:
        field: the field that it is about, as it was given; None if it is about none.
    """

    field: str | None = None


class QueryError(FilterError):
    """A query line that cannot be read or answered.

    Attributes:
        position: index of the character that it is about.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class RootNotFoundError(RunNotFoundError):
    """The directory to read runs from does not exist."""


class MissingKeyError(_KeyError, AttributeError):
    """A config or a summary has no such key; the message names those that it has."""


class ConfigChangeError(TrackerError):
    """A key of the config has another value already, and ``allow_val_change=True`` was not given."""
