"""Asking at a sidecar's door: one request, one answer. Used by clients and by the ``sidecar`` command."""

from __future__ import annotations

from sidecar.protocol.channels import dealer
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ChannelError, RefusedError, UnreachableError
from sidecar.protocol.keys import Security
from sidecar.protocol.records import Record

_LOOK_SECONDS = 0.1
"""How often it is looked whether the connection was refused."""

_CUT_HANDSHAKES = 5
"""So many connections that end within the handshake are a refusal: so a sidecar answers a client that has a wrong key.
Fewer are a bad link, or a sidecar that has just ended. ZeroMQ connects again; in all it takes about a second."""


def ask(door: str, request: Record, deadline: Deadline, security: Security | None = None) -> Record:
    """Send `request` to the door at endpoint `door` and return the answer.

    Raises:
        RefusedError: the sidecar says no, or refuses the connection for its keys (code ``"key"``).
        UnreachableError: nobody answered by the deadline.
    """
    try:
        with dealer(security) as channel:
            handshakes = channel.watch_handshakes() if door.startswith("tcp://") else None
            channel.connect(door)
            cut = 0
            channel.send(encode(request))
            while channel.wait(deadline.left(_LOOK_SECONDS) or 0.0) or not deadline.over():
                payload = channel.receive()
                if payload is not None:
                    break
                for refusal in handshakes.refusals() if handshakes is not None else ():
                    cut += refusal == "cut"
                    if refusal == "cut" and cut < _CUT_HANDSHAKES:
                        continue
                    raise RefusedError("key", f"the sidecar at {door} {_refused(refusal, security)}")
            else:
                raise UnreachableError(f"no sidecar answers at {door}")
    except ChannelError as error:
        raise UnreachableError(str(error)) from error
    answer = decode(payload)
    if answer.kind == "refused":
        body = answer.body
        raise RefusedError(body["code"], body["message"], body.get("where"))
    return answer


def _refused(refusal: str, security: Security | None) -> str:
    if security is None:
        return "encrypts: give its public key (sidecar_key=, TRACKER_SIDECAR_KEY, --key)"
    if refusal == "key":
        return f"does not list this client's public key, {security.own.public} (client_key= names your key file)"
    if refusal == "cut":
        return f"has another key than {security.server}, or does not encrypt, or what is in between cuts connections"
    return f"has another key than {security.server}, or does not encrypt"
