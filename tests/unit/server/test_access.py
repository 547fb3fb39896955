"""Access, stepped by hand with real sockets: who gets through, what is counted and said, when the list is read."""

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
from sidecar.server.access import Access
from tests.support import wait_until

SERVER, ANNA, BERT, OTHER = (new_key_pair() for _ in range(4))


class Door:
    """A record socket behind a guard; `step` does what the sidecar's loop does."""

    def __init__(self, clients: Path | None = None) -> None:
        self.guard = Access(SERVER, clients)
        self.gate: Gate = self.guard.open()
        self.records = channels.pull(security=SERVER)
        self.handshakes = self.records.watch_handshakes()
        self.endpoint = self.records.bind("tcp://127.0.0.1:*")
        self.taken: list[tuple[bytes, str]] = []
        self.clients: list[Channel] = []

    def step(self) -> None:
        self.gate.answer()
        for refusal in self.handshakes.refusals():
            self.guard.failed(refusal)
        while (found := self.records.receive_from()) is not None:
            self.taken.append(found)

    def connect(self, security: Security | None) -> Channel:
        client = channels.push(security)
        self.clients.append(client)
        client.connect(self.endpoint)
        return client

    def lets_in(self, security: Security | None) -> bool:
        """Whether a client gets through, or else is counted as refused."""
        client = self.connect(security)
        taken, refused = len(self.taken), sum(self.guard.refused.values())
        sent: list[bool] = []

        def decided() -> bool:
            self.step()
            if not sent and client.send(b"hello"):
                sent.append(True)
            return len(self.taken) > taken or sum(self.guard.refused.values()) > refused

        wait_until(decided, "it is let in, or refused")
        client.close()
        return len(self.taken) > taken

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.records.close()
        self.guard.close()
        self.guard.close()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "clients.txt"
    path.write_text(f"{ANNA.public} anna\n")
    return path


@pytest.fixture
def door(listed: Path) -> Iterator[Door]:
    made = Door(listed)
    yield made
    made.close()


@pytest.fixture
def open_door() -> Iterator[Door]:
    made = Door()
    yield made
    made.close()


def of(own: KeyPair, server: KeyPair = SERVER) -> Security:
    return Security(server.public, own)


def test_without_a_list_whoever_knows_the_key_is_let_in_and_known_by_his_own(open_door: Door) -> None:
    assert open_door.lets_in(of(ANNA)) and open_door.lets_in(of(OTHER))
    assert open_door.taken == [(b"hello", ANNA.public), (b"hello", OTHER.public)]
    assert open_door.guard.refused == {}


@pytest.mark.parametrize("security", [None, of(ANNA, OTHER)], ids=["no key", "another key than the sidecar's"])
def test_who_does_not_know_the_sidecars_key_is_counted_and_told(
    open_door: Door, security: Security | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    assert not open_door.lets_in(security)
    assert set(open_door.guard.refused) == {"protocol"}
    (line,) = caplog.messages
    assert "it does not encrypt, it expects another key of this sidecar" in line
    assert open_door.lets_in(of(ANNA)), "others are not disturbed"


def test_with_a_list_only_those_in_it_are_let_in(door: Door, caplog: pytest.LogCaptureFixture, listed: Path) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    assert door.lets_in(of(ANNA))
    assert not door.lets_in(of(BERT)) and not door.lets_in(of(BERT)) and not door.lets_in(of(OTHER))
    assert set(door.guard.refused) == {"key"} and door.guard.refused["key"] >= 3
    assert [line for line in caplog.messages if BERT.public in line] == caplog.messages[:1], "said once"
    assert str(listed) in caplog.messages[0] and OTHER.public in caplog.messages[1]
    assert len(caplog.messages) == 2


def test_the_sidecars_own_key_is_always_let_in(door: Door) -> None:
    assert door.lets_in(of(SERVER))


def test_the_list_is_read_again_when_it_changes(door: Door, listed: Path) -> None:
    assert not door.lets_in(of(BERT))
    listed.write_text(f"{ANNA.public}\n{BERT.public}\n")
    assert door.lets_in(of(BERT)) and door.lets_in(of(ANNA))
    beside = listed.with_name("beside")  # as an editor writes it
    beside.write_text(f"{BERT.public}\n")
    os.replace(beside, listed)
    assert not door.lets_in(of(ANNA)) and door.lets_in(of(BERT))


def test_a_list_that_becomes_unreadable_stays_as_it_was(
    door: Door, listed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sidecar")
    listed.write_text("what is this?\n")
    assert door.lets_in(of(ANNA))
    assert not door.lets_in(of(BERT))
    assert (
        "the previous one is kept" in caplog.messages[0]
        and "line 1" in caplog.messages[0]
        and "'what'" in caplog.messages[0]
    )
    listed.unlink()
    assert door.lets_in(of(ANNA))
    listed.write_text(f"{BERT.public}\n")
    assert not door.lets_in(of(ANNA)) and door.lets_in(of(BERT))


def test_a_list_that_cannot_be_read_at_the_beginning_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="nobody"):
        Access(SERVER, tmp_path / "nobody.txt")


def test_a_refusal_is_said_again_after_a_minute(
    door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_module, "_LOG_SECONDS", 0.0)
    assert not door.lets_in(of(BERT)) and not door.lets_in(of(BERT))
    assert len([line for line in caplog.messages if BERT.public in line]) >= 2


def test_those_who_try_many_keys_are_not_remembered_for_ever(open_door: Door) -> None:
    for number in range(3000):
        open_door.guard._warn(f"key {number}", "line")
    assert len(open_door.guard._logged) <= 1001
