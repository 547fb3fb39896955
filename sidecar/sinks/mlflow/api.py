"""MlflowApi: requests to one MLflow server over its REST API 2.0, and what its replies mean. One thread at a time.

https://mlflow.org/docs/latest/api_reference/rest-api.html. Knows no run's log and no state; what to do about something
that MLflow refuses is up to `sidecar.sinks.mlflow.sink`.

Environment variables: ``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, or ``MLFLOW_TRACKING_TOKEN``, for
authentication; ``MLFLOW_TRACKING_SERVER_CERT_PATH`` for the certificates of trusted authorities. They are those of
MLflow's own client (https://github.com/mlflow/mlflow/blob/master/mlflow/environment_variables.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from sidecar.protocol.sink_kinds import SINK_KINDS
from sidecar.sinks.contract import SinkRefusedError, SinkUnavailableError
from sidecar.sinks.http import Answer, HttpServer, secret
from sidecar.sinks.mlflow.names import ARTIFACTS_PATH

_KIND = SINK_KINDS["mlflow"]
_API = "/api/2.0/mlflow/"
_VERSION_CHARS = 50
_SHOWN_CHARS = 300
_SHOWN_BYTES = 200
_REFUSED = (400, 413)
_MAX_REFUSED_POINTS = 3
"""Refused points of a metric after which the rest of it is left out without asking."""


class Refusal(NamedTuple):
    """A metric point, param or tag that MLflow refuses.

    Attributes:
        name: name of the metric, param or tag.
        why: MLflow's message.
        asked: whether it was sent; the points of a metric of which MLflow has refused several are not.
    """

    name: str
    why: str
    asked: bool = True


class MlflowApi:
    """One MLflow server.

    Args:
        url: its address, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._server: HttpServer | None = None
        self._refused: dict[str, int] = {}  # metric -> number of refused points

    def connect(self) -> None:
        """Start over, with the current secrets. Sends nothing.

        Raises:
            SinkRefusedError: a secret cannot be read.
        """
        self.close()
        self._refused.clear()
        user, password, token = map(secret, _KIND.secrets)
        self._server = HttpServer(self.url, user, password, token, ca_variables=_KIND.files)

    def close(self) -> None:
        """Close the connection; may be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def call(self, method: str, endpoint: str, body: Mapping[str, Any] | str, expected: tuple[int, ...] = ()) -> Answer:
        """Call an endpoint of the API.

        Args:
            method: of HTTP.
            endpoint: such as ``runs/create``.
            body: query parameters for GET; else JSON, or what to encode as JSON.
            expected: status codes to return besides successes. A 404 is returned only if MLflow itself sent it.

        Raises:
            SinkUnavailableError: as `HttpServer.request`.
            SinkRefusedError: any other status.
        """
        server = self._connected()
        codes = (*expected, 401, 403, 404)
        if method == "GET":
            assert not isinstance(body, str)
            answer = server.request(method, _API + endpoint, params=body, expected=codes)
        else:
            data = body if isinstance(body, str) else json.dumps(body)
            headers = {"Content-Type": "application/json"}
            answer = server.request(method, _API + endpoint, data=data, headers=headers, expected=codes)
        what = f"{self.url}{_API}{endpoint}: {answer.status}: {message(answer)}"
        if answer.status in (401, 403):
            raise SinkRefusedError(f"{what}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                                   "MLFLOW_TRACKING_TOKEN, in the environment")  # fmt: skip
        if answer.status == 404 and not (404 in expected and _code(answer)):
            raise SinkRefusedError(what if _code(answer) else f"{what}; this is not an MLflow server")
        return answer

    def check(self) -> None:
        """Make a small request, to see whether this is an MLflow server that accepts our credentials.

        Raises:
            SinkUnavailableError, SinkRefusedError: as `call`.
        """
        self.call("GET", "experiments/search", {"max_results": "1"})

    def version(self) -> str:
        """Return MLflow's version, such as "3.1.0"."""
        self.check()
        version = self._connected().request("GET", "/version").body.decode(errors="replace").strip()
        if not version or len(version) > _VERSION_CHARS:
            raise SinkRefusedError(f"unexpected reply from MLflow: {self.url}/version is {version[:_VERSION_CHARS]!r}")
        return version

    def experiment(self, name: str) -> str:
        """Return the id of the experiment with this name; create or restore it if necessary."""
        for _ in range(2):
            answer = self.call("GET", "experiments/get-by-name", {"experiment_name": name}, expected=(404,))
            if answer.status < 300:
                experiment = reply(answer, "experiment")
                if experiment.get("lifecycle_stage") == "deleted":
                    self.call("POST", "experiments/restore", {"experiment_id": experiment["experiment_id"]})
                return str(experiment["experiment_id"])
            answer = self.call("POST", "experiments/create", {"name": name}, expected=(400,))
            if answer.status < 300:
                return str(reply(answer, "experiment_id"))
            if _code(answer) != "RESOURCE_ALREADY_EXISTS":
                raise SinkRefusedError(f"MLflow cannot create experiment {name!r}: {message(answer)}")
        raise SinkUnavailableError(f"unexpected reply from MLflow: it can neither find nor create experiment {name!r}")

    def log_batch(self, run_id: str, what: str, items: list[str]) -> Iterator[Refusal]:
        """Log metrics, params or tags; yield those that MLflow refuses, while all others are logged.

        MLflow accepts a request as a whole or not at all, so a refused one is halved until the refused item is alone.
        Nothing more is sent if the caller stops iterating.

        Args:
            run_id: MLflow's id of the run.
            what: ``"metrics"``, ``"params"`` or ``"tags"``.
            items: each as JSON, with a ``key``; not more than MLflow accepts in one request.
        """
        if what == "metrics" and self._refused:
            wanted = []
            for item in items:
                name = json.loads(item)["key"]
                if self._refused.get(name, 0) < _MAX_REFUSED_POINTS:
                    wanted.append(item)
                else:
                    yield Refusal(name, "as before", asked=False)
            items = wanted
        if not items:
            return
        body = f'{{"run_id":"{run_id}","{what}":[{",".join(items)}]}}'
        answer = self.call("POST", "runs/log-batch", body, expected=_REFUSED)
        if answer.status < 300:
            reply(answer)
            return
        if len(items) > 1:
            half = len(items) // 2
            yield from self.log_batch(run_id, what, items[:half])
            yield from self.log_batch(run_id, what, items[half:])
            return
        if _code(answer) == "BAD_REQUEST":
            self._check_database(run_id)
        name = json.loads(items[0])["key"]
        yield Refusal(name, message(answer))
        if what == "metrics":
            self._refused[name] = self._refused.get(name, 0) + 1

    def _check_database(self, run_id: str) -> None:
        """Write a tag that is always valid: MLflow gives the same error for a bad value and for a database that accepts
        no writes now (its handling of SQLAlchemyError in mlflow/store/db/utils.py)."""
        body = {"run_id": run_id, "key": "tracker.checked", "value": "1"}
        answer = self.call("POST", "runs/set-tag", body, expected=(400,))
        if answer.status >= 300:
            raise SinkUnavailableError(f"{self.url}: {message(answer)}")

    def upload(self, path: str, file: IO[bytes]) -> str | None:
        """Upload a file through the artifact proxy; return why MLflow refuses it, or None.

        Args:
            path: path of the artifact below the proxy.
            file: a file that is open for reading; what is appended to it meanwhile is not sent.

        Raises:
            SinkUnavailableError, SinkRefusedError: as `HttpServer.request`.
        """
        size = file.seek(0, 2)
        file.seek(0)
        data = _Exactly(file, size) if size else b""
        headers = {"Content-Type": "application/octet-stream"}
        codes = (400, 404, 405, 413)
        try:
            answer = self._connected().request(
                "PUT", ARTIFACTS_PATH + quote(path), data=data, headers=headers, expected=codes
            )
        except SinkUnavailableError as error:
            if "--serve-artifacts" not in str(error):
                raise
            return "the server runs without --serve-artifacts"
        return None if answer.status < 300 else message(answer)

    def _connected(self) -> HttpServer:
        assert self._server is not None, "call connect() first"
        return self._server


class _Exactly:
    """The first `size` bytes of a file that may grow."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = self._remaining = size

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._remaining if size < 0 else min(size, self._remaining))
        if not data and self._remaining:
            raise OSError(f"the file was truncated while it was sent; {self._remaining} bytes are missing")
        self._remaining -= len(data)
        return data


def reply(answer: Answer, key: str | None = None) -> Any:
    """Return the content of a successful reply, or its value under `key`.

    Raises:
        SinkUnavailableError: the reply is not what MLflow sends, or incomplete.
    """
    content = _content(answer)
    if content is None or (key is not None and key not in content):
        text = " ".join(answer.body[:_SHOWN_BYTES].decode(errors="replace").split())
        raise SinkUnavailableError(f"unexpected reply from MLflow: {text or 'it is empty'}")
    return content if key is None else content[key]


def message(answer: Answer) -> str:
    """Return why MLflow refused something, in its own words if it gives any."""
    error = _content(answer) or {}
    return str(error.get("message") or error.get("detail") or f"status {answer.status}")[:_SHOWN_CHARS]


def _code(answer: Answer) -> str:
    """Return MLflow's name of an error; empty if the reply is not from MLflow itself."""
    return str((_content(answer) or {}).get("error_code", ""))


def _content(answer: Answer) -> dict[str, Any] | None:
    """Return the JSON object in a reply, or None."""
    try:
        content = json.loads(answer.body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


__all__ = ["MlflowApi", "Refusal", "message", "reply"]
