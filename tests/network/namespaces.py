"""Machines made of Linux namespaces: each with a network, processes, mounts and a name of its own, and cables between.

    with Network() as network:
        trainer, server = network.host("trainer"), network.host("server")
        cable = network.connect(trainer, "10.77.1.1", server, "10.77.1.2")
        with Served(server, root, "--listen", "tcp://0.0.0.0:5757", "--insecure") as sidecar:
            ...

It is what a container engine does, without one. Nothing of it has a name outside: namespaces, interfaces, addresses and
mounts are seen from within only, so runs of these tests cannot meet, and there is nothing to clean up by name. The
first process of a host reads from a pipe of the tests'. Where they end, in whatever way, it ends, and the system takes
all the others, the interfaces and the mounts with it (pid_namespaces(7), network_namespaces(7)).

Knows nothing of what a test is about.
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
"""The programs that are needed, and Debian's packages that have them."""


def require(*tools: str) -> None:
    """Fail the test where a machine cannot make namespaces, and say what it needs."""
    missing = sorted({TOOLS[tool] for tool in tools if shutil.which(tool) is None})
    assert not missing, f"tests/network needs the packages {', '.join(missing)}: apt-get install {' '.join(missing)}"
    tried = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount", "--uts", "--mount-proc", "true"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert tried.returncode == 0, (
        "tests/network makes network, pid, mount and uts namespaces: run it as root, in a container with "
        f"--privileged ({tried.stderr.strip()}; user id {os.geteuid()})"
    )


class Host:
    """A machine of its own. Made by `Network.host`.

    Args:
        name: its host name.
        names: host name -> address, for its ``/etc/hosts``.
        mounts: path below ``/run`` or ``/srv`` -> what is there on this host; both begin empty where this is given.
        hidden: directories of the tests that this host must not see.
        beside: a host whose network this one shares, as containers of one pod do.
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
            where, what = shlex.quote(target), shlex.quote(str(source))
            lines.append(f"mkdir -p $(dirname {where})")
            lines.append(f"mkdir {where}" if source.is_dir() else f"touch {where}")
            lines.append(f"mount --bind {what} {where}")
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
            said = self._process.stderr.read()
            self.close()
            raise AssertionError(f"the host {name} cannot be made: {said}")
        self.pid = psutil.Process(self._process.pid).children()[0].pid

    def enter_network(self, *words: str) -> list[str]:
        """Return the command that runs `words` out here, in this host's network."""
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
        """End the host with all that runs on it."""
        self._process.kill()  # unshare, which has its child killed
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        self._process.wait(TIMEOUT)


class Cable:
    """Joins two hosts. Pulled out, what is sent vanishes without an answer, and connections stay as they are."""

    def __init__(self, host: Host, interface: str) -> None:
        self._host = host
        self._interface = interface

    def cut(self) -> None:
        self._host.run("ip", "link", "set", self._interface, "down")

    def mend(self) -> None:
        self._host.run("ip", "link", "set", self._interface, "up")


class Network:
    """Hosts and the cables between them. As a context manager: all of it is gone at the end."""

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
        """Make a host; see `Host`."""
        host = Host(name, self._directory, names or {}, mounts or {}, hidden, beside)
        self._stack.callback(host.close)
        return host

    def connect(self, one: Host, one_address: str, other: Host, other_address: str) -> Cable:
        """Join two hosts by a cable, with an address of one /24 network at each end."""
        mine, theirs = f"to-{other.name}"[:15], f"to-{one.name}"[:15]
        peer = ["peer", "name", theirs, "netns", str(other.pid)]
        subprocess.run(  # the process id is one of out here, so only the network is entered
            one.enter_network("ip", "link", "add", mine, "type", "veth", *peer),
            stdin=subprocess.DEVNULL, check=True, timeout=TIMEOUT,
        )  # fmt: skip
        for host, interface, address in ((one, mine, one_address), (other, theirs, other_address)):
            host.run("ip", "addr", "add", f"{address}/24", "dev", interface)
            host.run("ip", "link", "set", interface, "up")
        return Cable(other, theirs)


def masquerade(router: Host, inside: str, outside: str) -> None:
    """Have `router` send on what comes from the interface `inside`, under its own address, and let nothing new in."""
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


# -- what runs on a host -----------------------------------------------------------


class Process:
    """A process on a host. Signals go to itself, not to the ``nsenter`` that waits for it out here.

    Args:
        output: where its standard output and standard error go.
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
        """Send a signal; one to a process that has ended does nothing."""
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
    """``sidecar serve`` on a host. As a context manager: it serves, and is ended if it still does.

    Args:
        root: its ``--dir``.
        options: more of its command line.
        key: the file of its own key, with which it may be asked and stopped from the same host.
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
            assert ready.readline() == b"ready\n", f"the sidecar does not serve: {self.said()}"

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def command(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of ``sidecar`` on its host."""
        return self.host.run(sys.executable, "-m", "sidecar", *words, env=self._env, code=code)

    def status(self) -> dict[str, Any]:
        """Return what ``sidecar status`` tells on its host."""
        found: dict[str, Any] = json.loads(self.command("status", "--json").stdout)
        return found

    def said(self) -> str:
        """Return what is in its log."""
        return self.output.read_text(errors="replace")

    def lines(self, text: str) -> list[str]:
        """Return the lines of its log that have `text` in them."""
        return [line for line in self.said().splitlines() if text in line]

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.close()


class FarTrainer(Trainer):
    """A `Trainer` on a host; see there for what is not here.

    Args:
        host: where it runs.
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
        told = {"run": run, "tally": str(self.tally.path), "writers": 1, "first": first, **options}
        words = [sys.executable, "-u", "-m", "tests.faults.trainers", program, json.dumps(told)]
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
