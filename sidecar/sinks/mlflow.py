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
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO, Any
from urllib.parse import quote

from sidecar.log.reader import LogReader
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.layout import FILES_NAME, LOG_NAME
from sidecar.protocol.limits import valid_file_name
from sidecar.sinks.contract import Batch, SinkRefusedError, SinkTarget, SinkUnavailableError
from sidecar.sinks.http import Answer, HttpServer, secret
from sidecar.sinks.mlflow_names import (
    ARTIFACTS_PATH,
    EXPERIMENT_CHARS,
    NAME_CHARS,
    PARAM_CHARS,
    TAG_CHARS,
    Fitted,
    about,
    artifact_name,
    clean,
    digest,
    fit,
    flatten,
    mlflow_name,
    proxied,
    shorten,
    text,
    to_json,
)
from sidecar.state import RunState

METRICS_PER_REQUEST = 1000
OTHERS_PER_REQUEST = 100
REQUEST_BYTES = 900_000
"""Below the 1,000,000 that MLflow allows, for what is around the values."""

RUN_TAG = "tracker.run_id"
"""The tag by which a run is found again."""

NOTES_TAG = "mlflow.note.content"
"""MLflow's own: what its pages show as the run's description."""

_API = "/api/2.0/mlflow/"
_VALUES = "tracker/values.jsonl"
_SHORTENED = "tracker/shortened.json"
_VERSION_CHARS = 50
_REFUSED = (400, 413)
_PATIENCE_WITH_A_NAME = 3  # points of one metric that may be refused before the rest of it is left out unasked
_GROWTH = 1.25  # of the log, before the artifacts that are made of it are made again while the run goes on
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
        target: the run and the server. ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, or
            ``MLFLOW_TRACKING_TOKEN``, of the environment are for authentication, as MLflow's own client has it.
    """

    batch_bytes = 1 << 20

    def __init__(self, target: SinkTarget) -> None:
        self._target = target
        self._memory = target.memory
        self._server: HttpServer | None = None
        self._run: dict[str, Any] | None = None  # MLflow's info of it
        self._params: dict[str, str] = {}  # as MLflow has them; so are the tags
        self._tags: dict[str, str] = {}
        self._compare = True  # whether all of the config is to be compared, and not only what the batch says of it
        self._done = 0  # metrics up to this offset of the log were taken, by this very object
        self._names: dict[tuple[str | None, str], tuple[str, str]] = {}
        self._refused: dict[str, int] = {}

    # -- the contract -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        unknown = set(self._target.address.options) - {"experiment"}
        if unknown:
            raise SinkRefusedError(f"sink {self._target.address.text!r}: {sorted(unknown)[0]!r} is no option; "
                                   "there is experiment=NAME")  # fmt: skip
        self._connect()
        self._run = None
        if "run_id" in self._memory:
            self._look_at_run()
        else:
            self._call("GET", "experiments/search", {"max_results": "1"})

    def send(self, batch: Batch, state: RunState) -> int:
        if self._run is None:
            self._find_or_make(state)
        if state.state == "running":
            self._send_status(state)
        self._send_metrics(batch, state)
        self._send_config(batch, state)
        self._send_tags(batch, state)
        self._send_made_artifacts(batch, state)
        self._send_files(batch, state)
        self._send_status(state)  # last: a run that has ended in MLflow is all there
        self._compare = False
        return batch.end

    def version(self) -> str:
        server = self._connect()
        self._call("GET", "experiments/search", {"max_results": "1"})  # whether it lets us in, too
        found = server.request("GET", "/version").body.decode(errors="replace").strip()
        if not found or len(found) > _VERSION_CHARS:
            raise SinkRefusedError(f"{server.url}/version is {found[:_VERSION_CHARS]!r}, no version of MLflow")
        return found

    def close(self, deadline: Deadline) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def _connect(self) -> HttpServer:
        """Begin anew; nothing is sent yet."""
        self.close(Deadline(0.0))
        self._server = HttpServer(
            self._target.address.url,
            secret("MLFLOW_TRACKING_USERNAME"),
            secret("MLFLOW_TRACKING_PASSWORD"),
            secret("MLFLOW_TRACKING_TOKEN"),
        )
        return self._server

    # -- the run ------------------------------------------------------------------------------------------------------

    def _find_or_make(self, state: RunState) -> None:
        """Find the run by its tag, or make it; the server may have made it and its answer been lost."""
        experiment = self._experiment(self._target.address.options.get("experiment") or state.about["project"])
        wanted = {
            "experiment_ids": [experiment],
            "filter": f"tags.`{RUN_TAG}` = '{self._target.run}'",
            "run_view_type": "ALL",
            "order_by": ["attributes.start_time ASC"],
        }
        runs = _said(self._call("POST", "runs/search", wanted)).get("runs", [])
        if not runs:
            made = {
                "experiment_id": experiment,
                "start_time": _milliseconds(state.start_time or 0.0),
                "run_name": _run_name(state),
                "tags": [{"key": RUN_TAG, "value": self._target.run}],
            }
            runs = [_said(self._call("POST", "runs/create", made), "run")]
            self._memory["name"] = digest(_run_name(state))
        runs.sort(key=lambda run: run["info"].get("lifecycle_stage") == "deleted")
        self._adopt(runs[0])

    def _experiment(self, name: str | None) -> str:
        """Return the id of the experiment with this name, which is made or restored if need be."""
        name = shorten(clean(name or "Default"), EXPERIMENT_CHARS)
        for _ in range(2):
            answer = self._call("GET", "experiments/get-by-name", {"experiment_name": name}, expected=(404,))
            if answer.status < 300:
                found = _said(answer, "experiment")
                if found.get("lifecycle_stage") == "deleted":
                    self._call("POST", "experiments/restore", {"experiment_id": found["experiment_id"]})
                return str(found["experiment_id"])
            answer = self._call("POST", "experiments/create", {"name": name}, expected=(400,))
            if answer.status < 300:
                return str(_said(answer, "experiment_id"))
            if _code(answer) != "RESOURCE_ALREADY_EXISTS":
                raise SinkRefusedError(f"MLflow makes no experiment {name!r}: {_message(answer)}")
        raise SinkUnavailableError(f"MLflow says that the experiment {name!r} is there, and that it is not")

    def _look_at_run(self) -> None:
        """Ask what MLflow has of the run."""
        answer = self._call("GET", "runs/get", {"run_id": self._memory["run_id"]}, expected=(404,))
        if answer.status == 404:
            raise SinkRefusedError(
                f"MLflow at {self._target.address.url} has no run {self._memory['run_id']} any more; to send run "
                f"{self._target.run} once again, forget how far it was sent"
            )
        self._adopt(_said(answer, "run"))

    def _adopt(self, run: Mapping[str, Any]) -> None:
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

    def _send_status(self, state: RunState) -> None:
        assert self._run is not None
        status = _STATUS.get(state.state, "FAILED")
        changes: dict[str, Any] = {}
        if self._run.get("status") != status:
            changes["status"] = status
        if state.end_time is not None and int(self._run.get("end_time") or 0) != _milliseconds(state.end_time):
            changes["end_time"] = _milliseconds(state.end_time)
        name = _run_name(state)
        if self._memory.get("name") != digest(name):
            changes["run_name"] = name
        if changes:
            self._call("POST", "runs/update", {"run_id": self._run["run_id"], **changes})
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
                label = _label(state, record.client)
                moment, step = _milliseconds(record.time), record.body["step"]
                for key, value in record.body["data"].items():
                    if type(value) is str or type(value) is dict:
                        self._memory["unsaid"] = True
                        continue
                    _, quoted = self._metric_name(label, key)
                    item = f'{{"key":{quoted},"value":{_number(value)},"timestamp":{moment},"step":{step}}}'
                    size += len(item)
                    if len(pending) == METRICS_PER_REQUEST or size > REQUEST_BYTES:
                        self._post("metrics", pending)
                        pending, size, self._done = [], len(item), before
                    pending.append(item)
            before = end
        self._post("metrics", pending)
        self._done = batch.end

    def _metric_name(self, label: str | None, key: str) -> tuple[str, str]:
        """Return MLflow's name of a metric, and the same as JSON."""
        known = self._names.get((label, key))
        if known is None:
            whole = key if label is None else f"{label}/{key}"
            name = mlflow_name(whole)
            if name != whole:
                self._memory["unsaid"] = True
            known = self._names[label, key] = name, json.dumps(name)
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
        said = about(state)
        tags = _user_tags(state)
        if tags:
            said["tracker.tags"] = to_json(tags)
        summary = self._summary(batch, state)
        gone = [mlflow_name(tag) for tag in _list(self._tags.get("tracker.tags")) if tag not in tags]
        gone += [mlflow_name(key) for key, value in summary.items() if value is None]
        gone += [name for name in self._tags if name.startswith("tracker.") and name not in said]
        for name in gone:
            if name in self._tags and name != RUN_TAG:
                wanted = {"run_id": self._memory["run_id"], "key": name}
                self._call("POST", "runs/delete-tag", wanted, expected=(404,))  # it may be gone by now
                del self._tags[name]
        notes = state.about["notes"] or ""
        if self._memory.get("notes", digest("")) != digest(notes):
            said[NOTES_TAG] = notes
        said.update((key, value) for key, value in summary.items() if value is not None)
        self._send_texts({**dict.fromkeys(tags, "true"), **said})
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
                self._post(what, pending)
                pending, size = [], len(item)
            pending.append(item)
        self._post(what, pending)
        for name, value in pairs.items():
            known.setdefault(name, value) if what == "params" else known.update({name: value})

    # -- artifacts ----------------------------------------------------------------------------------------------------

    def _send_made_artifacts(self, batch: Batch, state: RunState) -> None:
        """Send what MLflow cannot take otherwise, if there is more of it."""
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
                self._put(_VALUES, file)
        shortened = {
            "metrics": metrics,
            "params": fit(params, PARAM_CHARS).whole,
            "tags": fit(self._all_tags(state), TAG_CHARS).whole,
        }
        if any(shortened.values()):
            with tempfile.TemporaryFile() as file:
                file.write(json.dumps(shortened, indent=1).encode())
                self._put(_SHORTENED, file)
        self._memory["unsaid"], self._memory["said"] = False, batch.end

    def _all_tags(self, state: RunState) -> dict[str, str]:
        """Every tag that the run may have, whole; those of config and summary as far as MLflow has them."""
        found = {f"config.{key}": value for key, value in flatten(state.config).items()}
        found.update((f"summary.{key}", text(value)) for key, value in state.summary.values.items())
        found = {key: value for key, value in found.items() if mlflow_name(key) in self._tags}
        return {
            **found,
            **dict.fromkeys(_user_tags(state), "true"),
            **about(state),
            NOTES_TAG: state.about["notes"] or "",
        }

    def _unsendable(
        self, end: int, state: RunState, renamed: dict[str, dict[str, str | None]], params: dict[str, str]
    ) -> Iterator[str]:
        """Read the log up to `end`, and yield lines for what is no number.

        Note in `renamed` the metrics that go by other names, in `params` the first value of each key of the config.
        """
        with LogReader(self._target.directory / LOG_NAME) as reader:
            for batch in reader.batches():
                for record, stop in zip(batch.records, batch.ends, strict=True):
                    if stop > end:
                        return
                    if record.kind == "config":
                        for key, first in flatten(record.body.get("set", {})).items():
                            params.setdefault(key, first)
                    if record.kind != "log":
                        continue
                    label, step = _label(state, record.client), record.body["step"]
                    for key, value in record.body["data"].items():
                        name, _ = self._metric_name(label, key)
                        if type(value) is str or type(value) is dict:
                            row = {"key": key, "label": label, "step": step, "time": record.time, "value": value}
                            yield to_json(row)
                        elif name != (key if label is None else f"{label}/{key}"):
                            renamed[name] = {"key": key, "label": label}

    def _send_files(self, batch: Batch, state: RunState) -> None:
        """Send the files that were recorded, and at the run's end all, each once unless it has changed."""
        directory = self._target.directory / FILES_NAME
        if state.state != "running":
            names = [path.relative_to(directory).as_posix() for path in sorted(directory.rglob("*")) if path.is_file()]
        else:
            names = [str(each.body.get("name")) for each in batch.records if each.kind == "file"]
        sent = self._memory.setdefault("files", {})
        for name in dict.fromkeys(filter(valid_file_name, names)):
            try:
                with (directory / name).open("rb") as file:
                    found = os.fstat(file.fileno())
                    content = [found.st_size, found.st_mtime_ns]
                    if sent.get(name) != content:
                        self._put(artifact_name(name), file)
                        sent[name] = content
            except FileNotFoundError:
                continue  # not all of it is there yet, or no more
            except OSError as error:
                self._leave_out("file", name, str(error))

    def _put(self, name: str, file: IO[bytes]) -> None:
        """Make an artifact of a file, over the artifact proxy."""
        assert self._run is not None and self._server is not None
        base = proxied(self._run.get("artifact_uri", ""))
        if base is None:
            self._leave_out("artifact", name, f"they go to {self._run.get('artifact_uri')}, not over the server")
            return
        size = file.seek(0, 2)
        file.seek(0)
        path = f"{ARTIFACTS_PATH}{quote(base)}/{quote(name)}"
        data = _Exactly(file, size) if size else b""
        headers = {"Content-Type": "application/octet-stream"}
        try:
            answer = self._server.request("PUT", path, data=data, headers=headers, expected=(400, 404, 405, 413))
        except SinkUnavailableError as error:
            if "--serve-artifacts" not in str(error):
                raise
            self._leave_out("artifact", name, "the server runs without --serve-artifacts")
            return
        if answer.status >= 300:
            self._leave_out("artifact", name, _message(answer))

    # -- requests -----------------------------------------------------------------------------------------------------

    def _call(
        self, method: str, endpoint: str, body: Mapping[str, Any] | str, expected: tuple[int, ...] = ()
    ) -> Answer:
        """Ask the API; `body` is what is behind the question mark of a GET."""
        assert self._server is not None, "open() comes first"
        codes = (*expected, 401, 403, 404)
        if method == "GET":
            assert not isinstance(body, str)
            answer = self._server.request(method, _API + endpoint, params=body, expected=codes)
        else:
            data = body if isinstance(body, str) else json.dumps(body)
            headers = {"Content-Type": "application/json"}
            answer = self._server.request(method, _API + endpoint, data=data, headers=headers, expected=codes)
        what = f"{self._target.address.url}{_API}{endpoint}: {answer.status}: {_message(answer)}"
        if answer.status in (401, 403):
            raise SinkRefusedError(f"{what}; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                                   "MLFLOW_TRACKING_TOKEN, in the environment say who asks")  # fmt: skip
        if answer.status == 404 and not (404 in expected and _code(answer)):
            raise SinkRefusedError(what if _code(answer) else f"{what}; no MLflow server is there")
        return answer

    def _post(self, what: str, items: list[str]) -> None:
        """Log metrics, params or tags; of what MLflow refuses leave out what it is about, and nothing else."""
        if self._refused:
            items = [item for item in items if not self._given_up(what, json.loads(item)["key"])]
        if not items:
            return
        body = f'{{"run_id":"{self._memory["run_id"]}","{what}":[{",".join(items)}]}}'
        answer = self._call("POST", "runs/log-batch", body, expected=_REFUSED)
        if answer.status < 300:
            return
        if len(items) > 1:
            self._post(what, items[: len(items) // 2])
            self._post(what, items[len(items) // 2 :])
            return
        self._look_at_run()  # it raises if the run is what is refused
        name = json.loads(items[0])["key"]
        if what == "params" and name in self._params:
            return  # somebody else has given it another value: the tag will say
        self._refused[name] = self._refused.get(name, 0) + 1
        self._leave_out(what, name, _message(answer))

    def _given_up(self, what: str, name: str) -> bool:
        """Whether so many points of a metric were refused that the rest is not tried; then one more is left out."""
        if what != "metrics" or self._refused.get(name, 0) < _PATIENCE_WITH_A_NAME:
            return False
        self._leave_out(what, name, "as before")
        return True

    def _leave_out(self, what: str, name: str, why: str) -> None:
        """Count something that MLflow does not get; say the first of its kind."""
        counts = self._memory.setdefault("left_out", {})
        if what not in counts:
            _log.warning("run %s: MLflow does not take %s %r, it is left out: %s", self._target.run, what, name, why)
        counts[what] = counts.get(what, 0) + 1


class _Exactly:
    """The first `size` bytes of a file, though it may grow."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = self._left = size

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        if not data and self._left:
            raise OSError(f"a file has lost its last {self._left} bytes while it was sent")
        self._left -= len(data)
        return data


def _run_name(state: RunState) -> str:
    return shorten(clean(state.about["name"] or state.id), NAME_CHARS)


def _label(state: RunState, client: str) -> str | None:
    writer = state.writers.get(client)
    return None if writer is None else writer.name


def _user_tags(state: RunState) -> list[str]:
    """The run's tags, those with a name that means something in MLflow or here as "tag.…"."""
    return [f"tag.{tag}" if tag.startswith(("mlflow.", "tracker.")) else tag for tag in state.about["tags"] if tag]


def _number(value: float) -> str:
    """A number as JSON that protobuf reads (https://protobuf.dev/programming-guides/json/)."""
    number = float(value)
    if number != number:
        return '"NaN"'
    return repr(number) if number - number == 0 else '"Infinity"' if number > 0 else '"-Infinity"'


def _milliseconds(seconds: float) -> int:
    """Of Unix seconds; MLflow takes none below 0."""
    milliseconds = seconds * 1000
    return int(milliseconds) if 0 <= milliseconds < 2**63 else 0


def _list(value: str | None) -> list[str]:
    try:
        found = json.loads(value or "[]")
    except ValueError:
        return []  # it was too long for a tag, and cut
    return found if isinstance(found, list) else []


def _said(answer: Answer, key: str | None = None) -> Any:
    """Return what a good answer says, or what it says under `key`."""
    found = answer.json()
    if not isinstance(found, dict) or (key is not None and key not in found):
        raise SinkUnavailableError(f"this is no answer of MLflow's: {answer.body[:200]!r}")
    return found if key is None else found[key]


def _answered(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _code(answer: Answer) -> str:
    return str(_answered(answer).get("error_code", ""))


def _message(answer: Answer) -> str:
    said = _answered(answer)
    return str(said.get("message") or said.get("detail") or f"answer {answer.status}")[:300]
