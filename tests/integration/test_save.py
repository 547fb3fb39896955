"""`Run.save` and media: files are stored complete and unchanged, by a local and by a remote sidecar."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.protocol.limits import PART_PREFIX
from tests.integration.chain import Link, run_directory, run_files, wait_until_closed
from tests.support import ReadBack, Scripts, wait_until
from tracker.reading.api import Api

LARGE = 5 * 1024 * 1024 + 17

SAVE = f"""
    import os, pathlib, sys, tracker
    here = pathlib.Path("stuff")
    (here / "deep" / "er").mkdir(parents=True)
    (here / "empty").touch()
    (here / "deep" / "er" / "ünï ☃.txt").write_text("text")
    (here / "large.bin").write_bytes(os.urandom({LARGE}))
    (here / "run.sh").write_text("#!/bin/sh")
    os.chmod(here / "run.sh", 0o755)
    run = tracker.init(id="run1")
"""


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Link]:
    """A sidecar that behaves as on another machine: its clients cannot access its directory."""
    sidecar = Link(tmp_path / "remote" / "root", remote=True).start()
    yield sidecar
    sidecar.close()


Attached = tuple[Path, dict[str, str]]


@pytest.fixture(params=["launched", "attached"])
def attached(request: pytest.FixtureRequest, root: Path) -> Attached:
    """The root with the run, and the trainer's environment: files are copied, or sent in parts."""
    if request.param == "launched":
        return root, {}
    remote: Link = request.getfixturevalue("remote")
    return remote.root, {"TRACKER_SIDECAR": remote.control}


def local_files(tmp_path: Path) -> dict[str, bytes]:
    top = tmp_path / "stuff"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def saved_files(directory: Path) -> dict[str, bytes]:
    """Return the files of a run once it is closed; check that no partial file remains."""
    contents = dict(run_files(wait_until_closed(directory)))
    assert not [name for name in contents if PART_PREFIX in name]
    return contents


def test_save_takes_a_directory_and_single_files(attached: Attached, scripts: Scripts, tmp_path: Path) -> None:
    root, env = attached
    done = scripts.run(
        f"""{SAVE}
    for name in run.save(here): print(name)
    for name in run.save(here / "run.sh", "bin/start"): print(name)
    for name in run.save(str(here / "deep"), "d"): print(name)
    run.finish()
    """,
        env=env,
    )
    contents = saved_files(run_directory(root, "run1"))
    saved = local_files(tmp_path)
    expected = {f"stuff/{name}": content for name, content in saved.items()}
    expected |= {"bin/start": saved["run.sh"], "d/er/ünï ☃.txt": saved["deep/er/ünï ☃.txt"]}
    assert contents == expected
    assert len(contents["stuff/large.bin"]) == LARGE
    assert sorted(done.out.splitlines()) == sorted(expected), "save() returns the names"
    assert sorted(file.name for file in Api(root).run("run1").files()) == sorted(expected)
    ReadBack(run_directory(root, "run1")).check()


def test_saved_file_keeps_the_content_it_had_at_the_call(attached: Attached, scripts: Scripts) -> None:
    root, env = attached
    scripts.run(
        """
        import pathlib, tracker
        with tracker.init(id="run1") as run:
            path = pathlib.Path("model")
            for number in range(5):
                path.write_text(f"version {number}" * 1000)
                run.save(path, f"model{number}")
                run.save(path, "newest")
                path.write_text("overwritten")
                run.log({"loss": number})
        """,
        env=env,
    )
    contents = saved_files(run_directory(root, "run1"))
    versions = {f"model{number}": f"version {number}".encode() * 1000 for number in range(5)}
    assert contents == {**versions, "newest": versions["model4"]}
    assert len(ReadBack(run_directory(root, "run1")).check().rows) == 5


def test_bad_arguments_of_save_raise_and_store_nothing(attached: Attached, scripts: Scripts) -> None:
    root, env = attached
    done = scripts.run(
        """
        import pathlib, tracker
        run = tracker.init(id="run1")
        good = pathlib.Path("good")
        good.write_text("good")
        for name in ("gone", "../outside", "/etc/outside", "a//b", "", "a\\nb", ".part-x"):
            try:
                run.save(*(["gone"] if name == "gone" else [good, name]))
            except (OSError, ValueError) as error:
                print(type(error).__name__, repr(str(error)))
        run.save(good)
        run.finish()
        try:
            run.save(good)
        except Exception as error:
            print(type(error).__name__, repr(str(error)))
        """,
        env=env,
    )
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == ["FileNotFoundError", *["ValueError"] * 6, "RunFinishedError"]
    assert "'gone'" in lines[0] and "../outside" in lines[1] and "parts separated by '/'" in lines[1]
    assert saved_files(run_directory(root, "run1")) == {"good": b"good"}


def test_save_raises_if_a_file_and_a_directory_collide(scripts: Scripts, root: Path) -> None:
    done = scripts.run(
        """
        import pathlib, tracker
        with tracker.init(id="run1") as run:
            path = pathlib.Path("model")
            path.write_text("x")
            run.save(path, "a/b")
            for name in ("a", "a/b/c"):
                try:
                    run.save(path, name)
                except OSError as error:
                    print(type(error).__name__)
        """
    )
    assert done.out.split() == ["IsADirectoryError", "FileExistsError"]
    assert saved_files(run_directory(root, "run1")) == {"a/b": b"x"}


def test_files_are_complete_after_the_sidecar_was_killed(remote: Link, scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, pathlib, sys, tracker
        with tracker.init(id="run1") as run:
            for number in range(6):
                path = pathlib.Path(f"file{number}")
                path.write_bytes(os.urandom(2_500_000))
                run.save(path)
                run.log({"saved": number})
                print(number, flush=True)
        """,
        env={"TRACKER_SIDECAR": remote.control},
    )
    for number in range(6):
        assert script.read_line() == str(number)
        if number in (1, 4):
            wait_until(
                lambda: (run_directory(remote.root, "run1") / "transactions.log").exists(), "the run has started"
            )
            remote.kill()
            remote.start()
    script.wait()
    contents = saved_files(run_directory(remote.root, "run1"))
    here = Path(script._output).parent
    assert contents == {f"file{number}": (here / f"file{number}").read_bytes() for number in range(6)}
    assert ReadBack(run_directory(remote.root, "run1")).check().state["losses"] == {}


def test_save_raises_after_its_timeout(remote: Link, scripts: Scripts) -> None:
    """A dead sidecar takes nothing out of the window: a file that does not fit is not stored in part."""
    script = scripts.start(
        """
        import pathlib, sys, time, tracker
        run = tracker.init(id="run1", settings={"window_bytes": 64 * 1024 * 1024, "finish_timeout": 1})
        print("started", flush=True)
        sys.stdin.readline()
        path = pathlib.Path("large")
        path.write_bytes(bytes(60 * 1024 * 1024))
        started = time.monotonic()
        try:
            run.save(path, timeout=1.0)
        except tracker.TrackerError as error:
            print(error)
        print(1.0 <= time.monotonic() - started < 5.0)
        run.log({"x": 1})
        print(run.losses.counts(), flush=True)
        sys.stdin.readline()
        """,
        env={"TRACKER_SIDECAR": remote.control},
    )
    assert script.read_line() == "started"
    wait_until(lambda: (run_directory(remote.root, "run1") / "transactions.log").exists(), "the run has started")
    remote.kill()
    script.send_line()
    assert "save: 'large' was not sent in time" in script.read_line()
    assert script.read_line() == "True"
    assert script.read_line() == "{}", "metrics still fit into the window"
    script.send_line()
    assert "not yet in the log" in script.wait().err


def test_files_of_a_forked_child(attached: Attached, scripts: Scripts) -> None:
    root, env = attached
    scripts.run(
        """
        import multiprocessing, pathlib, tracker
        with tracker.init(id="run1") as run:
            def child(number):
                path = pathlib.Path(f"of{number}")
                path.write_text(f"child {number}" * 1000)
                run.save(path)
                run.finish()
            children = [multiprocessing.get_context("fork").Process(target=child, args=(n,)) for n in range(3)]
            for one in children: one.start()
            for one in children: one.join()
        """,
        env=env,
    )
    expected = {f"of{number}": f"child {number}".encode() * 1000 for number in range(3)}
    assert saved_files(run_directory(root, "run1")) == expected


def test_save_in_a_disabled_run_stores_nothing(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import pathlib, tracker
        pathlib.Path("file").write_text("x")
        with tracker.init(mode="disabled") as run:
            run.save("file")
        """
    )
    assert not root.exists()


def test_save_follows_links_and_keeps_permissions(scripts: Scripts, root: Path) -> None:
    scripts.run(
        f"""{SAVE}
    os.symlink(here / "empty", "link")
    run.save("link")
    run.save(here / "run.sh")
    run.finish()
    """
    )
    directory = run_directory(root, "run1")
    assert saved_files(directory) == {"link": b"", "run.sh": b"#!/bin/sh"}
    assert not (directory / "files" / "link").is_symlink(), "the content is stored, not the link"
    assert os.access(directory / "files" / "run.sh", os.X_OK)


# -- media with files ------------------------------------------------------------------------------------------------

PICTURE = """
    import os, pathlib, sys, tracker
    from tracker.media.base import Media, MediaFile

    class Picture(Media):
        type = "picture"

        def __init__(self, content):
            self.content = content

        def to_map(self):
            return {"_type": self.type, "width": 2}

        def files(self):
            return [MediaFile(self.content, "png")]
"""


def check_pictures(root: Path, contents: list[bytes]) -> None:
    """Check that each row names a picture, and that a file with this content was stored before the row."""
    directory = run_directory(root, "run1")
    contents_by_name = saved_files(directory)
    run = ReadBack(directory).check()
    assert run.state["losses"] == {}
    values = Api(root).run("run1").history(keys=["val.image"])["val.image"]
    assert [value["_type"] for value in values] == ["picture"] * len(contents)
    for value, content in zip(values, contents, strict=True):
        digest = hashlib.sha256(content).hexdigest()
        assert value == {
            "_type": "picture",
            "width": 2,
            "path": f"media/val.image/{digest[:16]}.png",
            "sha256": digest,
            "size": len(content),
        }
        assert contents_by_name[value["path"]] == content
    assert {file.name: file.size for file in Api(root).run("run1").files()} == {
        value["path"]: value["size"] for value in values
    }
    stored: set[str] = set()
    for record in run.log:
        if record.kind == "file":
            stored.add(record.body["name"])
        elif record.kind == "log" and "val.image" in record.body["data"]:
            assert record.body["data"]["val.image"]["path"] in stored, "the record of the file comes first"


def test_media_with_files(attached: Attached, scripts: Scripts) -> None:
    root, env = attached
    scripts.run(
        f"""{PICTURE}
    large = pathlib.Path("large.png")
    large.write_bytes(b"large" * {LARGE // 5})
    with tracker.init(id="run1") as run:
        run.log({{"loss": 0.5, "val": {{"image": Picture(b"small"), "acc": 1}}}})
        run.log({{"loss": 0.25, "val": {{"image": Picture(large)}}}})
        run.log({{"loss": 0.125}})
        large.write_bytes(b"overwritten")
        run.log({{"val.image": Picture(b"")}}, step=7)
        tracker.log({{"val.image": Picture(b"small")}})
        try:
            run.config["image"] = Picture(b"small")
        except TypeError as error:
            assert "can only be logged" in str(error)
    """,
        env=env,
    )
    check_pictures(root, [b"small", b"large" * (LARGE // 5), b"", b"small"])


def test_media_with_files_from_an_offline_run_and_a_forked_child(scripts: Scripts, root: Path) -> None:
    scripts.run(
        f"""{PICTURE}
    import multiprocessing
    with tracker.init(id="run1", mode="offline", sinks=["mlflow+http://127.0.0.1:1"]) as run:
        run.log({{"val.image": Picture(b"parent")}}, step=1)
        def child():
            run.log({{"val.image": Picture(b"child")}}, step=2)
            run.finish()
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
    """
    )
    check_pictures(root, [b"parent", b"child"])


def test_media_with_files_in_a_disabled_run_store_nothing(scripts: Scripts, root: Path) -> None:
    scripts.run(
        f"""{PICTURE}
    with tracker.init(mode="disabled") as run:
        run.log({{"val.image": Picture(b"small")}})
    """
    )
    assert not root.exists()


def test_media_with_an_unstorable_file_are_counted_and_other_values_recorded(scripts: Scripts, root: Path) -> None:
    """The directory for media cannot be created, because a file has its name."""
    done = scripts.run(
        f"""{PICTURE}
    with tracker.init(id="run1") as run:
        (run.files_dir / "media").write_text("in the way")
        for step in range(3):
            run.log({{"loss": 0.5, "val.image": Picture(b"small")}})
        assert run.losses.counts() == {{"media not stored": 3}}
    """
    )
    assert done.err.count("metric 'val.image' is left out") == 1
    run = ReadBack(wait_until_closed(run_directory(root, "run1"))).check()
    assert [data for _, data in run.logged()] == [{"loss": 0.5}] * 3
    assert run.state["losses"] == {"media not stored": 3}
