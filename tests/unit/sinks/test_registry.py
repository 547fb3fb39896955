"""The registry of sinks: one row is all that a new sink needs besides its own folder."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from sidecar.log.reader import Batch, LogReader
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.records import Record
from sidecar.protocol.sink_address import parse_sink
from sidecar.protocol.sink_kinds import SINK_KINDS, SinkKind, file_variables, forms
from sidecar.sinks.contract import SinkTarget
from sidecar.sinks.delivery import Delivery
from sidecar.sinks.registry import open_sink
from tests.support import REPOSITORY
from tests.unit.run_builder import RunBuilder
from tracker.settings import resolve
from tracker.transport.interpreter import sidecar_environment

RECEIVED: list[Record] = []


class Parrot:
    """A sink of which the product knows nothing but its row."""

    batch_bytes = 1000

    def __init__(self, target: SinkTarget) -> None:
        self.target = target

    def open(self) -> None:
        self.target.memory["opened"] = True

    def send(self, batch: Batch, state: RunState) -> int:
        RECEIVED.extend(batch.records)
        return batch.end

    def version(self) -> str:
        return "1.0"

    def close(self, deadline: Deadline) -> None:
        """It holds nothing open."""


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds the row."""
    row = SinkKind(
        transports=("squawk",),
        form="parrot+squawk://perch:7",
        factory=f"{__name__}:Parrot",
        secrets=("PARROT_WORD",),
        files=("PARROT_CAGE",),
    )
    monkeypatch.setitem(SINK_KINDS, "parrot", row)
    RECEIVED.clear()


def test_a_row_is_all_that_a_new_sink_needs(parrot: None, root: Path) -> None:
    run = RunBuilder(root, "run1")
    for step in range(100):
        run.row(step, loss=1.0 / (step + 1))
    run.finish()
    delivery = Delivery(run.dir, parse_sink("parrot+squawk://perch:7"))
    now = time.monotonic()
    while delivery.behind_bytes():
        now += delivery.step(now)
    delivery.close(Deadline(1.0))
    with LogReader(run.log_path) as reader:
        assert [record for batch in reader.batches() for record in batch.records] == RECEIVED
    assert delivery.progress.memory == {"opened": True}


def test_settings_help_and_errors_know_the_new_sink(parrot: None) -> None:
    assert resolve({"sinks": ["parrot+squawk://perch:7"]}).sinks == ("parrot+squawk://perch:7",)
    assert forms().endswith(" or parrot+squawk://perch:7")
    with pytest.raises(ValueError, match=r"or parrot\+squawk://perch:7, not 'budgie\+http://perch'"):
        parse_sink("budgie+http://perch")
    with pytest.raises(ValueError, match=r"must begin with parrot\+squawk://$"):
        parse_sink("parrot+http://perch")


def test_a_sidecar_gets_absolute_paths_of_its_files(
    parrot: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("word").write_text("hello")
    for name in ("PARROT_CAGE", "PARROT_WORD_FILE", "PARROT_WORD"):
        monkeypatch.setenv(name, "word")
    environment = sidecar_environment()
    assert environment["PARROT_CAGE"] == environment["PARROT_WORD_FILE"] == str(tmp_path / "word")
    assert environment["PARROT_WORD"] == "word", "a secret is not a path, even if a file has its name"


@pytest.mark.parametrize("kind", SINK_KINDS)
def test_every_row_has_a_valid_form_and_a_sink(kind: str, tmp_path: Path) -> None:
    address = parse_sink(SINK_KINDS[kind].form)
    sink = open_sink(SinkTarget(address, "run1", tmp_path, {}))
    assert type(sink).__module__.startswith("sidecar.sinks.") and sink.batch_bytes > 0
    sink.close(Deadline(1.0))
    assert address.kind == kind and address.text == SINK_KINDS[kind].form


def test_the_rows_name_all_variables_that_sinks_read() -> None:
    named = {name for kind in SINK_KINDS.values() for name in (*kind.secrets, *kind.files)}
    variable = re.compile(r"\b(?:MLFLOW_TRACKING|CLICKHOUSE|TRACKER|REQUESTS|SSL)_[A-Z_]+\b")
    read = {
        name.removesuffix("_FILE") if name.removesuffix("_FILE") in named else name
        for path in (REPOSITORY / "sidecar" / "sinks").rglob("*.py")
        for name in variable.findall(path.read_text())
    }
    assert read - {"TRACKER_SINKS"} <= named
    assert {"SSL_CERT_FILE", "CLICKHOUSE_PASSWORD_FILE", "TRACKER_CLIENT_KEY"} <= file_variables()
    assert not {"CLICKHOUSE_PASSWORD", "MLFLOW_TRACKING_TOKEN"} & file_variables()
