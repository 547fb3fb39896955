"""The MLflow sink without a server: names, values, params and tags as MLflow accepts them, and its replies."""

from __future__ import annotations

import json
import posixpath
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.log.reader import Batch, header
from sidecar.projections.run_state import RunState
from sidecar.protocol.deadline import Deadline
from sidecar.protocol.frames import frame
from sidecar.protocol.layout import LOG_NAME
from sidecar.protocol.records import Record
from sidecar.protocol.sink_address import parse_sink
from sidecar.sinks.contract import SinkTarget, SinkUnavailableError
from sidecar.sinks.http import Answer
from sidecar.sinks.mlflow.api import message, reply
from sidecar.sinks.mlflow.config import ConfigUpdate
from sidecar.sinks.mlflow.names import (
    NAME_CHARS,
    PARAM_CHARS,
    TRACEBACK_TAG,
    about,
    artifact_name,
    fit,
    flatten,
    mlflow_name,
    proxied,
    shorten,
    text,
    to_json,
)
from sidecar.sinks.mlflow.sink import MlflowSink
from tests.unit.loopback import Loopback
from tests.unit.loopback import reply as planned
from tests.unit.sinks.row_logs import RUN, SCHEMAS, batch_of, mixed_logs, one_by_one, record


def taken_by_mlflow(name: str) -> bool:
    """MLflow's own rule (mlflow/utils/validation.py)."""
    norm = posixpath.normpath(name)
    unique = norm == name and norm != "." and not norm.startswith("..") and not norm.startswith("/")
    return bool(re.match(r"^[/\w.\- :]*$", name)) and unique and len(name) <= 250


@pytest.mark.parametrize("key", ["loss", "val/acc", "val.acc", "a b", "a:b", "a-b_c", "größe", ".hidden", "x" * 250])
def test_a_valid_name_is_not_changed(key: str) -> None:
    assert mlflow_name(key) == key


@pytest.mark.parametrize(
    ("key", "start"),
    [
        ("top@5", "top_5-"),
        ("a//b", "a/_/b-"),
        ("/a", "_/a-"),
        ("a/..", "a/_-"),
        (".", "_-"),
        ("a\n", "a_-"),
        ("", "_-"),
        ("..a", "_..a-"),
    ],
)
def test_an_invalid_name_stays_readable(key: str, start: str) -> None:
    assert mlflow_name(key).startswith(start)
    assert len(mlflow_name(key)) == len(start) + 8


@given(st.text(max_size=300) | st.text(alphabet="./ab", max_size=12))
def test_mlflow_takes_every_name(key: str) -> None:
    assert taken_by_mlflow(mlflow_name(key))


@given(st.lists(st.text(alphabet="a/._@%", max_size=6) | st.integers(240, 260).map("k".__mul__), unique=True))
def test_two_keys_have_two_names(keys: list[str]) -> None:
    assert len({mlflow_name(key) for key in keys}) == len(keys)


def test_long_values_are_cut_and_stay_different() -> None:
    one, two = ("x" * PARAM_CHARS + end for end in "ab")
    assert shorten(one, PARAM_CHARS) != shorten(two, PARAM_CHARS)
    assert len(shorten(one, PARAM_CHARS)) == PARAM_CHARS
    assert shorten(one, PARAM_CHARS) == shorten(one, PARAM_CHARS)
    assert shorten("x" * PARAM_CHARS, PARAM_CHARS) == "x" * PARAM_CHARS
    assert shorten("start" + one, 50, keep_end=True).endswith("xxa")
    assert len(shorten("start" + one, 50, keep_end=True)) == 50


def test_what_does_not_fit_is_kept_whole_beside() -> None:
    fitted = fit({"lr": "0.1", "top@5": "x", "long": "y" * 20, "nul": "\0", TRACEBACK_TAG: "z" * 20 + "end"}, 15)
    assert fitted.values["lr"] == "0.1"
    assert sorted(found["key"] for found in fitted.whole.values()) == ["long", "nul", "top@5", TRACEBACK_TAG]
    assert fitted.whole["long"] == {"key": "long", "value": "y" * 20}
    assert fitted.values["nul"] == "\N{REPLACEMENT CHARACTER}"
    assert fitted.values[TRACEBACK_TAG].endswith("end")
    assert set(fitted.whole) <= set(fitted.values)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"a": 1, "b": {"c": {"d": True}, "e": None}}, {"a": "1", "b.c.d": "True", "b.e": "None"}),
        ({"empty": {}, "list": [1, {"x": "ü"}], "text": "é"}, {"empty": "{}", "list": '[1, {"x": "ü"}]', "text": "é"}),
        ({"a.b": 1}, {"a.b": "1"}),
        ({"bytes": b"\x00"}, {"bytes": '{"_type": "bytes", "base64": "AA=="}'}),
        ({"x": 1e-7, "y": float("nan"), "z": 2**70}, {"x": "1e-07", "y": "nan", "z": str(2**70)}),
        ({}, {}),
    ],
)  # fmt: skip
def test_a_config_becomes_params(config: dict[str, Any], wanted: dict[str, str]) -> None:
    assert flatten(config) == wanted


def test_keys_that_would_be_the_same_stay_apart() -> None:
    found = flatten({"a.b": 1, "a": {"b": 2}})
    assert found.pop("a.b") == "2"
    [(name, value)] = found.items()
    assert name.startswith("a.b-") and value == "1"
    assert flatten({"a": {"b": 2}, "a.b": 1}) == {"a.b": "2", name: "1"}


@given(
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.text(alphabet="a.", max_size=3), inner, max_size=3))
)
def test_no_value_of_a_config_is_lost(config: Any) -> None:
    def leaves(value: Any) -> int:
        return sum(map(leaves, value.values())) if isinstance(value, dict) and value else 1

    assert len(flatten({"top": config})) == leaves({"top": config})


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("model.bin", "model.bin"),
        ("a/b c/ü.txt", "a/b c/ü.txt"),
        ("tracker", "tracker"),
        ("tracker.log", "tracker.log"),
    ],
)
def test_a_file_keeps_its_name(name: str, wanted: str) -> None:
    assert artifact_name(name) == wanted


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a#1.txt", r"a_1-[0-9a-f]{8}\.txt"),
        ("100%", r"100_-[0-9a-f]{8}"),
        ("v1.0/a?b", r"v1\.0/a_b-[0-9a-f]{8}"),
        ("tracker/values.jsonl", r"files/tracker/values-[0-9a-f]{8}\.jsonl"),
    ],
)
def test_a_file_whose_name_cannot_be_gets_one_like_it(name: str, form: str) -> None:
    assert re.fullmatch(form, artifact_name(name))


@pytest.mark.parametrize(
    ("uri", "wanted"),
    [
        ("mlflow-artifacts:/1/abc/artifacts", "1/abc/artifacts"),
        ("mlflow-artifacts://host:5000/1/abc/artifacts", "1/abc/artifacts"),
        ("http://host:5000/api/2.0/mlflow-artifacts/artifacts/1/abc/artifacts", "1/abc/artifacts"),
        ("s3://bucket/1/abc/artifacts", None),
        ("file:///var/mlruns/1/abc/artifacts", None),
        ("/var/mlruns/1/abc/artifacts", None),
        ("", None),
    ],
)
def test_which_artifacts_go_over_the_server(uri: str, wanted: str | None) -> None:
    assert proxied(uri) == wanted


def test_the_tags_about_a_run() -> None:
    state = RunState()
    state.apply(
        Record("run", "r1", "c1", 1, 1.0, {"project": "demo", "group": "g", "program": "train.py", "host": "h"})
    )
    assert about(state) == {
        "tracker.project": "demo",
        "tracker.group": "g",
        "tracker.host": "h",
        "tracker.state": "running",
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
    }
    state.apply(Record("losses", "r1", "c1", 2, 2.0, {"source": "c1", "counts": {"window full": 3}}))
    state.apply(Record("exit", "r1", "c1", 3, 3.0, {"state": "failed", "exit_code": 1, "traceback": "T"}))
    found = about(state)
    assert (found["tracker.state"], found["tracker.exit_code"], found["tracker.traceback"]) == ("failed", "1", "T")
    assert json.loads(found["tracker.losses"]) == {"window full": 3}


def test_values_as_text() -> None:
    assert [text(value) for value in ("a", 1, 1.5, True, None, [1, "a"], {"a": [None]})] == [
        "a", "1", "1.5", "True", "None", '[1, "a"]', '{"a": [null]}',
    ]  # fmt: skip
    assert to_json({"ü": b"\x01"}) == '{"ü": {"_type": "bytes", "base64": "AQ=="}}'
    assert NAME_CHARS == 250


# -- replies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"", b"[1]", b"{", b"\xff"])
def test_a_reply_that_is_not_from_mlflow(body: bytes) -> None:
    with pytest.raises(SinkUnavailableError, match=r"^unexpected reply from MLflow: .") as caught:
        reply(Answer(200, body))
    assert body != b"<html>Sign in</html>" or str(caught.value).endswith(": <html>Sign in</html>")


def test_a_reply_without_what_was_asked_for() -> None:
    assert reply(Answer(200, b'{"run": {"a": 1}}'), "run") == {"a": 1}
    with pytest.raises(SinkUnavailableError, match=r'^unexpected reply from MLflow: \{"runs": \[\]\}$'):
        reply(Answer(200, b'{"runs": []}'), "run")


def test_why_something_is_refused() -> None:
    assert message(Answer(400, b'{"error_code": "X", "message": "too long"}')) == "too long"
    assert message(Answer(422, b'{"detail": "no such field"}')) == "no such field"
    assert message(Answer(400, b"<html>")) == "status 400"


# -- the config as params and tags ------------------------------------------------------------------------------------


def test_a_new_config_is_params_only() -> None:
    update = ConfigUpdate.of({"lr": 0.1, "model": {"depth": 3}}, [{"set": {"lr": 0.1, "model": {"depth": 3}}}])
    params = update.params().values
    assert params == {"lr": "0.1", "model.depth": "3"}
    assert update.tags(params, []) == {}


def test_a_param_keeps_the_first_value_of_a_batch_and_the_tag_has_the_current_one() -> None:
    update = ConfigUpdate.of({"lr": 0.3}, [{"set": {"lr": 0.1}}, {"set": {"lr": 0.2}}, {"set": {"lr": 0.3}}])
    assert update.params().values == {"lr": "0.1"}
    assert update.tags({"lr": "0.1"}, []) == {"config.lr": "0.3"}


def test_a_tag_that_exists_follows_even_back_to_the_first_value() -> None:
    update = ConfigUpdate.of({"lr": 0.1}, [{"set": {"lr": 0.1}}])
    assert update.tags({"lr": "0.1"}, ["config.lr"]) == {"config.lr": "0.1"}


@pytest.mark.parametrize("deleted", ["lr", "model"])
def test_a_deleted_key_has_a_tag_that_says_so(deleted: str) -> None:
    config = {"lr": 0.1, "model": {"depth": 3}, "seed": 1}
    del config[deleted]
    update = ConfigUpdate.of(config, [{"delete": [deleted]}])
    params = {"lr": "0.1", "model.depth": "3", "seed": "1"}
    name = "config.lr" if deleted == "lr" else "config.model.depth"
    assert update.tags(params, []) == {name: "(deleted)"}


def test_a_key_that_this_batch_sets_and_deletes_again_is_a_param() -> None:
    update = ConfigUpdate.of({}, [{"set": {"lr": 0.1}}, {"delete": ["lr"]}])
    assert update.params().values == {"lr": "0.1"}
    assert update.tags({"lr": "0.1"}, []) == {"config.lr": "(deleted)"}


def test_keys_that_a_batch_does_not_touch_are_compared_with_mlflow() -> None:
    """As after an earlier batch was lost, or another client has set a param in MLflow."""
    update = ConfigUpdate.of({"lr": 0.1, "seed": 1}, [])
    assert update.params().values == {"lr": "0.1", "seed": "1"}
    assert update.tags({"lr": "0.5", "seed": "1", "of another client": "x"}, []) == {"config.lr": "0.1"}


def test_a_key_that_mlflow_cannot_have_is_compared_under_its_name_there() -> None:
    key = "top@5"
    update = ConfigUpdate.of({key: 1}, [{"set": {key: 1}}])
    params = update.params().values
    assert set(params) == {mlflow_name(key)}
    assert update.tags(params, []) == {}
    changed = ConfigUpdate.of({key: 2}, [{"set": {key: 2}}])
    assert changed.tags(params, []) == {f"config.{key}": "2"}


# -- rows -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """A server that takes everything."""
    with Loopback() as made:
        yield made


_KNOWN = json.dumps({"run": {"info": {"run_id": "m1", "status": "RUNNING", "artifact_uri": "file:///x"}}}).encode()


def requests_for(server: Loopback, log: bytes, batch: Batch, fail_at: tuple[int, ...] = ()) -> list[tuple[str, bytes]]:
    """Send a batch to a server that has the run, again each time that it fails; return path and body of all requests.

    Args:
        server: the server.
        log: the content of the log.
        batch: what of it to send.
        fail_at: numbers of the requests that fail.
    """
    server.requests.clear()
    state = RunState()
    state.take(batch.items)
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, LOG_NAME).write_bytes(log)
        sink = MlflowSink(SinkTarget(parse_sink(f"mlflow+{server.url}"), RUN, Path(directory), {"run_id": "m1"}))
        for count in (*fail_at, 10_000):
            server.replies[:] = [planned(200, _KNOWN), *[planned(200, b"{}")] * min(count, 1000)]
            if count < 1000:
                server.replies.append(planned(503))
            sink.open()
            try:
                sink.send(batch, state)
            except SinkUnavailableError:
                continue
            break
        sink.close(Deadline(1.0))
    return [(request.path, request.body) for request in server.requests]


@given(mixed_logs())
@settings(max_examples=30, deadline=None)
def test_rows_in_columns_are_the_same_requests_as_one_by_one(server: Loopback, log: bytes) -> None:
    mixed = batch_of(log)
    assert requests_for(server, log, mixed) == requests_for(server, log, one_by_one(mixed))


@pytest.mark.parametrize("fail_at", [(), (0,), (2,), (2, 1, 3)])
def test_many_rows_are_full_requests_and_after_a_failure_only_the_rest(
    server: Loopback, fail_at: tuple[int, ...]
) -> None:
    schema = SCHEMAS[2]
    rows = [frame(schema.pack(schema.word, seq, seq * 0.5, -seq, 1 / seq, seq, seq % 2)) for seq in range(2, 3002)]
    log = header() + record("schema", schema.client, 1, schema.body()) + b"".join(rows)
    mixed = batch_of(log)
    assert len(mixed.items) == 2
    found = requests_for(server, log, mixed, fail_at)
    assert found == requests_for(server, log, one_by_one(mixed), fail_at)
    sent = [json.loads(body)["metrics"] for path, body in found if path.endswith("log-batch") and b'"metrics"' in body]
    assert [len(metrics) for metrics in sent][:2] == [1000, 1000]
    points = {(metric["key"], metric["value"], metric["timestamp"], metric["step"]) for each in sent for metric in each}
    assert points == {
        (key, float(value), seq * 500, -seq)
        for seq in range(2, 3002)
        for key, value in (("b", 1 / seq), ("a", seq), ("ü", seq % 2))
    }
    again = sum(map(len, sent)) - 9000
    assert again <= 1003 * len(fail_at), "what a failed request held, and the row that it began with"
