"""Edits of runs by users: real processes, sidecars and files."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.log.reader import LogReader
from sidecar.projections.rebuild import rebuild, verify
from sidecar.protocol.connection import Connection, process_lives, read_connection
from sidecar.protocol.layout import STORE_NAME, is_held
from sidecar.protocol.records import Record
from tests.integration.serving import Keys, Serving, environment
from tests.support import TIMEOUT, Script, Scripts, wait_until
from tests.unit.run_builder import RunBuilder
from tracker.errors import EditError, RunNotFoundError
from tracker.reading.api import Api
from tracker.reading.editing import close_editors, edit_runs
from tracker.transport import editor

KEPT = ("state", "exit_code", "start_time", "end_time", "last_time", "records", "points", "writers", "step")


@pytest.fixture(autouse=True)
def no_sidecar_left() -> Iterator[None]:
    yield
    close_editors()


def kept(run: Any) -> list[Any]:
    return [getattr(run, name) for name in KEPT]


def edits_in(directory: Path) -> list[Record]:
    with LogReader(directory / "transactions.log") as reader:
        return [record for batch in reader.batches() for record in batch.records if record.kind == "edit"]


@pytest.fixture
def ended(root: Path) -> Api:
    """A root with an ended run."""
    RunBuilder(root, "ended", name="first", tags=["x"]).finish()
    return Api(root)


@pytest.fixture
def training(scripts: Scripts, root: Path) -> Script:
    """A process that logs at full speed until its standard input ends."""
    program = """
    import sys, threading, tracker
    run = tracker.init(id="live", name="first", config={"lr": 0.1})
    run.log({"loss": 1.0})
    run.flush()
    print("ready", flush=True)
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.is_set():
        run.log({"loss": 2.0})
    run.finish()
    print(run.step)
    """
    script = scripts.start(program)
    assert script.read_line() == "ready"
    return script


def test_an_ended_run(ended: Api, root: Path) -> None:
    run = ended.run("ended")
    before = kept(run)
    assert run.update(name="mine", notes="n", color="#00ff00", config={"lr": 0.5}) is run
    assert (run.name, run.notes, run.color, run.config) == ("mine", "n", "#00ff00", {"lr": 0.5})
    assert kept(run) == before
    again = Api(root).run("mine")
    assert (again.id, kept(again)) == ("ended", before)
    assert is_held(run.dir) is None and not (run.dir / "lock").exists()
    (run.dir / STORE_NAME).unlink()
    rebuild(run.dir)
    assert Api(root).run("ended").name == "mine"
    assert verify(run.dir).problems == []
    run.undo()
    assert (run.name, run.notes, run.color, run.config) == ("first", None, None, {})
    with pytest.raises(EditError, match="no edit that can be undone"):
        run.undo()


def test_a_live_run_that_logs_at_full_speed(training: Script, root: Path) -> None:
    run = Api(root).run("live")
    for number in range(5):
        run.update(name=f"name {number}", tags=[str(number)])
        assert run.state == "running"
    out = training.wait().out
    run = Api(root).run("live")
    assert (run.name, run.state, run.tags) == ("name 4", "finished", ["4"])
    assert run.records == int(out) and verify(run.dir).problems == []
    assert len(edits_in(run.dir)) == 5


def test_a_live_run_shows_an_edit_at_once(scripts: Scripts, root: Path) -> None:
    script = scripts.start(
        """
        import sys, tracker
        run = tracker.init(id="live", name="first", config={"lr": 0.1})
        run.log({"loss": 1.0})
        run.flush()
        print("ready")
        sys.stdin.read()
        run.config.update({"lr": 0.2}, allow_val_change=True)
        run.finish()
        """
    )
    assert script.read_line() == "ready"
    run = Api(root).run("live").update(name="mine", config={"lr": 3})
    assert (run.name, run.config, run.state) == ("mine", {"lr": 3}, "running")
    assert run.undo().name == "first"
    run.update(config={"lr": 4})
    script.wait()
    assert Api(root).run("live").config == {"lr": 4}


def test_a_resumed_run_does_not_take_a_name_back(ended: Api, root: Path, scripts: Scripts) -> None:
    ended.run("ended").update(name="mine", tags=["mine"])
    scripts.run(
        """
        import tracker
        with tracker.init(id="ended", name="second", tags=["y"], resume="must") as run:
            run.log({"loss": 1.0})
        """
    )
    stored = Api(root).run("ended")
    assert (stored.name, stored.tags, stored.state) == ("mine", ["mine"], "finished")
    stored.undo()
    assert (stored.name, stored.tags) == ("second", ["y"])


EDITOR = """
import sys
from tracker.reading.api import Api
run = Api().run(sys.argv[1])
for number in range(int(sys.argv[3])):
    run.update(config={sys.argv[2]: number})
"""


@pytest.mark.parametrize(("which", "count"), [("ended", 20), ("live", 3)])
def test_several_editors_at_once(
    which: str, count: int, root: Path, request: pytest.FixtureRequest, scripts: Scripts
) -> None:
    training = request.getfixturevalue("ended" if which == "ended" else "training")
    editors = [scripts.start(EDITOR, which, key, count) for key in ("a", "b", "c")]
    for script in editors:
        script.wait()
    if which == "live":
        training.wait()
    run = Api(root).run(which)
    assert {key: run.config.get(key) for key in "abc"} == dict.fromkeys("abc", count - 1)
    ids = {record.body["id"] for record in edits_in(run.dir)}  # one whose answer was lost is in the log again
    assert len(ids) == 3 * count


def test_many_runs_with_one_sidecar(root: Path) -> None:
    for number in range(50):
        RunBuilder(root, f"run{number:03}").finish()
    runs = list(Api(root).runs())
    sidecars = root / "sidecars"
    errors = edit_runs([(run, {"tags": [run.id], "deleted": number % 2 == 0}) for number, run in enumerate(runs)])
    assert errors == [None] * 50
    assert len(list(sidecars.glob("*.json"))) == 1
    api = Api(root)
    assert len(api.runs()) == len(api.runs(deleted=True)) == 25
    assert all(run.tags == [run.id] for run in api.runs())


def test_an_edit_that_was_answered_is_there_once_after_the_sidecar_was_killed(ended: Api, root: Path) -> None:
    run = ended.run("ended")
    run.update(name="mine")
    (file,) = (root / "sidecars").glob("*.json")
    os.kill(read_connection(file).pid, signal.SIGKILL)
    run.update(notes="n")
    assert [(record.body.get("name"), record.body.get("notes")) for record in edits_in(run.dir)] == [
        ("mine", None),
        (None, "n"),
    ]


def test_sidecars_that_are_killed_while_runs_are_edited(root: Path) -> None:
    for number in range(30):
        RunBuilder(root, f"run{number:03}").finish()
    runs = list(Api(root).runs())
    done = threading.Event()
    killed = []

    def kill() -> None:
        while not done.is_set():
            for file in (root / "sidecars").glob("*.json"):
                try:
                    pid = read_connection(file).pid
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                except Exception:  # it has ended meanwhile
                    continue
            done.wait(0.4)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        errors = [error for _ in range(4) for error in edit_runs([(run, {"tags": ["a"]}) for run in runs])]
        for run in runs:
            run.undo()
    finally:
        done.set()
        killer.join()
    assert errors == [None] * 120 and killed
    for run in Api(root).runs():
        assert run.tags == [] and run.edits["undo"] == 0
        ids = [record.body["id"] for record in edits_in(run.dir)]
        assert len(set(ids)) == 5, "each edit, one or more times"
        assert verify(run.dir).problems == []


def exited(connection: Connection) -> bool:
    return not process_lives(connection)


def test_a_sidecar_for_edits_exits_when_idle(
    ended: Api, root: Path, monkeypatch: pytest.MonkeyPatch, scripts: Scripts
) -> None:
    close_editors()
    monkeypatch.setattr(editor, "IDLE_EXIT_SECONDS", 0.5)
    run = ended.run("ended")
    before = threading.active_count()
    for name in ("one", "two"):  # the second edit launches another
        run.update(name=name)
        assert run.name == name and threading.active_count() == before
        (file,) = (root / "sidecars").glob("*.json")
        connection = read_connection(file)
        wait_until(functools.partial(exited, connection), "it exits")
        assert not list((root / "sidecars").glob("*.json"))
    errors = edit_runs([(run, {"notes": str(number)}) for number in range(5)])
    assert errors == [None] * 5 and run.notes == "4"
    attached = "import tracker\nwith tracker.init(id='new') as run: run.log({'loss': 1})\nprint('done')"
    assert scripts.run(attached).out == "done\n", "a run launches a sidecar of its own when that one has exited"


def test_through_a_sidecar_that_serves_the_root(ended: Api, root: Path) -> None:
    serving = Serving(root)
    try:
        run = ended.run("ended")
        run.update(name="mine")
        assert run.name == "mine"
        assert [path.name for path in (root / "sidecars").glob("*.json")] == ["serve.json"]
    finally:
        serving.close()


def test_a_sidecar_that_lists_its_clients(ended: Api, root: Path, tmp_path: Path, scripts: Scripts) -> None:
    server, own = Keys(tmp_path / "keys", "server"), Keys(tmp_path / "keys", "own")
    clients = tmp_path / "clients"
    clients.write_text(own.pair.public + "\n")
    serving = Serving(root, "--key", server.secret, "--clients", clients)
    try:
        code = "from tracker.reading.api import Api\nprint(Api().run('ended').update(name='mine').name)"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(TRACKER_DIR=str(root), TRACKER_CLIENT_KEY=str(own.secret)),
            capture_output=True, text=True, timeout=TIMEOUT, check=False,
        )  # fmt: skip
        assert done.stdout == "mine\n", done.stderr
        with pytest.raises(EditError, match="does not list this client's public key"):
            ended.run("ended").update(name="x")
    finally:
        serving.close()


def test_a_run_that_was_deleted_on_disk(ended: Api, root: Path) -> None:
    run = ended.run("ended")
    for path in run.dir.iterdir():
        path.unlink()
    run.dir.rmdir()
    with pytest.raises(RunNotFoundError, match="'ended' does not exist any more"):
        run.update(name="mine")
    assert not run.dir.exists()


def test_damaged_runs(ended: Api, root: Path) -> None:
    damaged = RunBuilder(root, "damaged")
    damaged.row(1, loss=1.0)
    offset = damaged.row(2, loss=2.0)
    damaged.row(3, loss=3.0)
    damaged.finish()
    damaged.damage(offset + 10, offset + 12)
    run = ended.run("damaged")
    run.update(name="mine")
    assert Api(root).run("damaged").name == "mine", "a log with damage is appended to"
    other = RunBuilder(root, "other").finish()
    other.log_path.write_bytes(b"not a log, but long enough for a header")
    with pytest.raises(EditError, match="'other' cannot be edited"):
        ended.run("other").update(name="mine")
    lost = RunBuilder(root, "lost").finish()
    lost.log_path.unlink()
    with pytest.raises(EditError, match="'lost' has no log"):
        ended.run("lost").update(name="mine")
    assert lost.store_path.exists() and not lost.log_path.exists()
    short = RunBuilder(root, "short").finish()
    os.truncate(short.log_path, 100)
    with pytest.raises(EditError, match="its log has lost records"):
        ended.run("short").update(name="mine")


def test_a_root_that_cannot_be_written(ended: Api, root: Path) -> None:
    run = ended.run("ended")
    (root / "sidecars").write_text("")
    with pytest.raises(EditError, match="run 'ended' cannot be edited: the sidecar cannot be started in"):
        run.update(name="mine")
    assert run.name == "first"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "an edit must change something: name, "),
        ({"project": "p"}, "'project' cannot be edited"),
        ({"name": ""}, "name must be a non-empty string, not ''"),
        ({"name": None}, "name must be a non-empty string, not None"),
        ({"tags": "a"}, "tags must be a sequence of non-empty strings, not 'a'"),
        ({"tags": [1]}, "tags must be a sequence of non-empty strings, not \\[1\\]"),
        ({"notes": 3}, "notes must be a string or None, not 3"),
        ({"color": "#12345"}, "color must be '#rrggbb', None, or one of blue"),
        ({"config": {}}, "config must be a non-empty mapping"),
        ({"config": {"a": object()}}, "config.a must be plain data"),
        ({"config": {"a": 2**80}}, "config.a must be an integer of 64 bits"),
        ({"deleted": 1}, "deleted must be True or False"),
    ],
)
def test_bad_changes(ended: Api, changes: dict[str, Any], message: str) -> None:
    run = ended.run("ended")
    with pytest.raises((TypeError, ValueError), match=message):
        edit_runs([(run, changes)])
    assert edits_in(run.dir) == []


def test_values_that_no_record_can_hold(ended: Api) -> None:
    run = ended.run("ended")
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(EditError, match="levels deep"):
        run.update(config={"a": deep})
    with pytest.raises(EditError, match="bytes"):
        run.update(notes="x" * (9 << 20))
    run.update(notes="x" * (1 << 20))
    assert run.notes is not None and len(run.notes) == 1 << 20


def test_a_run_on_a_server_cannot_be_edited(ended: Api) -> None:
    from tracker.reading.remote_run import RemoteRun

    class Reader:
        id = "remote"

    run = RemoteRun(Reader(), "clickhouse+http://host:8123/db", 600.0, {})  # type: ignore[arg-type]
    with pytest.raises(EditError, match=r"'remote' is at clickhouse.*edit it where it was logged"):
        run.update(name="mine")


def test_an_older_sidecar_is_named(ended: Api, root: Path) -> None:
    from sidecar.protocol import channels
    from sidecar.protocol.codec import encode
    from sidecar.protocol.connection import Connection, machine_id, write_connection

    router = channels.router()
    endpoint = router.bind("tcp://127.0.0.1:*")
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            if router.wait(0.05) and (parts := router.receive_parts()) is not None:
                body = {"code": "kind", "message": "a 'change' record on the control socket"}
                router.send_parts([*parts[:-1], encode(Record("refused", "", "", 0, time.time(), body))])

    thread = threading.Thread(target=answer)
    thread.start()
    (root / "sidecars").mkdir()
    connection = Connection(endpoint, os.getpid(), machine_id(), "here", "0.0.9", time.time())
    write_connection(root / "sidecars" / "serve.json", connection)
    try:
        with pytest.raises(EditError, match=r"version 0\.0\.9\) is older and cannot edit runs"):
            ended.run("ended").update(name="mine")
    finally:
        stop.set()
        thread.join()
        router.close()


def test_an_edit_reaches_the_sidecar_upstream(root: Path, tmp_path: Path, scripts: Scripts) -> None:
    upstream = tmp_path / "upstream"
    serving = Serving(upstream)
    try:
        sink = f"sidecar+{serving.control}"
        scripts.run(
            f"""
            import tracker
            with tracker.init(id="sent", name="first", sinks=[{sink!r}]) as run:
                run.log({{"loss": 1.0}})
            """
        )
        local = Api(root).run("sent")
        local.update(name="mine", config={"lr": 3})
        there = wait_until(lambda: [run for run in Api(upstream).runs() if run.name == "mine"], "the edit arrives")[0]
        assert there.config == {"lr": 3} and there.state == "finished" and there.last_time == local.last_time
        local.delete()
        wait_until(lambda: len(Api(upstream).runs()) == 0, "it is deleted there as well")
    finally:
        serving.close()
