"""References to runs: id, unique prefix, exact name, last; and what is read to find one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.run_builder import START, RunBuilder
from tracker.errors import AmbiguousRunError, RunNotFoundError
from tracker.reading.api import Api
from tracker.reading.stored_run import StoredRun

RUNS = [
    ("0dpfvnsg", "lr=0.1", "digits"),
    ("0dqqqqqq", "lr=0.3", "digits"),
    ("rlpwtz5i", "lr=0.1", "digits"),
    ("resnet-1", "first", "cats"),
    ("zzzz0005", "resnet", "cats"),
]


@pytest.fixture
def api(tmp_path: Path) -> Api:
    for number, (run_id, name, project) in enumerate(RUNS):
        run = RunBuilder(tmp_path, run_id, name=name, project=project, start_time=START + 1000 * number)
        run.row(0, None, loss=0.5)
        run.finish()
        os.utime(run.log_path, (run.clock, run.clock))
        os.utime(run.store_path, (run.clock, run.clock))
    return Api(tmp_path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the runs that are read."""
    ids: list[str] = []
    real = StoredRun._read_state

    def note(run: StoredRun) -> dict[str, object]:
        ids.append(run.id)
        return real(run)

    monkeypatch.setattr(StoredRun, "_read_state", note)
    return ids


@pytest.mark.parametrize(
    ("ref", "id"),
    [
        ("0dpfvnsg", "0dpfvnsg"),
        ("0dp", "0dpfvnsg"),
        ("r", "r"),
        ("lr=0.3", "0dqqqqqq"),
        ("last", "zzzz0005"),
        ("resnet", "zzzz0005"),
        ("resnet-", "resnet-1"),
        ("digits/last", "rlpwtz5i"),
        ("digits/rl", "rlpwtz5i"),
        ("me/digits/0dpfvnsg", "0dpfvnsg"),
        ("cats/first", "resnet-1"),
    ],
)
def test_a_reference_finds_its_run(api: Api, ref: str, id: str) -> None:
    if ref == "r":
        with pytest.raises(AmbiguousRunError):
            api.run(ref)
    else:
        assert api.run(ref).id == id


def test_an_id_is_found_without_reading_any_run(api: Api, read: list[str]) -> None:
    assert api.run("rlpwtz5i").id == "rlpwtz5i"
    assert read == []


def test_the_last_run_is_found_without_reading_those_that_ended_before(api: Api, read: list[str]) -> None:
    assert api.run("last").id == "zzzz0005"
    assert read == ["zzzz0005"]


def test_the_last_run_is_the_one_that_started_last(api: Api, tmp_path: Path) -> None:
    for name in ("transactions.log", "store.db"):
        os.utime(tmp_path / "runs" / "0dpfvnsg" / name)
    assert api.run("last").id == "zzzz0005", "not the one that was written to last"
    RunBuilder(tmp_path, "unread01").log.close()
    (tmp_path / "runs" / "unread01" / "transactions.log").write_bytes(b"no log at all, nothing of the kind")
    assert api.run("last").id == "zzzz0005"


def test_what_fits_several_is_an_error_that_lists_them_newest_first(api: Api) -> None:
    with pytest.raises(AmbiguousRunError) as error:
        api.run("lr=0.1")
    message = str(error.value)
    assert message.startswith("'lr=0.1' fits 2 runs: rlpwtz5i (lr=0.1, finished, ")
    assert message.index("rlpwtz5i") < message.index("0dpfvnsg")
    assert message.endswith("give an id")
    with pytest.raises(AmbiguousRunError, match=r"'0d' fits 2 runs: 0dqqqqqq .*, 0dpfvnsg"):
        api.run("0d")


def test_at_most_ten_are_listed(tmp_path: Path) -> None:
    for number in range(12):
        RunBuilder(tmp_path, f"same{number:04}", name="same", start_time=START + number).finish()
    with pytest.raises(AmbiguousRunError, match=r"fits 12 runs: same0011 .*same0002 .* and 2 more"):
        Api(tmp_path).run("same")


def test_a_project_before_a_reference_must_be_the_run_s(api: Api) -> None:
    with pytest.raises(RunNotFoundError, match="run '0dpfvnsg' belongs to project 'digits', not 'cats'"):
        api.run("cats/0dpfvnsg")
    with pytest.raises(RunNotFoundError, match="there are no entities"):
        api.run("me/nothing")
    with pytest.raises(RunNotFoundError, match=r"did you mean .*0dqqqqqq \(lr=0.3\).*\? there are no entities"):
        api.run("me/lr=0.3")


@pytest.mark.parametrize("ref", ["", "..", "../x", "/", "//", "a//b", "x/", "0dpfvnsg/", "a\0", "a\nb", "é" * 200])
def test_what_is_not_a_reference_finds_nothing(api: Api, ref: str) -> None:
    with pytest.raises(RunNotFoundError):
        api.run(ref)


def test_no_runs(tmp_path: Path) -> None:
    for ref in ("last", "abc"):
        with pytest.raises(RunNotFoundError, match="which has no runs"):
            Api(tmp_path).run(ref)


def test_a_project_before_a_reference_comes_before_the_id_of_a_run_elsewhere(tmp_path: Path) -> None:
    for number, (run_id, name, project) in enumerate(
        [("foo", "one", "cats"), ("last", "two", "cats"), ("abcd", "foo", "digits"), ("efgh", "sgd", "digits")]
    ):
        RunBuilder(tmp_path, run_id, name=name, project=project, start_time=START + number).finish()
    api = Api(tmp_path)
    assert (api.run("foo").id, api.run("cats/foo").id, api.run("digits/foo").id) == ("foo", "foo", "abcd")
    assert (api.run("last").id, api.run("digits/last").id) == ("last", "efgh")


def test_a_name_may_have_slashes(tmp_path: Path) -> None:
    RunBuilder(tmp_path, "abcd", name="lr=0.1/bs=32", project="digits").finish()
    RunBuilder(tmp_path, "efgh", name="a/b/", project="digits").finish()
    api = Api(tmp_path)
    assert (api.run("lr=0.1/bs=32").id, api.run("a/b/").id) == ("abcd", "efgh")
    RunBuilder(tmp_path, "ijkl", name="bs=32", project="lr=0.1").finish()
    with pytest.raises(AmbiguousRunError, match="fits 2 runs"):
        api.run("lr=0.1/bs=32")
