"""The ledger of one client, stepped through what can happen to a client."""

from __future__ import annotations

import pytest

from sidecar.pipeline.ledger import ClientLedger


def numbers(ledger: ClientLedger) -> tuple[int, int, int]:
    return ledger.accepted, ledger.durable, ledger.next_seq


def test_a_new_client() -> None:
    ledger = ClientLedger("a")
    assert (*numbers(ledger), ledger.open) == (0, 0, 1, False)
    ledger.attach()
    assert (ledger.open, ledger.detached) == (True, False)
    assert ledger.accept(3) == 3
    assert numbers(ledger) == (3, 0, 4), "taken, and not durable yet"
    ledger.confirm(3)
    assert numbers(ledger) == (3, 3, 4)
    ledger.note("exit")
    assert not ledger.open
    assert ledger.detach() is False, "it has ended: no crash record"


def test_a_gap_leaves_the_next_number_as_it_is() -> None:
    ledger = ClientLedger("a", 5)
    for seq in (7, 8, 100):
        assert seq > ledger.next_seq == 6
    assert ledger.accept(6) == 1 and ledger.next_seq == 7


def test_a_client_that_attaches_again_continues() -> None:
    ledger = ClientLedger("a")
    ledger.attach()
    ledger.accept(4)
    ledger.confirm(2)
    assert ledger.detach() is True
    ledger.attach()
    assert numbers(ledger) == (4, 2, 5) and ledger.open and not ledger.detached
    ledger.confirm(4)
    assert ledger.durable == 4


def test_a_client_that_detaches_with_records_on_their_way() -> None:
    ledger = ClientLedger("a")
    ledger.attach()
    ledger.accept(3)
    assert not ledger.is_late(3), "while it is attached, a known number is one that was seen"
    ledger.accept(9)  # the rest, from its window
    assert ledger.detach() is True
    assert [ledger.is_late(seq) for seq in (0, 4, 9, 10)] == [True, True, True, False]
    ledger.confirm(9)
    ledger.attach()
    assert not ledger.is_late(4)


@pytest.mark.parametrize(
    ("kinds", "crashed"),
    [
        (["run", "log"], True),
        (["log", "exit"], False),
        (["exit", "run"], True),
        (["exit", "losses"], True),
        ([], False),
    ],
)
def test_a_window_that_is_taken(kinds: list[str], crashed: bool) -> None:
    ledger = ClientLedger("a")
    ledger.attach()
    for seq, kind in enumerate(kinds, 1):
        ledger.accept(seq)
        ledger.note(kind)
    assert ledger.detach() is crashed


def test_the_loss_of_a_relay_says_nothing_of_its_clients() -> None:
    ledger = ClientLedger("relay")
    ledger.attach()
    ledger.accept(10)
    assert ledger.detach(independent=False) is False
    assert not ledger.open and ledger.detached


def test_a_client_of_an_earlier_sidecar_that_attaches_or_does_not() -> None:
    for attaches in (True, False):
        ledger = ClientLedger("a", 7, open=True)
        ledger.expect()
        assert (ledger.open, ledger.expected, ledger.detached) == (True, True, False)
        if attaches:
            ledger.attach()
            assert numbers(ledger) == (7, 7, 8) and ledger.open and not ledger.expected
        else:
            assert ledger.detach() is True
            assert not ledger.open and not ledger.expected


def test_a_client_that_ended_and_attaches_again_has_still_ended() -> None:
    ledger = ClientLedger("a", 7)
    ledger.attach(again=True)
    assert (ledger.open, ledger.detach()) == (False, False)
    ledger.attach(again=True)
    ledger.note("log")
    assert ledger.detach() is True, "it has sent another record"
    ledger.attach()
    assert ledger.open, "the run is resumed"
    new = ClientLedger("b")
    new.attach(again=True)
    assert new.open, "its records never arrived"
