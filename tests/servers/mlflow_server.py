"""Starts a real MLflow server on loopback, with a temporary PostgreSQL, and reads what it stores.

Needs the PyPI packages ``mlflow``, ``Flask-WTF`` and ``psycopg2-binary``, and Debian's ``postgresql``. The servers are
started once for all tests; each test uses experiments of its own.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import requests

START_SECONDS = 60.0
PASSWORD = "correct-horse-battery"
USER = "admin"

_LIGHT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "OMP_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}


class Point(NamedTuple):
    """A point of a metric in MLflow; its time is in milliseconds."""

    step: int
    time: int
    value: float


class StoredContent(NamedTuple):
    """Everything that MLflow stores of a run, as plain data for comparison.

    Attributes:
        info: name, status, start and end time.
        metrics: name -> sorted points.
        artifacts: path -> content.
    """

    info: dict[str, Any]
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, list[Point]]
    artifacts: dict[str, bytes]


class MlflowServer:
    """A running server, queried over its REST API, without MLflow's client."""

    def __init__(self, port: int, auth: tuple[str, str] | None = None) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requires_password = auth is not None
        self._auth = auth

    def ask(self, method: str, endpoint: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call an endpoint of the API; return the content of the response."""
        url = f"{self.url}/api/2.0/mlflow/{endpoint}"
        content_arguments: dict[str, Any] = {"params": body} if method == "GET" else {"json": body}
        answer = requests.request(method, url, auth=self._auth, timeout=60, **content_arguments)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        """Return all runs of the experiment with this name, including deleted ones."""
        named = self.ask("GET", "experiments/get-by-name", {"experiment_name": experiment})["experiment"]
        query = {"experiment_ids": [named["experiment_id"]], "run_view_type": "ALL"}
        runs: list[dict[str, Any]] = self.ask("POST", "runs/search", query).get("runs", [])
        return runs

    def stored(self, experiment: str, *, histories: bool = True) -> StoredContent:
        """Return the content of the only run of an experiment; without `histories`, the last point of each metric."""
        [run] = self.runs(experiment)
        info, data = run["info"], run["data"]
        metrics = {}
        for metric in data.get("metrics", ()):
            query = {"run_id": info["run_id"], "metric_key": metric["key"]}
            history = self.ask("GET", "metrics/get-history", query)["metrics"] if histories else [metric]
            points = [Point(int(each["step"]), int(each["timestamp"]), float(each["value"])) for each in history]
            metrics[metric["key"]] = sorted(points, key=lambda point: (point.step, point.time, repr(point.value)))
        return StoredContent(
            {key: info.get(key) for key in ("run_name", "status", "start_time", "end_time")},
            {each["key"]: each.get("value", "") for each in data.get("params", ())},
            {each["key"]: each.get("value", "") for each in data.get("tags", ())},
            metrics,
            dict(self._artifacts(info["run_id"], info["artifact_uri"], "")),
        )

    def _artifacts(self, run: str, uri: str, path: str) -> Iterator[tuple[str, bytes]]:
        listed = self.ask("GET", "artifacts/list", {"run_id": run, **({"path": path} if path else {})})
        for each in listed.get("files", ()):
            if each.get("is_dir"):
                yield from self._artifacts(run, uri, each["path"])
                continue
            base = uri.partition(":")[2].strip("/")
            url = f"{self.url}/api/2.0/mlflow-artifacts/artifacts/{base}/{quote(each['path'])}"
            answer = requests.get(url, auth=self._auth, timeout=60)
            assert answer.status_code == 200, answer.text
            yield each["path"], answer.content


@contextmanager
def mlflow_server(store: str, *, password: str | None = None) -> Iterator[MlflowServer]:
    """Run ``mlflow server`` with one worker and an artifact proxy, until the context is left.

    Args:
        store: URI of the backend store.
        password: password of the user `USER`, which each request then needs (``--app-name basic-auth``).
    """
    packages = {"mlflow": "mlflow", **({"flask_wtf": "Flask-WTF"} if password else {})}
    for module, package in packages.items():
        assert importlib.util.find_spec(module), f"{package} is not installed; install it: pip install {package}"
    directory = Path(tempfile.mkdtemp(prefix="mlflow-"))
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store, "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--serve-artifacts", "--artifacts-destination"]
    command += [str(directory / "artifacts"), *(["--app-name", "basic-auth"] if password else [])]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {**_LIGHT, "HOME": str(directory), "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16)}
    if password:
        settings = directory / "auth.ini"
        settings.write_text(
            f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{directory}/auth.db\n"
            f"admin_username = {USER}\nadmin_password = {password}\n"
            "auth_cache_ttl_seconds = 600\n"  # hash a password once, not for every request
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        environment["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
    output = directory / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=directory, env=environment, start_new_session=True
        )
    server = MlflowServer(port, (USER, password) if password else None)
    try:
        _await_answer(process, f"{server.url}/health", output)
        yield server
    finally:
        _end_group(process)
        shutil.rmtree(directory, ignore_errors=True)


def _await_answer(process: subprocess.Popen[bytes], url: str, output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if requests.get(url, timeout=5).status_code == 200:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.05)
        printed = output.read_text(errors="replace")[-3000:]
        assert process.poll() is None, f"{process.args!r} has ended: {printed}"
        assert time.monotonic() < deadline, f"{url}: no answer in {START_SECONDS:.0f} s: {printed}"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and everything that it has started; it is the leader of their session."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server until the context is left; yield the URI of an empty database."""
    programs = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))]
    )
    assert programs, "PostgreSQL is not in /usr/lib/postgresql; install it: apt-get install postgresql"
    assert importlib.util.find_spec("psycopg2"), "psycopg2 is not installed; install it: pip install psycopg2-binary"
    user = pwd.getpwuid(os.getuid()).pw_name
    if user == "root":  # initdb refuses to run as root
        user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    directory = Path(tempfile.mkdtemp(prefix="postgres-"))
    data, output, port = directory / "data", directory / "output", free_port()
    if os.getuid() == 0:
        shutil.chown(directory, user)
    as_user = {"user": user} if os.getuid() == 0 else {}
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LC_ALL": "C", "TZ": "UTC"}
    initdb = [str(programs[-1] / "initdb"), "-D", str(data), "-U", "tracker", "-A", "trust", "-E", "UTF8", "--no-sync"]
    done = subprocess.run(
        initdb, cwd=directory, env=environment, capture_output=True, text=True, check=False, **as_user
    )  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    command = [str(programs[-1] / "postgres"), "-D", str(data), "-p", str(port), "-k", str(directory)]
    for setting in ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=30", "shared_buffers=32MB"):
        command += ["-c", setting]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=directory, env=environment, start_new_session=True, **as_user
        )  # type: ignore[call-overload]
    try:
        ready = [str(programs[-1] / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready, env=environment, check=False).returncode:
            assert process.poll() is None and time.monotonic() < deadline, output.read_text(errors="replace")
            time.sleep(0.05)
        yield f"postgresql+psycopg2://tracker@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGQUIT)  # the immediate shutdown
        process.wait(START_SECONDS)
        shutil.rmtree(directory, ignore_errors=True)


def free_port() -> int:
    """Return a free port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
