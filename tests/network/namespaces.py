"""Hosts made of Linux namespaces, each with its own network, processes, mounts and host name, connected by cables.

    with Network() as network:
        trainer, server = network.host("trainer"), network.host("server")
        cable = network.connect(trainer, "10.77.1.1", server, "10.77.1.2")
        with Served(server, root, "--listen", "tcp://0.0.0.0:5757", "--insecure") as sidecar:
            ...

This is what a container engine does. Namespaces, interfaces, addresses and mounts are visible only inside, so parallel
test runs cannot collide, and nothing has to be removed by name. The first process of a host reads from a pipe that the
test process holds. However the test process ends, that first process ends too, and the kernel removes the other
processes, the interfaces and the mounts (pid_namespaces(7), network_namespaces(7)).

Does not know what a test checks.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.faults.trainers import Tally, Trainer, environment
from tests.support import TIMEOUT

TOOLS = {
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""The required programs, and the Debian packages that contain them."""


def require(*tools: str) -> None:
    """Fail the test if this machine cannot create namespaces; the message says what is missing."""
    missing = sorted({TOOLS[tool] for tool in tools if shutil.which(tool) is None})
    assert not missing, f"tests/network needs the packages {', '.join(missing)}: apt-get install {' '.join(missing)}"
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount", "--uts", "--mount-proc", "true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (
        "tests/network creates network, pid, mount and uts namespaces: run it as root, in a container with "
        f"--privileged ({done.stderr.strip()}; user id {os.geteuid()})"
    )


class Host:
    """A host in its own namespaces. Created by `Network.host`.

    Args:
        name: its host name.
        names: host name -> address, for its ``/etc/hosts``.
        mounts: path below ``/run`` or ``/srv`` -> what is mounted there; both directories are else empty.
        hidden: directories that this host must not see.
        beside: a host whose network this one shares, like the containers of one pod.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        names: Mapping[str, str],
        mounts: Mapping[str, Path],
        hidden: Sequence[Path],
        beside: Host | None = None,
    ) -> None:
        self.name = name
        hosts = directory / f"{name}.hosts"
        hosts.write_text("".join(f"{ip} {host}\n" for host, ip in {"localhost": "127.0.0.1", **names}.items()))
        lines = ["set -e", f"hostname {shlex.quote(name)}", "ip link set lo up"]
        lines.append(f"mount --bind {shlex.quote(str(hosts))} /etc/hosts")
        if mounts:
            lines += [f"mount -t tmpfs -o mode=755 none {top}" for top in ("/run", "/srv")]
        for target, source in mounts.items():
            mount_point, quoted = shlex.quote(target), shlex.quote(str(source))
            lines.append(f"mkdir -p $(dirname {mount_point})")
            lines.append(f"mkdir {mount_point}" if source.is_dir() else f"touch {mount_point}")
            lines.append(f"mount --bind {quoted} {mount_point}")
        lines += [f"mount -t tmpfs -o mode=755 none {shlex.quote(str(path))}" for path in hidden]
        lines += ["echo ready", "exec cat >/dev/null"]
        namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--uts"]
        network = ["unshare", "--net"] if beside is None else beside.enter_network("unshare")
        self._process = subprocess.Popen(
            [*network, *namespaces, "sh", "-c", "\n".join(lines)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None and self._process.stderr is not None
        if self._process.stdout.readline() != "ready\n":
            errors = self._process.stderr.read()
            self.close()
            raise AssertionError(f"the host {name} cannot be created: {errors}")
        self.pid = psutil.Process(self._process.pid).children()[0].pid

    def enter_network(self, *words: str) -> list[str]:
        """Return the command that runs `words` in this host's network only, outside its other namespaces."""
        return ["nsenter", "--target", str(self.pid), "--net", *words]

    def command(self, words: Sequence[str], directory: Path | str = "/") -> list[str]:
        """Return the command that runs `words` on this host, in `directory`."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--pid", "--mount", "--uts"]
        return [*enter, "sh", "-c", 'cd "$0" && exec "$@"', str(directory), *words]

    def run(
        self, *words: str, input: str | None = None, env: Mapping[str, str] | None = None, code: int | None = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this host, and check its exit status."""
        done = subprocess.run(
            self.command(words), input=input or "", capture_output=True, text=True, timeout=TIMEOUT, env=env,
            check=False,
        )  # fmt: skip
        assert code is None or done.returncode == code, f"{shlex.join(words)}: {done.returncode} {done.stderr}"
        return done

    def close(self) -> None:
        """Kill all processes of the host."""
        self._process.kill()  # unshare, which kills its child
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        self._process.wait(TIMEOUT)


class Cable:
    """Connects two hosts. While it is cut, packets are dropped without a reply and connections stay open."""

    def __init__(self, host: Host, interface: str) -> None:
        self._host = host
        self._interface = interface

    def cut(self) -> None:
        self._host.run("ip", "link", "set", self._interface, "down")

    def mend(self) -> None:
        self._host.run("ip", "link", "set", self._interface, "up")


class Network:
    """Hosts and the cables between them. As a context manager, it removes all of them at the exit."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()

    def __enter__(self) -> Network:
        require(*TOOLS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def host(
        self,
        name: str,
        *,
        names: Mapping[str, str] | None = None,
        mounts: Mapping[str, Path] | None = None,
        hidden: Sequence[Path] = (),
        beside: Host | None = None,
    ) -> Host:
        """Create a host; see `Host`."""
        host = Host(name, self._directory, names or {}, mounts or {}, hidden, beside)
        self._stack.callback(host.close)
        return host

    def connect(self, one: Host, one_address: str, other: Host, other_address: str) -> Cable:
        """Connect two hosts by a cable; both addresses are in one /24 network."""
        one_interface, other_interface = f"to-{other.name}"[:15], f"to-{one.name}"[:15]
        peer = ["peer", "name", other_interface, "netns", str(other.pid)]
        subprocess.run(  # the process id is valid outside the host's pid namespace, so only the network is entered
            one.enter_network("ip", "link", "add", one_interface, "type", "veth", *peer),
            stdin=subprocess.DEVNULL, check=True, timeout=TIMEOUT,
        )  # fmt: skip
        for host, interface, address in ((one, one_interface, one_address), (other, other_interface, other_address)):
            host.run("ip", "addr", "add", f"{address}/24", "dev", interface)
            host.run("ip", "link", "set", interface, "up")
        return Cable(other, other_interface)


def masquerade(router: Host, inside: str, outside: str) -> None:
    """Make `router` forward connections from `inside` to `outside` under its own address, and drop all others."""
    router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    router.run("nft", "-f", "-", input=f"""
        table ip nat {{
            chain out {{ type nat hook postrouting priority srcnat; oifname "{outside}" masquerade; }}
            chain through {{
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname "{inside}" oifname "{outside}" accept
            }}
        }}
        """)  # fmt: skip


# -- processes on a host ----------------------------------------------------------


class Process:
    """A process on a host. Signals go to the process, not to the ``nsenter`` that waits for it.

    Args:
        output: the file for its standard output and standard error.
    """

    def __init__(
        self, host: Host, words: Sequence[str], output: Path, env: Mapping[str, str], pass_fds: Sequence[int] = ()
    ) -> None:
        self.output = output
        with open(output, "ab") as file:
            self.outer = subprocess.Popen(
                host.command(words, output.parent),
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env, pass_fds=tuple(pass_fds),
                start_new_session=True,
            )  # fmt: skip

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, unless the process has ended."""
        if self.outer.poll() is None:
            for child in psutil.Process(self.outer.pid).children():
                child.send_signal(number)

    def wait(self, seconds: float = TIMEOUT) -> int:
        return self.outer.wait(seconds)

    def alive(self) -> bool:
        return self.outer.poll() is None

    def close(self) -> None:
        self.kill()
        self.outer.wait(TIMEOUT)


class Served:
    """``sidecar serve`` on a host. As a context manager, it serves until the exit.

    Args:
        root: its ``--dir``.
        options: more arguments of its command line.
        key: the file of its own key, with which ``status`` and ``stop`` may be called on the same host.
    """

    def __init__(self, host: Host, root: Path, *options: str, key: Path | None = None) -> None:
        self.host = host
        self.root = root
        self.output = root.parent / "sidecar.log"
        self._options = [*options, *(["--key", str(key)] if key is not None else [])]
        self._env = environment(root, {"TRACKER_CLIENT_KEY": str(key) if key is not None else None})
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        read, write = os.pipe()
        words = [sys.executable, "-m", "sidecar", "serve", "--dir", str(self.root), *self._options]
        words += ["--ready-fd", str(write)]
        self._process = Process(self.host, words, self.output, self._env, [write])
        os.close(write)
        with os.fdopen(read, "rb") as ready:
            assert ready.readline() == b"ready\n", f"the sidecar does not serve: {self.log_text()}"

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def command(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of ``sidecar`` on its host."""
        return self.host.run(sys.executable, "-m", "sidecar", *words, env=self._env, code=code)

    def status(self) -> dict[str, Any]:
        """Return the output of ``sidecar status --json`` on its host."""
        status: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return status

    def log_text(self) -> str:
        """Return the content of its log."""
        return self.output.read_text(errors="replace")

    def lines(self, text: str) -> list[str]:
        """Return the lines of its log that contain `text`."""
        return [line for line in self.log_text().splitlines() if text in line]

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.close()


class FarTrainer(Trainer):
    """A `Trainer` on a host; the other arguments are those of `Trainer`.

    Args:
        host: the host it runs on.
    """

    def __init__(
        self,
        host: Host,
        root: Path,
        program: str,
        run: str = "run",
        *,
        first: int = 0,
        env: Mapping[str, str | None] | None = None,
        **options: Any,
    ) -> None:
        self.root = root
        self.run = run
        self.name = f"trainer-{os.urandom(3).hex()}"
        self.tally = Tally(root.parent / f"{self.name}.tally", 1, first)
        self._output = root.parent / f"{self.name}.out"
        arguments = {"run": run, "tally": str(self.tally.path), "writers": 1, "first": first, **options}
        words = [sys.executable, "-u", "-m", "tests.faults.trainers", program, json.dumps(arguments)]
        self._inner = Process(host, words, self._output, environment(root, env))
        self.process = self._inner.outer
        self.pid = self.process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._inner.kill(number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.close()
        super().__exit__(kind, error, trace)
