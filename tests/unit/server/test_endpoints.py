"""Endpoints of a sidecar, with real sockets: ranges of ports, Unix sockets, addresses that cannot be bound."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from sidecar.protocol import channels
from sidecar.protocol.channels import Channel
from sidecar.protocol.endpoints import split_tcp
from sidecar.protocol.errors import ChannelError
from sidecar.server.endpoints import Endpoints
from tests.integration.serving import free_ports
from tests.support import wait_until


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def short(temporary: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with a path short enough for a Unix socket."""
    path = temporary / f"b{abs(hash(request.node.name)) % 10**6}"
    path.mkdir()
    return path


def pull(opened: ExitStack) -> Channel:
    return opened.enter_context(channels.pull())


def port_of(endpoint: str) -> int:
    return int(split_tcp(endpoint)[1])


def reaches(opened: ExitStack, bound: Channel, endpoint: str) -> bool:
    """Return whether a message to `endpoint` arrives at `bound`."""
    sender = opened.enter_context(channels.push())
    sender.connect(endpoint)
    wait_until(lambda: sender.send(endpoint.encode()), "it connects")
    return bound.wait(10.0) and bound.receive() == endpoint.encode()


# -- tcp --------------------------------------------------------------------------------------------------------------


def test_ports_of_a_range_are_used_and_released(opened: ExitStack) -> None:
    control, *rest = free_ports(4)
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{control}", range(rest[0], rest[-1] + 1))
    assert endpoints.local
    assert endpoints.about() == f"ports {rest[0]}-{rest[-1]} for records and results"
    assert endpoints.bind_control(pull(opened)) == f"tcp://127.0.0.1:{control}"
    bound: dict[str, Channel] = {}
    for _ in rest:
        channel = pull(opened)
        bound[endpoints.bind(channel, "any")] = channel
    assert sorted(map(port_of, bound)) == rest
    assert all(reaches(opened, channel, endpoint) for endpoint, channel in bound.items())
    late = pull(opened)
    with pytest.raises(ChannelError) as caught:
        endpoints.bind(late, "late")
    for word in ("no port is free on 127.0.0.1", f"{rest[0]}-{rest[-1]}", "--ports"):
        assert word in str(caught.value)
    for _ in range(30):  # the only free port is the one that was just released
        endpoint, channel = bound.popitem()
        channel.close()
        endpoints.release(endpoint)
        again = pull(opened)
        bound[endpoints.bind(again, "again")] = again
    assert sorted(map(port_of, bound)) == rest


def test_a_port_in_use_is_skipped(opened: ExitStack) -> None:
    control, first, second = free_ports(3)
    opened.enter_context(closing(other := socket.socket()))
    other.bind(("127.0.0.1", first))
    other.listen()
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{control}", range(first, second + 1))
    assert port_of(endpoints.bind(pull(opened), "records")) == second


def test_the_ports_after_that_of_the_control_socket_are_the_default(opened: ExitStack) -> None:
    (control,) = free_ports(1)
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{control}")
    assert endpoints.about() == f"ports {control + 1}-{control + 1000} for records and results"
    assert control < port_of(endpoints.bind(pull(opened), "records")) <= control + 1000


@pytest.mark.parametrize("port", ["*", "0"])
def test_any_port(opened: ExitStack, port: str) -> None:
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{port}")
    assert endpoints.about() == "any port for records and results"
    bound_at = [
        endpoints.bind_control(pull(opened)),
        endpoints.bind(pull(opened), "a"),
        endpoints.bind(pull(opened), "b"),
    ]
    assert len({port_of(endpoint) for endpoint in bound_at}) == 3 and 0 not in map(port_of, bound_at)
    endpoints.release(bound_at[1])


def test_any_port_for_the_control_socket_and_a_range_for_the_others(opened: ExitStack) -> None:
    ports = free_ports(2)
    endpoints = Endpoints.listening("tcp://127.0.0.1:*", ports)
    endpoints.bind_control(pull(opened))
    assert port_of(endpoints.bind(pull(opened), "records")) in ports


def test_an_endpoint_on_all_addresses_has_no_host(opened: ExitStack) -> None:
    endpoints = Endpoints.listening("tcp://0.0.0.0:*")
    assert not endpoints.local
    assert endpoints.bind_control(pull(opened)).startswith("tcp://*:")
    channel = pull(opened)
    bound_at = endpoints.bind(channel, "records")
    assert bound_at.startswith("tcp://*:")
    assert reaches(opened, channel, f"tcp://127.0.0.1:{port_of(bound_at)}")


def test_a_host_name_is_bound_at_its_address(opened: ExitStack) -> None:
    endpoints = Endpoints.listening("tcp://localhost:*")
    assert endpoints.local
    assert endpoints.bind_control(pull(opened)).startswith("tcp://127.0.0.1:")


def test_an_address_that_is_in_use(opened: ExitStack) -> None:
    first = pull(opened)
    control = Endpoints.listening("tcp://127.0.0.1:*").bind_control(first)
    with pytest.raises(ChannelError, match=r"cannot bind: Address already in use") as caught:
        Endpoints.listening(control).bind_control(pull(opened))
    assert control in str(caught.value)
    assert reaches(opened, first, control)


@pytest.mark.parametrize(
    ("listen", "ports", "words"),
    [
        ("nothing", None, ["'nothing'", "tcp://host:port", "ipc:///path"]),
        ("tcp://127.0.0.1", None, ["tcp://host:port"]),
        ("tcp://127.0.0.1:port", None, ["tcp://host:port"]),
        ("tcp://127.0.0.1:65536", None, ["tcp://host:port"]),
        ("tcp://127.0.0.1:65535", None, ["0 ports", "--ports"]),
        ("tcp://127.0.0.1:65534", None, ["1 ports", "--ports"]),
        ("tcp://127.0.0.1:5757", range(5757, 5759), ["1 ports", "--ports"]),
        ("ipc://", None, ["ipc:///path"]),
        ("ipc://relative/door", None, ["ipc:///path"]),
        ("ipc://@abstract", None, ["ipc:///path"]),
        ("ipc:///", None, ["directory"]),
        ("ipc:///tmp", None, ["ipc:///tmp", "directory"]),
        ("ipc:///tmp/door", range(5000, 5010), ["--ports needs a tcp:// endpoint"]),
    ],
)
def test_an_invalid_endpoint(listen: str, ports: range | None, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        Endpoints.listening(listen, ports)
    for word in words:
        assert word in str(caught.value)


# -- Unix sockets -----------------------------------------------------------------------------------------------------


def test_unix_sockets_are_beside_the_control_socket_and_private(opened: ExitStack, short: Path) -> None:
    endpoints = Endpoints.listening(f"ipc://{short}/door")
    assert endpoints.local and str(short) in endpoints.about()
    control, records = pull(opened), pull(opened)
    assert endpoints.bind_control(control) == f"ipc://{short}/door"
    bound_at = endpoints.bind(records, "records")
    assert bound_at == f"ipc://{short}/door.d/records"
    assert reaches(opened, records, bound_at)
    assert stat.S_IMODE((short / "door.d").stat().st_mode) == 0o700
    endpoints.remove()
    endpoints.remove()
    assert list(short.iterdir()) == []


def test_remove_leaves_a_private_directory_to_its_creator(opened: ExitStack, short: Path) -> None:
    endpoints = Endpoints.private(short)
    control = pull(opened)
    endpoints.bind_control(control)
    endpoints.bind(pull(opened), "records")
    endpoints.remove()
    assert (short / "records").exists()


def test_a_control_socket_in_use_is_not_replaced(opened: ExitStack, short: Path) -> None:
    first = pull(opened)
    bound_at = Endpoints.listening(f"ipc://{short}/door").bind_control(first)
    second = Endpoints.listening(bound_at)
    with pytest.raises(ChannelError, match=r"door: cannot bind: another process is listening there"):
        second.bind_control(pull(opened))
    second.remove()
    assert reaches(opened, first, bound_at) and (short / "door").exists()


def test_a_file_with_the_name_of_the_control_socket_is_not_replaced(opened: ExitStack, short: Path) -> None:
    (short / "door").write_text("precious")
    with pytest.raises(ChannelError, match="is not a socket"):
        Endpoints.listening(f"ipc://{short}/door").bind_control(pull(opened))
    assert (short / "door").read_text() == "precious"


def test_sockets_of_a_killed_sidecar_are_replaced(opened: ExitStack, short: Path) -> None:
    for path in (short / "door", short / "door.d" / "records"):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    endpoints = Endpoints.listening(f"ipc://{short}/door")
    control, records = pull(opened), pull(opened)
    assert reaches(opened, control, endpoints.bind_control(control))
    assert reaches(opened, records, endpoints.bind(records, "records"))


@pytest.mark.parametrize("made", ["a file", "open to others", "a link"])
def test_a_directory_that_another_user_could_have_created_is_refused(opened: ExitStack, short: Path, made: str) -> None:
    directory = short / "door.d"
    if made == "a file":
        directory.touch()
    elif made == "a link":
        (short / "elsewhere").mkdir()
        directory.symlink_to(short / "elsewhere")
    else:
        directory.mkdir()
        directory.chmod(0o777)
    endpoints = Endpoints.listening(f"ipc://{short}/door")
    with pytest.raises(ChannelError, match=r"door\.d"):
        endpoints.bind(pull(opened), "records")
    endpoints.remove()
    assert directory.exists()


def test_a_path_that_is_too_long_for_a_socket(opened: ExitStack, short: Path) -> None:
    with pytest.raises(ChannelError, match="107 bytes"):
        Endpoints.listening(f"ipc://{short}/{'d' * 100}").bind_control(pull(opened))
