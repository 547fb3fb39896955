"""MlflowSink: sends one run to an MLflow server, over its REST API 2.0. Knows no thread, no back-off.

How a run is mapped (https://mlflow.org/docs/latest/api_reference/rest-api.html):

- The project is an experiment (``?experiment=NAME`` in the address selects another); a deleted one is restored. The run
  is found by its tag ``tracker.run_id``, so that it is created once, whatever is lost here.
- ``finished`` becomes FINISHED, ``failed`` and ``crashed`` FAILED, ``killed`` and ``preempted`` KILLED; the exact state
  is in the tag ``tracker.state``. A resumed run is RUNNING; it keeps its previous end time until it ends, since MLflow
  cannot remove an end time.
- Numbers and booleans are metrics, with step, and time in whole milliseconds. MLflow returns NaN as NaN, and infinities
  as the largest double. MLflow stores points that are equal in metric, step, value and millisecond once, so resending a
  batch changes nothing (this holds for MLflow's databases, not for its former file store).
- A metric of a writer with a label is named ``<label>/<metric>``, like MLflow's own metrics of several machines
  (``system/<node>/…``): its charts are grouped by the part before the slash. Without a label it keeps its name.
- The config's values are params, nested keys joined with dots. MLflow never changes a param: a value that changes stays
  as it was in the param, and its newest value is in the tag ``config.<key>`` ("(deleted)" if the key is gone).
- Tags are tags with the value "true", notes are the run's description. Group, job type, end state, losses and other
  attributes are tags ``tracker.…``; summary values that were set by hand or by definition are tags ``summary.<key>``.
  What a user edited is sent like the rest, a color and a deletion as ``tracker.color`` and ``tracker.deleted``. A
  name or a description that was changed in MLflow stays until it changes here.
- Strings, histograms and other objects cannot be metrics: they are lines of JSON in the artifact
  ``tracker/values.jsonl``, which is sent when the run ends, and before that whenever the log has grown by a quarter.
- Characters that are not valid in MLflow's names become "_"; names longer than 250 characters, params longer than 6,000
  and tags longer than 5,000 (what MLflow guarantees for every database) are shortened, with eight digits at the end to
  keep them distinct. The artifact ``tracker/shortened.json`` has the originals.
- Files of the run are artifacts of the same name, sent through MLflow's artifact proxy when they are recorded and when
  the run ends. If the server does not serve artifacts, none is sent, and the sidecar logs it.

A single name or value that MLflow refuses is left out and counted; the first of a kind is logged.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Record
from sidecar.protocol.rows import Rows
from sidecar.sinks.contract import Batch, SinkRefusedError, SinkTarget
from sidecar.sinks.mlflow.api import MlflowApi, reply
from sidecar.sinks.mlflow.artifacts import Artifacts
from sidecar.sinks.mlflow.config import ConfigUpdate
from sidecar.sinks.mlflow.names import (
    EXPERIMENT_CHARS,
    NOTES_TAG,
    TAG_CHARS,
    Fitted,
    about,
    clean,
    digest,
    fit,
    label_of,
    list_in,
    milliseconds,
    mlflow_name,
    number,
    numbers,
    of_writer,
    run_name,
    shorten,
    text,
    to_json,
    user_tags,
)

METRICS_PER_REQUEST = 1000
OTHERS_PER_REQUEST = 100
"""Maximum number of params, and of tags, in a request."""

REQUEST_BYTES = 900_000
"""Maximum size of the items in a request; MLflow allows 1,000,000 bytes for the whole."""

_METRICS_AT_ONCE = 10_000
"""About how many metrics of rows are written as JSON at a time."""

RUN_TAG = "tracker.run_id"
"""The tag by which a run is found."""

_STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "crashed": "FAILED",
    "killed": "KILLED",
    "preempted": "KILLED",
}

_log = logging.getLogger("sidecar")


class MlflowSink:
    """Sends a run to an MLflow server. See `sidecar.sinks.contract.Sink`.

    Args:
        target: the run and the server; `sidecar.sinks.mlflow.api` lists the environment variables.
    """

    batch_bytes = 1 << 20

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._memory = target.memory
        self._api = MlflowApi(target.address.url)
        self._artifacts = Artifacts(target, self._api, self._leave_out)
        self._run: dict[str, Any] | None = None  # MLflow's info about the run
        self._params: dict[str, str] = {}  # as MLflow has them
        self._tags: dict[str, str] = {}  # as MLflow has them
        self._compare = True  # whether to compare the whole config with MLflow's, not only what a batch changes
        self._metrics_end = 0  # log offset up to which this object has sent the metrics
        self._names: dict[tuple[str | None, str], str] = {}  # label and key -> MLflow's name of the metric, as JSON

    # -- the contract -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        unknown = set(self._target.address.options) - {"experiment"}
        if unknown:
            raise SinkRefusedError(f"sink {self._target.address.text!r}: unknown option {sorted(unknown)[0]!r}; "
                                   "the only option is experiment=NAME")  # fmt: skip
        self._api.connect()
        self._run = None
        if "run_id" in self._memory:
            self._read_run()
        else:
            self._api.check()

    def send(self, batch: Batch, state: RunState) -> int:
        run = self._run if self._run is not None else self._find_or_make(state)
        artifacts = run.get("artifact_uri", "")
        if state.state == "running":
            self._send_status(state)
        self._send_metrics(batch, state)
        self._send_config(batch, state)
        self._send_tags(batch, state)
        self._artifacts.send_made(artifacts, batch, state, self._tags)
        self._artifacts.send_files(artifacts, batch, state)
        self._send_status(state)  # last: a run that has ended in MLflow is complete
        self._compare = False
        return batch.end

    def version(self) -> str:
        self._api.connect()
        return self._api.version()

    def close(self, deadline: Deadline) -> None:
        self._api.close()

    # -- the run ------------------------------------------------------------------------------------------------------

    def _find_or_make(self, state: RunState) -> dict[str, Any]:
        """Find the run by its tag, or create it. The server may have created it and the reply been lost."""
        name = self._target.address.options.get("experiment") or state.about["project"] or "Default"
        experiment = self._api.experiment(shorten(clean(name), EXPERIMENT_CHARS))
        wanted = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{RUN_TAG}` = '{self._target.run}'",
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        }
        runs = reply(self._api.call("POST", "runs/search", wanted)).get("runs", [])
        if not runs:
            new_run = {
                "experiment_id": experiment,
                "start_time": milliseconds(state.start_time or 0.0),
                "run_name": run_name(state),
                "tags": [{"key": RUN_TAG, "value": self._target.run}],
            }
            runs = [reply(self._api.call("POST", "runs/create", new_run), "run")]
            self._memory["name"] = digest(run_name(state))
        runs.sort(key=lambda run: run["info"].get("lifecycle_stage") == "deleted")
        return self._adopt(runs[0])

    def _read_run(self) -> None:
        """Read MLflow's copy of the run."""
        answer = self._api.call("GET", "runs/get", {"run_id": self._memory["run_id"]}, expected=(404,))
        if answer.status == 404:
            raise SinkRefusedError(
                f"MLflow at {self._target.address.url} no longer has run {self._memory['run_id']}; to send run "
                f"{self._target.run} again: tracker sync {self._target.run} --again"
            )
        self._adopt(reply(answer, "run"))

    def _adopt(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Take over MLflow's copy of the run; return its info."""
        info = dict(run["info"])
        if info.get("lifecycle_stage") == "deleted":
            raise SinkRefusedError(
                f"run {self._target.run} was deleted in MLflow; restore it there ({info['run_id']}) to continue"
            )
        data = run.get("data", {})
        for known, what in ((self._params, "params"), (self._tags, "tags")):
            known.clear()
            known.update((item["key"], item.get("value", "")) for item in data.get(what, ()))
        self._memory["run_id"] = info["run_id"]
        self._run = info
        self._compare = True
        return info

    def _send_status(self, state: RunState) -> None:
        assert self._run is not None
        status = _STATUS.get(state.state, "FAILED")
        changes: dict[str, Any] = {}
        if self._run.get("status") != status:
            changes["status"] = status
        if state.end_time is not None and int(self._run.get("end_time") or 0) != milliseconds(state.end_time):
            changes["end_time"] = milliseconds(state.end_time)
        name = run_name(state)
        if self._memory.get("name") != digest(name):
            changes["run_name"] = name
        if changes:
            self._api.call("POST", "runs/update", {"run_id": self._run["run_id"], **changes})
            self._run.update(changes)
            self._memory["name"] = digest(name)

    # -- metrics ------------------------------------------------------------------------------------------------------

    def _send_metrics(self, batch: Batch, state: RunState) -> None:
        """Send the numbers of a batch, in requests as large as MLflow accepts."""
        pending: list[str] = []
        size = 0
        before = self._metrics_end
        for metrics, end in self._metrics(batch, state):
            for metric in metrics:
                size += len(metric)
                if len(pending) == METRICS_PER_REQUEST or size > REQUEST_BYTES:
                    self._log_batch("metrics", pending)
                    pending, size, self._metrics_end = [], len(metric), before
                pending.append(metric)
            before = end
        self._log_batch("metrics", pending)
        self._metrics_end = batch.end

    def _metrics(self, batch: Batch, state: RunState) -> Iterator[tuple[Sequence[str], int]]:
        """Yield the metrics of each record that was not sent yet, as JSON, and the offset after the record."""
        sent = self._metrics_end
        for item, end in zip(batch.items, batch.item_ends, strict=True):
            if end <= sent:
                continue
            if isinstance(item, Rows):
                size = item.schema.frame_bytes
                begin = end - item.count * size
                first = max(0, (sent - begin) // size)
                yield from self._metrics_in_rows(item.part(first, item.count), begin + first * size, state)
            elif item.kind == "log":
                yield self._metrics_in_record(item, state), end

    def _metrics_in_record(self, record: Record, state: RunState) -> list[str]:
        """Return the metrics of a ``log`` record, as JSON."""
        label = label_of(state, record.client)
        moment, step = milliseconds(record.time), record.body["step"]
        metrics: list[str] = []
        for key, value in record.body["data"].items():
            if type(value) is str or type(value) is dict:
                self._artifacts.mark_outdated()
                continue
            name = self._metric_name(label, key)
            metrics.append(f'{{"key":{name},"value":{number(value)},"timestamp":{moment},"step":{step}}}')
        return metrics

    def _metrics_in_rows(self, rows: Rows, begin: int, state: RunState) -> Iterator[tuple[Sequence[str], int]]:
        """Yield the metrics of each row, as JSON, and the offset after the row; the first row begins at `begin`."""
        label = label_of(state, rows.schema.client)
        names = [self._metric_name(label, key) for key in rows.schema.keys]
        at_once = max(1, _METRICS_AT_ONCE // max(1, len(names)))
        end = begin
        for start in range(0, rows.count, at_once):
            part = rows.part(start, start + at_once)
            moments = zip(map(milliseconds, part.times), part.steps, strict=True)
            tails = [f',"timestamp":{moment},"step":{step}}}' for moment, step in moments]
            columns: list[list[str]] = []
            for name, values in zip(names, part.columns, strict=True):
                head = f'{{"key":{name},"value":'
                columns.append([head + value + tail for value, tail in zip(numbers(values), tails, strict=True)])
            for metrics in zip(*columns, strict=True):
                end += rows.schema.frame_bytes
                yield metrics, end

    def _metric_name(self, label: str | None, key: str) -> str:
        """Return MLflow's name of a metric, as JSON."""
        known = self._names.get((label, key))
        if known is None:
            full_name = of_writer(label, key)
            name = mlflow_name(full_name)
            if name != full_name:
                self._artifacts.mark_outdated()
            known = self._names[label, key] = json.dumps(name)
        return known

    # -- config and tags ----------------------------------------------------------------------------------------------

    def _send_config(self, batch: Batch, state: RunState) -> None:
        changes = [record.body for record in batch.of({"config"})]
        edited = self._edited(batch, "config")
        if edited:
            config = state.config
            changes.append({"set": {key: config[key] for key in edited if key in config}, "delete": edited})
        if not changes and not self._compare:
            return
        update = ConfigUpdate.of(state.config, changes)
        params = update.params()
        self._note_whole("params", params)
        missing = {name: value for name, value in params.values.items() if name not in self._params}
        self._send_pairs("params", missing, self._params)
        self._send_texts(update.tags(self._params, self._tags))

    def _edited(self, batch: Batch, part: str) -> list[str]:
        """Return all keys of the config or the summary that were ever edited, if the batch has edits.

        One that takes an earlier edit back does not name what it changes.
        """
        edits = [record.body for record in batch.of({"edit"})]
        if not edits:
            return []
        known: dict[str, list[str]] = self._memory.setdefault("edited", {})
        known[part] = sorted({*known.get(part, ()), *(key for body in edits for key in body.get(part, {}))})
        return known[part]

    def _send_tags(self, batch: Batch, state: RunState) -> None:
        texts = about(state)
        tags = user_tags(state)
        if tags:
            texts["tracker.tags"] = to_json(tags)
        summary = self._summary(batch, state)
        removed = [mlflow_name(tag) for tag in list_in(self._tags.get("tracker.tags")) if tag not in tags]
        removed += [mlflow_name(key) for key, value in summary.items() if value is None]
        removed += [name for name in self._tags if name.startswith("tracker.") and name not in texts]
        self._delete_tags(removed)
        notes = state.about["notes"] or ""
        if self._memory.get("notes", digest("")) != digest(notes):
            texts[NOTES_TAG] = notes
        texts.update((key, value) for key, value in summary.items() if value is not None)
        self._send_texts({**dict.fromkeys(tags, "true"), **texts})
        self._memory["notes"] = digest(notes)

    def _delete_tags(self, names: list[str]) -> None:
        for name in names:
            if name in self._tags and name != RUN_TAG:
                tag = {"run_id": self._memory["run_id"], "key": name}
                self._api.call("POST", "runs/delete-tag", tag, expected=(404,))  # somebody may have deleted it
                del self._tags[name]

    def _summary(self, batch: Batch, state: RunState) -> dict[str, str | None]:
        """Return the tags of summary values that were set by hand or by definition; None for removed ones."""
        values = state.summary.values
        keys = set()
        for record in batch.of({"summary"}):
            keys.update(record.body.get("set", {}))
            keys.update(key for key in record.body.get("delete", ()) if type(key) is str)
        keys.update(self._edited(batch, "summary"))
        if state.state != "running":
            defined = state.summary.aggregates
            keys.update(
                key
                for key in values
                if key in defined or key.rpartition(".")[0] in defined or mlflow_name(f"summary.{key}") in self._tags
            )
        return {f"summary.{key}": text(values[key]) if key in values else None for key in keys}

    def _send_texts(self, tags: Mapping[str, str]) -> None:
        fitted = fit(tags, TAG_CHARS)
        self._note_whole("tags", fitted)
        self._send_pairs("tags", {k: v for k, v in fitted.values.items() if self._tags.get(k) != v}, self._tags)

    def _note_whole(self, what: str, fitted: Fitted) -> None:
        """Have the originals of what was changed sent in an artifact."""
        digests = self._memory.setdefault("whole", {})
        for name, whole in fitted.whole.items():
            new = digest(to_json(whole))
            if digests.get(f"{what}/{name}") != new:
                digests[f"{what}/{name}"] = new
                self._artifacts.mark_outdated()

    def _send_pairs(self, what: str, pairs: Mapping[str, str], known: dict[str, str]) -> None:
        """Send params or tags, and add them to `known`, which is what MLflow has."""
        pending: list[str] = []
        size = 0
        for name, value in pairs.items():
            item = json.dumps({"key": name, "value": value})
            size += len(item)
            if len(pending) == OTHERS_PER_REQUEST or size > REQUEST_BYTES:
                self._log_batch(what, pending)
                pending, size = [], len(item)
            pending.append(item)
        self._log_batch(what, pending)
        for name, value in pairs.items():
            known.setdefault(name, value) if what == "params" else known.update({name: value})

    # -- requests and refusals ----------------------------------------------------------------------------------------

    def _log_batch(self, what: str, items: list[str]) -> None:
        """Log metrics, params or tags; leave out only those that MLflow refuses."""
        for refusal in self._api.log_batch(self._memory["run_id"], what, items):
            if refusal.asked:
                self._read_run()  # raises if it is the run that MLflow refuses
            if what == "params" and refusal.name in self._params:
                continue  # somebody else has set another value; ours is in a tag
            self._leave_out(what, refusal.name, refusal.why)

    def _leave_out(self, what: str, name: str, why: str) -> None:
        """Count something that is not sent to MLflow; log the first of its kind."""
        counts = self._memory.setdefault("left_out", {})
        if what not in counts:
            _log.warning("run %s: MLflow refused %s %r, which is left out: %s", self._target.run, what, name, why)
        counts[what] = counts.get(what, 0) + 1
