"""Endpoints: parsing, the endpoints that clients are sent, and whether other machines can reach them."""

from __future__ import annotations

import pytest

from sidecar.protocol.endpoints import advertised, connectable, is_loopback, join_tcp, numeric, reached, split_tcp


@pytest.mark.parametrize(
    ("endpoint", "host", "port"),
    [
        ("tcp://127.0.0.1:5757", "127.0.0.1", "5757"),
        ("tcp://gpu-07.lab:1", "gpu-07.lab", "1"),
        ("tcp://*:65535", "*", "65535"),
        ("tcp://0.0.0.0:*", "0.0.0.0", "*"),
        ("tcp://[::1]:5757", "::1", "5757"),
        ("tcp://::1:5757", "::1", "5757"),
        ("tcp://[fe80::1%eth0]:5757", "fe80::1%eth0", "5757"),
    ],
)
def test_split(endpoint: str, host: str, port: str) -> None:
    assert split_tcp(endpoint) == (host, port)
    assert split_tcp(join_tcp(host, port)) == (host, port)


@pytest.mark.parametrize(
    "endpoint",
    ["", "5757", "localhost:5757", "tcp://", "tcp://host", "tcp://:5757", "tcp://host:", "tcp://host:x", "tcp://h:-1",
     "tcp://host:65536", "tcp://host:5757/path", "tcp://ho st:5757", "tcp://a/b:1", "tcp://[]:1", "tcp://[::1:1",
     "udp://host:1", "http://host:1", "ipc:///path", "tcp://host:²", "tcp://host:٣", "tcp://host:1\n"],
)  # fmt: skip
def test_an_invalid_tcp_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"an endpoint must be tcp://host:port or ipc:///path"):
        split_tcp(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("ipc:///tmp/door", True),
        ("tcp://127.0.0.1:5757", True),
        ("tcp://127.9.9.9:*", True),
        ("tcp://[::1]:5757", True),
        ("tcp://localhost:5757", True),
        ("tcp://0.0.0.0:5757", False),
        ("tcp://*:5757", False),
        ("tcp://[::]:5757", False),
        ("tcp://0:5757", False),
        ("tcp://192.0.2.1:5757", False),
        ("tcp://no-such-host.invalid:5757", False),
        ("tcp://" + "x" * 70 + ".y:5757", False),
    ],
)
def test_endpoints_that_only_this_machine_can_reach(endpoint: str, local: bool) -> None:
    assert is_loopback(endpoint) is local


@pytest.mark.parametrize(
    ("bound", "sent", "control", "connected"),
    [
        ("tcp://0.0.0.0:5758", "tcp://*:5758", "tcp://gpu-07:5757", "tcp://gpu-07:5758"),
        ("tcp://[::]:5758", "tcp://*:5758", "tcp://[2001:db8::1]:5757", "tcp://[2001:db8::1]:5758"),
        ("tcp://192.0.2.1:5758", "tcp://192.0.2.1:5758", "tcp://gpu-07:5757", "tcp://192.0.2.1:5758"),
        ("tcp://127.0.0.1:5758", "tcp://127.0.0.1:5758", "tcp://localhost:5757", "tcp://127.0.0.1:5758"),
        ("ipc:///tmp/x/records", "ipc:///tmp/x/records", "ipc:///tmp/x/door", "ipc:///tmp/x/records"),
    ],
)
def test_an_unspecified_host_is_replaced_by_that_of_the_control_socket(
    bound: str, sent: str, control: str, connected: str
) -> None:
    assert advertised(bound) == sent
    assert reached(sent, control) == connected


def test_a_host_name_is_resolved_to_bind() -> None:
    assert numeric("localhost") == "127.0.0.1"
    for same in ("127.0.0.1", "::1", "0.0.0.0", "*", "lo", "no-such-host.invalid"):
        assert numeric(same) == same


def test_a_host_name_is_resolved_to_connect() -> None:
    """For a name with both kinds of addresses, ZeroMQ tries only the IPv6 address."""
    assert connectable("tcp://localhost:5757") == "tcp://127.0.0.1:5757"
    for same in ("tcp://127.0.0.1:5757", "tcp://[::1]:5757", "ipc:///tmp/door", "no://where"):
        assert connectable(same) == same
