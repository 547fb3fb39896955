"""MlflowSink with real MLflow servers: they get what was logged, once, whatever fails."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.protocol.deadline import Deadline
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.contract import SinkRefusedError, SinkTarget, SinkUnavailableError
from sidecar.sinks.mlflow.sink import MlflowSink
from tests.servers.feed import feed
from tests.servers.mlflow_server import PASSWORD, USER, MlflowServer, Point, StoredContent
from tests.servers.proxy import CUT_AFTER, CUT_BEFORE, HALF, Fault, FaultyProxy, answer
from tests.support import Scripts
from tests.unit.run_builder import START, RunBuilder

START_MS = int(START) * 1000
HISTOGRAM = {"_type": "histogram", "counts": [1, 2], "edges": [0.0, 0.5, 1.0]}


class InSmallBatches(MlflowSink):
    """A sink with batches of a few records, as for a live run."""

    batch_bytes = 400


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def mlflow(request: pytest.FixtureRequest) -> MlflowServer:
    """Each of the servers in turn."""
    server: MlflowServer = request.getfixturevalue(f"mlflow_{request.param}")
    return server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets the correct user and password in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """A project name of this test only."""
    return str(request.node.name)


OpenSink = Callable[[SinkTarget], MlflowSink]


def send(run: RunBuilder, to: MlflowServer | FaultyProxy, sink: OpenSink = MlflowSink, **how: Any) -> dict[str, Any]:
    """Send the whole log; return the memory of the sink."""
    return feed(sink, f"mlflow+{to.url}", run.dir, **how)


def values(stored: StoredContent, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in stored.metrics[metric]]


def lines(stored: StoredContent, artifact: str = "tracker/values.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in stored.artifacts[artifact].splitlines()]


def a_whole_run(root: Path, name: str, project: str) -> RunBuilder:
    """Build a run with every kind of data."""
    run = RunBuilder(root, name, project=project, tags=["first", "second"], notes="as it was", program="train.py")
    run.write("config", {"set": {"lr": 0.1, "model": {"depth": 3, "name": "ünet"}}})
    for step in range(6):
        run.row(step, loss=1.0 / (step + 1), acc=step * 0.1)
    run.write("config", {"set": {"lr": 0.2}})
    run.row(6, loss=math.nan, acc=math.inf, text="so far so good", ok=True)
    run.write("summary", {"set": {"best": 0.97}})
    run.row(7, weights=HISTOGRAM, loss=-math.inf, **{"top@5": 0.9})
    run.write("config", {"set": {"long": "x" * 7000}})
    run.write("config", {"set": {"long": "y" * 7000}})
    files = run.dir / "files"
    files.mkdir()
    (files / "model.bin").write_bytes(bytes(range(256)))
    return run.finish("failed", traceback="ValueError: no")


def test_a_whole_run(mlflow: MlflowServer, root: Path, project: str) -> None:
    run = a_whole_run(root, "run1", project)
    send(run, mlflow)

    stored = mlflow.stored(project)
    assert stored.info["run_name"] == "run1"
    assert stored.info["status"] == "FAILED"
    assert int(stored.info["start_time"]) == START_MS
    assert int(stored.info["end_time"]) == int(run.clock * 1000)
    assert stored.metrics["acc"][0] == Point(0, START_MS + 3000, 0.0)
    assert values(stored, "loss")[:6] == [(step, 1.0 / (step + 1)) for step in range(6)]
    assert math.isnan(values(stored, "loss")[6][1])
    assert values(stored, "loss")[7] == (7, -1.7976931348623157e308)  # MLflow's databases cannot store infinities
    assert values(stored, "acc")[6] == (6, 1.7976931348623157e308)
    assert values(stored, "ok") == [(6, 1.0)]
    assert stored.params["lr"] == "0.1"
    assert stored.tags["config.lr"] == "0.2"
    assert stored.params["model.depth"] == "3" and stored.params["model.name"] == "ünet"
    assert len(stored.params["long"]) == 6000
    assert stored.tags["first"] == stored.tags["second"] == "true"
    assert stored.tags["mlflow.note.content"] == "as it was"
    assert stored.tags["mlflow.source.name"] == "train.py"
    assert stored.tags["summary.best"] == "0.97"
    assert stored.tags["tracker.run_id"] == "run1"
    assert stored.tags["tracker.traceback"] == "ValueError: no"
    assert stored.artifacts["model.bin"] == bytes(range(256))
    assert lines(stored) == [
        {"key": "text", "label": None, "step": 6, "time": START + 10, "value": "so far so good"},
        {"key": "weights", "label": None, "step": 7, "time": START + 12, "value": HISTOGRAM},
    ]
    whole = json.loads(stored.artifacts["tracker/shortened.json"])
    assert whole["params"] == {"long": {"key": "long", "value": "x" * 7000}}
    assert whole["tags"] == {"config.long": {"key": "config.long", "value": "y" * 7000}}
    [name] = whole["metrics"]
    assert whole["metrics"][name] == {"key": "top@5", "label": None}
    assert values(stored, name) == [(7, 0.9)]


def test_packed_rows_are_stored_exactly(mlflow: MlflowServer, root: Path, project: str) -> None:
    losses = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3, -1e-300] * 100
    run = RunBuilder(root, "run1", project=project)
    run.rows(-5, loss=losses, ok=[step % 3 == 0 for step in range(600)], **{"top@5": list(range(600))})
    run.row(600, note="text")
    run.rows(600, loss=[math.nan] + [0.0] * 40)
    run.finish()
    send(run, mlflow)
    stored = mlflow.stored(project)
    assert stored.metrics["loss"][:600] == [
        Point(step - 5, START_MS + 1000 * (step + 3), loss) for step, loss in enumerate(losses)
    ]
    assert math.isnan(stored.metrics["loss"][600].value) and len(stored.metrics["loss"]) == 641
    assert values(stored, "ok") == [(step - 5, float(step % 3 == 0)) for step in range(600)]
    [name] = json.loads(stored.artifacts["tracker/shortened.json"])["metrics"]
    assert values(stored, name) == [(step - 5, float(step)) for step in range(600)]


def test_numbers_are_stored_exactly(mlflow: MlflowServer, root: Path, project: str) -> None:
    sent = [0.1 + 0.2, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2**63 - 1, -1e-300, 1 / 3]
    steps = [-(2**63), -1, 0, 1, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1]
    run = RunBuilder(root, "run1", project=project)
    for step, value in zip(steps, sent, strict=True):
        run.row(step, x=value)
    send(run.finish(), mlflow)

    received = values(mlflow.stored(project), "x")
    assert [step for step, _ in received] == steps
    bits = [struct.pack(">d", float(value)) for value in sent]
    bits[1] = struct.pack(">d", received[1][1])  # databases may store zero without its sign
    assert received[1][1] == 0
    assert [struct.pack(">d", value) for _, value in received] == bits


# -- the connection ---------------------------------------------------------------------------------------------------


def without_names(stored: StoredContent) -> StoredContent:
    """Return what is equal for two runs that differ only in their names."""
    tags = {key: value for key, value in stored.tags.items() if key not in ("tracker.run_id", "tracker.project")}
    tags.pop("mlflow.runName")
    metrics = {
        key: [point._replace(value=str(point.value)) for point in points]  # type: ignore[arg-type]  # NaN is not NaN
        for key, points in stored.metrics.items()
    }
    return stored._replace(info={**stored.info, "run_name": ""}, tags=tags, metrics=metrics)


@pytest.mark.parametrize("with_memory", [True, False], ids=["with memory", "without memory"])
def test_connection_cut_after_each_request_in_turn(
    mlflow_sqlite: MlflowServer, root: Path, project: str, with_memory: bool
) -> None:
    def deliver(number: int) -> tuple[StoredContent, int]:
        """Send, with a cut after that request; return the content of the server and the number of requests."""
        name = f"{project} {number}"
        run = a_whole_run(root, f"run{number}", name)

        def plan(at: int, method: str, path: str) -> Fault | None:
            return CUT_AFTER if at == number else None

        with FaultyProxy(mlflow_sqlite.port, plan) as proxy:
            if with_memory:
                send(run, proxy, InSmallBatches, tries=2)
            else:
                if number:
                    with pytest.raises(SinkUnavailableError):
                        send(run, proxy, InSmallBatches)
                send(run, proxy, InSmallBatches)
            return without_names(mlflow_sqlite.stored(name)), len(proxy.requests)

    expected, count = deliver(0)
    assert count > 15
    for number in range(1, count + 1):
        content, _ = deliver(number)
        assert content == expected, f"cut after request {number}"


@pytest.mark.parametrize("fault", [CUT_BEFORE, HALF, answer(503), answer(500)], ids=["before", "half", "503", "500"])
def test_other_faults_change_nothing(mlflow_sqlite: MlflowServer, root: Path, project: str, fault: Fault) -> None:
    whole = a_whole_run(root, "whole", f"{project} whole")
    send(whole, mlflow_sqlite)
    run = a_whole_run(root, "run1", project)

    bad = {number * (number + 1) // 2 for number in range(2, 12)}  # 3, 6, 10, …: the requests between them succeed
    with FaultyProxy(mlflow_sqlite.port, lambda number, method, path: fault if number in bad else None) as proxy:
        send(run, proxy, InSmallBatches, tries=len(bad))

    assert without_names(mlflow_sqlite.stored(project)) == without_names(mlflow_sqlite.stored(f"{project} whole"))


def test_retry_after_of_a_busy_server(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = a_whole_run(root, "run1", project)
    with (
        FaultyProxy(mlflow_sqlite.port, lambda number, method, path: answer(429, retry_after=7)) as proxy,
        pytest.raises(SinkUnavailableError, match="429") as caught,
    ):
        send(run, proxy)
    assert caught.value.retry_after == 7.0


def test_no_server_is_a_temporary_error(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = a_whole_run(root, "run1", project)
    with FaultyProxy(mlflow_sqlite.port) as proxy:
        address = f"mlflow+{proxy.url}"
    with pytest.raises(SinkUnavailableError, match="refused"):
        feed(MlflowSink, address, run.dir)


def test_a_server_that_is_not_mlflow(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = a_whole_run(root, "run1", project)
    with pytest.raises(SinkRefusedError, match="this is not an MLflow server"):
        feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}/elsewhere", run.dir)
    with pytest.raises(SinkRefusedError, match="unknown option 'experimant'; the only option is experiment=NAME"):
        feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}?experimant=x", run.dir)


def test_a_wrong_password_is_refused_and_the_correct_one_may_be_in_a_file(
    mlflow_postgres: MlflowServer, root: Path, project: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = a_whole_run(root, "run1", project)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(SinkRefusedError, match=r"401.*MLFLOW_TRACKING_PASSWORD"):
        send(run, mlflow_postgres)
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(secret))
    send(run, mlflow_postgres)
    assert mlflow_postgres.stored(project).info["status"] == "FAILED"


def test_the_version_needs_the_password(mlflow: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MlflowSink(SinkTarget(parse_sink(f"mlflow+{mlflow.url}"), "run1", tmp_path, {}))
    assert sink.version() == importlib.metadata.version("mlflow")
    if mlflow.requires_password:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        with pytest.raises(SinkRefusedError, match="MLFLOW_TRACKING_USERNAME"):
            sink.version()
    sink.close(Deadline(1.0))


# -- states of a run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status"),
    [("finished", "FINISHED"), ("crashed", "FAILED"), ("killed", "KILLED"), ("preempted", "KILLED")],
)
def test_the_status_of_an_ended_run(
    mlflow_sqlite: MlflowServer, root: Path, project: str, state: str, status: str
) -> None:
    send(RunBuilder(root, "run1", project=project).finish(state), mlflow_sqlite)
    stored = mlflow_sqlite.stored(project)
    assert (stored.info["status"], stored.tags["tracker.state"]) == (status, state)


def test_a_resumed_run_is_the_same_run(mlflow: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project, tags=["old", "kept"], notes="first")
    run.row(0, loss=1.0)
    memory = send(run, mlflow)
    stored = mlflow.stored(project)
    assert stored.info["status"] == "RUNNING" and not stored.info["end_time"]

    run.write("exit", {"state": "failed", "exit_code": 3, "reason": "a bug"})
    memory = send(run, mlflow, memory=memory)
    stored = mlflow.stored(project)
    assert stored.info["status"] == "FAILED"
    assert (stored.tags["tracker.exit_code"], stored.tags["tracker.reason"]) == ("3", "a bug")

    again = {"project": project, "name": "better", "tags": ["kept", "new"], "notes": "second"}
    run.write("run", again, "client000002")
    run.row(1, "client000002", loss=0.5)
    memory = send(run, mlflow, memory=memory)
    stored = mlflow.stored(project)
    assert (stored.info["status"], stored.info["run_name"]) == ("RUNNING", "better")
    assert not {"tracker.exit_code", "tracker.reason", "old"} & set(stored.tags)
    assert stored.tags["kept"] == stored.tags["new"] == "true"
    assert stored.tags["mlflow.note.content"] == "second"

    run.write("exit", {"state": "finished", "exit_code": 0}, "client000002")
    send(run, mlflow)  # without memory
    stored = mlflow.stored(project)
    assert (stored.info["status"], int(stored.info["end_time"])) == ("FINISHED", int(run.clock * 1000))
    assert values(stored, "loss") == [(0, 1.0), (1, 0.5)]
    run.log.close()


def test_what_was_changed_in_mlflow_stays(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project, notes="ours")
    memory = send(run, mlflow_sqlite)
    [listed] = mlflow_sqlite.runs(project)
    run_id = listed["info"]["run_id"]
    mlflow_sqlite.ask("POST", "runs/update", {"run_id": run_id, "run_name": "theirs"})
    for key in ("mlflow.note.content", "reviewed"):
        mlflow_sqlite.ask("POST", "runs/set-tag", {"run_id": run_id, "key": key, "value": "theirs"})
    send(run.finish(), mlflow_sqlite, memory=memory)
    stored = mlflow_sqlite.stored(project)
    assert stored.info["run_name"] == stored.tags["mlflow.note.content"] == stored.tags["reviewed"] == "theirs"


def test_a_deleted_experiment_is_restored_and_a_deleted_run_is_not(
    mlflow_sqlite: MlflowServer, root: Path, project: str
) -> None:
    run = RunBuilder(root, "run1", project=project)
    memory = send(run, mlflow_sqlite)
    [listed] = mlflow_sqlite.runs(project)
    mlflow_sqlite.ask("POST", "experiments/delete", {"experiment_id": listed["info"]["experiment_id"]})
    other = RunBuilder(root, "run2", project=project)
    send(other.finish(), mlflow_sqlite)
    assert len(mlflow_sqlite.runs(project)) == 2

    mlflow_sqlite.ask("POST", "runs/delete", {"run_id": listed["info"]["run_id"]})
    run.row(0, loss=1.0)
    for previous in (memory, None):
        with pytest.raises(SinkRefusedError, match="run1 was deleted in MLflow; restore it"):
            send(run, mlflow_sqlite, memory=previous)
    mlflow_sqlite.ask("POST", "runs/restore", {"run_id": listed["info"]["run_id"]})
    send(run.finish(), mlflow_sqlite, memory=memory)
    assert len(mlflow_sqlite.runs(project)) == 2


def test_a_run_that_is_deleted_while_it_is_sent_loses_nothing(
    mlflow_sqlite: MlflowServer, root: Path, project: str
) -> None:
    run = RunBuilder(root, "run1", project=project)
    for step in range(50):
        run.row(step, loss=1.0)

    def delete(number: int, method: str, path: str) -> None:
        if path.endswith("runs/log-batch") and not deleted:
            deleted.append(mlflow_sqlite.runs(project)[0]["info"]["run_id"])
            mlflow_sqlite.ask("POST", "runs/delete", {"run_id": deleted[0]})

    deleted: list[str] = []
    with FaultyProxy(mlflow_sqlite.port, delete) as proxy, pytest.raises(SinkRefusedError, match="was deleted"):
        send(run, proxy)
    mlflow_sqlite.ask("POST", "runs/restore", {"run_id": deleted[0]})
    memory = send(run.finish(), mlflow_sqlite)
    assert len(values(mlflow_sqlite.stored(project), "loss")) == 50
    assert "left_out" not in memory


def test_the_address_can_name_the_experiment(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project="another").finish()
    feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}/?experiment={project.replace(' ', '%20')}", run.dir)
    assert mlflow_sqlite.stored(project).tags["tracker.project"] == "another"


# -- names and values -------------------------------------------------------------------------------------------------


def test_a_param_keeps_its_first_value_and_a_tag_has_the_newest(
    mlflow_sqlite: MlflowServer, root: Path, project: str
) -> None:
    run = RunBuilder(root, "run1", project=project)
    run.write("config", {"set": {"lr": 1, "gone": {"a": 1}, "same": "x", "list": [1, {"b": None}], "none": None}})
    memory = send(run, mlflow_sqlite)
    assert not [tag for tag in mlflow_sqlite.stored(project).tags if tag.startswith("config.")]
    run.write("config", {"set": {"lr": 2, "brief": 1}, "delete": ["gone"]})
    run.write("config", {"set": {"lr": 3, "same": "x"}, "delete": ["brief"]})
    memory = send(run, mlflow_sqlite, memory=memory)

    def params_and_tags() -> tuple[dict[str, str], dict[str, str]]:
        stored = mlflow_sqlite.stored(project)
        return stored.params, {key[7:]: value for key, value in stored.tags.items() if key.startswith("config.")}

    params = {"lr": "1", "gone.a": "1", "same": "x", "list": '[1, {"b": null}]', "none": "None", "brief": "1"}
    assert params_and_tags() == (params, {"lr": "3", "gone.a": "(deleted)", "brief": "(deleted)"})
    run.write("config", {"set": {"lr": 1, "gone": {"a": 2}}})
    send(run.finish(), mlflow_sqlite, memory=memory)
    assert params_and_tags() == (params, {"lr": "1", "gone.a": "2", "brief": "(deleted)"})


def test_the_originals_of_shortened_names_and_values_are_an_artifact(
    mlflow: MlflowServer, root: Path, project: str
) -> None:
    odd = ["a$b", "a%b", "/a", "a//b", "a/../b", ".", "ä ö", "k" * 251, "k" * 251 + "!", "é" * 512, "tab\tnul\0", "💥"]
    run = RunBuilder(
        root, "run1", project=project, name="n" * 600, tags=[*odd, "mlflow.runName"], notes="\0" + "n" * 9000
    )
    run.write("config", {"set": {key: key + "v" * 6001 for key in odd}})
    run.row(0, **dict.fromkeys(odd, 1.0))
    run.row(1, **{f"{'é' * 300}{number}": float(number) for number in range(1500)})
    send(run.finish("failed", traceback="t" * 9000 + "the end"), mlflow)

    stored = mlflow.stored(project, histories=False)
    whole = json.loads(stored.artifacts["tracker/shortened.json"])
    assert len(stored.metrics) == len(odd) + 1500
    assert {whole["metrics"].get(name, {"key": name})["key"] for name in stored.metrics} >= set(odd)
    assert {name: param["value"] for name, param in whole["params"].items()}.keys() == stored.params.keys()
    assert {param["key"]: param["value"] for param in whole["params"].values()} == {
        key: key + "v" * 6001 for key in odd
    }
    assert stored.info["run_name"] != "true"
    assert whole["tags"]["mlflow.note.content"]["value"] == "\0" + "n" * 9000
    assert stored.tags["tracker.traceback"].endswith("the end")
    assert whole["tags"]["tracker.traceback"]["value"] == "t" * 9000 + "the end"
    assert {whole["tags"].get(name, {"key": name})["key"] for name in stored.tags} >= set(odd)


def test_writers_with_labels_keep_their_metrics_apart(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    for number in (0, 1):
        run.write("run", {"label": f"rank {number}"}, f"client10000{number}")
    run.row(0, loss=1.0)
    for number in (0, 1):
        run.row(0, f"client10000{number}", loss=2.0 + number)
    send(run.finish(), mlflow_sqlite)
    stored = mlflow_sqlite.stored(project)
    metrics = {name: values(stored, name) for name in stored.metrics}
    assert metrics == {"loss": [(0, 1.0)], "rank 0/loss": [(0, 2.0)], "rank 1/loss": [(0, 3.0)]}


def test_only_what_the_server_refuses_is_left_out(
    mlflow_sqlite: MlflowServer, root: Path, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunBuilder(root, "run1", project=project)
    run.write("config", {"set": {"cursed": 1, "fine": 2}})
    for step in range(30):
        run.row(step, cursed=1.0, fine=2.0)

    def plan(number: int, method: str, path: str) -> Fault | None:
        return answer(400) if path.endswith("log-batch") and b'"cursed"' in proxy.requests[number - 1].body else None

    with FaultyProxy(mlflow_sqlite.port, plan) as proxy, caplog.at_level(logging.WARNING, "sidecar"):
        memory = send(run.finish(), proxy)
    stored = mlflow_sqlite.stored(project)
    assert len(values(stored, "fine")) == 30
    assert stored.params == {"fine": "2"}
    assert stored.info["status"] == "FINISHED"
    assert memory["left_out"] == {"metrics": 30, "params": 1}
    assert len([line for line in caplog.messages if "metrics 'cursed'" in line]) == 1
    assert len(proxy.requests) < 60  # not one request per point


def test_a_param_that_another_client_has_set_is_a_tag(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    run.write("config", {"set": {"lr": 0.1, "depth": 3}})

    def plan(number: int, method: str, path: str) -> None:
        if path.endswith("log-batch") and b'"lr"' in proxy.requests[number - 1].body and not done:
            done.append(1)
            [listed] = mlflow_sqlite.runs(project)
            theirs = {"run_id": listed["info"]["run_id"], "key": "lr", "value": "0.5"}
            mlflow_sqlite.ask("POST", "runs/log-parameter", theirs)

    done: list[int] = []
    with FaultyProxy(mlflow_sqlite.port, plan) as proxy:
        memory = send(run.finish(), proxy)
    stored = mlflow_sqlite.stored(project)
    assert (stored.params, stored.tags["config.lr"]) == ({"lr": "0.5", "depth": "3"}, "0.1")
    assert "left_out" not in memory


# -- files and other artifacts ----------------------------------------------------------------------------------------


def test_files_are_sent_again_only_if_they_have_changed(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    files = run.dir / "files"
    content = {
        "a.txt": b"one",
        "deep/er/b.bin": bytes(300_000),
        "empty": b"",
        "ü #1 100%?.txt": b"odd",
        "tracker/c": b"c",
    }
    for name, data in content.items():
        (files / name).parent.mkdir(parents=True, exist_ok=True)
        (files / name).write_bytes(data)
    (files / ".part-1").write_bytes(b"not yet")

    def puts() -> list[str]:
        return [request.path for request in proxy.requests if request.method == "PUT"]

    with FaultyProxy(mlflow_sqlite.port) as proxy:
        run.write("file", {"name": "a.txt", "size": 3, "sha256": "0" * 64})
        run.write("file", {"name": "../../etc/passwd", "size": 3, "sha256": "0" * 64})
        memory = send(run, proxy)
        assert [path.rpartition("/")[2] for path in puts()] == ["a.txt"]
        memory = send(run.finish(), proxy, memory=memory)
        assert len(puts()) == len(content)
        memory = send(run, proxy, memory=memory)
        assert len(puts()) == len(content)
        (files / "a.txt").write_bytes(b"three")
        send(run, proxy, memory=memory)
        assert len(puts()) == len(content) + 1
    stored = mlflow_sqlite.stored(project).artifacts
    assert stored.pop("a.txt") == b"three"
    assert stored.pop("deep/er/b.bin") == bytes(300_000)
    assert sorted(stored.values()) == [b"", b"c", b"odd"]


def test_a_file_that_is_not_assembled_yet_is_waited_for(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    """The run has ended, but the thread that assembles files is behind."""
    run = RunBuilder(root, "run1", project=project).store()
    data = b"weights"
    description = {"name": "model.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    run.write("file", {**description, "offset": 0, "data": data})
    run.write("exit", {"state": "finished"})
    run.log.close()
    with pytest.raises(SinkUnavailableError, match="is not assembled yet"):
        send(run, mlflow_sqlite)
    (run.dir / "files").mkdir()
    (run.dir / "files" / "model.bin").write_bytes(data)
    send(run.store(), mlflow_sqlite)
    stored = mlflow_sqlite.stored(project)
    assert stored.artifacts["model.bin"] == data and stored.info["status"] == "FINISHED"


def test_strings_of_a_live_run(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    memory: dict[str, Any] = {}
    for step in range(3):
        for _ in range(step * 10):
            run.row(step, loss=1.0)
        run.row(step, text=f"text {step}")
        memory = send(run, mlflow_sqlite, memory=memory)
        assert [line["value"] for line in lines(mlflow_sqlite.stored(project))] == [
            f"text {n}" for n in range(step + 1)
        ]
    run.log.close()


def test_a_run_of_the_sdk(mlflow_sqlite: MlflowServer, root: Path, project: str, scripts: Scripts) -> None:
    scripts.run(
        """
        import sys, tracker
        with tracker.init(project=sys.argv[1], id="run1", config={"lr": 0.1, "net": {"depth": 2}}, tags=["t"]) as run:
            for step in range(1000):
                run.log({"loss": 1 / (step + 1), "val": {"acc": step}})
            run.log({"weights": tracker.Histogram([1.0, 2.0])})
        """,
        project,
    )
    feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}", root / "runs" / "run1")
    stored = mlflow_sqlite.stored(project)
    assert stored.info["status"] == "FINISHED"
    assert values(stored, "loss") == [(step, 1 / (step + 1)) for step in range(1000)]
    assert values(stored, "val.acc")[-1] == (999, 999.0)
    assert stored.params == {"lr": "0.1", "net.depth": "2"}
    assert [line["key"] for line in lines(stored)] == ["weights"]
