"""Files of media: stored before the row that names them, or left out of it and counted; never an error of `log`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from tracker.errors import RunFinishedError, TrackerError
from tracker.media.base import MediaFile
from tracker.sdk.files import MEDIA_LOST, Source, store_media
from tracker.transport.losses import Losses

FILES = {"a": [(MediaFile(b"a", "bin"), "media/a/1.bin")], "b": [(MediaFile(b"b", "bin"), "media/b/2.bin")]}


def test_the_files_of_each_metric_are_stored_without_waiting() -> None:
    calls: list[tuple[list[str], float | None]] = []

    def save(files: Sequence[tuple[Source, str]], timeout: float | None) -> None:
        calls.append(([name for _, name in files], timeout))

    data: dict[str, Any] = {"a": {}, "b": {}, "loss": 0.5}
    losses = Losses()
    store_media(save, data, FILES, losses)
    assert calls == [(["media/a/1.bin"], 0.0), (["media/b/2.bin"], 0.0)]
    assert list(data) == ["a", "b", "loss"] and losses.counts() == {}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), TrackerError("not sent in time")])
def test_media_that_cannot_be_stored_are_left_out_counted_and_warned_of_once(
    error: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(files: Sequence[tuple[Source, str]], timeout: float | None) -> None:
        if files[0][1].startswith("media/a/"):
            raise error

    monkeypatch.setattr(logging.getLogger("tracker"), "propagate", True)
    losses = Losses()
    for _ in range(3):
        data: dict[str, Any] = {"a": {}, "b": {}, "loss": 0.5}
        store_media(save, data, FILES, losses)
        assert list(data) == ["b", "loss"]
    assert losses.counts() == {MEDIA_LOST: 3}
    (message,) = [record.getMessage() for record in caplog.records]
    assert "metric 'a' is left out" in message and str(error) in message


def test_a_run_that_has_ended_is_still_an_error() -> None:
    def save(files: Sequence[tuple[Source, str]], timeout: float | None) -> None:
        raise RunFinishedError("run 'x' is finished")

    with pytest.raises(RunFinishedError):
        store_media(save, {"a": {}, "b": {}}, FILES, Losses())
