"""One request to a sidecar's control socket, and its answer. Used by clients and by the ``sidecar`` command."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.protocol.channels import Channel, dealer
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ChannelError, RefusedError, UnreachableError
from sidecar.protocol.keys import Security
from sidecar.protocol.records import Record

_CHECK_INTERVAL = 0.1
"""Interval between two checks of whether the connection was refused or the sidecar died, in seconds."""

_CUT_HANDSHAKES = 5
"""Number of connections cut within the handshake that count as a refusal: a sidecar treats a client with a wrong key
so. Fewer are a bad link, or a sidecar that has just ended. ZeroMQ connects again; in all it takes about a second."""


def ask(
    control: str,
    request: Record,
    deadline: Deadline,
    security: Security | None = None,
    alive: Callable[[], bool] | None = None,
) -> Record:
    """Send `request` to the control socket at an endpoint, once, and return the answer.

    Args:
        control: the endpoint.
        request: an unnumbered record.
        deadline: when to give up.
        security: the keys; None: the connection is not encrypted.
        alive: whether the sidecar may still answer, as far as is known; called about ten times a second.

    Raises:
        RefusedError: the sidecar refuses the request, or the connection because of its keys (code ``"key"``).
        UnreachableError: no answer by the deadline, or the sidecar is not `alive`.
    """
    try:
        with dealer(security) as channel:
            handshakes = channel.watch_handshakes() if control.startswith("tcp://") else None
            channel.connect(control)
            channel.send(encode(request))
            cut = 0
            while (payload := _receive(channel, deadline)) is None:
                for failure in handshakes.refusals() if handshakes is not None else ():
                    cut += failure == "cut"
                    if failure != "cut" or cut >= _CUT_HANDSHAKES:
                        raise RefusedError("key", f"the sidecar at {control} {_refused(failure, security)}")
                if deadline.over():
                    raise UnreachableError(f"no sidecar answers at {control}")
                if alive is not None and not alive():
                    raise UnreachableError(f"no sidecar answers at {control}: its process has ended")
    except ChannelError as error:
        raise UnreachableError(str(error)) from error
    answer = decode(payload)
    if answer.kind == "refused":
        body = answer.body
        raise RefusedError(body["code"], body["message"], body.get("where"))
    return answer


def _receive(channel: Channel, deadline: Deadline) -> bytes | None:
    """Wait a moment for the answer; return None if it has not come."""
    channel.wait(deadline.left(_CHECK_INTERVAL) or 0.0)
    return channel.receive()


def _refused(failure: str, security: Security | None) -> str:
    if security is None:
        return "encrypts: give its public key (sidecar_key=, TRACKER_SIDECAR_KEY, --key)"
    if failure == "key":
        return f"does not list this client's public key, {security.own.public} (client_key= names your key file)"
    wrong = f"has another key than {security.server}, the one given (sidecar_key=, TRACKER_SIDECAR_KEY, --key)"
    if failure == "cut":
        return f"{wrong}, or does not encrypt, or something in between cuts connections"
    return f"{wrong}, or does not encrypt"
