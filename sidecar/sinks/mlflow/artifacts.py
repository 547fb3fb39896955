"""Artifacts: what of a run goes to MLflow as files: its own files, and what MLflow cannot take otherwise.

One for each `MlflowSink`, on its thread. Reads the run's directory and its log. Knows no REST beyond
`MlflowApi.upload`, and of MLflow's metrics, params and tags only what they are called.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from typing import IO

from sidecar.projections.replay import records
from sidecar.projections.run_state import RunState
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.errors import StoreError
from sidecar.protocol.layout import FILES_NAME, LOG_NAME, STORE_NAME
from sidecar.protocol.limits import valid_file_name
from sidecar.protocol.records import uses
from sidecar.sinks.contract import Batch, SinkTarget, SinkUnavailableError
from sidecar.sinks.mlflow.api import MlflowApi
from sidecar.sinks.mlflow.names import (
    NOTES_TAG,
    PARAM_CHARS,
    TAG_CHARS,
    about,
    artifact_name,
    fit,
    flatten,
    label_of,
    mlflow_name,
    of_writer,
    proxied,
    text,
    to_json,
    user_tags,
)

VALUES = "tracker/values.jsonl"
SHORTENED = "tracker/shortened.json"

_FILE_SECONDS = 0.5
_GROWTH = 1.25  # of the log, before the artifacts that are made of it are made again while the run goes on


class Artifacts:
    """The artifacts of a run.

    Args:
        target: the run. Of its memory this uses ``unsaid`` (set by whoever finds something that MLflow cannot take
            otherwise), ``said`` (the log's length when the artifacts were made of it) and ``files``.
        api: the server.
        leave_out: told what is not sent: of what kind it is, its name, why.
    """

    def __init__(self, target: SinkTarget, api: MlflowApi, leave_out: Callable[[str, str, str], None]) -> None:
        self._target = target
        self._memory = target.memory
        self._api = api
        self._leave_out = leave_out

    def send_made(self, uri: str, batch: Batch, state: RunState, tags: Collection[str]) -> None:
        """Send what MLflow cannot take otherwise, if there is more of it.

        Args:
            uri: where the run's artifacts are, as MLflow says it.
            batch: the log is read up to its end.
            state: what the run is at that end.
            tags: the names of the tags that MLflow has.
        """
        if not self._memory.get("unsaid"):
            return
        if state.state == "running" and batch.end < _GROWTH * self._memory.get("said", 0):
            return
        metrics: dict[str, dict[str, str | None]] = {}
        params: dict[str, str] = {}
        with tempfile.TemporaryFile() as file:
            for line in self._unsendable(batch.end, state, metrics, params):
                file.write(line.encode(errors="replace") + b"\n")
            if file.tell():
                self._upload(uri, VALUES, file)
        shortened = {
            "metrics": metrics,
            "params": fit(params, PARAM_CHARS).whole,
            "tags": fit(_all_tags(state, tags), TAG_CHARS).whole,
        }
        if any(shortened.values()):
            with tempfile.TemporaryFile() as file:
                file.write(json.dumps(shortened, indent=1).encode())
                self._upload(uri, SHORTENED, file)
        self._memory["unsaid"], self._memory["said"] = False, batch.end

    def send_files(self, uri: str, batch: Batch, state: RunState) -> None:
        """Send the files that were recorded, and at the run's end all, each once unless it has changed.

        Raises:
            SinkUnavailableError: one is not there, and the thread that puts files together has not come so far.
        """
        directory = self._target.directory / FILES_NAME
        names = [str(each.body.get("name")) for each in batch.records if uses("files", each.kind)]
        if state.state != "running":
            names += [path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if path.is_file()]
        sent = self._memory.setdefault("files", {})
        for name in dict.fromkeys(filter(valid_file_name, names)):
            try:
                with (directory / name).open("rb") as file:
                    found = os.fstat(file.fileno())
                    content = [found.st_size, found.st_mtime_ns]
                    if sent.get(name) != content:
                        self._upload(uri, artifact_name(name), file)
                        sent[name] = content
            except FileNotFoundError as error:
                if self._put_together() < batch.end:
                    raise SinkUnavailableError(f"file {name!r} is not put together yet", _FILE_SECONDS) from error
                continue  # not all of it is there yet, or no more
            except OSError as error:
                self._leave_out("file", name, str(error))

    def _put_together(self) -> float:
        """Return up to which offset of the log files are put together: as far as the store is, by the same thread."""
        try:
            return StoreReader(self._target.directory / STORE_NAME).checkpoint()
        except StoreError:
            return math.inf  # nobody is about to do it

    def _upload(self, uri: str, name: str, file: IO[bytes]) -> None:
        base = proxied(uri)
        if base is None:
            self._leave_out("artifact", name, f"they go to {uri}, not over the server")
            return
        refused = self._api.upload(f"{base}/{name}", file)
        if refused is not None:
            self._leave_out("artifact", name, refused)

    def _unsendable(
        self, end: int, state: RunState, renamed: dict[str, dict[str, str | None]], params: dict[str, str]
    ) -> Iterator[str]:
        """Read the log up to `end`, and yield lines for what is no number.

        Note in `renamed` the metrics that go by other names, in `params` the first value of each key of the config.
        """
        seen: set[tuple[str | None, str]] = set()
        for record in records(self._target.directory / LOG_NAME, until=end):
            if record.kind == "config":
                for key, first in flatten(record.body.get("set", {})).items():
                    params.setdefault(key, first)
            if record.kind != "log":
                continue
            label, step = label_of(state, record.client), record.body["step"]
            for key, value in record.body["data"].items():
                if type(value) is str or type(value) is dict:
                    row = {"key": key, "label": label, "step": step, "time": record.time, "value": value}
                    yield to_json(row)
                elif (label, key) not in seen:
                    seen.add((label, key))
                    whole = of_writer(label, key)
                    if (name := mlflow_name(whole)) != whole:
                        renamed[name] = {"key": key, "label": label}


def _all_tags(state: RunState, known: Collection[str]) -> dict[str, str]:
    """Every tag that the run may have, whole; those of config and summary as far as MLflow has them."""
    found = {f"config.{key}": value for key, value in flatten(state.config).items()}
    found.update((f"summary.{key}", text(value)) for key, value in state.summary.values.items())
    found = {key: value for key, value in found.items() if mlflow_name(key) in known}
    return {**found, **dict.fromkeys(user_tags(state), "true"), **about(state), NOTES_TAG: state.about["notes"] or ""}


__all__ = ["Artifacts"]
