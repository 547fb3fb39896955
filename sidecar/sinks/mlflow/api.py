"""MlflowApi: the requests to one MLflow server, and what its answers mean. REST API 2.0, over one kept connection.

https://mlflow.org/docs/latest/api_reference/rest-api.html. One thread at a time. Knows no run's log and no state: what
is sent, and what becomes of it when MLflow refuses it, is for `sidecar.sinks.mlflow.sink` to say.

``MLFLOW_TRACKING_USERNAME`` and ``MLFLOW_TRACKING_PASSWORD``, or ``MLFLOW_TRACKING_TOKEN``, of the environment are for
authentication, and ``MLFLOW_TRACKING_SERVER_CERT_PATH`` names the authorities' certificates, as MLflow's own client has
it (``mlflow/environment_variables.py``, https://github.com/mlflow/mlflow/blob/master/mlflow/environment_variables.py).
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
_REFUSED = (400, 413)
_PATIENCE_WITH_A_NAME = 3  # points of one metric that may be refused before the rest of it is left out unasked


class Refusal(NamedTuple):
    """Something that MLflow does not take.

    Attributes:
        name: the metric, param or tag.
        why: in MLflow's words.
        asked: whether MLflow was asked; it is not any more about a metric of which it has refused several points.
    """

    name: str
    why: str
    asked: bool = True


class MlflowApi:
    """One MLflow server.

    Args:
        url: where it is, without a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._server: HttpServer | None = None
        self._refused: dict[str, int] = {}  # metric -> points of it

    def connect(self) -> None:
        """Begin anew, with the secrets as they are now; nothing is sent yet.

        Raises:
            SinkRefusedError: a secret cannot be read.
        """
        self.close()
        self._refused.clear()
        user, password, token = map(secret, _KIND.secrets)
        self._server = HttpServer(self.url, user, password, token, ca_variables=_KIND.files)

    def close(self) -> None:
        """Let go of the connection; may be called twice."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def call(self, method: str, endpoint: str, body: Mapping[str, Any] | str, expected: tuple[int, ...] = ()) -> Answer:
        """Ask the API; `body` is what is behind the question mark of a GET, else JSON or what is made JSON.

        Raises:
            SinkUnavailableError: as `HttpServer.request`.
            SinkRefusedError: an answer that is neither good nor `expected`; a 404 is expected in MLflow's words only.
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
            raise SinkRefusedError(f"{what}; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                                   "MLFLOW_TRACKING_TOKEN, in the environment say who asks")  # fmt: skip
        if answer.status == 404 and not (404 in expected and _code(answer)):
            raise SinkRefusedError(what if _code(answer) else f"{what}; no MLflow server is there")
        return answer

    def check(self) -> None:
        """Ask for next to nothing: whether this is MLflow, and lets us in.

        Raises:
            SinkUnavailableError, SinkRefusedError: as `call`.
        """
        self.call("GET", "experiments/search", {"max_results": "1"})

    def version(self) -> str:
        """Return MLflow's version, such as "3.1.0"."""
        self.check()
        found = self._connected().request("GET", "/version").body.decode(errors="replace").strip()
        if not found or len(found) > _VERSION_CHARS:
            raise SinkRefusedError(f"{self.url}/version is {found[:_VERSION_CHARS]!r}, no version of MLflow")
        return found

    def experiment(self, name: str) -> str:
        """Return the id of the experiment with this name, which is made or restored if need be."""
        for _ in range(2):
            answer = self.call("GET", "experiments/get-by-name", {"experiment_name": name}, expected=(404,))
            if answer.status < 300:
                found = said(answer, "experiment")
                if found.get("lifecycle_stage") == "deleted":
                    self.call("POST", "experiments/restore", {"experiment_id": found["experiment_id"]})
                return str(found["experiment_id"])
            answer = self.call("POST", "experiments/create", {"name": name}, expected=(400,))
            if answer.status < 300:
                return str(said(answer, "experiment_id"))
            if _code(answer) != "RESOURCE_ALREADY_EXISTS":
                raise SinkRefusedError(f"MLflow makes no experiment {name!r}: {message(answer)}")
        raise SinkUnavailableError(f"MLflow says that the experiment {name!r} is there, and that it is not")

    def log_batch(self, run_id: str, what: str, items: list[str]) -> Iterator[Refusal]:
        """Log metrics, params or tags; yield what MLflow refuses of them while all else is logged.

        MLflow takes a request whole or not at all, so one that it refuses is halved until what it is about stands
        alone. Who iterates may raise: then nothing more is asked.

        Args:
            run_id: MLflow's id of the run.
            what: ``"metrics"``, ``"params"`` or ``"tags"``.
            items: each as JSON, with a ``key``; no more than MLflow takes in one request.
        """
        if what == "metrics" and self._refused:
            wanted = []
            for item in items:
                name = json.loads(item)["key"]
                if self._refused.get(name, 0) < _PATIENCE_WITH_A_NAME:
                    wanted.append(item)
                else:
                    yield Refusal(name, "as before", asked=False)
            items = wanted
        if not items:
            return
        body = f'{{"run_id":"{run_id}","{what}":[{",".join(items)}]}}'
        answer = self.call("POST", "runs/log-batch", body, expected=_REFUSED)
        if answer.status < 300:
            said(answer)
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
        """Write what nobody can refuse: MLflow says the same of a bad value and of a database that takes nothing now
        (its handling of SQLAlchemyError in mlflow/store/db/utils.py)."""
        body = {"run_id": run_id, "key": "tracker.checked", "value": "1"}
        answer = self.call("POST", "runs/set-tag", body, expected=(400,))
        if answer.status >= 300:
            raise SinkUnavailableError(f"{self.url}: {message(answer)}")

    def upload(self, path: str, file: IO[bytes]) -> str | None:
        """Make an artifact of a file, over the artifact proxy; return why MLflow does not take it, or None.

        Args:
            path: where below the proxy.
            file: all of it is sent, as long as it is now.

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
        assert self._server is not None, "connect() comes first"
        return self._server


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


def said(answer: Answer, key: str | None = None) -> Any:
    """Return what a good answer says, or what it says under `key`.

    Raises:
        SinkUnavailableError: it does not, so it is not MLflow's or not all of it.
    """
    found = answer.json()
    if not isinstance(found, dict) or (key is not None and key not in found):
        raise SinkUnavailableError(f"this is no answer of MLflow's: {answer.body[:200]!r}")
    return found if key is None else found[key]


def message(answer: Answer) -> str:
    """Return why MLflow has refused something, in its own words if it has any."""
    found = _error(answer)
    return str(found.get("message") or found.get("detail") or f"answer {answer.status}")[:300]


def _code(answer: Answer) -> str:
    """MLflow's name of an error; empty if the answer is not MLflow's own."""
    return str(_error(answer).get("error_code", ""))


def _error(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


__all__ = ["MlflowApi", "Refusal", "message", "said"]
