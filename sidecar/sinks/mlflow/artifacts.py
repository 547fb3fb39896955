"""Artifacts: the files of a run in MLflow: its own, and two for data that MLflow cannot hold otherwise.

Each `MlflowSink` has one, on its thread. Reads the run's directory and its log. Of MLflow's API it uses only
`MlflowApi.upload`.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from typing import IO

from sidecar.projections.replay import items
from sidecar.projections.run_state import RunState
from sidecar.projections.store.reader import StoreReader
from sidecar.protocol.errors import StoreError
from sidecar.protocol.layout import FILES_NAME, LOG_NAME, STORE_NAME
from sidecar.protocol.limits import valid_file_name
from sidecar.protocol.records import kinds_of
from sidecar.protocol.rows import Rows
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

_GROWTH = 1.25
"""Growth of the log of a live run after which the artifacts made from it are sent again."""

_OUTDATED, _SENT_END, _SENT_FILES = "unsaid", "said", "files"
"""Keys of the sink's memory: whether the log has more data that only these artifacts can hold; the log offset at which
they were made; file -> size and modification time when it was sent."""


class Artifacts:
    """The artifacts of a run.

    Args:
        target: the run.
        api: the server.
        leave_out: called with the kind, the name and the reason for what is not sent.
    """

    def __init__(self, target: SinkTarget, api: MlflowApi, leave_out: Callable[[str, str, str], None]) -> None:
        self._target = target
        self._memory = target.memory
        self._api = api
        self._leave_out = leave_out

    def mark_outdated(self) -> None:
        """Have `send_made` send again, because the log has more that MLflow cannot hold otherwise."""
        self._memory[_OUTDATED] = True

    def send_made(self, uri: str, batch: Batch, state: RunState, tags: Collection[str]) -> None:
        """Send the artifacts made from the log, if they are outdated.

        Args:
            uri: MLflow's address of the run's artifacts.
            batch: its end is where to stop in the log.
            state: the run's state at that end.
            tags: names of the tags that MLflow has.
        """
        if not self._memory.get(_OUTDATED):
            return
        if state.state == "running" and batch.end < _GROWTH * self._memory.get(_SENT_END, 0):
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
        self._memory[_OUTDATED], self._memory[_SENT_END] = False, batch.end

    def send_files(self, uri: str, batch: Batch, state: RunState) -> None:
        """Send the files that the batch records, and at the end of the run all; only those that are new or changed.

        Raises:
            SinkUnavailableError: a file is not in its place, and the thread that assembles files has not come so far.
        """
        directory = self._target.directory / FILES_NAME
        names = [str(each.body.get("name")) for each in batch.of(kinds_of("files"))]
        if state.state != "running":
            names += [path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if path.is_file()]
        sent = self._memory.setdefault(_SENT_FILES, {})
        for name in dict.fromkeys(filter(valid_file_name, names)):
            try:
                with (directory / name).open("rb") as file:
                    status = os.fstat(file.fileno())
                    version = [status.st_size, status.st_mtime_ns]
                    if sent.get(name) != version:
                        self._upload(uri, artifact_name(name), file)
                        sent[name] = version
            except FileNotFoundError as error:
                if self._assembled_end() < batch.end:
                    raise SinkUnavailableError(f"file {name!r} is not assembled yet", _FILE_SECONDS) from error
                continue  # its content has not arrived completely, or it was deleted
            except OSError as error:
                self._leave_out("file", name, error.strerror or str(error))

    def _assembled_end(self) -> float:
        """Return the log offset up to which files are assembled: the store's, since the same thread does both."""
        try:
            return StoreReader(self._target.directory / STORE_NAME).checkpoint()
        except StoreError:
            return math.inf  # there is no store, so no thread that assembles files

    def _upload(self, uri: str, name: str, file: IO[bytes]) -> None:
        base = proxied(uri)
        if base is None:
            self._leave_out("artifact", name, f"artifacts are stored at {uri}, which the server gives no access to")
            return
        refused = self._api.upload(f"{base}/{name}", file)
        if refused is not None:
            self._leave_out("artifact", name, refused)

    def _unsendable(
        self, end: int, state: RunState, renamed: dict[str, dict[str, str | None]], params: dict[str, str]
    ) -> Iterator[str]:
        """Read the log up to `end`; yield a line for each value that is not a number.

        Adds to `renamed` the metrics that have other names in MLflow, to `params` the first value of each config key.
        """
        seen: set[tuple[str | None, str]] = set()

        def note(label: str | None, key: str) -> None:
            if (label, key) not in seen:
                seen.add((label, key))
                full_name = of_writer(label, key)
                if (name := mlflow_name(full_name)) != full_name:
                    renamed[name] = {"key": key, "label": label}

        for item in items(self._target.directory / LOG_NAME, until=end):
            if isinstance(item, Rows):
                label = label_of(state, item.schema.client)
                for key in item.schema.keys:
                    note(label, key)
            elif item.kind == "config":
                for key, first in flatten(item.body.get("set", {})).items():
                    params.setdefault(key, first)
            elif item.kind == "log":
                label, step = label_of(state, item.client), item.body["step"]
                for key, value in item.body["data"].items():
                    if type(value) is str or type(value) is dict:
                        yield to_json({"key": key, "label": label, "step": step, "time": item.time, "value": value})
                    else:
                        note(label, key)


def _all_tags(state: RunState, known: Collection[str]) -> dict[str, str]:
    """Return every tag of the run with its full value; those of config and summary only if MLflow has them."""
    tags = {f"config.{key}": value for key, value in flatten(state.config).items()}
    tags.update((f"summary.{key}", text(value)) for key, value in state.summary.values.items())
    tags = {key: value for key, value in tags.items() if mlflow_name(key) in known}
    return {**tags, **dict.fromkeys(user_tags(state), "true"), **about(state), NOTES_TAG: state.about["notes"] or ""}


__all__ = ["Artifacts"]
