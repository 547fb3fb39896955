"""One sidecar serves many processes: how they attach, and what happens when either side stops or dies."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from sidecar import cli
from sidecar.log.reader import LogReader
from sidecar.protocol.connection import Connection, machine_id, read_connection, write_connection
from sidecar.protocol.endpoints import split_tcp
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.layout import needs_recovery
from tests.integration.serving import LOOPBACK, KeyedClient, Serving, command, free_ports
from tests.support import REPOSITORY, TIMEOUT, ReadBack, Scripts, wait_until
from tracker.reading.api import Api


@pytest.fixture
def serve(root: Path) -> Iterator[Callable[..., Serving]]:
    """Starts sidecars that serve `root`, or another directory."""
    sidecars: list[Serving] = []

    def start(*arguments: object, listen: str = LOOPBACK, at: Path = root, **more: Any) -> Serving:
        at.parent.mkdir(parents=True, exist_ok=True)
        sidecars.append(Serving(at, *arguments, listen=listen, **more))
        return sidecars[-1]

    yield start
    for serving in sidecars:
        serving.close()


@pytest.fixture
def attach() -> Iterator[Callable[..., KeyedClient]]:
    """Attaches raw clients: ``attach(serving, "run id", "client id")``."""
    clients: list[KeyedClient] = []

    def start(*arguments: Any, **body: Any) -> KeyedClient:
        clients.append(KeyedClient(*arguments, **body))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def read_closed_run(directory: Path) -> ReadBack:
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), "the run is closed")
    assert not (directory / "windows").exists()
    return ReadBack(directory).check()


def logged(root: Path, run: str, client: str | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Return step and data of the logged rows of a run that may have no store yet."""
    with LogReader(root / "runs" / run / "transactions.log") as reader:
        records = [record for batch in reader.batches() for record in batch.records]
    return [(r.body["step"], r.body["data"]) for r in records if r.kind == "log" and client in (None, r.client)]


def has_clients(serving: Serving, count: int) -> bool:
    return bool(serving.status()["clients"] == count)


def error_line(text: str) -> str:
    """Return the only line that is not a log line: the error message for the user."""
    lines = [line for line in text.splitlines() if not line[:4].isdigit()]
    assert len(lines) == 1, text
    return lines[0]


# -- attaching -------------------------------------------------------------------------------------------------------

THREE_RUNS = """
import os, sys, tracker
endpoint, file = sys.argv[1:]
for name, address in (("endpoint", endpoint), ("file", file), ("environment", None)):
    if address is None:
        os.environ["TRACKER_SIDECAR"] = endpoint
    run = tracker.init(id=name, sidecar=address, config={"by": name})
    for step in range(100):
        run.log({"loss": step / 3})
    run.finish()
    assert run.losses.counts() == {}
print(sorted(os.listdir(os.environ["TRACKER_DIR"])), os.environ.get("TRACKER_LAUNCHED"))
"""


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_client_attaches_by_endpoint_file_or_environment(
    scripts: Scripts, serve: Callable[..., Serving], root: Path, tmp_path: Path, temporary: Path, kind: str
) -> None:
    sockets = temporary / f"serve-{kind}"
    sockets.mkdir()
    serving = serve(listen=LOOPBACK if kind == "tcp" else f"ipc://{sockets}/control")
    connection = serving.connection
    assert (connection.pid, connection.machine_id, connection.public_key) == (serving.process.pid, machine_id(), None)
    assert stat.S_IMODE(serving.file.stat().st_mode) == 0o600
    if kind == "tcp":
        assert connection.control.startswith("tcp://127.0.0.1:")
    else:
        assert connection.control == f"ipc://{sockets}/control"

    client_root = tmp_path / "client_root"
    done = scripts.run(THREE_RUNS, serving.control, serving.file, env={"TRACKER_DIR": str(client_root)})
    assert done.err == ""
    assert "runs" not in done.out and done.out.endswith("None\n"), "the client launched and stored nothing"
    for name in ("endpoint", "file", "environment"):
        run = read_closed_run(root / "runs" / name)
        assert run.stored() == [(step, {"loss": step / 3}) for step in range(100)]
        assert (run.state["state"], run.state["config"]) == ("finished", {"by": name})

    status = command("status", "--dir", root)
    assert (status.code, status.err) == (0, "")
    assert "not encrypted" in status.out and "clients: 0" in status.out and f"process {connection.pid}" in status.out
    assert command("stop", serving.control if kind == "ipc" else serving.file).code == 0
    assert serving.process.wait(30) == 0
    assert not serving.file.exists() and list(sockets.iterdir()) == []
    assert "stopped: everything received is in the logs" in serving.log_text()


@pytest.mark.parametrize("by", ["endpoint", "file"])
def test_init_waits_for_a_sidecar_that_starts_later(
    scripts: Scripts, serve: Callable[..., Serving], root: Path, tmp_path: Path, by: str
) -> None:
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    script = scripts.start(
        """
        import sys, tracker
        print("starting")
        with tracker.init(id="run", sidecar=sys.argv[1]) as run:
            run.log({"loss": 0.5})
        """,
        endpoint if by == "endpoint" else root / "sidecars" / "serve.json",
        env={"TRACKER_DIR": str(tmp_path / "client_root")},
    )
    assert script.read_line() == "starting"
    serve(listen=endpoint)
    script.wait()
    assert read_closed_run(root / "runs" / "run").stored() == [(0, {"loss": 0.5})]


def test_init_raises_one_clear_error_after_its_timeout(scripts: Scripts) -> None:
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    done = scripts.run(
        """
        import sys, time, tracker
        started = time.monotonic()
        try:
            tracker.init(sidecar=sys.argv[1], settings={"init_timeout": 0.6})
        except tracker.errors.LaunchError as error:
            print(error, 0.5 < time.monotonic() - started < 10.0, tracker.run)
        """,
        endpoint,
    )
    assert done.out == f"no sidecar answers at {endpoint} True None\n" and done.err == ""


# -- starting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nonsense"], ["'nonsense'", "tcp://host:port"]),
        (["--listen", "tcp://127.0.0.1"], ["'tcp://127.0.0.1'", "tcp://host:port"]),
        (["--listen", "tcp://127.0.0.1:99999"], ["99999", "tcp://host:port"]),
        (["--listen", "ipc://relative"], ["ipc://relative", "ipc:///path"]),
        (["--ports", "many"], ["--ports must be", "not 'many'", "5758-5999"]),
        (["--ports", "5758-"], ["--ports must be", "not '5758-'"]),
        (["--ports", "5758"], ["--ports must be", "not '5758'", "two ports"]),
        (["--ports", "6000-5000"], ["--ports must be", "not '6000-5000'", "two ports"]),
        (["--ports", "0-10"], ["--ports must be", "not '0-10'", "1 to 65535"]),
        (["--ports", "65000-66000"], ["--ports", "1 to 65535"]),
        (
            ["--listen", "ipc:///tmp/control", "--ports", "5000-5010"],
            ["--ports needs a tcp:// endpoint, not ipc:///tmp/control", "--ports"],
        ),
        (["--listen", "tcp://127.0.0.1:5757", "--ports", "5757-5758"], ["1 ports", "--ports"]),
    ],
)
def test_bad_arguments_of_serve_are_refused(
    capsys: pytest.CaptureFixture[str], root: Path, arguments: list[str], words: list[str]
) -> None:
    assert cli.main(["serve", "--dir", str(root), *arguments]) == 2
    output = capsys.readouterr()
    line = error_line(output.err)
    for word in ["sidecar serve:", *words]:
        assert word in line
    assert output.out == "" and not root.exists()


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_address_in_use_prints_one_line(
    serve: Callable[..., Serving], tmp_path: Path, temporary: Path, kind: str
) -> None:
    first = serve(listen=LOOPBACK if kind == "tcp" else f"ipc://{temporary}/in-use")
    second = command("serve", "--dir", tmp_path / "second", "--listen", first.control)
    assert second.code == 1
    line = error_line(second.err)
    assert line.startswith(f"sidecar: {first.control}: cannot bind: ")
    assert ("Address already in use" if kind == "tcp" else "another process is listening there") in line
    assert first.status()["clients"] == 0, "the first sidecar is not disturbed"


def test_only_one_sidecar_serves_a_root(serve: Callable[..., Serving], root: Path) -> None:
    first = serve()
    second = command("serve", "--dir", root, "--listen", LOOPBACK)
    assert second.code == 1
    assert error_line(second.err).startswith(f"sidecar: a sidecar is already running for {root}")
    assert read_connection(first.file).pid == first.process.pid
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again = serve()  # a killed sidecar's lock is free, and its connection file is overwritten
    assert read_connection(again.file).pid == again.process.pid


def test_unwritable_root_prints_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("serve", "--dir", tmp_path / "file" / "root", "--listen", LOOPBACK)
    assert done.code == 1 and str(tmp_path / "file") in error_line(done.err)


# -- ports ------------------------------------------------------------------------------------------------------------


def test_exhausted_port_range_is_an_error_and_ports_are_reused(
    scripts: Scripts, serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    ports = free_ports(3)
    serving = serve("--ports", f"{ports[0]}-{ports[-1]}")
    first, second = attach(serving, "run", "first", label="1"), attach(serving, "run", "second", label="2")
    endpoints = {first.attached["records"], first.attached["results"], second.attached["results"]}
    assert sorted(int(split_tcp(endpoint)[1]) for endpoint in endpoints) == list(ports)

    done = scripts.run(
        """
        import os, tracker
        try:
            tracker.init(id="run", label="3")
        except tracker.errors.LaunchError as error:
            print(error)
        """,
        env={"TRACKER_SIDECAR": serving.control},
    )
    for word in ("no port is free on 127.0.0.1 for another client", f"{ports[0]}-{ports[-1]}", "--ports"):
        assert word in done.out
    for client in (first, second):
        client.log(1, loss=0.5)
        assert client.ask("flush")["seq"] == 1, "the other clients continue"

    second.send_record("exit", {"state": "finished"})
    second.send_unnumbered("detach", {})
    wait_until(partial(has_clients, serving, 1), "the client has detached")
    second.close()  # else it would connect to the next client that gets its port
    for number in range(20):  # one after another
        later = wait_until(partial(try_to_attach, serving, f"later{number}"), "a port is free again")
        assert later is not None
        later.log(1, loss=number / 3)
        later.send_record("exit", {"state": "finished"})
        assert later.ask("flush")["seq"] == 2
        later.send_unnumbered("detach", {})
        later.close()
    first.send_record("exit", {"state": "finished"})
    first.send_unnumbered("detach", {})
    run = read_closed_run(root / "runs" / "run")
    assert len(run.stored()) == 22 and run.state["state"] == "finished"


def try_to_attach(serving: Serving, name: str) -> KeyedClient | None:
    try:
        return KeyedClient(serving, "run", name, label=name)
    except RefusedError:
        return None


def test_client_refused_for_lack_of_a_port_is_not_attached(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    ports = free_ports(2)
    serving = serve("--ports", f"{ports[0]}-{ports[-1]}")
    attach(serving, "run", "first")
    with pytest.raises(RefusedError, match="no port is free"):
        attach(serving, "another", "second")
    assert serving.status()["clients"] == 1
    wait_until(lambda: serving.status()["runs"] == ["run"], "the refused client's run is closed", 3.0)


# -- restarts ----------------------------------------------------------------------------------------------------------

LOG_ACROSS_RESTART = """
import sys, time, tracker
run = tracker.init(id="run", sidecar=sys.argv[1])
step = 0
def log(count):
    global step
    for _ in range(count):
        run.log({"loss": step / 3, "step": step})
        step += 1
log(1000)
assert run.flush(20)
print("durable", step, flush=True)
input()
log(1000)
print("logged without a sidecar", step, flush=True)
input()
log(1000)
run.finish()
print(run.losses.counts())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_clients_continue_after_a_restart_without_loss_or_duplicates(
    scripts: Scripts, serve: Callable[..., Serving], root: Path, tmp_path: Path, number: int
) -> None:
    serving = serve()
    script = scripts.start(LOG_ACROSS_RESTART, serving.file, env={"TRACKER_DIR": str(tmp_path / "client_root")})
    assert script.read_line() == "durable 1000"
    assert serving.stop(number) == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    everything = [(step, {"loss": step / 3, "step": step}) for step in range(3000)]
    assert logged(root, "run") == everything[:1000], "acked records are in the log"
    script.send_line()
    assert script.read_line() == "logged without a sidecar 2000"
    serve(listen=serving.control)
    script.send_line()
    assert script.wait().out == "{}\n"
    run = read_closed_run(root / "runs" / "run")
    assert run.logged() == run.stored() == everything
    assert run.state["state"] == "finished" and run.state["losses"] == {}


def test_acked_records_are_in_the_log_after_sigterm(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    serving = serve()
    clients = [attach(serving, f"run{number % 2}", f"client{number}", label=f"{number}") for number in range(6)]
    for step in range(300):
        for client in clients:
            client.log(step, loss=step / 3)
    assert serving.stop() == 0
    for client in clients:
        acked = max([result.body["seq"] for result in client.received(0.1) if result.kind == "ack"], default=0)
        rows = logged(root, client.run, client.name)
        assert rows == [(step, {"loss": step / 3}) for step in range(len(rows))] and len(rows) >= acked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_delivered_to_another_thread_stops_the_sidecar(
    serve: Callable[..., Serving], number: signal.Signals
) -> None:
    serving = serve()
    pid = serving.process.pid
    # Another thread gets the signal, so it does not interrupt a wait of the main thread.
    other = next(thread.id for thread in psutil.Process(pid).threads() if thread.id != pid)
    assert ctypes.CDLL(None).tgkill(pid, other, number.value) == 0
    assert serving.process.wait(TIMEOUT) == 0


def test_window_of_a_killed_client_is_recovered(
    scripts: Scripts, serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path, tmp_path: Path
) -> None:
    serving = serve()
    other = attach(serving, "other", "other")
    script = scripts.start(
        """
        import sys, tracker
        run = tracker.init(id="run", sidecar=sys.argv[1])
        for step in range(20_000):
            run.log({"loss": step / 3})
        print("returned", flush=True)
        input()
        """,
        serving.control,
        env={"TRACKER_DIR": str(tmp_path / "client_root")},
    )
    assert script.read_line() == "returned"
    script.kill()
    script.wait(-signal.SIGKILL)
    run = read_closed_run(root / "runs" / "run")
    assert run.logged() == [(step, {"loss": step / 3}) for step in range(20_000)]
    assert run.state["state"] == "crashed"
    assert list((tmp_path / "client_root").rglob("*.seg")) == []
    other.log(1, loss=0.5)
    assert other.ask("flush")["seq"] == 1
    assert serving.status()["runs"] == ["other"]


# -- one run, many writers --------------------------------------------------------------------------------------------

WRITER = """
import sys, tracker
label, code = sys.argv[1:]
run = tracker.init(id="shared", label=label, project="many")
for step in range(50):
    run.log({"loss": step / 3, label: step})
assert run.step == 50
run.flush()
print("logged", flush=True)
input()
run.log({"late": 1.0})
run.finish(exit_code=int(code))
print(run.state, flush=True)
"""


def test_many_writers_of_one_run(scripts: Scripts, serve: Callable[..., Serving], root: Path) -> None:
    serving = serve()
    ends = {"rank0": ("0", "finished"), "rank1": ("3", "failed"), "rank2": ("0", "finished")}
    writers = {
        label: scripts.start(WRITER, label, code, env={"TRACKER_SIDECAR": str(serving.file)})
        for label, (code, _) in ends.items()
    }
    assert [writer.read_line() for writer in writers.values()] == ["logged"] * 3
    assert serving.status()["clients"] == 3 and serving.status()["runs"] == ["shared"]
    api = Api(root)
    for count, (label, writer) in enumerate(writers.items(), 1):
        assert api.run("shared").state == "running", "finish() of one writer leaves the run running for the others"
        writer.send_line()
        assert writer.read_line() == ends[label][1]
        writer.wait()
        wait_until(partial(has_clients, serving, 3 - count), "the client has detached")
    state = read_closed_run(root / "runs" / "shared").state
    assert (state["state"], state["exit_code"]) == ("failed", 3), "one failed writer makes the run failed"

    run = api.run("shared")
    assert {writer["label"]: writer["state"] for writer in run.writers.values()} == {
        label: state for label, (_, state) in ends.items()
    }
    rows = list(run.scan_history())
    assert len(rows) == 3 * 51
    for label in ends:
        own = [row for row in rows if row["_label"] == label]
        assert [row["_step"] for row in own] == list(range(51)), "each writer counts its own steps"
        assert [row[label] for row in own[:50]] == list(range(50))
    history = run.history(keys=["loss"])
    assert len(history["loss"]) == 150 and sorted(set(history["_label"])) == sorted(ends)
    assert history["_step"] == sorted(history["_step"])


# -- the commands -----------------------------------------------------------------------------------------------------


def test_log_command_and_reading_commands_during_a_live_run(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path, tmp_path: Path
) -> None:
    serving = serve()
    client_env = {"TRACKER_SIDECAR": serving.control, "TRACKER_DIR": str(tmp_path / "client_root")}
    lines = "".join(json.dumps({"loss": step / 4, "_step": step}) + "\n" for step in range(30))
    assert command("log", "shell", "--jsonl", program="tracker", stdin=lines, **client_env) == (
        0,
        "",
        "made run shell\n",
    )
    assert command("log", "shell", "acc=0.5", "note=end", program="tracker", **client_env) == (
        0,
        "",
        "resumed run shell\n",
    )
    live = attach(serving, "live", "client")
    live.send_record("run", {"project": "live"})
    for step in range(5):
        live.log(step, loss=step / 4)
    assert live.ask("state")["seq"] == 6

    listed = command("ls", "--json", program="tracker", TRACKER_DIR=str(root))
    assert listed.code == 0
    assert {run["id"]: run["state"] for run in json.loads(listed.out)} == {"shell": "finished", "live": "running"}
    shown = command("show", "live", program="tracker", TRACKER_DIR=str(root))
    assert shown.code == 0 and "running" in shown.out and "live" in shown.out
    tailed = command("tail", "live", "--no-follow", "--json", program="tracker", TRACKER_DIR=str(root))
    assert [json.loads(line)["loss"] for line in tailed.out.splitlines()] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert serving.status()["runs"] == ["live"], "readers do not attach"

    run = read_closed_run(root / "runs" / "shell")
    assert run.stored() == [(step, {"loss": step / 4}) for step in range(30)] + [(30, {"acc": 0.5, "note": "end"})]
    assert not list((tmp_path / "client_root").rglob("*.log"))


def test_status_as_json(serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path) -> None:
    serving = serve()
    client = attach(serving, "run", "client")
    client.send(b"\x93\x01\x02\x03")
    client.log(1, loss=0.5)
    assert client.ask("state")["seq"] == 1
    by_dir = command("status", "--json", "--dir", root, TRACKER_SIDECAR="/another/one")
    by_environment = command("status", "--json", TRACKER_SIDECAR=serving.control)
    assert by_dir.code == by_environment.code == 0
    for status in (json.loads(by_dir.out), json.loads(by_environment.out)):
        assert (status["pid"], status["clients"], status["runs"]) == (serving.process.pid, 1, ["run"])
        assert (status["records"], status["log_error"], status["encrypted"]) == (1, None, False)
        assert status["refused"] == {"refused: form": 1}
        assert status["sinks"]["run"]["store"] == {"behind_bytes": 0, "error": None}


def test_drain_waits_for_clients_and_for_servers(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    nowhere = f"mlflow+http://127.0.0.1:{free_ports(1)[0]}"
    serving = serve("--sinks", nowhere)
    assert command("drain", "--dir", root) == (0, "", "drained: nothing is pending\n")
    client = attach(serving, "run", "client")
    client.log(1, loss=0.5)
    assert client.ask("flush")["seq"] == 1
    waiting_for_client = command("drain", serving.control, "--within", "0.3")
    assert waiting_for_client.code == 1 and waiting_for_client.err.startswith(
        "sidecar drain: still pending after 0.3 s: 1 client is attached; run run: mlflow"
    )
    client.send_record("exit", {"state": "finished"})
    client.send_unnumbered("detach", {})
    wait_until(partial(has_clients, serving, 0), "the client has detached")
    waiting_for_server = command("drain", "--dir", root, "--within", "0.3")
    assert waiting_for_server.code == 1 and f"run run: {nowhere} is " in waiting_for_server.err
    assert "attached" not in waiting_for_server.err
    assert serving.process.poll() is None, "the sidecar still serves"


def test_drain_ends_when_the_last_client_has_left(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    serving = serve()
    client = attach(serving, "run", "client")
    for step in range(1000):
        client.log(step, loss=step / 4)
    draining = subprocess.Popen([sys.executable, "-m", "sidecar", "drain", "--dir", root], cwd=REPOSITORY)
    with pytest.raises(subprocess.TimeoutExpired):
        draining.wait(0.5)
    client.send_record("exit", {"state": "finished"})
    client.send_unnumbered("detach", {})
    assert draining.wait(TIMEOUT) == 0
    assert len(ReadBack(root / "runs" / "run").stored()) == 1000


def test_status_and_stop_without_a_sidecar(root: Path) -> None:
    none = command("status", "--dir", root)
    assert none.code == 1 and "no sidecar is serving" in error_line(none.err)
    endpoint = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    status = command("status", endpoint, "--timeout", "0.3", "--json")
    assert (status.code, status.out, status.err) == (1, "", f"sidecar: no sidecar answers at {endpoint}\n")
    stopped = command("stop", endpoint, "--timeout", "0.3")
    assert (stopped.code, stopped.err) == (1, f"sidecar: no sidecar answers at {endpoint}\n")


FULL_BYTES = 300_000


def test_status_fails_while_the_log_cannot_be_written(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    """The sidecar runs with a limit on the size of its files, which is removed later."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    serving = serve(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, hard)))
    client = attach(serving, "run", "client")
    for step in range(100):
        client.log(step, text="x" * 10_000)
    wait_until(lambda: serving.status()["log_error"], "the log cannot be written")
    status = command("status", "--dir", root)
    assert status.code == 1 and status.err == ""
    assert "log: " in status.out and str(root / "runs" / "run" / "transactions.log") in status.out
    assert json.loads(command("status", "--json", "--dir", root).out)["unwritten_bytes"] > 0
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: not serving.status()["log_error"], "the log can be written again")
    assert client.ask("state")["seq"] == 100
    assert command("status", "--dir", root).code == 0
    assert ReadBack(root / "runs" / "run").check().logged() == [(step, {"text": "x" * 10_000}) for step in range(100)]


def test_stop_does_not_signal_a_process_that_reuses_a_dead_sidecars_id(root: Path) -> None:
    (root / "sidecars").mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        file = root / "sidecars" / "serve.json"
        write_connection(file, Connection("tcp://127.0.0.1:1", innocent.pid, machine_id(), "here", "0.1.0", 1.0))
        done = command("stop", "--dir", root)
        assert done.code == 1 and f"process {innocent.pid} is gone" in error_line(done.err)
        assert innocent.poll() is None
        innocent.communicate(b"\n")
        assert innocent.returncode == 0
    assert os.path.exists(file)
