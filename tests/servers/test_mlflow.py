"""MlflowSink with real MLflow servers: they have what was logged, once, whatever happens on the way."""

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
from tests.servers.mlflow_server import PASSWORD, USER, Kept, MlflowServer, Point
from tests.servers.proxy import CUT_AFTER, CUT_BEFORE, HALF, Fault, FaultyProxy, answer
from tests.support import Scripts
from tests.unit.run_builder import START, RunBuilder

START_MS = int(START) * 1000
HISTOGRAM = {"_type": "histogram", "counts": [1, 2], "edges": [0.0, 0.5, 1.0]}


class InSmallBatches(MlflowSink):
    """As for a live run: a batch is a few records."""

    batch_bytes = 400


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def mlflow(request: pytest.FixtureRequest) -> MlflowServer:
    """Each of the servers in turn."""
    server: MlflowServer = request.getfixturevalue(f"mlflow_{request.param}")
    return server


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the right password in the environment."""
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


def values(kept: Kept, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in kept.metrics[metric]]


def lines(kept: Kept, artifact: str = "tracker/values.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in kept.artifacts[artifact].splitlines()]


def a_whole_run(root: Path, name: str, project: str) -> RunBuilder:
    """A run with some of everything."""
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

    kept = mlflow.kept(project)
    assert kept.info["run_name"] == "run1"
    assert kept.info["status"] == "FAILED"
    assert int(kept.info["start_time"]) == START_MS
    assert int(kept.info["end_time"]) == int(run.clock * 1000)
    assert kept.metrics["acc"][0] == Point(0, START_MS + 3000, 0.0)
    assert values(kept, "loss")[:6] == [(step, 1.0 / (step + 1)) for step in range(6)]
    assert math.isnan(values(kept, "loss")[6][1])
    assert values(kept, "loss")[7] == (7, -1.7976931348623157e308)  # MLflow's databases keep no infinities
    assert values(kept, "acc")[6] == (6, 1.7976931348623157e308)
    assert values(kept, "ok") == [(6, 1.0)]
    assert kept.params["lr"] == "0.1"
    assert kept.tags["config.lr"] == "0.2"
    assert kept.params["model.depth"] == "3" and kept.params["model.name"] == "ünet"
    assert len(kept.params["long"]) == 6000
    assert kept.tags["first"] == kept.tags["second"] == "true"
    assert kept.tags["mlflow.note.content"] == "as it was"
    assert kept.tags["mlflow.source.name"] == "train.py"
    assert kept.tags["summary.best"] == "0.97"
    assert kept.tags["tracker.run_id"] == "run1"
    assert kept.tags["tracker.traceback"] == "ValueError: no"
    assert kept.artifacts["model.bin"] == bytes(range(256))
    assert lines(kept) == [
        {"key": "text", "label": None, "step": 6, "time": START + 10, "value": "so far so good"},
        {"key": "weights", "label": None, "step": 7, "time": START + 12, "value": HISTOGRAM},
    ]
    whole = json.loads(kept.artifacts["tracker/shortened.json"])
    assert whole["params"] == {"long": {"key": "long", "value": "x" * 7000}}
    assert whole["tags"] == {"config.long": {"key": "config.long", "value": "y" * 7000}}
    [name] = whole["metrics"]
    assert whole["metrics"][name] == {"key": "top@5", "label": None}
    assert values(kept, name) == [(7, 0.9)]


def test_numbers_come_back_bit_for_bit(mlflow: MlflowServer, root: Path, project: str) -> None:
    sent = [0.1 + 0.2, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2**63 - 1, -1e-300, 1 / 3]
    steps = [-(2**63), -1, 0, 1, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1]
    run = RunBuilder(root, "run1", project=project)
    for step, value in zip(steps, sent, strict=True):
        run.row(step, x=value)
    send(run.finish(), mlflow)

    found = values(mlflow.kept(project), "x")
    assert [step for step, _ in found] == steps
    bits = [struct.pack(">d", float(value)) for value in sent]
    bits[1] = struct.pack(">d", found[1][1])  # databases may store zero without its sign
    assert found[1][1] == 0
    assert [struct.pack(">d", value) for _, value in found] == bits


# -- the connection ---------------------------------------------------------------------------------------------------


def without_names(kept: Kept) -> Kept:
    """Return what is equal for two runs that differ only in their names."""
    tags = {key: value for key, value in kept.tags.items() if key not in ("tracker.run_id", "tracker.project")}
    tags.pop("mlflow.runName")
    metrics = {
        key: [point._replace(value=str(point.value)) for point in points]  # type: ignore[arg-type]  # NaN is not NaN
        for key, points in kept.metrics.items()
    }
    return kept._replace(info={**kept.info, "run_name": ""}, tags=tags, metrics=metrics)


@pytest.mark.parametrize("remembers", [True, False], ids=["with its memory", "without memory"])
def test_connection_cut_after_each_request_in_turn(
    mlflow_sqlite: MlflowServer, root: Path, project: str, remembers: bool
) -> None:
    def deliver(number: int) -> tuple[Kept, int]:
        """Send, with a cut after that request; return the content of the server and the number of requests."""
        name = f"{project} {number}"
        run = a_whole_run(root, f"run{number}", name)

        def plan(at: int, method: str, path: str) -> Fault | None:
            return CUT_AFTER if at == number else None

        with FaultyProxy(mlflow_sqlite.port, plan) as proxy:
            if remembers:
                send(run, proxy, InSmallBatches, tries=2)
            else:
                if number:
                    with pytest.raises(SinkUnavailableError):
                        send(run, proxy, InSmallBatches)
                send(run, proxy, InSmallBatches)
            return without_names(mlflow_sqlite.kept(name)), len(proxy.requests)

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

    bad = {number * (number + 1) // 2 for number in range(2, 12)}  # 3, 6, 10, …: in between it can make progress
    with FaultyProxy(mlflow_sqlite.port, lambda number, method, path: fault if number in bad else None) as proxy:
        send(run, proxy, InSmallBatches, tries=len(bad))

    assert without_names(mlflow_sqlite.kept(project)) == without_names(mlflow_sqlite.kept(f"{project} whole"))


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


def test_something_that_is_not_mlflow(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = a_whole_run(root, "run1", project)
    with pytest.raises(SinkRefusedError, match="this is not an MLflow server"):
        feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}/elsewhere", run.dir)
    with pytest.raises(SinkRefusedError, match="unknown option 'experimant'; the only option is experiment=NAME"):
        feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}?experimant=x", run.dir)


def test_a_wrong_password_is_refused_and_a_right_one_may_be_in_a_file(
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
    assert mlflow_postgres.kept(project).info["status"] == "FAILED"


def test_the_version_needs_the_password(mlflow: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MlflowSink(SinkTarget(parse_sink(f"mlflow+{mlflow.url}"), "run1", tmp_path, {}))
    assert sink.version() == importlib.metadata.version("mlflow")
    if mlflow.asks_for_password:
        monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
        with pytest.raises(SinkRefusedError, match="MLFLOW_TRACKING_USERNAME"):
            sink.version()
    sink.close(Deadline(1.0))


# -- a run's life -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "status"),
    [("finished", "FINISHED"), ("crashed", "FAILED"), ("killed", "KILLED"), ("preempted", "KILLED")],
)
def test_the_status_of_an_ended_run(
    mlflow_sqlite: MlflowServer, root: Path, project: str, state: str, status: str
) -> None:
    send(RunBuilder(root, "run1", project=project).finish(state), mlflow_sqlite)
    kept = mlflow_sqlite.kept(project)
    assert (kept.info["status"], kept.tags["tracker.state"]) == (status, state)


def test_a_resumed_run_is_the_same_run(mlflow: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project, tags=["old", "kept"], notes="first")
    run.row(0, loss=1.0)
    memory = send(run, mlflow)
    kept = mlflow.kept(project)
    assert kept.info["status"] == "RUNNING" and not kept.info["end_time"]

    run.write("exit", {"state": "failed", "exit_code": 3, "reason": "a bug"})
    memory = send(run, mlflow, memory=memory)
    kept = mlflow.kept(project)
    assert kept.info["status"] == "FAILED"
    assert (kept.tags["tracker.exit_code"], kept.tags["tracker.reason"]) == ("3", "a bug")

    again = {"project": project, "name": "better", "tags": ["kept", "new"], "notes": "second"}
    run.write("run", again, "client000002")
    run.row(1, "client000002", loss=0.5)
    memory = send(run, mlflow, memory=memory)
    kept = mlflow.kept(project)
    assert (kept.info["status"], kept.info["run_name"]) == ("RUNNING", "better")
    assert not {"tracker.exit_code", "tracker.reason", "old"} & set(kept.tags)
    assert kept.tags["kept"] == kept.tags["new"] == "true"
    assert kept.tags["mlflow.note.content"] == "second"

    run.write("exit", {"state": "finished", "exit_code": 0}, "client000002")
    send(run, mlflow)  # without memory
    kept = mlflow.kept(project)
    assert (kept.info["status"], int(kept.info["end_time"])) == ("FINISHED", int(run.clock * 1000))
    assert values(kept, "loss") == [(0, 1.0), (1, 0.5)]
    run.log.close()


def test_what_was_changed_in_mlflow_stays(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project, notes="ours")
    memory = send(run, mlflow_sqlite)
    [found] = mlflow_sqlite.runs(project)
    run_id = found["info"]["run_id"]
    mlflow_sqlite.ask("POST", "runs/update", {"run_id": run_id, "run_name": "theirs"})
    for key in ("mlflow.note.content", "reviewed"):
        mlflow_sqlite.ask("POST", "runs/set-tag", {"run_id": run_id, "key": key, "value": "theirs"})
    send(run.finish(), mlflow_sqlite, memory=memory)
    kept = mlflow_sqlite.kept(project)
    assert kept.info["run_name"] == kept.tags["mlflow.note.content"] == kept.tags["reviewed"] == "theirs"


def test_a_deleted_experiment_is_restored_and_a_deleted_run_is_not(
    mlflow_sqlite: MlflowServer, root: Path, project: str
) -> None:
    run = RunBuilder(root, "run1", project=project)
    memory = send(run, mlflow_sqlite)
    [found] = mlflow_sqlite.runs(project)
    mlflow_sqlite.ask("POST", "experiments/delete", {"experiment_id": found["info"]["experiment_id"]})
    other = RunBuilder(root, "run2", project=project)
    send(other.finish(), mlflow_sqlite)
    assert len(mlflow_sqlite.runs(project)) == 2

    mlflow_sqlite.ask("POST", "runs/delete", {"run_id": found["info"]["run_id"]})
    run.row(0, loss=1.0)
    for remembered in (memory, None):
        with pytest.raises(SinkRefusedError, match="run1 was deleted in MLflow; restore it"):
            send(run, mlflow_sqlite, memory=remembered)
    mlflow_sqlite.ask("POST", "runs/restore", {"run_id": found["info"]["run_id"]})
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
    assert len(values(mlflow_sqlite.kept(project), "loss")) == 50
    assert "left_out" not in memory


def test_the_address_can_name_the_experiment(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project="another").finish()
    feed(MlflowSink, f"mlflow+{mlflow_sqlite.url}/?experiment={project.replace(' ', '%20')}", run.dir)
    assert mlflow_sqlite.kept(project).tags["tracker.project"] == "another"


# -- names and values -------------------------------------------------------------------------------------------------


def test_a_param_keeps_its_first_value_and_a_tag_has_the_newest(
    mlflow_sqlite: MlflowServer, root: Path, project: str
) -> None:
    run = RunBuilder(root, "run1", project=project)
    run.write("config", {"set": {"lr": 1, "gone": {"a": 1}, "same": "x", "list": [1, {"b": None}], "none": None}})
    memory = send(run, mlflow_sqlite)
    assert not [tag for tag in mlflow_sqlite.kept(project).tags if tag.startswith("config.")]
    run.write("config", {"set": {"lr": 2, "brief": 1}, "delete": ["gone"]})
    run.write("config", {"set": {"lr": 3, "same": "x"}, "delete": ["brief"]})
    memory = send(run, mlflow_sqlite, memory=memory)

    def found() -> tuple[dict[str, str], dict[str, str]]:
        kept = mlflow_sqlite.kept(project)
        return kept.params, {key[7:]: value for key, value in kept.tags.items() if key.startswith("config.")}

    params = {"lr": "1", "gone.a": "1", "same": "x", "list": '[1, {"b": null}]', "none": "None", "brief": "1"}
    assert found() == (params, {"lr": "3", "gone.a": "(deleted)", "brief": "(deleted)"})
    run.write("config", {"set": {"lr": 1, "gone": {"a": 2}}})
    send(run.finish(), mlflow_sqlite, memory=memory)
    assert found() == (params, {"lr": "1", "gone.a": "2", "brief": "(deleted)"})


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

    kept = mlflow.kept(project, histories=False)
    whole = json.loads(kept.artifacts["tracker/shortened.json"])
    assert len(kept.metrics) == len(odd) + 1500
    assert {whole["metrics"].get(name, {"key": name})["key"] for name in kept.metrics} >= set(odd)
    assert {name: found["value"] for name, found in whole["params"].items()}.keys() == kept.params.keys()
    assert {found["key"]: found["value"] for found in whole["params"].values()} == {
        key: key + "v" * 6001 for key in odd
    }
    assert kept.info["run_name"] != "true"
    assert whole["tags"]["mlflow.note.content"]["value"] == "\0" + "n" * 9000
    assert kept.tags["tracker.traceback"].endswith("the end")
    assert whole["tags"]["tracker.traceback"]["value"] == "t" * 9000 + "the end"
    assert {whole["tags"].get(name, {"key": name})["key"] for name in kept.tags} >= set(odd)


def test_writers_with_labels_keep_their_metrics_apart(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    for number in (0, 1):
        run.write("run", {"label": f"rank {number}"}, f"client10000{number}")
    run.row(0, loss=1.0)
    for number in (0, 1):
        run.row(0, f"client10000{number}", loss=2.0 + number)
    send(run.finish(), mlflow_sqlite)
    kept = mlflow_sqlite.kept(project)
    found = {name: values(kept, name) for name in kept.metrics}
    assert found == {"loss": [(0, 1.0)], "rank 0/loss": [(0, 2.0)], "rank 1/loss": [(0, 3.0)]}


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
    kept = mlflow_sqlite.kept(project)
    assert len(values(kept, "fine")) == 30
    assert kept.params == {"fine": "2"}
    assert kept.info["status"] == "FINISHED"
    assert memory["left_out"] == {"metrics": 30, "params": 1}
    assert len([line for line in caplog.messages if "metrics 'cursed'" in line]) == 1
    assert len(proxy.requests) < 60  # not every point is tried


def test_a_param_that_somebody_else_has_set_is_a_tag(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    run.write("config", {"set": {"lr": 0.1, "depth": 3}})

    def plan(number: int, method: str, path: str) -> None:
        if path.endswith("log-batch") and b'"lr"' in proxy.requests[number - 1].body and not done:
            done.append(1)
            [found] = mlflow_sqlite.runs(project)
            theirs = {"run_id": found["info"]["run_id"], "key": "lr", "value": "0.5"}
            mlflow_sqlite.ask("POST", "runs/log-parameter", theirs)

    done: list[int] = []
    with FaultyProxy(mlflow_sqlite.port, plan) as proxy:
        memory = send(run.finish(), proxy)
    kept = mlflow_sqlite.kept(project)
    assert (kept.params, kept.tags["config.lr"]) == ({"lr": "0.5", "depth": "3"}, "0.1")
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
    kept = mlflow_sqlite.kept(project).artifacts
    assert kept.pop("a.txt") == b"three"
    assert kept.pop("deep/er/b.bin") == bytes(300_000)
    assert sorted(kept.values()) == [b"", b"c", b"odd"]


def test_a_file_that_is_not_assembled_yet_is_waited_for(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    """The run has ended, and the thread that assembles files is behind."""
    run = RunBuilder(root, "run1", project=project).store()
    data = b"weights"
    about = {"name": "model.bin", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    run.write("file", {**about, "offset": 0, "data": data})
    run.write("exit", {"state": "finished"})
    run.log.close()
    with pytest.raises(SinkUnavailableError, match="is not assembled yet"):
        send(run, mlflow_sqlite)
    (run.dir / "files").mkdir()
    (run.dir / "files" / "model.bin").write_bytes(data)
    send(run.store(), mlflow_sqlite)
    kept = mlflow_sqlite.kept(project)
    assert kept.artifacts["model.bin"] == data and kept.info["status"] == "FINISHED"


def test_strings_of_a_live_run(mlflow_sqlite: MlflowServer, root: Path, project: str) -> None:
    run = RunBuilder(root, "run1", project=project)
    memory: dict[str, Any] = {}
    for step in range(3):
        for _ in range(step * 10):
            run.row(step, loss=1.0)
        run.row(step, text=f"text {step}")
        memory = send(run, mlflow_sqlite, memory=memory)
        assert [line["value"] for line in lines(mlflow_sqlite.kept(project))] == [f"text {n}" for n in range(step + 1)]
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
    kept = mlflow_sqlite.kept(project)
    assert kept.info["status"] == "FINISHED"
    assert values(kept, "loss") == [(step, 1 / (step + 1)) for step in range(1000)]
    assert values(kept, "val.acc")[-1] == (999, 999.0)
    assert kept.params == {"lr": "0.1", "net.depth": "2"}
    assert [line["key"] for line in lines(kept)] == ["weights"]
