"""The mailbox: an answer reaches the request that waits for it, and nothing outlives a request."""

from __future__ import annotations

from sidecar.protocol.deadline import Deadline
from tracker.transport.mailbox import Mailbox

NOW = Deadline(0.0)
NEVER = Deadline(None)


def test_an_answer_goes_to_its_request() -> None:
    mailbox = Mailbox()
    first, second = mailbox.expect(NEVER), mailbox.expect(NEVER)
    mailbox.deliver({"id": second, "seq": 2})
    mailbox.deliver({"id": first, "seq": 1})
    assert mailbox.wait(first, NOW) == {"id": first, "seq": 1}
    assert mailbox.wait(second, NOW) == {"id": second, "seq": 2}


def test_a_wait_that_times_out_may_be_repeated() -> None:
    mailbox = Mailbox()
    number = mailbox.expect(NEVER)
    assert mailbox.wait(number, NOW) is None
    mailbox.deliver({"id": number})
    assert mailbox.wait(number, NOW) == {"id": number}


def test_a_request_is_expected_until_it_is_answered_forgotten_or_late() -> None:
    mailbox = Mailbox()
    answered, forgotten, late = mailbox.expect(NEVER), mailbox.expect(NEVER), mailbox.expect(NOW)
    assert mailbox.expects(answered) and mailbox.expects(forgotten) and not mailbox.expects(late)
    mailbox.deliver({"id": answered})
    mailbox.wait(answered, NOW)
    mailbox.forget(forgotten)
    assert not mailbox.expects(answered) and not mailbox.expects(forgotten)
    assert not mailbox.expects(99)


def test_late_and_repeated_answers_are_not_stored() -> None:
    mailbox = Mailbox()
    number = mailbox.expect(NEVER)
    mailbox.forget(number)
    mailbox.deliver({"id": number})
    mailbox.deliver({"id": 99})
    assert mailbox._requests == {}
    mailbox.forget(number)  # twice
