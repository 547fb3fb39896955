"""Asking at a sidecar's door: one request, one answer. Used by clients and by the ``sidecar`` command."""

from __future__ import annotations

from sidecar.protocol.channels import dealer
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ChannelError, RefusedError, UnreachableError
from sidecar.protocol.records import Record


def ask(door: str, request: Record, deadline: Deadline) -> Record:
    """Send `request` to the door at endpoint `door` and return the answer.

    Raises:
        RefusedError: the sidecar says no. UnreachableError: nobody answered by the deadline.
    """
    try:
        with dealer() as channel:
            channel.connect(door)
            channel.send(encode(request))
            while channel.wait(deadline.left(1.0) or 0.0) or not deadline.over():
                payload = channel.receive()
                if payload is not None:
                    break
            else:
                raise UnreachableError(f"no sidecar answers at {door}")
    except ChannelError as error:
        raise UnreachableError(str(error)) from error
    answer = decode(payload)
    if answer.kind == "refused":
        body = answer.body
        raise RefusedError(body["code"], body["message"], body.get("where"))
    return answer
