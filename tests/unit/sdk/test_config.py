"""The config and the summary of a run, as dicts whose changes are records."""

from __future__ import annotations

import copy
import json
import math
from contextlib import nullcontext
from typing import Any

import pytest

from tracker.errors import ConfigChangeError, MissingKeyError
from tracker.sdk.config import Config
from tracker.sdk.summary import Summary


class Published(list[tuple[str, dict[str, Any]]]):
    def __call__(self, kind: str, body: dict[str, Any]) -> None:
        self.append((kind, body))


def test_changes_are_records() -> None:
    published = Published()
    config = Config(published, nullcontext)
    config["lr"] = 0.1
    config.batch = 32
    config.update({"a": 1}, b=2)
    del config["a"]
    assert published == [
        ("config", {"set": {"lr": 0.1}}),
        ("config", {"set": {"batch": 32}}),
        ("config", {"set": {"a": 1, "b": 2}}),
        ("config", {"delete": ["a"]}),
    ]
    assert dict(config) == config.as_dict() == {"lr": 0.1, "batch": 32, "b": 2}
    assert (len(config), config.get("x", 5), "lr" in config, config.lr) == (3, 5, True, 0.1)


def test_the_same_again_is_no_change() -> None:
    published = Published()
    config = Config(published, nullcontext)
    for value in (1, math.nan, (1, 2), {"deep": [1]}):
        config["x"] = value
        config["x"] = value
        config.update(x=value)
        del config["x"]
    assert len(published) == 8
    config["x"] = (1, 2)
    config["x"] = [1, 2]


def test_another_value_must_be_allowed_and_nothing_of_the_update_is_done() -> None:
    published = Published()
    config = Config(published, nullcontext)
    config["lr"] = 0.1
    with pytest.raises(ConfigChangeError, match=r"'lr' is already 0\.1.*0\.2.*allow_val_change=True"):
        config.update({"new": 1, "lr": 0.2})
    assert config.as_dict() == {"lr": 0.1} and len(published) == 1
    config.update({"lr": 0.2}, allow_val_change=True)
    assert config.lr == 0.2


def test_what_is_handed_out_is_a_copy() -> None:
    config = Config(Published(), nullcontext)
    mine = {"deep": [1]}
    config["x"] = mine
    mine["deep"].append(2)
    config.as_dict()["y"] = 1
    assert config.as_dict() == {"x": {"deep": [1]}}


@pytest.mark.parametrize("key", ["", 1, None])
def test_a_key_is_a_text(key: Any) -> None:
    with pytest.raises(TypeError, match="config key"):
        Config(Published(), nullcontext)[key] = 1


def test_what_is_not_there() -> None:
    config = Config(Published(), nullcontext)
    with pytest.raises(KeyError):
        config["x"]
    with pytest.raises(KeyError):
        del config["x"]
    with pytest.raises(AttributeError, match="'x'"):
        config.x  # noqa: B018
    with pytest.raises(TypeError, match="one mapping, not 2"):
        config.update({}, {})


def test_keys_that_are_missing_are_answered_with_those_that_exist() -> None:
    config = Config(Published(), nullcontext, {"lr": 0.1, "sgd": {"momentum": 0.9}})
    summary = Summary(Published(), nullcontext, lambda: {"loss": 1.0}, lambda key: True)
    for values, names in ((config, "lr, sgd"), (summary, "loss")):
        with pytest.raises(MissingKeyError, match=f"has no key 'nothing'; it has {names}") as caught:
            values["nothing"]
        assert str(caught.value).startswith("the "), "not the repr that a KeyError shows"
        assert values.get("nothing", 5) == 5 and "nothing" not in values
    with pytest.raises(AttributeError, match="the config has no key 'nothing'; it has lr, sgd"):
        _ = config.nothing
    with pytest.raises(AttributeError, match="this part of the config has no key 'nothing'; it has momentum"):
        _ = config.sgd.nothing
    assert not hasattr(config, "nothing") and "sgd" in dir(config)


def test_nested_values_are_attributes_all_the_way_down() -> None:
    published = Published()
    config: Any = Config(published, nullcontext, {"a": {"b": {"c": [{"d": 1}]}}})
    assert config.a.b.c[0].d == config["a"]["b"]["c"][0]["d"] == 1
    assert config.a == {"b": {"c": [{"d": 1}]}} and json.dumps(config.a) == '{"b": {"c": [{"d": 1}]}}'
    config.a["b"] = 2
    config.a.b.c.append(3)
    with pytest.raises(AttributeError, match="'b' cannot be set in a part of the config; set the whole part"):
        config.a.b = 2
    assert config.as_dict() == {"a": {"b": {"c": [{"d": 1}]}}} and published == []
    assert type(config.as_dict()["a"]) is dict, "plain data"
    assert copy.deepcopy(config.a) == config.a


def test_defaults_are_set_where_there_is_no_value() -> None:
    published = Published()
    config = Config(published, nullcontext, {"lr": 0.1})
    config.setdefaults({"lr": 1, "batch": 32})
    config.setdefaults({"lr": 1})
    assert config.as_dict() == {"lr": 0.1, "batch": 32} and published == [("config", {"set": {"batch": 32}})]
    del config.batch
    assert "batch" not in config


def test_what_cannot_be_published_is_not_there() -> None:
    """It is too large for a record, or the run has ended."""

    def refuse(kind: str, body: dict[str, Any]) -> None:
        raise ValueError("too large")

    config = Config(refuse, nullcontext)
    with pytest.raises(ValueError, match="config key 'large' cannot be recorded: too large"):
        config.update(x=1, large="text", y=2)
    assert config.as_dict() == {}


def test_the_summary_asks_for_what_was_logged_and_knows_what_was_set() -> None:
    published = Published()
    kept: dict[str, Any] = {"loss": 1.0}
    asked = []

    def fetch() -> dict[str, Any]:
        asked.append(1)
        return dict(kept)

    summary = Summary(published, nullcontext, fetch, lambda key: key == "loss")
    summary["best"] = 0.5
    assert summary["best"] == 0.5 and asked == [], "what was set by hand is known"
    kept["best"] = 0.5
    assert summary["loss"] == 1.0
    assert dict(summary) == {"loss": 1.0, "best": 0.5}
    del summary["best"]
    with pytest.raises(KeyError):
        del summary["nothing"]
    with pytest.raises(TypeError, match=r"summary key must be .* not ''"):
        summary[""] = 1
    assert published == [("summary", {"set": {"best": 0.5}}), ("summary", {"delete": ["best"]})]
