"""One sidecar serves many processes: who attaches to it and how, and what happens when either side goes."""

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
    made: list[Serving] = []

    def start(*arguments: object, listen: str = LOOPBACK, at: Path = root, **more: Any) -> Serving:
        at.parent.mkdir(parents=True, exist_ok=True)
        made.append(Serving(at, *arguments, listen=listen, **more))
        return made[-1]

    yield start
    for serving in made:
        serving.close()


@pytest.fixture
def attach() -> Iterator[Callable[..., KeyedClient]]:
    """Attaches clients of bare bytes: ``attach(serving, "run id", "client id")``."""
    made: list[KeyedClient] = []

    def start(*arguments: Any, **body: Any) -> KeyedClient:
        made.append(KeyedClient(*arguments, **body))
        return made[-1]

    yield start
    for client in made:
        client.close()


def closed(directory: Path) -> ReadBack:
    wait_until(lambda: not needs_recovery(directory) and not (directory / "lock").exists(), "the run is let go")
    assert not (directory / "windows").exists()
    return ReadBack(directory).check()


def logged(root: Path, run: str, client: str | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Return step and data of what is in a run's log, which may have no store yet."""
    with LogReader(root / "runs" / run / "transactions.log") as reader:
        records = [record for batch in reader.batches() for record in batch.records]
    return [(r.body["step"], r.body["data"]) for r in records if r.kind == "log" and client in (None, r.client)]


def has_clients(serving: Serving, count: int) -> bool:
    return bool(serving.status()["clients"] == count)


def error_line(text: str) -> str:
    """Return the one line that is no log line: what a user is to read."""
    lines = [line for line in text.splitlines() if not line[:4].isdigit()]
    assert len(lines) == 1, text
    return lines[0]


# -- finding it -------------------------------------------------------------------------------------------------------

THREE_RUNS = """
import os, sys, tracker
endpoint, file = sys.argv[1:]
for name, where in (("endpoint", endpoint), ("file", file), ("environment", None)):
    if where is None:
        os.environ["TRACKER_SIDECAR"] = endpoint
    run = tracker.init(id=name, sidecar=where, config={"by": name})
    for step in range(100):
        run.log({"loss": step / 3})
    run.finish()
    assert run.losses.counts() == {}
print(sorted(os.listdir(os.environ["TRACKER_DIR"])), os.environ.get("TRACKER_LAUNCHED"))
"""


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_a_client_attaches_by_endpoint_by_file_and_by_environment(
    scripts: Scripts, serve: Callable[..., Serving], root: Path, tmp_path: Path, temporary: Path, kind: str
) -> None:
    sockets = temporary / f"serve-{kind}"
    sockets.mkdir()
    serving = serve(listen=LOOPBACK if kind == "tcp" else f"ipc://{sockets}/door")
    found = serving.connection
    assert (found.pid, found.machine_id, found.public_key) == (serving.process.pid, machine_id(), None)
    assert stat.S_IMODE(serving.file.stat().st_mode) == 0o600
    assert found.control.startswith("tcp://127.0.0.1:") if kind == "tcp" else found.control == f"ipc://{sockets}/door"

    theirs = tmp_path / "theirs"
    done = scripts.run(THREE_RUNS, serving.control, serving.file, env={"TRACKER_DIR": str(theirs)})
    assert done.err == ""
    assert "runs" not in done.out and done.out.endswith("None\n"), "nothing was launched, nothing is kept on this side"
    for name in ("endpoint", "file", "environment"):
        run = closed(root / "runs" / name)
        assert run.stored() == [(step, {"loss": step / 3}) for step in range(100)]
        assert (run.state["state"], run.state["config"]) == ("finished", {"by": name})

    said = command("status", "--dir", root)
    assert (said.code, said.err) == (0, "")
    assert "not encrypted" in said.out and "clients: 0" in said.out and f"process {found.pid}" in said.out
    assert command("stop", serving.control if kind == "ipc" else serving.file).code == 0
    assert serving.process.wait(30) == 0
    assert not serving.file.exists() and list(sockets.iterdir()) == []
    assert "stopped: everything received is in the logs" in serving.log_text()


@pytest.mark.parametrize("by", ["endpoint", "file"])
def test_a_trainer_that_begins_before_the_sidecar_waits_for_it(
    scripts: Scripts, serve: Callable[..., Serving], root: Path, tmp_path: Path, by: str
) -> None:
    door = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    script = scripts.start(
        """
        import sys, tracker
        print("beginning")
        with tracker.init(id="run", sidecar=sys.argv[1]) as run:
            run.log({"loss": 0.5})
        """,
        door if by == "endpoint" else root / "sidecars" / "serve.json",
        env={"TRACKER_DIR": str(tmp_path / "theirs")},
    )
    assert script.read_line() == "beginning"
    serve(listen=door)
    script.wait()
    assert closed(root / "runs" / "run").stored() == [(0, {"loss": 0.5})]


def test_where_nobody_is_init_gives_up_after_its_timeout_with_one_clear_error(scripts: Scripts) -> None:
    door = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    done = scripts.run(
        """
        import sys, time, tracker
        begin = time.monotonic()
        try:
            tracker.init(sidecar=sys.argv[1], settings={"init_timeout": 0.6})
        except tracker.errors.LaunchError as error:
            print(error, 0.5 < time.monotonic() - begin < 10.0, tracker.run)
        """,
        door,
    )
    assert done.out == f"no sidecar answers at {door} True None\n" and done.err == ""


# -- starting it ------------------------------------------------------------------------------------------------------


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
            ["--listen", "ipc:///tmp/door", "--ports", "5000-5010"],
            ["--ports needs a tcp:// endpoint, not ipc:///tmp/door", "--ports"],
        ),
        (["--listen", "tcp://127.0.0.1:5757", "--ports", "5757-5758"], ["1 ports", "--ports"]),
    ],
)
def test_what_cannot_be_served_is_bad_usage(
    capsys: pytest.CaptureFixture[str], root: Path, arguments: list[str], words: list[str]
) -> None:
    assert cli.main(["serve", "--dir", str(root), *arguments]) == 2
    said = capsys.readouterr()
    line = error_line(said.err)
    for word in ["sidecar serve:", *words]:
        assert word in line
    assert said.out == "" and not root.exists()


@pytest.mark.parametrize("kind", ["tcp", "ipc"])
def test_an_address_in_use_is_said_in_one_line(
    serve: Callable[..., Serving], tmp_path: Path, temporary: Path, kind: str
) -> None:
    first = serve(listen=LOOPBACK if kind == "tcp" else f"ipc://{temporary}/in-use")
    second = command("serve", "--dir", tmp_path / "second", "--listen", first.control)
    assert second.code == 1
    line = error_line(second.err)
    assert line.startswith(f"sidecar: {first.control}: cannot bind: ")
    assert ("Address already in use" if kind == "tcp" else "another process is listening there") in line
    assert first.status()["clients"] == 0, "the first is not disturbed"


def test_only_one_serves_a_root(serve: Callable[..., Serving], root: Path) -> None:
    first = serve()
    second = command("serve", "--dir", root, "--listen", LOOPBACK)
    assert second.code == 1
    assert error_line(second.err).startswith(f"sidecar: a sidecar is already running for {root}")
    assert read_connection(first.file).pid == first.process.pid
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    again = serve()  # the lock of one that was killed is nobody's, and its connection file is written over
    assert read_connection(again.file).pid == again.process.pid


def test_a_root_that_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command("serve", "--dir", tmp_path / "file" / "root", "--listen", LOOPBACK)
    assert done.code == 1 and str(tmp_path / "file") in error_line(done.err)


# -- ports ------------------------------------------------------------------------------------------------------------


def test_a_range_that_is_too_small_is_told_and_ports_are_given_back(
    scripts: Scripts, serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    ports = free_ports(3)
    serving = serve("--ports", f"{ports[0]}-{ports[-1]}")
    first, second = attach(serving, "run", "first", label="1"), attach(serving, "run", "second", label="2")
    told = {first.attached["records"], first.attached["results"], second.attached["results"]}
    assert sorted(int(split_tcp(endpoint)[1]) for endpoint in told) == list(ports)

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
        assert client.ask("flush")["seq"] == 1, "the others go on"

    second.send_record("exit", {"state": "finished"})
    second.send_unnumbered("detach", {})
    wait_until(partial(has_clients, serving, 1), "it has left")
    second.close()  # else it would connect to whoever gets its port
    for number in range(20):  # as many one after another as there is time
        later = wait_until(partial(let_in, serving, f"later{number}"), "a port was given back")
        assert later is not None
        later.log(1, loss=number / 3)
        later.send_record("exit", {"state": "finished"})
        assert later.ask("flush")["seq"] == 2
        later.send_unnumbered("detach", {})
        later.close()
    first.send_record("exit", {"state": "finished"})
    first.send_unnumbered("detach", {})
    found = closed(root / "runs" / "run")
    assert len(found.stored()) == 22 and found.state["state"] == "finished"


def let_in(serving: Serving, name: str) -> KeyedClient | None:
    try:
        return KeyedClient(serving, "run", name, label=name)
    except RefusedError:
        return None


def test_a_client_that_was_refused_for_want_of_a_port_is_not_attached(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    ports = free_ports(2)
    serving = serve("--ports", f"{ports[0]}-{ports[-1]}")
    attach(serving, "run", "first")
    with pytest.raises(RefusedError, match="no port is free"):
        attach(serving, "another", "second")
    assert serving.status()["clients"] == 1
    wait_until(lambda: serving.status()["runs"] == ["run"], "the run that was not begun is let go", 3.0)


# -- going and coming back --------------------------------------------------------------------------------------------

LOGS_ON = """
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
print("logged while nobody was there", step, flush=True)
input()
log(1000)
run.finish()
print(run.losses.counts())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_clients_go_on_after_a_restart_with_nothing_lost_and_nothing_twice(
    scripts: Scripts, serve: Callable[..., Serving], root: Path, tmp_path: Path, number: int
) -> None:
    serving = serve()
    script = scripts.start(LOGS_ON, serving.file, env={"TRACKER_DIR": str(tmp_path / "theirs")})
    assert script.read_line() == "durable 1000"
    assert serving.stop(number) == (0 if number != signal.SIGKILL else -signal.SIGKILL)
    everything = [(step, {"loss": step / 3, "step": step}) for step in range(3000)]
    assert logged(root, "run") == everything[:1000], "what was acked is there"
    script.send_line()
    assert script.read_line() == "logged while nobody was there 2000"
    serve(listen=serving.control)
    script.send_line()
    assert script.wait().out == "{}\n"
    found = closed(root / "runs" / "run")
    assert found.logged() == found.stored() == everything
    assert found.state["state"] == "finished" and found.state["losses"] == {}


def test_what_was_taken_before_a_sigterm_is_in_the_log(
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
        kept = logged(root, client.run, client.name)
        assert kept == [(step, {"loss": step / 3}) for step in range(len(kept))] and len(kept) >= acked


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_as_the_main_thread_begins_to_wait_stops_it(
    serve: Callable[..., Serving], number: signal.Signals
) -> None:
    serving = serve()
    pid = serving.process.pid
    # Another thread is given the signal, so that no wait of the main thread is interrupted by it.
    other = next(thread.id for thread in psutil.Process(pid).threads() if thread.id != pid)
    assert ctypes.CDLL(None).tgkill(pid, other, number.value) == 0
    assert serving.process.wait(TIMEOUT) == 0


def test_the_rest_of_a_client_that_is_killed_is_taken_from_its_window(
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
        env={"TRACKER_DIR": str(tmp_path / "theirs")},
    )
    assert script.read_line() == "returned"
    script.kill()
    script.wait(-signal.SIGKILL)
    found = closed(root / "runs" / "run")
    assert found.logged() == [(step, {"loss": step / 3}) for step in range(20_000)]
    assert found.state["state"] == "crashed"
    assert list((tmp_path / "theirs").rglob("*.seg")) == []
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
        assert api.run("shared").state == "running", "finish() of one leaves it running for the others"
        writer.send_line()
        assert writer.read_line() == ends[label][1]
        writer.wait()
        wait_until(partial(has_clients, serving, 3 - count), "it has left")
    found = closed(root / "runs" / "shared")
    assert (found.state["state"], found.state["exit_code"]) == ("failed", 3), "one failed among finished ones"

    run = api.run("shared")
    assert {writer["label"]: writer["state"] for writer in run.writers.values()} == {
        label: state for label, (_, state) in ends.items()
    }
    rows = list(run.scan_history())
    assert len(rows) == 3 * 51
    for label in ends:
        mine = [row for row in rows if row["_label"] == label]
        assert [row["_step"] for row in mine] == list(range(51)), "each counts its own steps"
        assert [row[label] for row in mine[:50]] == list(range(50))
    together = run.history(keys=["loss"])
    assert len(together["loss"]) == 150 and sorted(set(together["_label"])) == sorted(ends)
    assert together["_step"] == sorted(together["_step"])


# -- the commands -----------------------------------------------------------------------------------------------------


def test_logging_from_a_shell_and_reading_while_it_goes_on(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path, tmp_path: Path
) -> None:
    serving = serve()
    theirs = {"TRACKER_SIDECAR": serving.control, "TRACKER_DIR": str(tmp_path / "theirs")}
    lines = "".join(json.dumps({"loss": step / 4, "_step": step}) + "\n" for step in range(30))
    assert command("log", "shell", "--jsonl", program="tracker", stdin=lines, **theirs) == (0, "", "made run shell\n")
    assert command("log", "shell", "acc=0.5", "note=end", program="tracker", **theirs) == (0, "", "resumed run shell\n")
    going = attach(serving, "going", "client")
    going.send_record("run", {"project": "live"})
    for step in range(5):
        going.log(step, loss=step / 4)
    assert going.ask("state")["seq"] == 6

    listed = command("ls", "--json", program="tracker", TRACKER_DIR=str(root))
    assert listed.code == 0
    assert {run["id"]: run["state"] for run in json.loads(listed.out)} == {"shell": "finished", "going": "running"}
    shown = command("show", "going", program="tracker", TRACKER_DIR=str(root))
    assert shown.code == 0 and "running" in shown.out and "live" in shown.out
    tailed = command("tail", "going", "--no-follow", "--json", program="tracker", TRACKER_DIR=str(root))
    assert [json.loads(line)["loss"] for line in tailed.out.splitlines()] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert serving.status()["runs"] == ["going"], "who reads does not disturb"

    found = closed(root / "runs" / "shell")
    assert found.stored() == [(step, {"loss": step / 4}) for step in range(30)] + [(30, {"acc": 0.5, "note": "end"})]
    assert not list((tmp_path / "theirs").rglob("*.log"))


def test_status_for_programs(serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path) -> None:
    serving = serve()
    client = attach(serving, "run", "client")
    client.send(b"\x93\x01\x02\x03")
    client.log(1, loss=0.5)
    assert client.ask("state")["seq"] == 1
    by_dir = command("status", "--json", "--dir", root, TRACKER_SIDECAR="/another/one")
    by_environment = command("status", "--json", TRACKER_SIDECAR=serving.control)
    assert by_dir.code == by_environment.code == 0
    for found in (json.loads(by_dir.out), json.loads(by_environment.out)):
        assert (found["pid"], found["clients"], found["runs"]) == (serving.process.pid, 1, ["run"])
        assert (found["records"], found["log_error"], found["encrypted"]) == (1, None, False)
        assert found["refused"] == {"refused: form": 1}
        assert found["sinks"]["run"]["store"] == {"behind_bytes": 0, "error": None}


def test_drain_waits_for_clients_and_for_servers(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    nowhere = f"mlflow+http://127.0.0.1:{free_ports(1)[0]}"
    serving = serve("--sinks", nowhere)
    assert command("drain", "--dir", root) == (0, "", "drained: nothing is pending\n")
    client = attach(serving, "run", "client")
    client.log(1, loss=0.5)
    assert client.ask("flush")["seq"] == 1
    here = command("drain", serving.control, "--within", "0.3")
    assert here.code == 1 and here.err.startswith(
        "sidecar drain: still pending after 0.3 s: 1 client is attached; run run: mlflow"
    )
    client.send_record("exit", {"state": "finished"})
    client.send_unnumbered("detach", {})
    wait_until(partial(has_clients, serving, 0), "it has left")
    waits = command("drain", "--dir", root, "--within", "0.3")
    assert waits.code == 1 and f"run run: {nowhere} is " in waits.err and "attached" not in waits.err
    assert serving.process.poll() is None, "it serves on"


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


def test_status_where_nobody_is(root: Path) -> None:
    none = command("status", "--dir", root)
    assert none.code == 1 and "no sidecar is serving" in error_line(none.err)
    door = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    nobody = command("status", door, "--timeout", "0.3", "--json")
    assert (nobody.code, nobody.out, nobody.err) == (1, "", f"sidecar: no sidecar answers at {door}\n")
    stopped = command("stop", door, "--timeout", "0.3")
    assert (stopped.code, stopped.err) == (1, f"sidecar: no sidecar answers at {door}\n")


FULL_BYTES = 300_000


def test_status_fails_while_the_log_cannot_be_written_and_nothing_is_lost(
    serve: Callable[..., Serving], attach: Callable[..., KeyedClient], root: Path
) -> None:
    """No file of the sidecar's may become larger than so much; later it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    serving = serve(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FULL_BYTES, hard)))
    client = attach(serving, "run", "client")
    for step in range(100):
        client.log(step, text="x" * 10_000)
    wait_until(lambda: serving.status()["log_error"], "the log cannot be written")
    said = command("status", "--dir", root)
    assert said.code == 1 and said.err == ""
    assert "log: " in said.out and str(root / "runs" / "run" / "transactions.log") in said.out
    assert json.loads(command("status", "--json", "--dir", root).out)["unwritten_bytes"] > 0
    resource.prlimit(serving.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: not serving.status()["log_error"], "the log can be written again")
    assert client.ask("state")["seq"] == 100
    assert command("status", "--dir", root).code == 0
    assert ReadBack(root / "runs" / "run").check().logged() == [(step, {"text": "x" * 10_000}) for step in range(100)]


def test_stop_ends_no_process_that_was_given_a_dead_sidecars_id(root: Path) -> None:
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
