"""Result sockets, stepped by hand: what a client that is not connected yet gets later, and what is dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sidecar.protocol import channels
from sidecar.protocol.channels import Channel
from sidecar.protocol.errors import ChannelError
from sidecar.server.endpoints import Endpoints
from sidecar.server.results import ResultSockets
from tests.integration.serving import free_ports
from tests.support import wait_until


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def results(opened: ExitStack) -> ResultSockets:
    sockets = ResultSockets(Endpoints.loopback())
    sockets._endpoints.control = "tcp://127.0.0.1:*"
    opened.callback(sockets.close)
    return sockets


def connect(opened: ExitStack, endpoint: str) -> Channel:
    client = opened.enter_context(channels.pull())
    client.connect(endpoint)
    return client


def receive(client: Channel) -> bytes | None:
    client.wait(5.0)
    return client.receive()


def test_a_client_keeps_its_endpoint(results: ResultSockets) -> None:
    assert results.endpoint("a") == results.endpoint("a") != results.endpoint("b")


def test_results_sent_before_the_client_connects_arrive_in_order(opened: ExitStack, results: ResultSockets) -> None:
    endpoint = results.endpoint("a")
    for number in range(3):
        results.send("a", b"%d" % number)
    assert results.send_unsent(time.monotonic()), "nothing can be sent yet"
    client = connect(opened, endpoint)
    wait_until(lambda: not results.send_unsent(time.monotonic()), "all are sent")
    assert [receive(client) for _ in range(3)] == [b"0", b"1", b"2"]


def test_a_result_does_not_overtake_buffered_ones(opened: ExitStack, results: ResultSockets) -> None:
    endpoint = results.endpoint("a")
    results.send("a", b"first")
    client = connect(opened, endpoint)
    wait_until(lambda: not results.send_unsent(time.monotonic()), "the first is sent")
    results.send("a", b"second")
    assert [receive(client), receive(client)] == [b"first", b"second"]


def test_at_most_64_results_are_buffered(opened: ExitStack, results: ResultSockets) -> None:
    endpoint = results.endpoint("a")
    for number in range(70):
        results.send("a", b"%d" % number)
    client = connect(opened, endpoint)
    wait_until(lambda: not results.send_unsent(time.monotonic()), "the buffered ones are sent")
    assert [receive(client) for _ in range(64)] == [b"%d" % number for number in range(64)]
    assert not client.wait(0.05) and client.receive() is None


def test_buffered_results_are_dropped_after_five_seconds(results: ResultSockets) -> None:
    results.endpoint("a")
    results.send("a", b"late")
    now = time.monotonic()
    assert results.send_unsent(now + 4.9)
    assert not results.send_unsent(now + 5.1)


def test_nothing_happens_for_a_client_that_has_detached(results: ResultSockets) -> None:
    results.endpoint("a")
    results.send("a", b"unsent")
    results.forget("a")
    results.forget("a")
    results.send("a", b"late")
    assert not results.send_unsent(time.monotonic())


def test_the_port_of_a_detached_client_is_given_to_the_next(opened: ExitStack) -> None:
    sockets = ResultSockets(Endpoints("tcp://127.0.0.1:5757", free_ports(2)))
    opened.callback(sockets.close)
    sockets.endpoint("a")
    freed = sockets.endpoint("b")
    with pytest.raises(ChannelError, match="no port is free"):
        sockets.endpoint("c")
    sockets.forget("b")

    def next_endpoint() -> str:
        try:
            return sockets.endpoint("c")
        except ChannelError:  # ZeroMQ has not released the port yet
            return ""

    assert wait_until(next_endpoint, "the port is free again") == freed
