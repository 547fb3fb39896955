"""MlflowSink: one run of the log as one run of an MLflow server, over its REST API 2.0. Knows no thread, no back-off.

What of a run becomes what of MLflow's (https://mlflow.org/docs/latest/api_reference/rest-api.html):

- The project is an experiment (``?experiment=NAME`` in the address names another); one that was deleted is restored.
  The run is found again by its tag ``tracker.run_id``, so that it is made once, whatever is lost here.
- ``finished`` is FINISHED, ``failed`` and ``crashed`` are FAILED, ``killed`` and ``preempted`` are KILLED; which it was
  is in the tag ``tracker.state``. A run that is taken up again is RUNNING, with the end time of before until it ends,
  since MLflow cannot take an end time back.
- Numbers and booleans are metrics, with the step, and the time in whole milliseconds. MLflow reads NaN back as NaN, and
  infinities as the largest double. Two points that are equal in metric, step, value and millisecond are one there: this
  is why sending a batch again changes nothing (MLflow's databases do so; its old store of plain files does not).
- A metric of a writer with a label is called ``<label>/<metric>``, as MLflow's own metrics of several machines are
  (``system/<node>/…``): its charts are grouped by what is before the slash. Without a label it keeps its name.
- The config's values are params, nested keys joined with dots. MLflow never changes a param: a value that changes keeps
  its first as the param, and has its newest in the tag ``config.<key>`` ("(deleted)" if the key is gone).
- Tags are tags with the value "true", notes the run's description. Group, job type, how it ended, losses and suchlike
  are tags ``tracker.…``; what the summary has by hand or by definition are tags ``summary.<key>``. A name or a
  description that was changed in MLflow stays so until it changes here.
- Texts, histograms and other objects cannot be metrics: they are lines of JSON in the artifact
  ``tracker/values.jsonl``, made anew when the run ends, and before when the log has grown by a quarter.
- Characters that MLflow does not take in a name become "_", names over 250 characters, params over 6,000 and tags over
  5,000 (what MLflow promises for every database) are cut; eight digits at the end keep them apart. The artifact
  ``tracker/shortened.json`` has all of these whole.
- Files of the run are artifacts of the same name, sent over MLflow's artifact proxy when they are recorded and when the
  run ends. Where the server does not serve artifacts, none is sent, and the log of the sidecar says so.

What MLflow refuses for itself (a single name or value) is left out, counted, and said once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.sinks.contract import Batch, SinkRefusedError, SinkTarget
from sidecar.sinks.mlflow.api import MlflowApi, said
from sidecar.sinks.mlflow.artifacts import Artifacts
from sidecar.sinks.mlflow.names import (
    EXPERIMENT_CHARS,
    NOTES_TAG,
    PARAM_CHARS,
    TAG_CHARS,
    Fitted,
    about,
    clean,
    digest,
    fit,
    flatten,
    label_of,
    list_in,
    milliseconds,
    mlflow_name,
    number,
    of_writer,
    run_name,
    shorten,
    text,
    to_json,
    user_tags,
)

METRICS_PER_REQUEST = 1000
OTHERS_PER_REQUEST = 100
REQUEST_BYTES = 900_000
"""Below the 1,000,000 that MLflow allows, for what is around the values."""

RUN_TAG = "tracker.run_id"
"""The tag by which a run is found again."""

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
    """Takes a run to an MLflow server.

    Args:
        target: the run and the server; what of the environment is for it is in `sidecar.sinks.mlflow.api`.
    """

    batch_bytes = 1 << 20

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._memory = target.memory
        self._api = MlflowApi(target.address.url)
        self._artifacts = Artifacts(target, self._api, self._leave_out)
        self._run: dict[str, Any] | None = None  # MLflow's info of it
        self._params: dict[str, str] = {}  # as MLflow has them; so are the tags
        self._tags: dict[str, str] = {}
        self._compare = True  # whether all of the config is to be compared, and not only what the batch says of it
        self._done = 0  # metrics up to this offset of the log were taken, by this very object
        self._names: dict[tuple[str | None, str], str] = {}  # label and key -> MLflow's name of the metric, as JSON

    # -- the contract -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        unknown = set(self._target.address.options) - {"experiment"}
        if unknown:
            raise SinkRefusedError(f"sink {self._target.address.text!r}: {sorted(unknown)[0]!r} is no option; "
                                   "there is experiment=NAME")  # fmt: skip
        self._api.connect()
        self._run = None
        if "run_id" in self._memory:
            self._look_at_run()
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
        self._send_status(state)  # last: a run that has ended in MLflow is all there
        self._compare = False
        return batch.end

    def version(self) -> str:
        self._api.connect()
        return self._api.version()

    def close(self, deadline: Deadline) -> None:
        self._api.close()

    # -- the run ------------------------------------------------------------------------------------------------------

    def _find_or_make(self, state: RunState) -> dict[str, Any]:
        """Find the run by its tag, or make it; the server may have made it and its answer been lost."""
        name = self._target.address.options.get("experiment") or state.about["project"] or "Default"
        experiment = self._api.experiment(shorten(clean(name), EXPERIMENT_CHARS))
        wanted = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{RUN_TAG}` = '{self._target.run}'",
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        }
        runs = said(self._api.call("POST", "runs/search", wanted)).get("runs", [])
        if not runs:
            made = {
                "experiment_id": experiment,
                "start_time": milliseconds(state.start_time or 0.0),
                "run_name": run_name(state),
                "tags": [{"key": RUN_TAG, "value": self._target.run}],
            }
            runs = [said(self._api.call("POST", "runs/create", made), "run")]
            self._memory["name"] = digest(run_name(state))
        runs.sort(key=lambda run: run["info"].get("lifecycle_stage") == "deleted")
        return self._adopt(runs[0])

    def _look_at_run(self) -> None:
        """Ask what MLflow has of the run."""
        answer = self._api.call("GET", "runs/get", {"run_id": self._memory["run_id"]}, expected=(404,))
        if answer.status == 404:
            raise SinkRefusedError(
                f"MLflow at {self._target.address.url} has no run {self._memory['run_id']} any more; to send run "
                f"{self._target.run} once more: tracker sync {self._target.run} --again"
            )
        self._adopt(said(answer, "run"))

    def _adopt(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Take what MLflow says of the run for what it has of it; return its info."""
        info = dict(run["info"])
        if info.get("lifecycle_stage") == "deleted":
            raise SinkRefusedError(
                f"run {self._target.run} was deleted in MLflow; restore it there ({info['run_id']}), and it goes on"
            )
        data = run.get("data", {})
        for known, what in ((self._params, "params"), (self._tags, "tags")):
            known.clear()
            known.update((found["key"], found.get("value", "")) for found in data.get(what, ()))
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
        """Send the numbers of a batch, in requests that are as full as may be."""
        pending: list[str] = []
        size = 0
        before = self._done
        for record, end in zip(batch.records, batch.ends, strict=True):
            if record.kind == "log" and end > self._done:
                label = label_of(state, record.client)
                moment, step = milliseconds(record.time), record.body["step"]
                for key, value in record.body["data"].items():
                    if type(value) is str or type(value) is dict:
                        self._memory["unsaid"] = True
                        continue
                    name = self._metric_name(label, key)
                    item = f'{{"key":{name},"value":{number(value)},"timestamp":{moment},"step":{step}}}'
                    size += len(item)
                    if len(pending) == METRICS_PER_REQUEST or size > REQUEST_BYTES:
                        self._log_batch("metrics", pending)
                        pending, size, self._done = [], len(item), before
                    pending.append(item)
            before = end
        self._log_batch("metrics", pending)
        self._done = batch.end

    def _metric_name(self, label: str | None, key: str) -> str:
        """Return MLflow's name of a metric, as JSON."""
        known = self._names.get((label, key))
        if known is None:
            whole = of_writer(label, key)
            name = mlflow_name(whole)
            if name != whole:
                self._memory["unsaid"] = True
            known = self._names[label, key] = json.dumps(name)
        return known

    # -- config and tags ----------------------------------------------------------------------------------------------

    def _send_config(self, batch: Batch, state: RunState) -> None:
        changes = [record.body for record in batch.records if record.kind == "config"]
        if not changes and not self._compare:
            return
        now = flatten(state.config)
        first: dict[str, str] = {}
        for change in changes:
            for key, value in flatten(change.get("set", {})).items():
                first.setdefault(key, value)
        keys = {mlflow_name(key): key for key in {**now, **first}}
        touched = {str(key) for change in changes for key in (*change.get("set", {}), *change.get("delete", ()))}
        gone = [name for name in self._params if name in touched or name.partition(".")[0] in touched]
        fitted, newest = fit({**now, **first}, PARAM_CHARS), fit(now, PARAM_CHARS)
        self._note_whole("params", fitted)
        new = {name: value for name, value in fitted.values.items() if name not in self._params}
        self._send_pairs("params", new, self._params)
        tags = {}
        for name in dict.fromkeys((*keys, *gone)):
            key = keys.get(name, name)
            if self._params.get(name) != newest.values.get(name) or mlflow_name(f"config.{key}") in self._tags:
                tags[f"config.{key}"] = now.get(key, "(deleted)")
        self._send_texts(tags)

    def _send_tags(self, batch: Batch, state: RunState) -> None:
        texts = about(state)
        tags = user_tags(state)
        if tags:
            texts["tracker.tags"] = to_json(tags)
        summary = self._summary(batch, state)
        gone = [mlflow_name(tag) for tag in list_in(self._tags.get("tracker.tags")) if tag not in tags]
        gone += [mlflow_name(key) for key, value in summary.items() if value is None]
        gone += [name for name in self._tags if name.startswith("tracker.") and name not in texts]
        for name in gone:
            if name in self._tags and name != RUN_TAG:
                wanted = {"run_id": self._memory["run_id"], "key": name}
                self._api.call("POST", "runs/delete-tag", wanted, expected=(404,))  # it may be gone by now
                del self._tags[name]
        notes = state.about["notes"] or ""
        if self._memory.get("notes", digest("")) != digest(notes):
            texts[NOTES_TAG] = notes
        texts.update((key, value) for key, value in summary.items() if value is not None)
        self._send_texts({**dict.fromkeys(tags, "true"), **texts})
        self._memory["notes"] = digest(notes)

    def _summary(self, batch: Batch, state: RunState) -> dict[str, str | None]:
        """Return the tags for what the summary has by hand or by definition; None for one that is no more."""
        values = state.summary.values
        keys = set()
        for record in batch.records:
            if record.kind == "summary":
                keys.update(record.body.get("set", {}))
                keys.update(key for key in record.body.get("delete", ()) if type(key) is str)
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
        """Remember that some had to be changed, so that the artifact that has them whole is made."""
        digests = self._memory.setdefault("whole", {})
        for name, whole in fitted.whole.items():
            found = digest(to_json(whole))
            if digests.get(f"{what}/{name}") != found:
                digests[f"{what}/{name}"] = found
                self._memory["unsaid"] = True

    def _send_pairs(self, what: str, pairs: Mapping[str, str], known: dict[str, str]) -> None:
        """Send params or tags, and add to `known` what MLflow has of them now."""
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

    # -- what all of it goes through ----------------------------------------------------------------------------------

    def _log_batch(self, what: str, items: list[str]) -> None:
        """Log metrics, params or tags; leave out what MLflow refuses of them, and nothing else."""
        for refusal in self._api.log_batch(self._memory["run_id"], what, items):
            if refusal.asked:
                self._look_at_run()  # it raises if the run is what is refused
            if what == "params" and refusal.name in self._params:
                continue  # somebody else has given it another value: the tag will say
            self._leave_out(what, refusal.name, refusal.why)

    def _leave_out(self, what: str, name: str, why: str) -> None:
        """Count something that MLflow does not get; say the first of its kind."""
        counts = self._memory.setdefault("left_out", {})
        if what not in counts:
            _log.warning("run %s: MLflow does not take %s %r, it is left out: %s", self._target.run, what, name, why)
        counts[what] = counts.get(what, 0) + 1
