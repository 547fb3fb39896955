"""Reading through a sidecar: ``Api("sidecar+tcp://…")`` against real ``sidecar serve`` processes."""

from __future__ import annotations

import functools
import math
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.projections.rebuild import verify
from sidecar.protocol import channels
from sidecar.protocol.ask import ControlChannel
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import RefusedError, StoreError, UnreachableStoreError
from sidecar.protocol.records import Record
from sidecar.server.reading import MAX_CLIENT_READS
from tests.integration.dashboards import ServedDashboard
from tests.integration.serving import KeyedClient, Keys, Serving, command
from tests.support import Scripts, wait_until
from tests.unit.run_builder import RunBuilder
from tracker.errors import EditError, RunNotFoundError
from tracker.reading.api import Api
from tracker.reading.editing import close_editors, edit_runs
from tracker.reading.sidecar_store import MissingRunError
from tracker.transport import changes


def address(serving: Serving) -> str:
    return f"sidecar+{serving.control}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `filled` is a copy of."""
    root = tmp_path_factory.mktemp("built") / "root"
    run = RunBuilder(root, "first001", name="one", tags=["x"])
    run.write("config", {"set": {"lr": 0.1, "opt": {"name": "sgd"}}})
    for step in range(20_000):
        run.row(step, None, loss=1.0 / (step + 1), acc=step)
    run.row(20_000, None, loss=math.nan, note="text", hist={"_type": "histogram", "counts": [1], "edges": [0, 1]})
    run.write("run", {"label": "second"}, "client000002")
    for step in range(100):
        run.row(step, "client000002", loss=2.0)
    run.write("exit", {"state": "finished"}, "client000002")
    run.finish()
    (run.dir / "files" / "plots").mkdir(parents=True)
    (run.dir / "files" / "plots" / "a.txt").write_bytes(b"x" * 3_000_000)
    (run.dir / "files" / "link").symlink_to("/etc/passwd")
    RunBuilder(root, "second02", name="two", start_time=1_800_000_000.0).finish("failed")
    gone = RunBuilder(root, "hidden03")
    gone.write("edit", {"deleted": True}, "")
    gone.finish()
    return root


@pytest.fixture
def filled(built: Path, root: Path) -> Path:
    """A root with a run that has everything, a failed one, and a deleted one."""
    return shutil.copytree(built, root, symlinks=True)


@pytest.fixture
def serving(filled: Path) -> Iterator[Serving]:
    made = Serving(filled)
    yield made
    made.close()


def test_runs_are_as_in_the_directory(serving: Serving, filled: Path) -> None:
    there, here = Api(address(serving)), Api(filled)
    assert there.place == address(serving)
    assert [run.id for run in there.runs()] == [run.id for run in here.runs()] == ["second02", "first001"]
    assert [run.id for run in there.runs(deleted=True)] == ["hidden03"]
    assert there.run("last").id == "second02" and there.run("one").id == there.run("firs").id == "first001"
    run, same = there.run("first001"), here.run("first001")
    assert run.to_map() | {"dir": ""} == same.to_map() | {"dir": ""}
    assert run.keys() == same.keys() and run.sizes == same.sizes
    assert repr(run.history()) == repr(same.history())
    assert run.history(["acc"], samples=50) == same.history(["acc"], samples=50)
    assert repr(list(run.scan_history(min_step=19_990))) == repr(list(same.scan_history(min_step=19_990)))
    for x in ("step", "relative", "time", "acc"):
        assert repr(list(run.buckets(["loss"], x, count=100))) == repr(list(same.buckets(["loss"], x, count=100)))
    assert next(iter(there.runs(filters={"config.lr": 0.1}))).id == "first001"
    with pytest.raises(RunNotFoundError, match="'nope' not found in sidecar"):
        there.run("nope")
    there.close()


def test_files_are_downloaded_and_links_are_not_followed(serving: Serving) -> None:
    with Api(address(serving)) as api:
        run = api.run("first001")
        (file,) = run.files()
        assert (file.name, file.size) == ("plots/a.txt", 3_000_000)
        assert file.path.read_bytes() == b"x" * 3_000_000
        shutil.rmtree(file.path.parent)
        reader: Any = run.store()
        for name in ("link", "../transactions.log", "plots", "nope", "/etc/passwd"):
            with pytest.raises(StoreError):
                list(reader.file(name))
        assert b"".join(reader.file("plots/a.txt", 2_999_990)) == b"x" * 10


def test_the_commands_take_the_address(serving: Serving) -> None:
    where = ("--dir", address(serving))
    assert "first001" in command("ls", *where, program="tracker").out
    shown = command("show", "first001", *where, program="tracker").out
    assert "opt.name  sgd" in shown and "plots/a.txt" in shown
    exported = command("export", "first001", *where, "--keys", "loss", program="tracker").out
    assert len(exported.splitlines()) == 1 + 20_001 + 100
    tail = command("tail", "first001", "-n", "2", *where, program="tracker")
    assert len(tail.out.splitlines()) == 2 and "finished" in tail.err
    refused = command("rm", "first001", *where, program="tracker")
    assert refused.code == 1 and "is a server" in refused.err
    edited = command("edit", "first001", "--name", "x", *where, program="tracker")
    assert edited.code == 0 and "edited 1 run" in edited.err
    assert "first001  x" in command("ls", *where, program="tracker").out


def test_a_run_that_is_being_written(serving: Serving) -> None:
    client = KeyedClient(serving, "live", "writer000001")
    client.send_record("run", {"name": "live", "start_time": time.time()})
    client.send_record("log", {"step": 0, "data": {"loss": 1.0}})
    client.ask("state")
    api = Api(address(serving))
    catalog = api.catalog()
    catalog.refresh()
    run = api.run("live")
    assert run.state == "running" and run.summary == {"loss": 1.0}
    assert catalog.refresh() == set()
    client.send_record("log", {"step": 1, "data": {"loss": 2.0}})
    client.ask("state", 2)
    assert catalog.refresh() == {"live"}
    changed = catalog.run("live")
    assert changed is not None and changed.summary == {"loss": 2.0}
    assert run.history()["loss"] == [1.0, 2.0]
    client.send_record("exit", {"state": "finished"})
    client.ask("state", 3)
    client.close()
    api.close()


def test_a_run_that_is_deleted_meanwhile(serving: Serving, filled: Path) -> None:
    with Api(address(serving)) as api:
        run = api.run("first001")
        blocks = run.store().columns()
        next(blocks)
        shutil.rmtree(run_dir := filled / "runs" / "first001")
        assert not run_dir.exists()
        with pytest.raises(MissingRunError, match="'first001' does not exist at tcp"):
            run.keys()
        assert [run.id for run in api.runs()] == ["second02"]


def test_a_sidecar_that_is_stopped_meanwhile(serving: Serving) -> None:
    api = Api(address(serving))
    run = api.run("first001")
    blocks = run.store().columns()
    next(blocks)
    assert serving.stop(signal.SIGTERM) == 0
    store: Any = api._source._store  # type: ignore[attr-defined]
    store.patience = 0.5
    with pytest.raises(UnreachableStoreError, match="no sidecar answers at tcp"):
        run.keys()
    api.close()


@pytest.fixture
def encrypted(filled: Path, tmp_path: Path) -> Iterator[tuple[Serving, Keys, dict[str, Keys]]]:
    """A sidecar with keys, and clients with the roles reader and writer, one whose role is not said, and a stranger."""
    keys = tmp_path / "keys"
    server, clients = Keys(keys, "server"), {name: Keys(keys, name) for name in ("reader", "writer", "plain", "none")}
    lines = [f"{clients[name].pair.public} {name}" for name in ("reader", "writer")]
    lines.append(f"{clients['plain'].pair.public} # reader in a comment is no role")
    (tmp_path / "clients").write_text("\n".join(lines))
    serving = Serving(filled, "--key", server.secret, "--clients", tmp_path / "clients")
    yield serving, server, clients
    serving.close()
    close_editors()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(server: Keys, client: Keys) -> None:
        monkeypatch.setenv("TRACKER_SIDECAR_KEY", str(server.public))
        monkeypatch.setenv("TRACKER_CLIENT_KEY", str(client.secret))

    return use


def test_roles(encrypted: Any, filled: Path, use: Any) -> None:
    serving, server, clients = encrypted
    for name in ("reader", "writer", "plain"):
        use(server, clients[name])
        with Api(address(serving)) as api:
            assert api.run("first001").config["lr"] == 0.1
        security = clients[name].at(server)
        assert serving.status(security)["encrypted"] is True
        if name == "reader":
            with pytest.raises(RefusedError, match="may read runs, not write to them") as refused:
                serving.attach("new", "client000009", security, resume="allow")
            assert refused.value.code == "key"
            refusal = rf"the key {re.escape(clients[name].pair.public)} may read runs, not write to them: its role"
            with pytest.raises(EditError, match=refusal):
                Api(filled).run("first001").update(name="mine")
            close_editors()
            with Api(address(serving)) as api:
                run = api.run("first001")
                with pytest.raises(EditError, match=refusal):
                    run.update(name="mine")
                with pytest.raises(EditError, match=refusal):
                    run.delete()
                assert not api.writable() and run.refresh().name == "one"
        else:
            with Api(address(serving)) as api:
                assert api.writable() and api.run("second02").update(group=name).group == name
            assert serving.attach(f"new{name}", f"client{name}", security).kind == "attached"
    assert not (filled / "runs" / "new").exists()


def test_edits(serving: Serving, filled: Path) -> None:
    with Api(address(serving)) as api:
        run, directory = api.run("first001"), filled / "runs" / "first001"
        assert api.writable()
        assert run.update(name="mine", tags=["a", "b"], config={"lr": 3}).name == "mine"
        assert (run.tags, run.config["lr"], run.state) == (["a", "b"], 3, "finished")
        here = Api(filled).run("first001")
        assert (here.name, here.config["lr"], here.edits) == ("mine", 3, run.edits)
        assert run.undo().name == "one" and run.config["lr"] == 0.1
        with pytest.raises(EditError, match="has no edit that can be undone"):
            run.undo()
        assert run.delete().deleted and [run.id for run in api.runs()] == ["second02"]
        assert not run.undo().deleted and len(api.runs()) == 2
        with pytest.raises(ValueError, match="color must be"):
            run.update(color="reddish")
        assert verify(directory).problems == []
        results = edit_runs([(run, {"name": f"name {number}"}) for number in range(20)])
        assert results == [None] * 20 and run.name == "name 19"
        assert len(run.edits["undo"]) == 20 if isinstance(run.edits["undo"], list) else run.edits["undo"] >= 20


def test_edits_of_runs_in_several_places(serving: Serving, filled: Path, tmp_path: Path) -> None:
    RunBuilder(tmp_path / "other", "here0001", name="here").finish()
    other = Api(tmp_path / "other").run("here0001")
    with Api(address(serving)) as api:
        first, second = api.run("first001"), api.run("second02")
        shutil.rmtree(filled / "runs" / "second02")
        errors = edit_runs([(run, {"group": "g"}) for run in (second, other, first)])
        assert errors[1:] == [None, None] and first.group == other.group == "g"
        assert isinstance(errors[0], RunNotFoundError) and "'second02' does not exist any more" in str(errors[0])
    close_editors()


def test_edits_of_a_run_that_is_being_written(serving: Serving) -> None:
    client = KeyedClient(serving, "live", "writer000001")
    client.send_record("run", {"name": "live", "start_time": time.time()})
    client.ask("state")
    with Api(address(serving)) as api:
        run = api.run("live")
        assert run.update(name="mine").name == "mine" and run.state == "running"
    client.send_record("exit", {"state": "finished"})
    client.ask("state", 2)
    client.close()


def test_edits_without_an_answer(serving: Serving, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "PATIENCE_SECONDS", 0.5)
    api = Api(address(serving))
    run = api.run("first001")
    serving.process.send_signal(signal.SIGSTOP)
    with pytest.raises(EditError, match=r"run 'first001' cannot be edited: no sidecar answers at tcp"):
        run.update(name="mine")
    serving.process.send_signal(signal.SIGCONT)
    assert run.update(name="mine").name == "mine"
    api.close()


def test_edits_of_a_run_that_another_sidecar_holds(serving: Serving, root: Path, scripts: Scripts) -> None:
    script = scripts.start(
        """
        import sys, tracker
        with tracker.init(id="held", name="first") as run:
            run.flush()
            print("ready")
            sys.stdin.read()
        """
    )
    assert script.read_line() == "ready"
    with Api(address(serving)) as api:
        run = api.run("held")
        with pytest.raises(EditError, match=r"'held' .*; edit it on the machine that it is logged on"):
            run.update(name="mine")
        script.wait()
        assert run.update(name="mine").name == "mine"


def lists_runs(served: ServedDashboard) -> bool:
    return bool(served.get("runs").json()["total"] == 2)


def test_the_dashboard_edits(encrypted: Any, tmp_path: Path) -> None:
    serving, server, clients = encrypted
    for name, may_write in (("writer", True), ("reader", False)):
        keys = {"TRACKER_SIDECAR_KEY": str(server.public), "TRACKER_CLIENT_KEY": str(clients[name].secret)}
        served = ServedDashboard("--dir", address(serving), state=tmp_path / "state", **keys)
        try:
            wait_until(functools.partial(lists_runs, served), "the runs are listed")
            (place,) = served.get("meta").json()["places"]
            assert (place["kind"], place["writable"]) == ("sidecar", may_write)
            edit = {"run": "first001", "set": {"notes": f"by the {name}"}}
            answer = served.write("edits", {"edits": [edit]}).json()["results"][0]
            assert answer["ok"] == may_write
            if not may_write:
                assert "may read runs, not write to them" in answer["error"]
        finally:
            served.close()


def test_keys_that_do_not_fit(encrypted: Any, use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, server, clients = encrypted
    use(server, clients["none"])
    with Api(address(serving)) as api, pytest.raises(StoreError, match="does not list this client's public key"):
        api.run("first001")
    use(clients["writer"], clients["reader"])
    with Api(address(serving)) as api, pytest.raises(StoreError, match="has another key than"):
        api.run("first001")
    monkeypatch.delenv("TRACKER_SIDECAR_KEY")
    with Api(address(serving)) as api, pytest.raises(StoreError, match="encrypts: give its public key"):
        api.run("first001")
    with Api(f"{address(serving)}?key={server.public}") as api:
        assert api.run("first001").name == "one"
    with Api(f"{address(serving)}?key={tmp_path / 'nope'}") as api, pytest.raises(StoreError, match="nope"):
        api.run("first001")


def test_an_older_sidecar(tmp_path: Path) -> None:
    router = channels.router()
    endpoint = router.bind("tcp://127.0.0.1:*")
    stop = threading.Event()

    def answer() -> None:
        while not stop.is_set():
            if router.wait(0.05) and (parts := router.receive_parts()) is not None:
                body = {"code": "kind", "message": "a 'read' record on the control socket"}
                router.send_parts([*parts[:-1], encode(Record("refused", "", "", 0, time.time(), body))])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with Api(f"sidecar+{endpoint}") as api, pytest.raises(StoreError, match="is older and cannot be read from"):
            len(api.runs())
    finally:
        stop.set()
        thread.join()
        router.close()


@pytest.mark.parametrize("wrong", ["sidecar+tcp://host", "sidecar+http://host:1", "sidecar+tcp://h:1?x=1", "tcp://h:1"])
def test_addresses_that_are_not_valid(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"sidecar|Api reads"):
        Api(wrong)


class Raw:
    """Reads by hand."""

    def __init__(self, serving: Serving) -> None:
        self.channel = ControlChannel(serving.control)
        self.count = 0

    def __call__(self, run: str = "", **body: Any) -> Record:
        self.count += 1
        request = Record("read", run, f"request{self.count}", 0, time.time(), body)
        return next(self.channel.ask_all([request], 10.0))[1]


@pytest.fixture
def raw(serving: Serving) -> Iterator[Raw]:
    made = Raw(serving)
    yield made
    made.channel.close()


@pytest.mark.parametrize(
    ("run", "body", "code"),
    [
        ("no/name", {"what": "keys"}, "run"),
        ("nope", {"what": "keys"}, "missing"),
        ("../../etc", {"what": "files"}, "run"),
        ("first001", {}, "reads"),
        ("first001", {"what": "buckets"}, "arguments"),
        ("first001", {"what": "buckets", "args": {"keys": ["loss"], "low": "x"}}, "arguments"),
        ("first001", {"what": "buckets", "args": {"keys": ["loss"], "count": 0}}, "arguments"),
        ("first001", {"what": "columns", "args": {"keys": 3}}, "arguments"),
        ("first001", {"what": "file", "args": {"name": "../store.db"}}, "arguments"),
        ("first001", {"what": "file", "args": {"name": 3}}, "arguments"),
        ("first001", {"what": "arrived", "args": {"after": 17}}, "arguments"),
        ("", {"what": "states", "args": {"ids": 3}}, "arguments"),
    ],
)
def test_requests_that_are_not_valid(raw: Raw, run: str, body: dict[str, Any], code: str) -> None:
    answer = raw(run, id=1, **body)
    assert (answer.kind, answer.body.get("code")) == ("refused", code), answer
    assert raw("first001", id=2, what="keys").kind == "page"


def test_reads_are_bounded_and_closed(raw: Raw, serving: Serving) -> None:
    opened = [raw("first001", id=number, what="file", args={"name": "plots/a.txt"}) for number in range(8)]
    assert MAX_CLIENT_READS == 8 and all(page.body["more"] for page in opened)
    assert all(len(page.body["data"]) <= 1 << 20 for page in opened)
    assert raw("first001", id=99, what="keys").body["code"] == "reads"
    assert raw(id=3, close=True).body == {"data": b"", "more": False}
    assert raw(id=3).body["code"] == "reads"
    assert raw("first001", id=99, what="keys").kind == "page"
    while raw(id=4).body["more"]:
        continue
    assert raw(id=4).body["code"] == "reads", "it was closed with its last page"
    other = Raw(serving)
    assert other("first001", id=5, what="keys").kind == "page", "another connection has its own"
    other.channel.close()
