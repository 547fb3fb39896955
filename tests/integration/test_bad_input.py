"""Bad input: users get errors that say what is wrong and what is right, clients get results, and nothing else fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

from sidecar.protocol import channels, limits
from sidecar.protocol.codec import encode
from sidecar.protocol.errors import RefusedError
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from tests.support import REPOSITORY, LaunchedSidecar, RawClient, ReadBack, Script, Scripts, exact, wait_until

# -- the user's side --------------------------------------------------------------------------------------------------

CASES: dict[str, tuple[str, str, list[str]]] = {
    # name: the call, the error, words of its message
    "a list": ("run.log({'loss': [1, 2]})", "TypeError", ["'loss'", "list", "number"]),
    "an object": ("run.log({'loss': object()})", "TypeError", ["'loss'", "an object", "log a number"]),
    "bytes": ("run.log({'loss': b'1'})", "TypeError", ["'loss'", "bytes"]),
    "complex": ("run.log({'loss': 1j})", "TypeError", ["'loss'", "complex"]),
    "an array": ("run.log({'loss': numpy.zeros(3)})", "TypeError", ["'loss'", "ndarray", "(3,)"]),
    "deep inside": ("run.log({'val': {'acc': []}})", "TypeError", ["'val.acc'", "list"]),
    "one of two": ("run.log({'good': 1.0, 'bad': []})", "TypeError", ["'bad'"]),
    "not a dict": ("run.log([1.0])", "TypeError", ["dict", "list"]),
    "None": ("run.log(None)", "TypeError", ["dict", "not None"]),
    "a large integer": ("run.log({'loss': 2**64})", "ValueError", ["'loss'", "65 bits"]),
    "a large integer under a known key": ("run.log({'known': 2**64})", "ValueError", ["'known'", "65 bits"]),
    "a long text": ("run.log({'note': 'x' * 2**21})", "ValueError", ["'note'", "1048576"]),
    "many long texts": ("run.log({str(n): 'x' * 2**20 for n in range(9)})", "ValueError", ["8388608"]),
    "an empty key": ("run.log({'': 1.0})", "ValueError", ["key is empty"]),
    "an empty key inside": ("run.log({'a': {'': 1.0}})", "ValueError", ["key"]),
    "a long key": ("run.log({'k' * 513: 1.0})", "ValueError", ["kkk", "513", "at most 512"]),
    "a key that grows long": ("run.log({'k' * 300: {'k' * 300: 1.0}})", "ValueError", ["601", "512"]),
    "a reserved key": ("run.log({'_step': 1.0})", "ValueError", ["'_step'", "reserved"]),
    "a key that is None": ("run.log({None: 1.0})", "TypeError", ["None", "strings"]),
    "a duplicate key": ("run.log({'a.b': 1, 'a': {'b': 2}})", "ValueError", ["'a.b'", "twice"]),
    "a key with a lone surrogate": (r"run.log({'\ud800': 1})", "ValueError", ["metric key"]),
    "many keys": ("run.log({str(n): 1 for n in range(10001)})", "ValueError", ["10001", "10000"]),
    "nested in itself": ("d = {}; d['d'] = d; run.log(d)", "ValueError", ["nested", "16"]),
    "a float as step": ("run.log({'x': 1}, step=1.5)", "TypeError", ["step", "1.5", "integer"]),
    "a string as step": ("run.log({'x': 1}, step='1')", "TypeError", ["step", "'1'", "integer"]),
    "a bool as step": ("run.log({'x': 1}, step=True)", "TypeError", ["step", "True", "integer"]),
    "a large step": ("run.log({'x': 1}, step=2**63)", "ValueError", ["step", "64-bit"]),
    "NaN as step": ("run.log({'x': 1}, step=float('nan'))", "TypeError", ["step", "integer"]),
    "unknown summary": ("run.define_metric('x', summary='median')", "ValueError", ["'median'", "min"]),
    "unknown goal": ("run.define_metric('x', goal='up')", "ValueError", ["goal", "'up'", "maximize"]),
    "a metric without a name": ("run.define_metric('')", "TypeError", ["name"]),
    "step_sync alone": (
        "run.define_metric('x', step_sync=True)",
        "ValueError",
        ["step_sync", "step_metric"],
    ),
    "a string as tags": ("run.tags = 'abc'", "TypeError", ["tags", "'abc'"]),
    "a number as notes": ("run.notes = 1", "TypeError", ["notes", "int"]),
    "a string as exit code": ("run.finish(exit_code='1')", "TypeError", ["exit_code", "'1'"]),
    "a second init": ("tracker.init()", "RunActiveError", ["'run'", "finish()", "reinit"]),
    "a second init, another id": ("tracker.init(id='other')", "RunActiveError", ["'run'", "finish()"]),
    "a list as config": ("run.config.update([1])", "TypeError", ["config", "list"]),
    "config with an int as key": ("run.config.update({1: 2})", "TypeError", ["config", "1"]),
    "config with an empty key": ("run.config[''] = 2", "TypeError", ["config", "''"]),
    "changed config value": ("run.config['lr'] = 2", "ConfigChangeError", ["'lr'", "allow_val_change=True"]),
    "missing config key": ("run.config.nothing", "AttributeError", ["'nothing'", "lr"]),
    "a list as summary": ("run.summary.update([1])", "TypeError", ["summary", "list"]),
    "unknown mode": ("tracker.init(mode='on')", "SettingsError", ["mode", "'on'", "'online'", "'disabled'"]),
    "unknown resume": ("tracker.init(resume='maybe')", "SettingsError", ["resume", "'maybe'", "'allow'", "'must'"]),
    "unknown reinit": ("tracker.init(reinit='no')", "SettingsError", ["reinit", "'no'", "'create_new'"]),
    "an id with a slash": ("tracker.init(id='a/b')", "SettingsError", ["run_id", "'a/b'", "letters"]),
    "an id with dots": ("tracker.init(id='..')", "SettingsError", ["run_id", "'..'"]),
    "an id that leaves the root": ("tracker.init(id='../../etc')", "SettingsError", ["run_id"]),
    "an empty id": ("tracker.init(id='')", "SettingsError", ["run_id", "''"]),
    "a number as id": ("tracker.init(id=5)", "SettingsError", ["run_id", "5"]),
    "a number as project": ("tracker.init(project=5)", "SettingsError", ["project", "5"]),
    "init with a string as tags": ("tracker.init(tags='abc')", "SettingsError", ["tags", "'abc'"]),
    "init with a string as config": ("tracker.init(config='abc')", "TypeError", ["config", "str"]),
    "an unknown setting": ("tracker.init(settings={'slient': True})", "SettingsError", ["'slient'", "mean 'silent'?"]),
    "a timeout of zero": ("tracker.init(settings={'init_timeout': 0})", "SettingsError", ["init_timeout", "0"]),
    "a tiny window": (
        "tracker.init(settings={'window_bytes': 5})",
        "SettingsError",
        ["window_bytes", "8388608"],
    ),
    "sinks": ("tracker.init(sinks=['nothing+http://x'])", "TrackerError", ["sinks"]),
    "a histogram without bins": ("tracker.Histogram([1], num_bins=0)", "ValueError", ["num_bins", "0"]),
    "missing attribute": ("tracker.nothing", "AttributeError", ["nothing"]),
}

SCRIPT = """
import json, sys, numpy, tracker

run = tracker.init(id="run", config={"lr": 1}, strict=True)
run.log({"known": 1.0})
errors = {}
for name, call in json.loads(sys.argv[1]).items():
    try:
        exec(call, {"run": run, "tracker": tracker, "numpy": numpy})
    except Exception as error:
        errors[name] = [[kind.__name__ for kind in type(error).__mro__], str(error)]
    else:
        errors[name] = [[], "no error"]
    assert run.state == "running"
    run.log({"after": len(errors)})
run.finish()
for name, call in {"log": lambda: run.log({"x": 1}), "known": lambda: run.log({"known": 1.0}),
                   "config": lambda: run.config.update(x=1), "module": lambda: tracker.log({"x": 1}),
                   "tags": lambda: setattr(run, "tags", ["x"])}.items():
    try:
        call()
    except Exception as error:
        errors[f"after finish: {name}"] = [[kind.__name__ for kind in type(error).__mro__], str(error)]
run.finish()
print(json.dumps(errors))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, temporary: Path) -> tuple[dict[str, Any], ReadBack]:
    """What each of the calls error, all in one process; and the run that they could not harm."""
    directory = tmp_path_factory.mktemp("bad")
    scripts = Scripts(directory, directory / "root")
    try:
        done = scripts.run(SCRIPT, json.dumps({name: call for name, (call, _, _) in CASES.items()}))
    finally:
        scripts.close()
    run_dir = directory / "root" / "runs" / "run"
    wait_until(lambda: not (run_dir / "lock").exists(), "the run is closed")
    assert sorted(path.name for path in (directory / "root" / "runs").iterdir()) == ["run"]
    return json.loads(done.out), ReadBack(run_dir).check()


@pytest.mark.parametrize("name", CASES)
def test_bad_call_raises_an_error_that_names_the_fault(outcome: tuple[dict[str, Any], ReadBack], name: str) -> None:
    call, kind, words = CASES[name]
    kinds, message = outcome[0][name]
    assert kind in kinds, f"{call}: {kinds} {message}"
    for word in words:
        assert word in message, f"{call}: {message}"
    assert len(message) < 1000


@pytest.mark.parametrize("name", ["log", "known", "config", "module", "tags"])
def test_calls_after_finish_raise(outcome: tuple[dict[str, Any], ReadBack], name: str) -> None:
    kinds, message = outcome[0][f"after finish: {name}"]
    assert "RunFinishedError" in kinds and "'run'" in message and "finish()" in message


def test_bad_calls_record_nothing_and_good_calls_are_recorded(outcome: tuple[dict[str, Any], ReadBack]) -> None:
    _, run = outcome
    expected = [{"known": 1.0}, *({"after": number + 1} for number in range(len(CASES)))]
    assert [data for _, data in run.stored()] == expected
    assert [step for step, _ in run.stored()] == list(range(len(expected)))
    assert run.state["state"] == "finished" and run.state["losses"] == {}
    assert run.state["config"] == {"lr": 1} and run.state["metrics"] == {}
    assert "rejected" not in run.kinds()


LENIENT_SCRIPT = """
import json, sys, numpy, tracker

run = tracker.init(id="run", settings={"silent": True})
run.log({"known": 1.0})
counts = {}
for name, call in json.loads(sys.argv[1]).items():
    before, step = run.losses.total(), run.step
    exec(call, {"run": run, "tracker": tracker, "numpy": numpy})
    assert run.step == step + 1, name
    counts[name] = run.losses.total() - before
    if name != "a large integer":  # the same metric
        exec(call, {"run": run, "tracker": tracker, "numpy": numpy})
run.log({"after": 1.0})
print(json.dumps([counts, run.losses.counts()]))
"""

SPLIT = {"many long texts": 9, "many keys": 10_001}
"""Calls that are too large for one record, and their number of metrics."""


def test_without_strict_a_bad_call_records_the_rest_is_said_once_and_counted(scripts: Scripts, root: Path) -> None:
    calls = {name: call for name, (call, _, _) in CASES.items() if call.startswith(("run.log(", "d = {}"))}
    done = scripts.run(LENIENT_SCRIPT, json.dumps(calls))
    counts, losses = json.loads(done.out)
    assert counts == {name: 0 if name in SPLIT else 1 for name in calls}
    assert set(losses) == {"invalid value", "invalid key", "invalid step"}
    warnings = done.err.splitlines()
    assert all(line.startswith("tracker: ") and len(line) < 1000 for line in warnings)
    for words in (
        "metric 'loss' is a list of 2 numbers; log a number, or tracker.Histogram(...); it is left out",
        "metric 'val.acc' is a list of 0 items",
        "metric 'known' is an integer of 65 bits",
        "log() takes a dict of metrics, such as {'loss': 0.3}, not a list of 1 number",
        "metric key '_step' is reserved",
        "metric key None is None; keys are strings or integers; it is left out",
        "step must be an integer, not 1.5; the run's own step is used",
    ):
        assert len([line for line in warnings if words in line]) == 1, (words, warnings)
    assert len([line for line in warnings if "metric 'loss' is" in line]) == 1, "once for each key"
    assert len([line for line in warnings if "step must be" in line]) == 1
    run = ReadBack(root / "runs" / "run").check()
    rows = run.stored()
    steps = [step for step, _ in rows]
    assert steps == sorted(steps) and steps[-1] == 2 * len(calls) and {*steps} == {*range(2 * len(calls))} | {steps[-1]}
    recorded = [data for _, data in rows]
    assert recorded.count({"good": 1.0}) == 2 and recorded.count({"a.b": 1}) == 2 and {"x": 1} in recorded
    assert sum(len(data) for data in recorded if "0" in data or "9999" in data) >= sum(SPLIT.values())
    assert run.state["state"] == "finished" and run.state["losses"] == losses


GOOD_SCRIPT = """
import numpy, tracker

class Loss:
    def __float__(self):
        return 0.25

class Keyed:
    def keys(self):
        return ["a"]

    def __getitem__(self, key):
        return 3.0

run = tracker.init(id="run", settings={"silent": True})
data = {"array": numpy.array([[0.5]]), "float": Loss(), "none": None, 7: 1, numpy.int64(8): {9: 2}}
run.log(data, step=numpy.int32(4))
run.log({"x": 1}, step=5.0)
run.log(Keyed(), step=numpy.array([6]))
run.log({"none": None})
assert run.losses.total() == 0
run.finish(numpy.int64(0))
"""


def test_what_log_takes(scripts: Scripts, root: Path) -> None:
    done = scripts.run(GOOD_SCRIPT)
    assert done.err == ""
    run = ReadBack(root / "runs" / "run").check()
    assert run.stored() == [
        (4, {"array": 0.5, "float": 0.25, "7": 1, "8.9": 2}),
        (5, {"x": 1}),
        (6, {"a": 3.0}),
        (6, {}),
    ]


def test_strict_is_an_argument_a_setting_and_a_variable(scripts: Scripts) -> None:
    for arguments, env in (("strict=True", {}), ("settings={'strict': True}", {}), ("", {"TRACKER_STRICT": "1"})):
        code = f"run = tracker.init({arguments})\nrun.log({{'good': 1, 'loss': [1]}})"
        done = scripts.run("import tracker\n" + code, env=env, exit_code=1)
        assert "TypeError: metric 'loss' is a list of 1 number" in done.err.strip().splitlines()[-1]


def run_failing_script(scripts: Scripts, code: str, **env: str | None) -> str:
    """Run a script that must fail with one of `tracker`'s errors; return its last line of output."""
    done = scripts.run("import tracker\n" + code, env=env, exit_code=1)
    assert "tracker.errors." in done.err, done.err
    return done.err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("no section\n", ["settings", "[default]"]),
        ("[default]\nmode = on\n", ["settings", "mode", "'on'", "'online'"]),
        ("[default]\nnothing = 1\n", ["settings", "nothing", "project"]),
        ("[other]\nmode = online\n", ["settings", "[other]", "[default]"]),
        ("[DEFAULT]\nmode = offline\n", ["settings", "[DEFAULT]", "[default]"]),
        ("[default]\nslient = yes\n", ["settings", "'slient'", "did you mean 'silent'?"]),
        ("[default]\ndir = elsewhere\n", ["settings", "dir cannot be set"]),
        ("[default]\ninit_timeout = soon\n", ["settings", "init_timeout", "'soon'", "number"]),
        ("[default]\nsilent = perhaps\n", ["settings", "silent", "'perhaps'", "true"]),
        ("[default]\nmode = online\nmode = offline\n", ["settings", "mode"]),
        (b"\xff\xfe\x00", ["settings", "cannot be read"]),
    ],
)
def test_broken_settings_file_is_named(scripts: Scripts, root: Path, content: str | bytes, words: list[str]) -> None:
    root.mkdir()
    (root / "settings").write_bytes(content if isinstance(content, bytes) else content.encode())
    error = run_failing_script(scripts, "tracker.init()")
    assert error.startswith("tracker.errors.SettingsError") and str(root / "settings") in error
    for word in words:
        assert word in error
    assert sorted(path.name for path in root.iterdir()) == ["settings"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRACKER_MODE", "on", ["'on'", "'online'"]),
        ("TRACKER_RESUME", "maybe", ["'maybe'", "'allow'"]),
        ("TRACKER_RUN_ID", "a/b", ["'a/b'", "letters"]),
        ("TRACKER_SILENT", "perhaps", ["'perhaps'", "true"]),
        ("TRACKER_DURABILITY", "much", ["'much'", "'disk'"]),
    ],
)
def test_bad_environment_variable_is_named(scripts: Scripts, name: str, value: str, words: list[str]) -> None:
    error = run_failing_script(scripts, "tracker.init()", **{name: value})
    assert error.startswith("tracker.errors.SettingsError")
    for word in words:
        assert word in error
    assert name in error


@pytest.mark.parametrize("directory", ["/proc/nowhere", "/dev/null", "/dev/null/below"])
def test_unwritable_directory_is_a_launch_error(scripts: Scripts, directory: str) -> None:
    error = run_failing_script(scripts, f"tracker.init(dir={directory!r})")
    assert error.startswith("tracker.errors.LaunchError") and directory in error


def test_run_directory_that_cannot_be_created_is_a_launch_error(scripts: Scripts, root: Path) -> None:
    (root / "runs").mkdir(parents=True)
    (root / "runs" / "run").write_text("a file is in the way")
    error = run_failing_script(scripts, "tracker.init(id='run')")
    assert error.startswith("tracker.errors.LaunchError") and str(root / "runs" / "run") in error


def test_file_that_is_not_a_log_is_refused_and_left_unchanged(scripts: Scripts, root: Path) -> None:
    path = root / "runs" / "run" / "transactions.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"my precious notes, which are not a log")
    error = run_failing_script(scripts, "tracker.init(id='run', resume='allow')")
    assert "not a transaction log" in error and "my precious" in error
    assert path.read_bytes() == b"my precious notes, which are not a log"


def test_sidecar_that_cannot_start_gives_its_reason(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    """A broken module that only the sidecar imports."""
    (tmp_path / "resource.py").write_text("raise OSError('no resources today')")
    error = run_failing_script(scripts, "tracker.init()", PYTHONPATH=f"{tmp_path}:{REPOSITORY}")
    assert error.startswith("tracker.errors.LaunchError: the sidecar did not start")
    assert "no resources today" in error and ".log" in error
    assert not any((root / "runs").glob("*"))


def test_temporary_directory_with_a_path_too_long_for_sockets(scripts: Scripts, root: Path, tmp_path: Path) -> None:
    long_path = tmp_path / ("d" * 100)
    long_path.mkdir()
    code = "import tracker\nrun = tracker.init(id='run')\nrun.log({'x': 1})\nrun.finish()"
    done = scripts.run(code, env={"TMPDIR": str(long_path)})
    assert done.err == ""
    assert len(ReadBack(root / "runs" / "run").check().stored()) == 1


@pytest.mark.parametrize(
    ("address", "words"),
    [("/nowhere/connection.json", ["/nowhere/connection.json", "No such file"]), ("no://where", ["no://where"])],
)
def test_missing_sidecar_is_a_launch_error(scripts: Scripts, address: str, words: list[str]) -> None:
    error = run_failing_script(scripts, f"tracker.init(sidecar={address!r}, settings=dict(init_timeout=1))")
    assert error.startswith("tracker.errors.LaunchError")
    for word in words:
        assert word in error


def test_init_times_out_if_the_sidecar_does_not_answer(scripts: Scripts, tmp_path: Path) -> None:
    address = f"ipc://{os.environ['TMPDIR']}/missing"
    error = run_failing_script(scripts, f"tracker.init(sidecar={address!r}, settings=dict(init_timeout=0.3))")
    assert error.startswith("tracker.errors.LaunchError") and address in error


# -- raw records at a real sidecar ------------------------------------------------------------------------------------

Attach = Callable[..., RawClient]


def packed(client: RawClient, kind: str, body: Any, seq: int | None = None) -> bytes:
    return bytes(msgpack.packb(list(client.record(kind, {}, seq))[:5] + [body]))


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


BAD_RECORDS: list[tuple[str, str, Any, str]] = [
    ("too deep", "config", {"set": {"x": nested(20)}}, "depth"),
    ("a string that is too large", "log", {"step": 1, "data": {"x": "x" * (limits.MAX_TEXT_BYTES + 1)}}, "size"),
    ("too many keys", "log", {"step": 1, "data": {str(key): 1 for key in range(limits.MAX_KEYS + 1)}}, "size"),
    ("an empty key", "log", {"step": 1, "data": {"": 1}}, "key"),
    ("a long key", "log", {"step": 1, "data": {"k" * 513: 1}}, "key"),
    ("a reserved key", "log", {"step": 1, "data": {"_label": 1}}, "key"),
    ("a value of the wrong type", "log", {"step": 1, "data": {"x": [1]}}, "value"),
    ("no step", "log", {"data": {"x": 1}}, "form"),
    ("a float as step", "log", {"step": 1.5, "data": {"x": 1}}, "form"),
    ("an extension type", "config", {"set": {"x": msgpack.ExtType(1, b"code")}}, "form"),
    ("a key of bytes", "config", {"set": {b"x": 1}}, "form"),
    ("a huge key of bytes", "config", {"set": {b"\0" * 5_000_000: 1}}, "form"),
    ("a result", "ack", {"seq": 1}, "kind"),
]


@pytest.mark.parametrize(
    ("kind", "body", "code"), [bad[1:] for bad in BAD_RECORDS], ids=[bad[0] for bad in BAD_RECORDS]
)
def test_bad_record_is_reported_to_its_client_and_counted(
    sidecar: LaunchedSidecar, client: Attach, root: Path, kind: str, body: Any, code: str
) -> None:
    bad, other = client("bad", "client-bad"), client("other", "client-other")
    other.log(1, x=1.0)
    bad.log(1, x=1.0)
    bad.send(packed(bad, kind, body))
    bad.log(2, x=2.0)
    other.log(2, x=2.0)
    problem = bad.result("problem")
    assert (problem["code"], problem["seq"]) == (code, 2) and 0 < len(problem["message"]) < 1000
    assert bad.ask("state")["state"]["losses"] == {f"refused: {code}": 1}
    assert other.ask("state")["state"]["losses"] == {}
    assert sidecar.status()["refused"] == {f"refused: {code}": 1}
    stored = ReadBack(root / "runs" / "bad").check()
    assert stored.kinds() == ["log", "rejected", "log"] and stored.log[1].body["kind"] == kind
    assert ReadBack(root / "runs" / "other").check().stored() == [(1, {"x": 1.0}), (2, {"x": 2.0})]
    assert not [result for result in other.results if result.kind != "ack"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"not msgpack", "form"),
        (b"\xc1" * 50, "checksum"),
        (bytes(range(256)), "form"),
        (b"\x91" * 100_000, "encoding"),
        (msgpack.packb([1, 2, 3]), "form"),
        (b"", ""),
    ],
)
def test_invalid_bytes_are_counted(
    sidecar: LaunchedSidecar, client: Attach, root: Path, data: bytes, code: str
) -> None:
    bad, other = client("bad", "client-bad"), client("other", "client-other")
    bad.send(data)
    bad.log(1, x=1.0)
    other.log(1, x=1.0)
    for one in (bad, other):
        assert one.ask("state")["seq"] == 1
    if code:
        assert sidecar.status()["refused"][f"refused: {code}"] >= 1
    assert ReadBack(root / "runs" / "bad").check().stored() == [(1, {"x": 1.0})]
    assert ReadBack(root / "runs" / "other").check().stored() == [(1, {"x": 1.0})]


def test_oversized_record_is_reported_and_keeps_its_sequence_number(
    sidecar: LaunchedSidecar, client: Attach, root: Path
) -> None:
    bad = client("bad", "client-bad")
    bad.log(1, x=1.0)
    bad.send(packed(bad, "config", {"set": {"x": b"\0" * limits.MAX_RECORD_BYTES}}))
    bad.log(2, x=2.0)
    assert bad.result("problem")["code"] == "size"
    assert bad.ask("state")["seq"] == 3
    assert ReadBack(root / "runs" / "bad").check().kinds() == ["log", "rejected", "log"]


def test_oversized_message_affects_no_other_client(sidecar: LaunchedSidecar, client: Attach, root: Path) -> None:
    """The sidecar drops the connection; the sender connects again."""
    bad, other = client("bad", "client-bad"), client("other", "client-other")
    bad.log(1, x=1.0)
    assert bad.ask("flush", 1)["seq"] == 1
    bad.send(b"\0" * (limits.MAX_MESSAGE_BYTES + 1))
    other.log(1, x=1.0)
    assert other.ask("flush")["seq"] == 1
    bad.close()  # else the sidecar would distribute the results over both sockets
    again = client("bad", "client-bad", again=True)
    assert again.attached["last"] == 1
    again.seq = 1
    again.log(2, x=2.0)
    wait_until(lambda: client("bad", "client-bad", again=True).attached["last"] == 2, "the record is durable")


def test_record_of_unknown_kind_is_stored(sidecar: LaunchedSidecar, client: Attach, root: Path) -> None:
    one = client("run", "client-one")
    one.send_record("kind-of-tomorrow", {"anything": [1, {"x": None}]})
    one.log(1, x=1.0)
    assert one.ask("state")["state"]["losses"] == {}
    stored = ReadBack(root / "runs" / "run").check()
    assert stored.log[0].body == {"anything": [1, {"x": None}]}
    assert not [result for result in one.results if result.kind != "ack"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"junk",
        bytes(range(255, 0, -1)),
        msgpack.packb(["attach", "run", "c", 0, 1.0, {}]),
        msgpack.packb(["attach", "run", "c", 0, 1.0, {"protocol": "1"}]),
        msgpack.packb(["log", "run", "c", 1, 1.0, {"step": 1, "data": {}}]),
        msgpack.packb(["attached", "run", "c", 1, 1.0, {}]),
        frame(encode(Record("status", "", "", 0, 1.0, {}))),
        b"\x91" * 100_000,
    ],
)
def test_invalid_control_request_is_refused(sidecar: LaunchedSidecar, client: Attach, request_bytes: bytes) -> None:
    with channels.dealer() as control:
        control.connect(sidecar.connection.control)
        control.send(request_bytes)
        assert control.wait(10.0)
        answer = msgpack.unpackb(control.receive())
    assert answer[0] == "refused" and answer[5]["code"] and answer[5]["message"]
    assert client("run", "client").ask("flush")["seq"] == 0


@pytest.mark.parametrize(
    ("run", "name", "body", "code"),
    [
        ("../escape", "client", {}, "run"),
        ("..", "client", {}, "run"),
        ("a/b", "client", {}, "run"),
        ("", "client", {}, "run"),
        ("run", "../client", {}, "client"),
        ("run", "", {}, "client"),
        ("run", "client", {"protocol": 2}, "protocol"),
        ("run", "client", {"resume": "must"}, "missing"),
        ("run", "client", {"resume": "maybe"}, "value"),
    ],
)
def test_refused_attach_gives_the_reason(
    sidecar: LaunchedSidecar, client: Attach, root: Path, run: str, name: str, body: dict[str, Any], code: str
) -> None:
    with pytest.raises(RefusedError) as caught:
        client(run, name, **body)
    assert caught.value.code == code and str(caught.value)
    assert not (root / "escape").exists() and list(root.rglob("*.log")) == [sidecar.file.with_suffix(".log")]


@pytest.mark.parametrize("pid", [0, -1, 2**40, 2**31, 2**63 - 1])
def test_invalid_process_id_affects_no_other_client(sidecar: LaunchedSidecar, client: Attach, pid: int) -> None:
    other = client("other", "client-other")
    try:
        client("run", "client", pid=pid)
    except RefusedError:
        pass
    other.log(1, x=1.0)
    assert other.ask("flush")["seq"] == 1
    assert sidecar.alive()


def test_flood_of_invalid_messages_does_not_stop_a_run(
    sidecar: LaunchedSidecar, client: Attach, scripts: Scripts, root: Path
) -> None:
    bad = client("bad", "client-bad")
    script: Script = scripts.start(
        """
        import sys, tracker
        run = tracker.init(id="good", sidecar=sys.argv[1])
        print(1)
        for step in range(5000):
            run.log({"x": step / 3})
        """,
        sidecar.file,
    )
    script.read_line()
    for number in range(2000):
        bad.send(os.urandom(number % 200))
    script.wait()
    wait_until(lambda: "good" not in sidecar.status()["runs"], "the run is closed")
    run = ReadBack(root / "runs" / "good").check()
    assert exact(run.stored()) == exact([(step, {"x": step / 3}) for step in range(5000)])
    assert sum(sidecar.status()["refused"].values()) > 0
