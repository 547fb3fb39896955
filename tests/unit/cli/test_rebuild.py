"""tracker rebuild."""

from __future__ import annotations

from pathlib import Path

from sidecar.projections.store.reader import StoreReader
from tests.unit.cli.commands import Captured, fails, run_json
from tests.unit.run_builder import RunBuilder
from tracker.cli.main import main


def test_rebuild(root: Path, capsys: Captured) -> None:
    store = root / "runs" / "first001" / "store.db"
    before = StoreReader(store).state()
    store.unlink()
    assert main(["rebuild", "first001"]) == 0
    assert "first001: 7 records, 7 values" in capsys.readouterr().out
    assert StoreReader(store).state() == before
    found = run_json(capsys, "rebuild")
    assert isinstance(found, list)
    assert [one["run"] for one in found] == ["first001", "second02"]


def test_rebuild_refuses_a_live_run_and_goes_on_with_others(root: Path, capsys: Captured) -> None:
    live = RunBuilder(root, "live0001")
    live.row(0, None, loss=1.0)
    live.store()
    with live.held():
        assert "'live0001' is held by a live sidecar" in fails(capsys, 1, "rebuild", "live0001")
        (root / "runs" / "second02" / "store.db").unlink()
        assert "'live0001' is held by a live sidecar" in fails(capsys, 1, "rebuild")
    assert (root / "runs" / "second02" / "store.db").exists()
    live.log.close()
