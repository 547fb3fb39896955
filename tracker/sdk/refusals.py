"""Refusals: what `log` cannot use, counted, and warned of once per key; or raised, in a strict run. Any thread."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tracker.sdk.values import Refuse, raise_error
from tracker.transport.losses import INVALID

if TYPE_CHECKING:
    from tracker.sdk.lifecycle import Lifecycle

_log = logging.getLogger("tracker")

_MAX_WARNINGS = 100
"""Maximum number of keys that a run warns of."""

_OUTCOMES = {
    "value": "it is left out; more of these are only counted",
    "key": "it is left out; more of these are only counted",
    "step": "the run's own step is used; more of these are only counted",
}


class Refusals:
    """What a run could not use of what it was given.

    Args:
        lifecycle: the run's; its losses are those of this process, also after a fork.
    """

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle
        self._warned: set[tuple[str, str]] = set()
        self.refuse: Refuse = raise_error if lifecycle.settings.strict else self._note

    def _note(self, part: str, key: str, error: Exception) -> None:
        self._lifecycle.losses.add(INVALID[part])
        about = (part, key)
        if about in self._warned or len(self._warned) > _MAX_WARNINGS:
            return
        self._warned.add(about)
        if len(self._warned) > _MAX_WARNINGS:
            _log.warning("more than %d metrics are not valid; the others are only counted in losses", _MAX_WARNINGS)
            return
        text = str(error)
        if key and repr(key) not in text and key not in text:
            text = f"metric {key!r}: {text}"
        _log.warning("%s; %s", text, _OUTCOMES[part])
