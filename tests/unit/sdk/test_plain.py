"""Config and summary from anything: objects of many libraries as plain data."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import functools
import logging
import math
import subprocess
import sys
import types
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import attrs
import ml_collections  # type: ignore[import-untyped]
import numpy as np
import omegaconf
import pydantic
import pytest
from absl import flags

from sidecar.protocol.limits import MAX_DEPTH
from tracker.sdk.plain import as_mapping, plain, plain_mapping


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Data:
    path: str = "d"
    size: int = 7
    unset: int = dataclasses.field(init=False)


@attrs.define
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    layers: int = 3
    color: Color = Color.RED


@dataclasses.dataclass
class Shaped:
    """Has attributes as an array has, without being one."""

    shape: tuple[int, ...] = (28, 28)
    size: int = 7
    dtype: str = "float32"
    item: str = "x"


class Split(NamedTuple):
    train: float = 0.8
    test: float = 0.2


def relu(x: float) -> float:
    return max(x, 0.0)


class Base:
    seed = 1
    lr = 0.5


class Settings(Base):
    lr = 0.1
    activation = relu
    kind = Decimal
    _hidden = 1

    class data:
        batch = 32

        class loader:
            workers = 4

    def method(self) -> None: ...

    @property
    def derived(self) -> float:
        raise AssertionError("properties are not read")

    @classmethod
    def make(cls) -> None: ...

    @staticmethod
    def other() -> None: ...


SETTINGS = {
    "seed": 1,
    "lr": 0.1,
    "activation": f"{__name__}.relu",
    "kind": "decimal.Decimal",
    "data": {"batch": 32, "loader": {"workers": 4}},
}


class Space(SimpleNamespace):
    default = 2


class OldModel:
    """Like a model of pydantic 1, which the newest Python cannot import."""

    __fields__ = ("a", "data")

    def __init__(self) -> None:
        self.a = 1
        self.data = Data()

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        yield from vars(self).items()


class Slots:
    __slots__ = ("_private", "a", "unset")

    def __init__(self) -> None:
        self.a = 1


class Keyed:
    """Not a Mapping, but like one."""

    def __init__(self, **values: Any) -> None:
        self.values_ = values

    def keys(self) -> Any:
        return self.values_.keys()

    def __getitem__(self, key: str) -> Any:
        return self.values_[key]


class ToDict:
    def __init__(self) -> None:
        self.internal = object()

    def __repr__(self) -> str:
        return "a text"

    def to_dict(self) -> dict[str, Any]:
        return {"hidden_size": 768}


class Speaking:
    """Says by its text what it is, as a layer or an estimator."""

    def __init__(self) -> None:
        self.weights = [0.0]

    def __repr__(self) -> str:
        return "Speaking(3)"


class Tensor:
    """Like torch's: `size` is a method."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def size(self) -> tuple[int, ...]:
        return self.shape

    def __getitem__(self, index: Any) -> Tensor:
        return Tensor(self.array[index])

    def tolist(self) -> Any:
        return self.array.tolist()


class Eager:
    """Like TensorFlow's: it has neither ``tolist`` nor ``item``."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)
        self.shape = self.array.shape

    def numpy(self) -> Any:
        return self.array

    def __float__(self) -> float:
        return float(self.array)


def absl_flags() -> flags.FlagValues:
    values = flags.FlagValues()  # type: ignore[no-untyped-call]
    flags.DEFINE_float("lr", 0.1, "", flag_values=values)
    flags.DEFINE_multi_integer("layers", [64, 32], "", flag_values=values)
    flags.DEFINE_enum_class("color", Color.RED, Color, "", flag_values=values)
    values(["program", "--lr=0.5"])
    return values


def module() -> types.ModuleType:
    made = types.ModuleType("settings")
    vars(made).update(lr=0.1, layers=(1, 2), relu=relu, np=np, Path=Path, _hidden=1)
    return made


OBJECTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "a dict": ({"a": {"b": {1: 2}}}, {"a": {"b": {"1": 2}}}),
    "an empty dict": ({}, {}),
    "a mapping proxy": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "an OrderedDict": (collections.OrderedDict(a=1), {"a": 1}),
    "what has keys": (Keyed(a=1, b=Keyed(c=2)), {"a": 1, "b": {"c": 2}}),
    "a Namespace": (argparse.Namespace(a=1, f=relu, _b=2), {"a": 1, "f": f"{__name__}.relu"}),
    "an empty Namespace": (argparse.Namespace(), {}),
    "a SimpleNamespace": (SimpleNamespace(a=1, b=SimpleNamespace(c=2)), {"a": 1, "b": {"c": 2}}),
    "a dataclass": (Data(), {"path": "d", "size": 7}),
    "a dataclass with a shape": (Shaped(), {"shape": [28, 28], "size": 7, "dtype": "float32", "item": "x"}),
    "a Namespace with a shape": (argparse.Namespace(shape=[1], size=2), {"shape": [1], "size": 2}),
    "a SimpleNamespace with a shape": (SimpleNamespace(shape=(2, 3)), {"shape": [2, 3]}),
    "an OmegaConf with a shape": (omegaconf.OmegaConf.create({"shape": [2, 3]}), {"shape": [2, 3]}),
    "an attrs class": (Optimizer(), {"lr": 0.1, "betas": [0.9, 0.95]}),
    "a pydantic model": (Model(layers=4, more=1), {"layers": 4, "color": "red", "more": 1}),  # type: ignore[call-arg]
    "a model of pydantic 1": (OldModel(), {"a": 1, "data": {"path": "d", "size": 7}}),
    "a subclass of SimpleNamespace": (Space(a=1), {"a": 1, "default": 2}),
    "a named tuple": (Split(), {"train": 0.8, "test": 0.2}),
    "absl flags": (absl_flags(), {"lr": 0.5, "layers": [64, 32], "color": "red"}),
    "a ConfigDict": (
        ml_collections.ConfigDict({"optim": {"lr": 0.1, "betas": (0.9, 0.95)}, "shape": [1, 2]}),
        {"optim": {"lr": 0.1, "betas": [0.9, 0.95]}, "shape": [1, 2]},
    ),
    "a FrozenConfigDict": (ml_collections.FrozenConfigDict({"a": {"b": [1]}}), {"a": {"b": [1]}}),
    "an OmegaConf": (
        omegaconf.OmegaConf.create({"o": {"betas": [0.9, {"x": 1}], "lr": "${lr}"}, "lr": 0.1, "need": "???"}),
        {"o": {"betas": [0.9, {"x": 1}], "lr": 0.1}, "lr": 0.1, "need": "???"},
    ),
    "an OmegaConf that cannot be resolved": (
        omegaconf.OmegaConf.create({"a": "${nothing}", "b": 1}),
        {"a": "${nothing}", "b": 1},
    ),
    "an object with to_dict": (ToDict(), {"hidden_size": 768}),
    "a class with attributes": (Settings, SETTINGS),
    "an object of it": (Settings(), SETTINGS),
    "an object with slots": (Slots(), {"a": 1}),
    "a module": (module(), {"lr": 0.1, "layers": [1, 2]}),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_with_settings_is_a_config(kind: str) -> None:
    value, expected = OBJECTS[kind]
    assert plain_mapping(value, "config") == expected


@pytest.mark.parametrize("kind", sorted(set(OBJECTS) - {"a class with attributes", "a module"}))
def test_an_object_with_settings_inside_a_config(kind: str) -> None:
    value, expected = OBJECTS[kind]
    assert plain_mapping({"deep": [{"in": value}]}, "config") == {"deep": [{"in": expected}]}


def test_the_flags_module_stands_for_its_flags() -> None:
    assert as_mapping(flags, "config") == flags.FLAGS.flag_values_dict() != {}


class Nothing:
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("text", "a str"),
        (5, "an int"),
        ([("a", 1)], "a list of 1 item"),
        ((1, 2), "a tuple of 2 numbers"),
        ({1, 2}, "a set"),
        (relu, "a function"),
        (Path("x.yaml"), "a PosixPath"),
        (Nothing(), "a Nothing"),
        (Nothing, "the class Nothing"),
        (Data, "the class Data"),
        (Optimizer, "the class Optimizer"),
        (Model, "the class Model"),
        (Color, "the class Color"),
        (Color.RED, "a Color"),
        (np.zeros(3), r"an ndarray of shape \(3,\)"),
        (iter([1]), "a list_iterator"),
    ],
)
def test_what_has_no_settings_is_never_an_empty_config(value: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"config must be a dict, or an object with settings in it, .*, not {words}"):
        plain_mapping(value, "config")


def test_a_value_that_cannot_be_read_is_named() -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with pytest.raises(TypeError, match="summary key 'bad' cannot be recorded: RuntimeError: no text"):
        plain_mapping({"good": 1, "bad": Broken()}, "summary")
    with pytest.raises(TypeError, match="config cannot be read from a ConfigDict: RequiredValueError"):
        plain_mapping(ml_collections.ConfigDict({"a": ml_collections.config_dict.required_placeholder(int)}), "config")
    for bad in ({1: 2}, {"": 2}):
        with pytest.raises(TypeError, match="config has the key"):
            plain_mapping(bad, "config")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.arange(1500), list(range(1500))),
        (np.eye(2, dtype=np.float32), [[1.0, 0.0], [0.0, 1.0]]),
        (np.array(["2020-01-01"], "M8[D]"), ["2020-01-01"]),
        (np.zeros(0), []),
        (np.array([0.5]), [0.5]),
        (np.longdouble(0.5), 0.5),
        (np.array(0.5, np.longdouble), 0.5),
        (np.float32("nan"), math.nan),
        (np.bool_(True), True),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.dtype("float32"), "float32"),
        (np.float32, "numpy.float32"),
        (Tensor([1.0, 3.0]), [1.0, 3.0]),
        (Eager([1, 2]), [1, 2]),
        (Eager(0.5), 0.5),
        (collections.deque([1, 2]), [1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (range(5), "range(0, 5)"),
        (omegaconf.ListConfig([1, {"a": 2}]), [1, {"a": 2}]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({(2, 1), (1, 2)}, [[1, 2], [2, 1]]),
        (relu, f"{__name__}.relu"),
        (len, "len"),
        (Base, f"{__name__}.Base"),
        (functools.partial(print, 1.0, end={"a": 2}), "print(1.0, end={'a': 2})"),
        (functools.lru_cache(relu), f"{__name__}.relu"),
        (Speaking(), "Speaking(3)"),
        (Nothing(), f"<{__name__}.Nothing>"),
        (1j, "1j"),
        (Decimal("Infinity"), "Infinity"),
        (Color.RED, "red"),
    ],
)
def test_the_plain_form_of_a_value(value: Any, expected: Any) -> None:
    made = plain(value)
    assert made == expected or (made != made and expected != expected)
    assert type(made) is type(expected)


def test_an_array_that_is_cut_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tracker")
    logging.getLogger("tracker").propagate = True
    config = plain_mapping(
        {
            "whole": np.zeros(10_000),
            "long": np.arange(20_000),
            "data": {"wide": Tensor(np.zeros((15, 1000))), "wider": np.zeros((1, 10_001))},
        },
        "config",
    )
    assert len(config["whole"]) == 10_000 and config["long"] == list(range(10_000))
    assert len(config["data"]["wide"]) == 10 and config["data"]["wider"] == "<an ndarray of shape (1, 10001)>"
    assert [record.getMessage() for record in caplog.records] == [
        "config key 'long' has 20,000 elements; only the first 10,000 are kept",
        "config key 'data.wide' has 15,000 elements; only the first 10,000 are kept",
        "config key 'data.wider' is an ndarray of shape (1, 10001), which is too large to be kept; its shape is kept",
    ]


def test_what_is_deep_or_holds_itself_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "tracker")
    logging.getLogger("tracker").propagate = True
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = {"k": deep}
    parent = SimpleNamespace()
    parent.child = SimpleNamespace(parent=parent)
    plain_mapping({"deep": deep, "loop": parent}, "config")
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert messages[0].startswith("config key 'deep.k.k") and "is nested deeper than 14 levels" in messages[0]
    assert messages[1] == "config key 'loop.child.parent' holds itself; it is kept as text there"


def test_a_set_has_one_order_in_every_process() -> None:
    script = "from tracker.sdk.plain import plain; print(plain({'cat', 'dog', 'bird', 3, 2.5, None, (1, 2), b'x'}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1, seen


def test_more_values_win_over_the_object() -> None:
    assert plain_mapping(Data(), "config", {"size": 8, "value": 1, "what": 2}) == {
        "path": "d",
        "size": 8,
        "value": 1,
        "what": 2,
    }
    assert plain_mapping(None, "config") == {}
    assert plain_mapping({"a\ud800": {"b\ud800": "c\ud800"}}, "config") == {"a?": {"b?": "c?"}}
