"""What the user's side raises: one root, each class named for what went wrong."""

from __future__ import annotations


class TrackerError(Exception):
    """The root of all errors that ``tracker`` raises of its own."""


class SettingsError(TrackerError, ValueError):
    """A setting that cannot be: the message names it, where it comes from, and what would be right."""


class LaunchError(TrackerError):
    """The sidecar could not be started or reached in time; the message says why."""


class ResumeError(TrackerError):
    """The run is there and must not be, or is not and must be, or is held elsewhere."""


class RunActiveError(TrackerError):
    """`init` while a run is active in this process."""


class RunFinishedError(TrackerError):
    """A run was used after its `finish`."""


class RunNotFoundError(TrackerError, KeyError):
    """No run fits the reference; the message names similar ones."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class AmbiguousRunError(RunNotFoundError):
    """Several runs fit the reference; the message lists them."""


class RootNotFoundError(RunNotFoundError):
    """The directory to read runs from does not exist."""


class ConfigChangeError(TrackerError):
    """A key of the config that has another value already, without ``allow_val_change=True``."""
