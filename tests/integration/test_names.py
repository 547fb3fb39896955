"""Names that are not UTF-8, too long, or misspelled, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import ReadBack, Scripts

FILE = os.fsdecode(b"caf\xe9.npz")


def test_root_and_script_in_bytes(scripts: Scripts, tmp_path: Path) -> None:
    script = os.fsencode(tmp_path) + b"/entra\xeenement.py"
    root = os.fsencode(tmp_path) + b"/donn\xe9es"
    with open(script, "w") as file:
        file.write(
            "import os, sys, tracker\n"
            "run = tracker.init(dir=sys.argv[1], id='run', resume='allow')\n"
            "for i in range(100):\n    run.log({'a': i})\n"
            "if len(sys.argv) > 2: os._exit(1)\n"
            "run.finish()\n"
        )
    command = [os.fsencode(sys.executable), script, root]
    for arguments, code in (([b"dies"], 1), ([], 0)):
        done = subprocess.run([*command, *arguments], env=scripts.environment(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (code, b"")
    run = ReadBack(Path(os.fsdecode(root)) / "runs" / "run")
    assert run.state["state"] == "finished" and len(run.stored()) == 200
    for command_line in ("ls", "show run", "export run", "verify run"):
        words = [os.fsencode(word) for word in command_line.split()]
        shown = subprocess.run(
            [os.fsencode(sys.executable), b"-m", b"tracker", words[0], *words[1:], b"--dir", root],
            env=scripts.environment(),
            capture_output=True,
            check=False,
        )
        assert (shown.returncode, shown.stderr.count(b"Traceback")) == (0, 0), shown.stderr


def test_names_in_bytes_describe_a_run(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import os, tracker
        name = os.fsdecode(b"caf\\xe9.npz")
        run = tracker.init(id="run", name=name, tags=[name], group=name, notes=name, label=name, config={name: 1})
        run.name = name + "2"
        run.tags += (name + "3",)
        run.notes = name + "4"
        run.log({"x": 1})
        """
    )
    state = ReadBack(root / "runs" / "run").check().state
    assert (state["name"], state["group"], state["notes"]) == ("caf?.npz2", "caf?.npz", "caf?.npz4")
    assert list(state["tags"]) == ["caf?.npz", "caf?.npz3"]


def test_files_with_names_in_bytes_are_saved(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("good.txt", FILE, "a\nb"):
        (tmp_path / "data" / name).write_text(name.encode(errors="replace").decode())
    done = scripts.run(
        """
        import os, sys, tracker
        run = tracker.init(id="run")
        print(run.save(sys.argv[1] + "/data"))
        print(run.save(os.fsencode(sys.argv[1]).decode() + os.fsdecode(b"/data/caf\\xe9.npz")))
        """,
        tmp_path,
    )
    assert done.out.splitlines() == ["['data/caf%E9.npz', 'data/good.txt']", "['caf%E9.npz']"]
    assert "1 files are left out" in done.err
    assert (root / "runs" / "run" / "files" / "data" / "caf%E9.npz").read_text() == "caf?.npz"


def test_a_root_too_long_for_sqlite_is_refused(scripts: Scripts, tmp_path: Path) -> None:
    scripts.run(
        """
        import os, sys, tracker
        root = sys.argv[1]
        while len(root) < 440:
            root += "/" + "x" * 9
        for end in range(440, 520, 5):
            directory = root.ljust(end, "y")
            try:
                run = tracker.init(dir=directory, id="run")
            except tracker.TrackerError as error:
                assert "choose a shorter dir" in str(error) and not os.path.exists(f"{directory}/runs/run")
                refused = end
            else:
                run.log({"x": 1})
                run.finish()
                assert tracker.Api(directory).run("run").history()["x"] == [1]
                taken = end
        assert taken < refused == 515
        """,
        tmp_path,
    )


def test_an_attribute_that_a_run_does_not_have(scripts: Scripts) -> None:
    scripts.run(
        """
        import tracker
        for mode in ("online", "disabled"):
            run = tracker.init(mode=mode)
            for name in ("nmae", "note", "_x"):
                try:
                    setattr(run, name, "x")
                except AttributeError as error:
                    assert name in str(error)
                else:
                    raise AssertionError(name)
            run.name = "x"
            run.finish()
        """
    )


def test_an_init_that_fails_leaves_no_run(scripts: Scripts, root: Path) -> None:
    scripts.run(
        """
        import tracker
        class Bad(dict):
            def items(self): raise RuntimeError("on purpose")
        for config in (Bad(a=1), {"text": "x" * 20_000_000}, {"a": {"b": Bad(a=1)}}, 17, None):
            try:
                tracker.init(config=config).finish()
            except Exception as error:
                print(type(error).__name__)
        """
    )
    states = [ReadBack(directory).state["state"] for directory in (root / "runs").iterdir()]
    assert set(states) <= {"finished"}
