"""Who may attach and what clients cannot do: keys, client lists, names used as paths, claims of remote clients."""

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
    """A sidecar with CURVE that accepts only Anna and Bert, and all keys.

    Attributes:
        serving: the sidecar.
        listed: its client list.
        server, anna, bert, eve: key pairs; Eve's is not listed.
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
    listed.write_text(f"{anna.pair.public} # anna\n{bert.pair.public} writer # bert\n")
    serving = Serving(directory / "root", "--key", server.secret, "--clients", listed)
    yield Site(serving, listed, server, anna, bert, eve)
    serving.close()


@pytest.fixture
def plain(root: Path) -> Iterator[Serving]:
    """A sidecar on loopback, without encryption."""
    serving = Serving(root)
    yield serving
    serving.close()


def tree(directory: Path) -> set[str]:
    """Return the relative paths of everything in a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


# -- attaching --------------------------------------------------------------------------------------------------------

TRAINER = """
import tracker
with tracker.init(id="by-variables") as run:
    run.log({"loss": 0.5})
"""


def test_listed_client_attaches_with_encryption(scripts: Scripts, site: Site) -> None:
    env = {
        "TRACKER_SIDECAR": site.serving.control,
        "TRACKER_SIDECAR_KEY": str(site.server.public),
        "TRACKER_CLIENT_KEY": str(site.anna.secret),
    }
    assert scripts.run(TRAINER, env=env).err == ""
    run = ReadBack(site.serving.root / "runs" / "by-variables").check()
    assert run.stored() == [(0, {"loss": 0.5})] and run.state["state"] == "finished"
    assert site.serving.connection.public_key == site.server.pair.public
    status = command("status", **env)
    assert status.code == 0 and "connections: encrypted" in status.out
    by_file = command("status", site.serving.file, "--client-key", site.bert.secret)
    assert by_file.code == 0, "the connection file contains the sidecar's key"


REFUSED = {
    # client: the sidecar's key, the client's own key, words of its error, the counter, words in the sidecar's log
    "a key that is not in the list": ("server", "eve", ["does not list this client", "<eve>"], "key", "<eve>"),
    "a new key": ("server", None, ["does not list this client"], "key", "is not in"),
    "no key": (None, None, ["encrypts", "sidecar_key=", "TRACKER_SIDECAR_KEY"], "protocol", "does not encrypt"),
    "another sidecar's key": ("eve", "anna", ["has another key than", "<eve>"], "protocol", "another key"),
}


@pytest.mark.parametrize("client", REFUSED)
def test_refused_client_gets_the_reason_within_seconds_and_is_counted_and_logged(
    site: Site, tmp_path: Path, client: str
) -> None:
    sidecar_key, own, words, counted, logged = REFUSED[client]
    keys = {"server": site.server, "anna": site.anna, "eve": site.eve}
    before = site.serving.status(site.anna.at(site.server))["handshakes_refused"].get(counted, 0)
    backend = Backend(
        tmp_path,
        site.serving.control,
        sidecar_key=str(keys[sidecar_key].public) if sidecar_key else None,
        client_key=str(keys[own].secret) if own else None,
    )
    started = time.monotonic()
    with pytest.raises(LaunchError) as caught:
        backend.attach("refused", "client", {}, Deadline(20.0))
    assert time.monotonic() - started < 10.0
    for word in [site.serving.control, *words]:
        assert word.replace("<eve>", site.eve.pair.public) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert site.serving.status(site.anna.at(site.server))["handshakes_refused"][counted] > before
    lines = [line for line in site.serving.log_text().splitlines() if "a client was refused" in line]
    assert any(logged.replace("<eve>", site.eve.pair.public) in line for line in lines)
    assert len(lines) == len({line.partition("a client")[2] for line in lines}), "each reason is logged once"
    assert not (site.serving.root / "runs" / "refused").exists()


def test_refused_user_sees_one_clear_error(scripts: Scripts, site: Site) -> None:
    done = scripts.run("import tracker\ntracker.init()", env={"TRACKER_SIDECAR": site.serving.control}, exit_code=1)
    last = done.err.strip().splitlines()[-1]
    assert last.startswith(f"tracker.errors.LaunchError: the sidecar at {site.serving.control} encrypts")
    status = command("status", site.serving.control)
    assert (status.code, status.out) == (1, "") and len(status.err.splitlines()) == 1 and "encrypts" in status.err


def test_encrypting_client_is_refused_by_an_unencrypted_sidecar(plain: Serving, site: Site, tmp_path: Path) -> None:
    backend = Backend(tmp_path, plain.control, sidecar_key=str(site.server.public))
    started = time.monotonic()
    with pytest.raises(LaunchError, match=r"has another key than .*, or does not encrypt"):
        backend.attach("run", "client", {}, Deadline(20.0))
    assert time.monotonic() - started < 10.0
    status = plain.status()
    assert status["clients"] == 0 and set(status["handshakes_refused"]) == {"protocol"}
    assert plain.log_text().count("a handshake failed: the client encrypts and this sidecar does not") == 1


def test_without_a_client_list_the_sidecars_key_is_enough(site: Site, root: Path) -> None:
    serving = Serving(root, "--key", site.server.secret)
    try:
        eve = KeyedClient(serving, "run", "eve", site.eve.at(site.server))
        eve.log(1, loss=0.5)
        assert eve.ask("flush")["seq"] == 1
        eve.close()
        with pytest.raises(RefusedError, match="encrypts"):
            serving.attach("run", "unencrypted")
        assert serving.status(site.eve.at(site.server))["handshakes_refused"]["protocol"] > 0
    finally:
        serving.close()
    assert "encrypted" in serving.log_text() and "INSECURE" not in serving.log_text()


def test_client_list_is_reloaded_when_it_changes(site: Site) -> None:
    before = site.listed.read_text()
    with pytest.raises(RefusedError):
        site.serving.status(site.eve.at(site.server))
    try:
        site.listed.write_text(before + f"{site.eve.pair.public} # eve\n")
        assert site.serving.status(site.eve.at(site.server))["encrypted"]
    finally:
        site.listed.write_text(before)
    with pytest.raises(RefusedError):
        site.serving.status(site.eve.at(site.server))
    assert "the list of clients was read again: 3 keys" in site.serving.log_text()


# -- attached ---------------------------------------------------------------------------------------------------------


def test_client_cannot_write_as_another_client(site: Site) -> None:
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
        assert bert.ask("state")["seq"] == 1, "earlier records have been handled"
        now = site.serving.status(site.anna.at(site.server))["refused"]["refused: client"]
        assert now >= refused + 3
        with pytest.raises(RefusedError) as caught:
            KeyedClient(site.serving, "ours", "anna", site.bert.at(site.server), again=True)
        assert caught.value.code == "client" and "another key" in str(caught.value)
        anna.log(3, x=3.0)
        assert anna.ask("state")["seq"] == 2, "she is still attached"
        run = ReadBack(site.serving.root / "runs" / "ours").check()
        assert run.logged("anna") == [(1, {"x": 1.0}), (3, {"x": 3.0})]
        assert run.logged("bert") == [(1, {"x": 2.0})]
    finally:
        anna.close()
        bert.close()


def test_client_cannot_stop_the_sidecar(site: Site) -> None:
    done = command("stop", site.serving.control, "--key", site.server.public, "--client-key", site.anna.secret)
    assert done.code == 1 and "stopping this sidecar from another machine needs its own key" in done.err
    assert site.serving.process.poll() is None


def test_holder_of_the_sidecars_key_can_stop_it_remotely(site: Site, root: Path) -> None:
    serving = Serving(root, "--key", site.server.secret, "--clients", site.listed)
    try:
        done = command("stop", serving.control, "--key", site.server.public, "--client-key", site.server.secret)
        assert done.code == 0, done.err
        assert serving.process.wait(30) == 0
    finally:
        serving.close()


def test_record_without_a_client_is_refused_when_encrypted(site: Site) -> None:
    anna = KeyedClient(site.serving, "forgotten", "anna2", site.anna.at(site.server))
    try:
        anna.send(encode(Record("log", "forgotten", "", 0, 1.0, {"step": 1, "data": {"x": 1.0}})))
        anna.log(1, x=2.0)
        assert anna.ask("state")["seq"] == 1
        assert ReadBack(site.serving.root / "runs" / "forgotten").check().logged() == [(1, {"x": 2.0})]
        assert site.serving.status(site.anna.at(site.server))["refused"]["refused: run"] >= 1
    finally:
        anna.close()


# -- names used as paths ------------------------------------------------------------------------------------------

INVALID_NAMES = [
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


def test_invalid_name_never_becomes_a_path(plain: Serving, tmp_path: Path) -> None:
    before = tree(tmp_path)
    for name in INVALID_NAMES:
        for run, own, code in ((name, "client", "run"), ("run", name, "client")):
            with pytest.raises(RefusedError) as caught:
                plain.attach(run, own)
            assert caught.value.code == code, (name, caught.value)
            assert len(str(caught.value)) < 1000 or len(name) > 1000
    assert plain.status()["clients"] == 0 and plain.status()["runs"] == []
    assert {path for path in tree(tmp_path) - before if not path.endswith(".log")} <= {"root/runs"}


def test_client_cannot_forge_lines_in_the_sidecars_log(plain: Serving) -> None:
    forged = "2026-01-01 00:00:00.000 INFO    MainThread    all is well"
    for run, own in (("run", f"x\n{forged}"), (f"x\n{forged}", "client")):
        with pytest.raises(RefusedError):
            plain.attach(run, own)
    plain.attach("run", "client", label=f"x\n{forged}")
    assert not [line for line in plain.log_text().splitlines() if line.startswith(forged)]


INVALID_FILE_NAMES = [
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


def test_file_record_with_a_bad_name_writes_no_file(plain: Serving, tmp_path: Path) -> None:
    one = KeyedClient(plain, "run", "client")
    try:
        data = b"harm"
        content = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "data": data}
        names = [name for name in INVALID_FILE_NAMES if name.isprintable() or name.isascii()]
        for name in names:
            one.send_record("file", {"name": name, **content})
        one.log(1, x=1.0)
        assert one.ask("state")["seq"] == len(names) + 1
        run = ReadBack(plain.root / "runs" / "run")
        assert run.kinds() == ["rejected"] * len(names) + ["log"]
        assert {record.body["code"] for record in run.log[:-1]} == {"value"}
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


def test_colliding_file_names_affect_nothing_else(plain: Serving, tmp_path: Path) -> None:
    """Each name is valid, but a file cannot also be a directory; the first one stays."""
    one = KeyedClient(plain, "run", "client")
    try:
        for name in ("a", "a/b", "d/e", "d", "d/e"):
            data = f"content of {name}".encode()
            content = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "data": data}
            one.send_record("file", {"name": name, **content})
        one.log(1, x=1.0)
        assert one.ask("state")["seq"] == 6
        files = plain.root / "runs" / "run" / "files"
        wait_until(lambda: (files / "d" / "e").exists(), "the files are complete")
        assert {str(path.relative_to(files)): path.read_text() for path in files.rglob("*") if path.is_file()} == {
            "a": "content of a",
            "d/e": "content of d/e",
        }
        assert plain.process.poll() is None and plain.status()["clients"] == 1
    finally:
        one.close()


# -- claims of remote clients ------------------------------------------------------------------------------------------


def orphan_window(directory: Path, run: str, name: str, count: int) -> Window:
    """Create a window on this machine, as a client leaves when it dies."""
    window = Window(directory / run, run, name, {"parent": None, "run": run, "client": name}, Losses(), 1 << 30)
    for step in range(count):
        with window.lock:
            window.append("log", {"step": step, "data": {"secret": step}})
    return window


@pytest.mark.parametrize("remote", [True, False], ids=["beyond loopback", "on loopback"])
def test_window_and_process_of_a_client_are_used_on_one_machine_only(root: Path, tmp_path: Path, remote: bool) -> None:
    window = orphan_window(tmp_path / "victim", "run", "mallory", 50)
    before = {path: path.read_bytes() for path in window.directory.iterdir()}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        serving = Serving(root, "--insecure", listen="tcp://0.0.0.0:*") if remote else Serving(root)
        try:
            mallory = KeyedClient(
                serving, "run", "mallory", window=str(window.directory), pid=other.pid, place=machine_id()
            )
            assert mallory.attached.keys().isdisjoint({"directory", "place"}) is remote
            window.close()  # its owner is dead, so its lock is free
            other.communicate(b"\n")  # the named process is dead too
            if remote:
                mallory.log(0, x=1.0)
                assert mallory.ask("flush")["seq"] == 1, "it stays attached while it sends something"
                mallory.send_record("exit", {"state": "finished"})
                mallory.send_unnumbered("detach", {})
            wait_until(lambda: not serving.status()["runs"], "the run is closed")
            mallory.close()
            with pytest.raises(RefusedError) as caught:
                serving.attach("other", "client", sinks=["nothing+http://127.0.0.1:1"])
            assert caught.value.code == "sinks"
        finally:
            serving.close()
    run = ReadBack(root / "runs" / "run").check()
    if remote:
        assert {path: path.read_bytes() for path in window.directory.iterdir()} == before
        assert run.stored() == [(0, {"x": 1.0})]
        assert "INSECURE: not encrypted" in serving.log_text()
    else:
        assert not window.directory.exists()
        assert run.stored() == [(step, {"secret": step}) for step in range(50)]


def test_unencrypted_sidecar_cannot_be_stopped_remotely(root: Path) -> None:
    serving = Serving(root, "--insecure", listen="tcp://0.0.0.0:*")
    try:
        with pytest.raises(RefusedError) as caught:
            serving.ask("stop")
        assert caught.value.code == "key" and serving.process.poll() is None
        assert command("stop", serving.file).code == 0, "its owner can stop it on its own machine"
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
def test_insecure_configuration_is_refused(root: Path, arguments: list[str], words: list[str]) -> None:
    done = command("serve", "--dir", root, *(["--listen", "tcp://127.0.0.1:*"] if "--listen" not in arguments else []),
                   *arguments)  # fmt: skip
    assert done.code in (1, 2) and len(done.err.splitlines()) == 1
    for word in words:
        assert word in done.err
    assert not root.exists()


def test_misspelt_role_is_refused(root: Path, tmp_path: Path) -> None:
    keys, clients = Keys(tmp_path, "server"), tmp_path / "clients.txt"
    clients.write_text(f"{keys.pair.public} raeder\n")
    done = command("serve", "--dir", root, "--listen", "tcp://127.0.0.1:*", "--key", keys.secret, "--clients", clients)
    assert done.code in (1, 2) and len(done.err.splitlines()) == 1, done.err
    for words in (f"{clients}, line 1", "'raeder'", "'reader' or 'writer'"):
        assert words in done.err
    assert not root.exists()


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keygen(tmp_path: Path) -> None:
    done = command("keygen", tmp_path / "anna")
    assert done.code == 0
    secret, public = tmp_path / "anna.key", tmp_path / "anna.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    pair = read_key_pair(secret)
    assert done.out == f"{pair.public} # anna\n" and read_public_key(str(public)) == pair.public
    assert pair.secret not in done.out + done.err + public.read_text()
    before = secret.read_bytes(), public.read_bytes()
    again = command("keygen", tmp_path / "anna")
    assert again.code == 1 and "exists; a key is never overwritten" in again.err and again.out == ""
    assert (secret.read_bytes(), public.read_bytes()) == before
    public.unlink()
    assert command("keygen", tmp_path / "anna").code == 1
    assert secret.read_bytes() == before[0] and not public.exists()


def test_no_secret_is_disclosed(site: Site) -> None:
    """Not in the sidecar's log, its connection file, or its answers."""
    output = (
        site.serving.log_text() + site.serving.file.read_text() + str(site.serving.status(site.anna.at(site.server)))
    )
    assert all(keys.pair.secret not in output for keys in (site.server, site.anna, site.bert, site.eve))
    assert re.search(r"listening at tcp://127\.0\.0\.1:.*, encrypted, for the clients in ", output)
    assert site.server.pair.public in output
