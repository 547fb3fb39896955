"""Where a sidecar binds, with real sockets: ranges of ports, Unix sockets, addresses that cannot be had."""

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
    """A directory whose path leaves room for a socket's name."""
    path = temporary / f"b{abs(hash(request.node.name)) % 10**6}"
    path.mkdir()
    return path


def pull(opened: ExitStack) -> Channel:
    return opened.enter_context(channels.pull())


def port_of(endpoint: str) -> int:
    return int(split_tcp(endpoint)[1])


def reaches(opened: ExitStack, bound: Channel, endpoint: str) -> bool:
    """Whether what is sent to `endpoint` arrives at `bound`."""
    sender = opened.enter_context(channels.push())
    sender.connect(endpoint)
    wait_until(lambda: sender.send(endpoint.encode()), "it connects")
    return bound.wait(10.0) and bound.receive() == endpoint.encode()


# -- tcp --------------------------------------------------------------------------------------------------------------


def test_a_range_is_dealt_out_and_taken_back(opened: ExitStack) -> None:
    door, *rest = free_ports(4)
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{door}", range(rest[0], rest[-1] + 1))
    assert endpoints.local
    assert endpoints.about() == f"ports {rest[0]}-{rest[-1]} for records and results"
    assert endpoints.bind_control(pull(opened)) == f"tcp://127.0.0.1:{door}"
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
    for _ in range(30):  # the only port that is free is the one that was let go of just now
        endpoint, channel = bound.popitem()
        channel.close()
        endpoints.release(endpoint)
        again = pull(opened)
        bound[endpoints.bind(again, "again")] = again
    assert sorted(map(port_of, bound)) == rest


def test_a_port_of_somebody_else_is_passed_over(opened: ExitStack) -> None:
    door, first, second = free_ports(3)
    opened.enter_context(closing(taken := socket.socket()))
    taken.bind(("127.0.0.1", first))
    taken.listen()
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{door}", range(first, second + 1))
    assert port_of(endpoints.bind(pull(opened), "records")) == second


def test_the_ports_after_the_doors_are_the_default(opened: ExitStack) -> None:
    (door,) = free_ports(1)
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{door}")
    assert endpoints.about() == f"ports {door + 1}-{door + 1000} for records and results"
    assert door < port_of(endpoints.bind(pull(opened), "records")) <= door + 1000


@pytest.mark.parametrize("port", ["*", "0"])
def test_any_port(opened: ExitStack, port: str) -> None:
    endpoints = Endpoints.listening(f"tcp://127.0.0.1:{port}")
    assert endpoints.about() == "any port for records and results"
    told = [endpoints.bind_control(pull(opened)), endpoints.bind(pull(opened), "a"), endpoints.bind(pull(opened), "b")]
    assert len({port_of(endpoint) for endpoint in told}) == 3 and 0 not in map(port_of, told)
    endpoints.release(told[1])


def test_any_port_for_the_door_and_a_range_for_the_others(opened: ExitStack) -> None:
    ports = free_ports(2)
    endpoints = Endpoints.listening("tcp://127.0.0.1:*", ports)
    endpoints.bind_control(pull(opened))
    assert port_of(endpoints.bind(pull(opened), "records")) in ports


def test_all_addresses_are_told_without_a_host(opened: ExitStack) -> None:
    endpoints = Endpoints.listening("tcp://0.0.0.0:*")
    assert not endpoints.local
    assert endpoints.bind_control(pull(opened)).startswith("tcp://*:")
    channel = pull(opened)
    told = endpoints.bind(channel, "records")
    assert told.startswith("tcp://*:")
    assert reaches(opened, channel, f"tcp://127.0.0.1:{port_of(told)}")


def test_a_name_is_bound_at_its_address(opened: ExitStack) -> None:
    endpoints = Endpoints.listening("tcp://localhost:*")
    assert endpoints.local
    assert endpoints.bind_control(pull(opened)).startswith("tcp://127.0.0.1:")


def test_an_address_that_is_in_use(opened: ExitStack) -> None:
    first = pull(opened)
    door = Endpoints.listening("tcp://127.0.0.1:*").bind_control(first)
    with pytest.raises(ChannelError, match=r"cannot bind: Address already in use") as caught:
        Endpoints.listening(door).bind_control(pull(opened))
    assert door in str(caught.value)
    assert reaches(opened, first, door)


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
def test_what_cannot_be_listened_at(listen: str, ports: range | None, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:
        Endpoints.listening(listen, ports)
    for word in words:
        assert word in str(caught.value)


# -- Unix sockets -----------------------------------------------------------------------------------------------------


def test_unix_sockets_are_beside_the_door_and_for_their_owner_only(opened: ExitStack, short: Path) -> None:
    endpoints = Endpoints.listening(f"ipc://{short}/door")
    assert endpoints.local and str(short) in endpoints.about()
    door, records = pull(opened), pull(opened)
    assert endpoints.bind_control(door) == f"ipc://{short}/door"
    told = endpoints.bind(records, "records")
    assert told == f"ipc://{short}/door.d/records"
    assert reaches(opened, records, told)
    assert stat.S_IMODE((short / "door.d").stat().st_mode) == 0o700
    endpoints.remove()
    endpoints.remove()
    assert list(short.iterdir()) == []


def test_a_private_directory_is_left_to_who_made_it(opened: ExitStack, short: Path) -> None:
    endpoints = Endpoints.private(short)
    door = pull(opened)
    endpoints.bind_control(door)
    endpoints.bind(pull(opened), "records")
    endpoints.remove()
    assert (short / "records").exists()


def test_a_door_that_somebody_listens_at_is_not_taken_from_him(opened: ExitStack, short: Path) -> None:
    first = pull(opened)
    told = Endpoints.listening(f"ipc://{short}/door").bind_control(first)
    second = Endpoints.listening(told)
    with pytest.raises(ChannelError, match=r"door: cannot bind: another process is listening there"):
        second.bind_control(pull(opened))
    second.remove()
    assert reaches(opened, first, told) and (short / "door").exists()


def test_a_file_in_the_doors_place_is_left_alone(opened: ExitStack, short: Path) -> None:
    (short / "door").write_text("precious")
    with pytest.raises(ChannelError, match="is not a socket"):
        Endpoints.listening(f"ipc://{short}/door").bind_control(pull(opened))
    assert (short / "door").read_text() == "precious"


def test_what_a_sidecar_that_was_killed_has_left_is_taken_over(opened: ExitStack, short: Path) -> None:
    for path in (short / "door", short / "door.d" / "records"):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    endpoints = Endpoints.listening(f"ipc://{short}/door")
    door, records = pull(opened), pull(opened)
    assert reaches(opened, door, endpoints.bind_control(door))
    assert reaches(opened, records, endpoints.bind(records, "records"))


@pytest.mark.parametrize("made", ["a file", "open to others", "a link"])
def test_a_directory_that_others_could_have_made_is_refused(opened: ExitStack, short: Path, made: str) -> None:
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
