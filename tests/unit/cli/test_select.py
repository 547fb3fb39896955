"""tracker.cli.select: conditions, values and keys as they are typed."""

from __future__ import annotations

import pytest

from tracker.cli.common import UsageError
from tracker.cli.select import read_condition, read_keys
from tracker.reading.query import read_value


def test_conditions() -> None:
    assert read_condition("summary.loss<0.1") == {"summary.loss": {"$lt": 0.1}}
    assert read_condition(" state != failed ") == {"state": {"$ne": "failed"}}
    assert read_condition("name~^a=b") == {"name": {"$regex": "^a=b"}}
    assert read_condition("val.acc>0.9 and config.lr=0.1") == {
        "$and": [{"val.acc": {"$gt": 0.9}}, {"config.lr": {"$eq": 0.1}}]
    }
    assert read_condition("notes=salt and pepper") == {"notes": {"$eq": "salt and pepper"}}
    assert read_condition("a=1 or b=2") == {"$or": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}
    for text in ("state", "=x", "", " "):
        with pytest.raises(UsageError, match="is not a condition"):
            read_condition(text)
    with pytest.raises(UsageError, match=r"a value is missing after '<' \(at character 12 of 'a=1 and b <'\)"):
        read_condition("a=1 and b <")


def test_values() -> None:
    texts = ("1", "-2.5", "1e3", "true", "false", '"1"', "text", "")
    assert [read_value(text) for text in texts] == [1, -2.5, 1000.0, True, False, "1", "text", ""]


def test_keys_may_have_commas_in_them() -> None:
    logged = ["loss", "acc (top 1, top 5)", "val.acc"]
    assert read_keys(["loss,val.acc"], logged) == (["loss", "val.acc"], [])
    assert read_keys(["acc (top 1, top 5)"], logged) == (["acc (top 1, top 5)"], [])
    assert read_keys(["loss, acc (top 1, top 5) ,nope", "loss"], logged) == (
        ["loss", "acc (top 1, top 5)", "nope"],
        ["nope"],
    )
    assert read_keys([""], logged) == ([], [])
