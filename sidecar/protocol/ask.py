"""Requests to a sidecar's control socket, and their answers. Used by clients and by the ``sidecar`` command."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from sidecar.protocol.channels import Channel, dealer
from sidecar.protocol.codec import decode, encode
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.errors import ChannelError, RefusedError, UnreachableError
from sidecar.protocol.keys import Security
from sidecar.protocol.paths import path_of
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
                cut = check_handshakes(handshakes, cut, control, security)
                if deadline.over():
                    raise UnreachableError(f"no sidecar answers at {control}")
                if alive is not None and not alive():
                    raise UnreachableError(f"no sidecar answers at {control}: its process has ended")
    except ChannelError as error:
        raise UnreachableError(str(error)) from error
    answer = decode(payload)
    if answer.kind == "refused":
        body = answer.body
        raise RefusedError(body["code"], body["message"], path_of(body.get("where")))
    return answer


class ControlChannel:
    """Asks one sidecar, on one connection. Used by one thread; a context manager.

    Args:
        control: the endpoint of its control socket.
        security: the keys; None: the connection is not encrypted.
        alive: whether the sidecar may still answer, as far as is known.
    """

    def __init__(self, control: str, security: Security | None = None, alive: Callable[[], bool] | None = None) -> None:
        self._control = control
        self._security = security
        self._alive = alive
        self._channel: Channel | None = None
        self._handshakes: Channel | None = None
        self._cut = 0

    def ask_all(
        self, requests: Iterable[Record], patience: float, at_once: int = 64
    ) -> Iterator[tuple[Record, Record]]:
        """Send requests, several before the first is answered; yield each with its answer, in the order of answers.

        Args:
            requests: unnumbered records, told apart by their clients.
            patience: maximum time without any answer, in seconds.
            at_once: maximum number of requests without an answer.

        Raises:
            RefusedError: the sidecar refuses the connection, or a request that it cannot read. UnreachableError: no
            answer in time.
        """
        waiting = deque(requests)
        asked: dict[str, Record] = {}
        answered_at = time.monotonic()
        try:
            channel = self._connected()
            while waiting or asked:
                while waiting and len(asked) < at_once and channel.send(encode(waiting[0])):
                    request = waiting.popleft()
                    asked[request.client] = request
                channel.wait(_CHECK_INTERVAL)
                payload = channel.receive()
                if payload is None:
                    self._check(time.monotonic() - answered_at > patience)
                    continue
                answered_at = time.monotonic()
                answer = decode(payload)
                if answer.client in asked:
                    yield asked.pop(answer.client), answer
                elif answer.kind == "refused" and not answer.client:
                    body = answer.body
                    raise RefusedError(body["code"], body["message"])
        except ChannelError as error:
            raise UnreachableError(str(error)) from error

    def _connected(self) -> Channel:
        if self._channel is None:
            self._channel = dealer(self._security)
            if self._control.startswith("tcp://"):
                self._handshakes = self._channel.watch_handshakes()
            self._channel.connect(self._control)
        return self._channel

    def _check(self, over: bool) -> None:
        """Raise if no answer can be expected any more."""
        self._cut = check_handshakes(self._handshakes, self._cut, self._control, self._security)
        if self._alive is not None and not self._alive():
            raise UnreachableError(f"no sidecar answers at {self._control}: its process has ended")
        if over:
            raise UnreachableError(f"no sidecar answers at {self._control}")

    def close(self) -> None:
        """Close the connection; it is made again on demand."""
        channel, self._channel, self._handshakes = self._channel, None, None
        if channel is not None:
            channel.close()

    def __enter__(self) -> ControlChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_handshakes(handshakes: Channel | None, cut: int, control: str, security: Security | None) -> int:
    """Return how many connections were cut within the handshake, `cut` of them before.

    Raises:
        RefusedError: the sidecar refuses the connection because of its keys.
    """
    for failure in handshakes.refusals() if handshakes is not None else ():
        cut += failure == "cut"
        if failure != "cut" or cut >= _CUT_HANDSHAKES:
            raise RefusedError("key", f"the sidecar at {control} {_refused(failure, security)}")
    return cut


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
