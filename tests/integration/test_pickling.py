"""Runs, configs and summaries that are copied, or pickled and sent to other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ReadBack, Scripts

COPIES = """
import copy, pickle, tracker

run = tracker.init(id="run", config={"lr": 0.1, "sgd": {"layers": [64, 32]}}, settings={"silent": True})
run.log({"loss": 1.0})
run.summary["best"] = 0.5
for way in (copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))):
    assert way(run) is run
    config = way(run.config)
    assert dict(config) == {"lr": 0.1, "sgd": {"layers": [64, 32]}} and config.sgd.layers == [64, 32]
    config.update({"lr": 5, "only": "in the copy"}, allow_val_change=True)
    assert config.lr == 5
    assert way(run.config.sgd) == {"layers": [64, 32]}
    summary = way(run.summary)
    assert dict(summary) == {"loss": 1.0, "best": 0.5}
    summary["best"] = 7
assert dict(run.config) == {"lr": 0.1, "sgd": {"layers": [64, 32]}}
run.finish()
"""


def test_copies_record_nothing(scripts: Scripts, root: Path) -> None:
    scripts.run(COPIES)
    state = ReadBack(root / "runs" / "run").check().state
    assert state["config"] == {"lr": 0.1, "sgd": {"layers": [64, 32]}} and state["summary"]["best"] == 0.5


CHILDREN = """
import multiprocessing, os, sys
import tracker

def work(run, number):
    assert run.id == "run" and run.config.lr == 0.1 and tracker.run is run
    for value in range(3):
        run.log({f"child{number}": value})
    run.summary[f"done{number}"] = True

if __name__ == "__main__":
    run = tracker.init(id="run", config={"lr": 0.1}, project="p", tags=["t"], settings={"silent": True})
    run.log({"loss": 1.0})
    run.log({"loss": 0.5})
    context = multiprocessing.get_context(sys.argv[1])
    child = context.Process(target=work, args=(run, 0))
    child.start()
    child.join()
    assert child.exitcode == 0 and run.state == "running"
    with context.Pool(1) as pool:
        pool.apply(work, (run, 1))
        pool.close()
        pool.join()
    run.log({"loss": 0.25})
    run.finish()
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_run_that_is_sent_to_a_child_is_logged_to_there(scripts: Scripts, root: Path, method: str) -> None:
    scripts.run(CHILDREN, method)
    assert [path.name for path in (root / "runs").iterdir()] == ["run"]
    run = ReadBack(root / "runs" / "run").check()
    rows = run.stored()
    assert [(step, data) for step, data in rows if "loss" in data] == [
        (0, {"loss": 1.0}),
        (1, {"loss": 0.5}),
        (2, {"loss": 0.25}),
    ]
    for number in range(2):
        key = f"child{number}"
        mine = [(step, data[key]) for step, data in rows if key in data]
        assert mine == [(2, 0), (3, 1), (4, 2)], "the steps continue"
    assert run.state["state"] == "finished" and run.state["losses"] == {}
    assert run.state["config"] == {"lr": 0.1} and run.state["tags"] == ["t"] and run.state["project"] == "p"
    assert run.state["summary"]["done0"] is run.state["summary"]["done1"] is True


def test_a_run_that_cannot_be_attached_to_says_so(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.pickle"
    scripts.run(
        """
        import pickle, sys, tracker
        with tracker.init(id="run", settings={"silent": True}) as run:
            with open(sys.argv[1], "wb") as file:
                pickle.dump(run, file)
        """,
        file,
    )
    load = "import pickle, sys\npickle.load(open(sys.argv[1], 'rb'))"
    ended = scripts.run(load, file, exit_code=1).err.strip().splitlines()[-1]
    assert "ResumeError: run 'run' cannot be unpickled: run 'run' exists and has ended" in ended
    (root / "runs" / "run").rename(tmp_path / "elsewhere")
    missing = scripts.run(load, file, exit_code=1).err.strip().splitlines()[-1]
    assert f"ResumeError: run 'run' cannot be unpickled here: {root} has no run of this id" in missing
    assert list((root / "runs").iterdir()) == []


def test_a_disabled_run_is_disabled_in_the_child_too(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import multiprocessing, tracker

        def work(run):
            run.log({"loss": 1.0})
            assert run.id == "disabled" and repr(run).startswith("<tracker.Run disabled")

        if __name__ == "__main__":
            run = tracker.init(mode="disabled")
            child = multiprocessing.get_context("spawn").Process(target=work, args=(run,))
            child.start()
            child.join()
            assert child.exitcode == 0
        """
    )
    assert not root.exists()
