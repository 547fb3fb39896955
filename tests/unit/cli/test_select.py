"""tracker.cli.select: conditions, values and keys as they are typed."""

from __future__ import annotations

import pytest

from tracker.cli.common import UsageError
from tracker.cli.select import read_conditions, read_keys, read_value


def test_conditions() -> None:
    assert read_conditions("summary.loss<0.1") == [{"summary.loss": {"$lt": 0.1}}]
    assert read_conditions(" state != failed ") == [{"state": {"$ne": "failed"}}]
    assert read_conditions("name~^a=b") == [{"name": {"$regex": "^a=b"}}]
    assert read_conditions("val.acc>0.9 and config.lr=0.1") == [{"val.acc": {"$gt": 0.9}}, {"config.lr": {"$eq": 0.1}}]
    assert read_conditions("notes=salt and pepper") == [{"notes": {"$eq": "salt and pepper"}}]
    for text in ("state", "=x", ""):
        with pytest.raises(UsageError, match="is not a condition"):
            read_conditions(text)
    with pytest.raises(UsageError, match="cannot contain 'or'"):
        read_conditions("a=1 or b=2")


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
