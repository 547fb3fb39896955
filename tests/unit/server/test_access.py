"""Access, stepped by hand with real sockets: accepted and refused clients, warnings, and changes of the list."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.protocol import channels
from sidecar.protocol.channels import Channel, Gate, new_key_pair
from sidecar.protocol.errors import KeyFileError
from sidecar.protocol.keys import KeyPair, Security
from sidecar.server import access as access_module
from sidecar.server.access import CurveAccess
from tests.support import wait_until

SERVER, ANNA, BERT, OTHER = (new_key_pair() for _ in range(4))


class RecordSocket:
    """A record socket with an `Access`; `step` does what the sidecar's loop does."""

    def __init__(self, clients: Path | None = None) -> None:
        self.access = CurveAccess(SERVER, clients)
        self.gate: Gate = self.access.open()
        self.records = channels.pull(security=SERVER)
        self.handshakes = self.records.watch_handshakes()
        self.endpoint = self.records.bind("tcp://127.0.0.1:*")
        self.received: list[tuple[bytes, str]] = []
        self.clients: list[Channel] = []

    def step(self) -> None:
        self.gate.answer()
        for refusal in self.handshakes.refusals():
            self.access.failed(refusal)
        while (message := self.records.receive_from()) is not None:
            self.received.append(message)

    def connect(self, security: Security | None) -> Channel:
        client = channels.push(security)
        self.clients.append(client)
        client.connect(self.endpoint)
        return client

    def accepts(self, security: Security | None) -> bool:
        """Return whether a client is accepted; else it is counted as refused."""
        client = self.connect(security)
        received, refused = len(self.received), sum(self.access.refused.values())
        sent: list[bool] = []

        def decided() -> bool:
            self.step()
            if not sent and client.send(b"hello"):
                sent.append(True)
            return len(self.received) > received or sum(self.access.refused.values()) > refused

        wait_until(decided, "the client is accepted or refused")
        client.close()
        return len(self.received) > received

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.records.close()
        self.access.close()
        self.access.close()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "clients.txt"
    path.write_text(f"{ANNA.public} # anna\n")
    return path


@pytest.fixture
def restricted(listed: Path) -> Iterator[RecordSocket]:
    records = RecordSocket(listed)
    yield records
    records.close()


@pytest.fixture
def unrestricted() -> Iterator[RecordSocket]:
    records = RecordSocket()
    yield records
    records.close()


def of(own: KeyPair, server: KeyPair = SERVER) -> Security:
    return Security(server.public, own)


def test_without_a_list_all_clients_that_know_the_key_are_accepted(unrestricted: RecordSocket) -> None:
    assert unrestricted.accepts(of(ANNA)) and unrestricted.accepts(of(OTHER))
    assert unrestricted.received == [(b"hello", ANNA.public), (b"hello", OTHER.public)]
    assert unrestricted.access.refused == {}


@pytest.mark.parametrize("security", [None, of(ANNA, OTHER)], ids=["no key", "another key than the sidecar's"])
def test_clients_that_do_not_know_the_key_are_counted_and_logged(
    unrestricted: RecordSocket, security: Security | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    assert not unrestricted.accepts(security)
    assert set(unrestricted.access.refused) == {"protocol"}
    (line,) = caplog.messages
    assert "it does not encrypt, it expects another key of this sidecar" in line
    assert unrestricted.accepts(of(ANNA)), "other clients are affected"


def test_with_a_list_only_its_clients_are_accepted(
    restricted: RecordSocket, caplog: pytest.LogCaptureFixture, listed: Path
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    assert restricted.accepts(of(ANNA))
    assert not restricted.accepts(of(BERT)) and not restricted.accepts(of(BERT)) and not restricted.accepts(of(OTHER))
    assert set(restricted.access.refused) == {"key"} and restricted.access.refused["key"] >= 3
    assert [line for line in caplog.messages if BERT.public in line] == caplog.messages[:1], (
        "a refusal is logged more than once"
    )
    assert str(listed) in caplog.messages[0] and OTHER.public in caplog.messages[1]
    assert len(caplog.messages) == 2


def test_the_sidecars_own_key_is_always_accepted(restricted: RecordSocket) -> None:
    assert restricted.accepts(of(SERVER))


def test_the_list_is_read_again_when_it_changes(restricted: RecordSocket, listed: Path) -> None:
    assert not restricted.accepts(of(BERT))
    listed.write_text(f"{ANNA.public}\n{BERT.public}\n")
    assert restricted.accepts(of(BERT)) and restricted.accepts(of(ANNA))
    beside = listed.with_name("beside")  # as editors save files
    beside.write_text(f"{BERT.public}\n")
    os.replace(beside, listed)
    assert not restricted.accepts(of(ANNA)) and restricted.accepts(of(BERT))


def test_the_previous_list_is_used_when_it_becomes_unreadable(
    restricted: RecordSocket, listed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    listed.write_text("what is this?\n")
    assert restricted.accepts(of(ANNA))
    assert not restricted.accepts(of(BERT))
    assert (
        "the previous one is kept" in caplog.messages[0]
        and "line 1" in caplog.messages[0]
        and "'what'" in caplog.messages[0]
    )
    listed.unlink()
    assert restricted.accepts(of(ANNA))
    listed.write_text(f"{BERT.public}\n")
    assert not restricted.accepts(of(ANNA)) and restricted.accepts(of(BERT))


def test_a_misspelt_role_keeps_the_previous_list(
    restricted: RecordSocket, listed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    listed.write_text(f"{ANNA.public} reader\n")
    assert not restricted.access.may_write(ANNA.public)
    listed.write_text(f"{ANNA.public} raeder # no more writing\n{BERT.public} writer\n")
    assert not restricted.access.may_write(ANNA.public) and not restricted.access.may_write(BERT.public)
    assert not restricted.accepts(of(BERT)) and restricted.accepts(of(ANNA))
    (line,) = [line for line in caplog.messages if "the previous one is kept" in line]
    assert f"{listed}, line 1" in line and "not 'raeder'" in line and "'reader' or 'writer'" in line
    listed.write_text(f"{ANNA.public} writer # back\n")
    assert restricted.access.may_write(ANNA.public)


def test_a_misspelt_role_at_the_start_is_an_error(listed: Path) -> None:
    listed.write_text(f"{ANNA.public} raeder\n")
    with pytest.raises(KeyFileError, match=r"line 1: .*not 'raeder'"):
        CurveAccess(SERVER, listed)


def test_a_list_that_cannot_be_read_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="missing"):
        CurveAccess(SERVER, tmp_path / "missing.txt")


def test_a_refusal_is_logged_again_after_a_minute(
    restricted: RecordSocket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "_LOG_SECONDS", 0.0)
    assert not restricted.accepts(of(BERT)) and not restricted.accepts(of(BERT))
    assert len([line for line in caplog.messages if BERT.public in line]) >= 2


def test_the_number_of_remembered_keys_is_bounded(unrestricted: RecordSocket) -> None:
    for number in range(3000):
        unrestricted.access._warn(f"key {number}", "line")
    assert len(unrestricted.access._logged) <= 1001
