"""Who may attach, and what he cannot do then: keys, lists of clients, names that become paths, claims from afar."""

from __future__ import annotations

import hashlib
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from sidecar.protocol.codec import encode
from sidecar.protocol.connection import machine_id
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.keys import read_key_pair, read_public_key
from sidecar.protocol.records import Record
from tests.integration.serving import KeyedClient, Keys, Serving, command
from tests.support import ReadBack, Scripts, wait_until
from tracker.errors import LaunchError
from tracker.transport.backend import Backend
from tracker.transport.losses import Losses
from tracker.transport.window import Window


class Site(NamedTuple):
    """A sidecar with CURVE that lets in only Anna and Bert, and the keys of everybody.

    Attributes:
        serving: the sidecar.
        listed: its list of clients.
        server, anna, bert, eve: keys; Eve is not in the list.
    """

    serving: Serving
    listed: Path
    server: Keys
    anna: Keys
    bert: Keys
    eve: Keys


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    server, anna, bert, eve = (Keys(directory / "keys", name) for name in ("server", "anna", "bert", "eve"))
    listed = directory / "clients.txt"
    listed.write_text(f"{anna.pair.public} anna\n{bert.pair.public} bert\n")
    serving = Serving(directory / "root", "--key", server.secret, "--clients", listed)
    yield Site(serving, listed, server, anna, bert, eve)
    serving.close()


@pytest.fixture
def plain(root: Path) -> Iterator[Serving]:
    """A sidecar on loopback, not encrypted."""
    serving = Serving(root)
    yield serving
    serving.close()


def tree(directory: Path) -> set[str]:
    """All that is in a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


# -- coming in --------------------------------------------------------------------------------------------------------

TRAINER = """
import tracker
with tracker.init(id="by-variables") as run:
    run.log({"loss": 0.5})
"""


def test_a_client_in_the_list_gets_in_and_all_is_encrypted(scripts: Scripts, site: Site) -> None:
    env = {
        "TRACKER_SIDECAR": site.serving.control,
        "TRACKER_SIDECAR_KEY": str(site.server.public),
        "TRACKER_CLIENT_KEY": str(site.anna.secret),
    }
    assert scripts.run(TRAINER, env=env).err == ""
    found = ReadBack(site.serving.root / "runs" / "by-variables").check()
    assert found.stored() == [(0, {"loss": 0.5})] and found.state["state"] == "finished"
    assert site.serving.connection.public_key == site.server.pair.public
    said = command("status", **env)
    assert said.code == 0 and "connections: encrypted" in said.out
    by_file = command("status", site.serving.file, "--client-key", site.bert.secret)
    assert by_file.code == 0, "the connection file has the sidecar's key"


REFUSED = {
    # who: the sidecar's key, the client's own, what is said to it, what is counted, what the sidecar's log says
    "a key that is not in the list": ("server", "eve", ["does not list this client", "<eve>"], "key", "<eve>"),
    "a key that was made up": ("server", None, ["does not list this client"], "key", "is not in"),
    "no key": (None, None, ["encrypts", "sidecar_key=", "TRACKER_SIDECAR_KEY"], "protocol", "does not encrypt"),
    "another sidecar's key": ("eve", "anna", ["has another key than", "<eve>"], "protocol", "another key"),
}


@pytest.mark.parametrize("who", REFUSED)
def test_who_is_refused_is_told_within_seconds_and_it_is_counted_and_logged(
    site: Site, tmp_path: Path, who: str
) -> None:
    sidecar_key, own, words, counted, logged = REFUSED[who]
    keys = {"server": site.server, "anna": site.anna, "eve": site.eve}
    before = site.serving.status(site.anna.at(site.server))["handshakes_refused"].get(counted, 0)
    backend = Backend(
        tmp_path,
        site.serving.control,
        sidecar_key=str(keys[sidecar_key].public) if sidecar_key else None,
        client_key=str(keys[own].secret) if own else None,
    )
    begun = time.monotonic()
    with pytest.raises(LaunchError) as caught:
        backend.attach("refused", "client", {}, Deadline(20.0))
    assert time.monotonic() - begun < 10.0
    for word in [site.serving.control, *words]:
        assert word.replace("<eve>", site.eve.pair.public) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert site.serving.status(site.anna.at(site.server))["handshakes_refused"][counted] > before
    lines = [line for line in site.serving.log_text().splitlines() if "a client was refused" in line]
    assert any(logged.replace("<eve>", site.eve.pair.public) in line for line in lines)
    assert len(lines) == len({line.partition("a client")[2] for line in lines}), "each is said once"
    assert not (site.serving.root / "runs" / "refused").exists()


def test_a_user_who_is_refused_sees_one_clear_error(scripts: Scripts, site: Site) -> None:
    done = scripts.run("import tracker\ntracker.init()", env={"TRACKER_SIDECAR": site.serving.control}, exit_code=1)
    last = done.err.strip().splitlines()[-1]
    assert last.startswith(f"tracker.errors.LaunchError: the sidecar at {site.serving.control} encrypts")
    status = command("status", site.serving.control)
    assert (status.code, status.out) == (1, "") and len(status.err.splitlines()) == 1 and "encrypts" in status.err


def test_a_client_that_encrypts_at_a_sidecar_that_does_not(plain: Serving, site: Site, tmp_path: Path) -> None:
    backend = Backend(tmp_path, plain.control, sidecar_key=str(site.server.public))
    begun = time.monotonic()
    with pytest.raises(LaunchError, match=r"has another key than .*, or does not encrypt"):
        backend.attach("run", "client", {}, Deadline(20.0))
    assert time.monotonic() - begun < 10.0
    status = plain.status()
    assert status["clients"] == 0 and set(status["handshakes_refused"]) == {"protocol"}
    assert plain.log_text().count("a handshake failed: the client encrypts and this sidecar does not") == 1


def test_without_a_list_whoever_knows_the_sidecars_key_gets_in(site: Site, root: Path) -> None:
    serving = Serving(root, "--key", site.server.secret)
    try:
        eve = KeyedClient(serving, "run", "eve", site.eve.at(site.server))
        eve.log(1, loss=0.5)
        assert eve.ask("flush")["seq"] == 1
        eve.close()
        with pytest.raises(RefusedError, match="encrypts"):
            serving.attach("run", "nobody")
        assert serving.status(site.eve.at(site.server))["handshakes_refused"]["protocol"] > 0
    finally:
        serving.close()
    assert "encrypted" in serving.log_text() and "INSECURE" not in serving.log_text()


def test_the_list_is_read_again_when_it_changes(site: Site) -> None:
    before = site.listed.read_text()
    with pytest.raises(RefusedError):
        site.serving.status(site.eve.at(site.server))
    try:
        site.listed.write_text(before + f"{site.eve.pair.public} eve\n")
        assert site.serving.status(site.eve.at(site.server))["encrypted"]
    finally:
        site.listed.write_text(before)
    with pytest.raises(RefusedError):
        site.serving.status(site.eve.at(site.server))
    assert "the list of clients was read again: 3 keys" in site.serving.log_text()


# -- being in ---------------------------------------------------------------------------------------------------------


def test_nobody_writes_as_another(site: Site) -> None:
    anna = KeyedClient(site.serving, "ours", "anna", site.anna.at(site.server), label="anna")
    bert = KeyedClient(site.serving, "ours", "bert", site.bert.at(site.server), label="bert")
    try:
        anna.log(1, x=1.0)
        assert anna.ask("flush")["seq"] == 1
        refused = site.serving.status(site.anna.at(site.server))["refused"].get("refused: client", 0)
        forged = [
            Record("log", "ours", "anna", 2, 1.0, {"step": 2, "data": {"x": 666.0}}),
            Record("exit", "ours", "anna", 2, 1.0, {"state": "failed"}),
            Record("detach", "ours", "anna", 0, 1.0, {}),
            Record("request", "ours", "anna", 0, 1.0, {"id": 1, "ask": "flush"}),
        ]
        for record in forged:
            bert.send(encode(record))
        bert.log(1, x=2.0)
        assert bert.ask("state")["seq"] == 1, "what was sent before is dealt with"
        now = site.serving.status(site.anna.at(site.server))["refused"]["refused: client"]
        assert now >= refused + 3
        with pytest.raises(RefusedError) as caught:
            KeyedClient(site.serving, "ours", "anna", site.bert.at(site.server), again=True)
        assert caught.value.code == "client" and "another key" in str(caught.value)
        anna.log(3, x=3.0)
        assert anna.ask("state")["seq"] == 2, "she is still there, and goes on"
        found = ReadBack(site.serving.root / "runs" / "ours").check()
        assert found.logged("anna") == [(1, {"x": 1.0}), (3, {"x": 3.0})]
        assert found.logged("bert") == [(1, {"x": 2.0})]
    finally:
        anna.close()
        bert.close()


def test_a_client_cannot_stop_the_sidecar(site: Site) -> None:
    done = command("stop", site.serving.control, "--key", site.server.public, "--client-key", site.anna.secret)
    assert done.code == 1 and "stopping this sidecar from another machine needs its own key" in done.err
    assert site.serving.process.poll() is None


def test_who_holds_the_sidecars_own_key_stops_it_from_afar(site: Site, root: Path) -> None:
    serving = Serving(root, "--key", site.server.secret, "--clients", site.listed)
    try:
        done = command("stop", serving.control, "--key", site.server.public, "--client-key", site.server.secret)
        assert done.code == 0, done.err
        assert serving.process.wait(30) == 0
    finally:
        serving.close()


def test_nothing_is_taken_from_nobody(site: Site) -> None:
    anna = KeyedClient(site.serving, "forgotten", "anna2", site.anna.at(site.server))
    try:
        anna.send(encode(Record("log", "forgotten", "", 0, 1.0, {"step": 1, "data": {"x": 1.0}})))
        anna.log(1, x=2.0)
        assert anna.ask("state")["seq"] == 1
        assert ReadBack(site.serving.root / "runs" / "forgotten").check().logged() == [(1, {"x": 2.0})]
        assert site.serving.status(site.anna.at(site.server))["refused"]["refused: run"] >= 1
    finally:
        anna.close()


# -- names that become paths ------------------------------------------------------------------------------------------

NO_NAMES = [
    "",
    ".",
    "..",
    "../up",
    "../../../../tmp/up",
    "/abs",
    "a/b",
    "a\\b",
    ".hidden",
    "-rf",
    "a\0b",
    "a\nb",
    "a b",
    "\x1b[2J",
    "ä",
    "~",
    "x" * 129,
    "x" * 100_000,
]


def test_what_is_no_name_never_becomes_a_path(plain: Serving, tmp_path: Path) -> None:
    before = tree(tmp_path)
    for name in NO_NAMES:
        for run, own, code in ((name, "client", "run"), ("run", name, "client")):
            with pytest.raises(RefusedError) as caught:
                plain.attach(run, own)
            assert caught.value.code == code, (name, caught.value)
            assert len(str(caught.value)) < 1000 or len(name) > 1000
    assert plain.status()["clients"] == 0 and plain.status()["runs"] == []
    assert {path for path in tree(tmp_path) - before if not path.endswith(".log")} <= {"root/runs"}


def test_what_a_client_says_makes_no_lines_of_its_own_in_the_sidecars_log(plain: Serving) -> None:
    forged = "2026-01-01 00:00:00.000 INFO    MainThread    all is well"
    for run, own in (("run", f"x\n{forged}"), (f"x\n{forged}", "client")):
        with pytest.raises(RefusedError):
            plain.attach(run, own)
    plain.attach("run", "client", label=f"x\n{forged}")
    assert not [line for line in plain.log_text().splitlines() if line.startswith(forged)]


FILES = [
    "../up",
    "../../windows/up",
    "a/../../../up",
    "/tmp/abs",
    "//abs",
    "a//b",
    "a/./b",
    "a/",
    ".",
    "",
    "a\0b",
    "a\nb",
    "a\\b",
    "\x1b[2J",
    "x" * 256,
    "/".join(["x" * 200] * 6),
    ".part-x",
    "\ud800",
]


def test_a_file_record_with_a_bad_name_writes_nothing_anywhere(plain: Serving, tmp_path: Path) -> None:
    one = KeyedClient(plain, "run", "client")
    try:
        data = b"harm"
        told = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "data": data}
        names = [name for name in FILES if name.isprintable() or name.isascii()]
        for name in names:
            one.send_record("file", {"name": name, **told})
        one.log(1, x=1.0)
        assert one.ask("state")["seq"] == len(names) + 1
        found = ReadBack(plain.root / "runs" / "run")
        assert found.kinds() == ["rejected"] * len(names) + ["log"]
        assert {record.body["code"] for record in found.log[:-1]} == {"value"}
        written = {path for path in tree(tmp_path) if not path.endswith(".log") or "transactions" in path}
        assert written <= {
            "root", "root/.gitignore", "root/runs",
            "root/sidecars", "root/sidecars/serve.lock", "root/sidecars/serve.json",
            *(f"root/runs/run{path}" for path in
              ("", "/lock", "/transactions.log", "/store.db", "/store.db-wal", "/store.db-shm")),
        }  # fmt: skip
        assert not Path("/tmp/abs").exists() and not Path("/abs").exists()
    finally:
        one.close()


def test_files_that_are_in_each_others_way_harm_nobody(plain: Serving, tmp_path: Path) -> None:
    """Each name is good, but a file cannot be a directory too; what is there first stays."""
    one = KeyedClient(plain, "run", "client")
    try:
        for name in ("a", "a/b", "d/e", "d", "d/e"):
            data = f"content of {name}".encode()
            told = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "data": data}
            one.send_record("file", {"name": name, **told})
        one.log(1, x=1.0)
        assert one.ask("state")["seq"] == 6
        files = plain.root / "runs" / "run" / "files"
        wait_until(lambda: (files / "d" / "e").exists(), "the files are put together")
        assert {str(path.relative_to(files)): path.read_text() for path in files.rglob("*") if path.is_file()} == {
            "a": "content of a",
            "d/e": "content of d/e",
        }
        assert plain.process.poll() is None and plain.status()["clients"] == 1
    finally:
        one.close()


# -- claims from afar -------------------------------------------------------------------------------------------------


def left_window(directory: Path, run: str, name: str, count: int) -> Window:
    """Leave a window on this machine, as a client that died."""
    window = Window(directory / run, run, name, {"parent": None, "run": run, "client": name}, Losses(), 1 << 30)
    for step in range(count):
        with window.lock:
            window.append("log", {"step": step, "data": {"secret": step}})
    return window


@pytest.mark.parametrize("far", [True, False], ids=["beyond loopback", "on loopback"])
def test_what_is_said_of_windows_and_processes_is_believed_on_one_machine_only(
    root: Path, tmp_path: Path, far: bool
) -> None:
    window = left_window(tmp_path / "victim", "run", "mallory", 50)
    before = {path: path.read_bytes() for path in window.directory.iterdir()}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        serving = Serving(root, "--insecure", listen="tcp://0.0.0.0:*") if far else Serving(root)
        try:
            mallory = KeyedClient(
                serving, "run", "mallory", window=str(window.directory), pid=other.pid, place=machine_id()
            )
            assert mallory.attached.keys().isdisjoint({"directory", "place"}) is far
            window.close()  # its owner is gone, so the sidecar could have its lock
            other.communicate(b"\n")  # and so is the process that was named
            if far:
                mallory.log(0, x=1.0)
                assert mallory.ask("flush")["seq"] == 1, "it is attached as long as it says something"
                mallory.send_record("exit", {"state": "finished"})
                mallory.send_unnumbered("detach", {})
            wait_until(lambda: not serving.status()["runs"], "the run is let go")
            mallory.close()
            with pytest.raises(RefusedError) as caught:
                serving.attach("other", "client", sinks=["nothing+http://127.0.0.1:1"])
            assert caught.value.code == "sinks"
        finally:
            serving.close()
    found = ReadBack(root / "runs" / "run").check()
    if far:
        assert {path: path.read_bytes() for path in window.directory.iterdir()} == before
        assert found.stored() == [(0, {"x": 1.0})]
        assert "INSECURE: not encrypted" in serving.log_text()
    else:
        assert not window.directory.exists()
        assert found.stored() == [(step, {"secret": step}) for step in range(50)]


def test_nobody_from_afar_stops_a_sidecar_that_does_not_encrypt(root: Path) -> None:
    serving = Serving(root, "--insecure", listen="tcp://0.0.0.0:*")
    try:
        with pytest.raises(RefusedError) as caught:
            serving.ask("stop")
        assert caught.value.code == "key" and serving.process.poll() is None
        assert command("stop", serving.file).code == 0, "on its own machine its owner does"
    finally:
        serving.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "tcp://0.0.0.0:*"], ["tcp://0.0.0.0:*", "other machines", "--key", "--insecure"]),
        (["--listen", "tcp://*:*"], ["tcp://*:*", "other machines"]),
        (["--listen", "tcp://[::]:*"], ["tcp://[::]:*", "other machines"]),
        (["--clients", "clients.txt"], ["--clients", "--key"]),
        (["--key", "nowhere.key"], ["nowhere.key", "No such file"]),
    ],
)
def test_what_would_be_open_to_others_is_not_served(root: Path, arguments: list[str], words: list[str]) -> None:
    done = command("serve", "--dir", root, *(["--listen", "tcp://127.0.0.1:*"] if "--listen" not in arguments else []),
                   *arguments)  # fmt: skip
    assert done.code in (1, 2) and len(done.err.splitlines()) == 1
    for word in words:
        assert word in done.err
    assert not root.exists()


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keygen(tmp_path: Path) -> None:
    done = command("keygen", tmp_path / "anna")
    assert done.code == 0
    secret, public = tmp_path / "anna.key", tmp_path / "anna.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    pair = read_key_pair(secret)
    assert done.out == f"{pair.public} anna\n" and read_public_key(str(public)) == pair.public
    assert pair.secret not in done.out + done.err + public.read_text()
    before = secret.read_bytes(), public.read_bytes()
    again = command("keygen", tmp_path / "anna")
    assert again.code == 1 and "exists; a key is never overwritten" in again.err and again.out == ""
    assert (secret.read_bytes(), public.read_bytes()) == before
    public.unlink()
    assert command("keygen", tmp_path / "anna").code == 1
    assert secret.read_bytes() == before[0] and not public.exists()


def test_no_secret_is_told(site: Site) -> None:
    """Neither in the log of the sidecar, nor in its connection file, nor in what it answers."""
    said = site.serving.log_text() + site.serving.file.read_text() + str(site.serving.status(site.anna.at(site.server)))
    assert all(keys.pair.secret not in said for keys in (site.server, site.anna, site.bert, site.eve))
    assert re.search(r"listening at tcp://127\.0\.0\.1:.*, encrypted, for the clients in ", said)
    assert site.server.pair.public in said
