"""`settings_of`: the settings in an object of any library, by name. Imports none of these libraries; any thread."""

from __future__ import annotations

import dataclasses
import enum
import numbers
import os
import sys
import types
from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tracker.sdk.values import is_array, is_mapping, items

_VALUES = (str, bytes, bytearray, numbers.Number, list, set, frozenset, range, partial, enum.Enum, os.PathLike)
"""Types whose attributes are not settings."""

_NAMESPACES = (Namespace, types.SimpleNamespace)

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodWrapperType)


def settings_of(value: Any, *, inside: bool = False) -> dict[Any, Any] | None:
    """Return the settings that an object has, by name; None if it has none.

    They are the items of mappings and of what has ``keys()``, the values of absl's flags, the fields of dataclasses,
    attrs classes, pydantic models and named tuples, what ``to_dict()`` returns; else the public attributes of the
    object and of its class that are not methods or properties. Of a class they are its own such attributes.

    Args:
        inside: whether the object is a value among settings. Then a class, a module, or an object that says by its
            text what it is, is not taken apart.

    Raises:
        whatever a library raises.
    """
    if isinstance(value, _VALUES) or is_array(value) or is_function(value):
        return None
    if isinstance(value, type):
        return None if inside else _of_class(value)
    for read in (_of_omegaconf, _of_flags, _of_mapping, _of_fields, _of_to_dict):
        settings = read(value)
        if settings is not None:
            return settings
    if isinstance(value, _NAMESPACES):
        return _of_object(value)
    if isinstance(value, types.ModuleType):
        return None if inside else _of_module(value)
    if isinstance(value, tuple) or (inside and not has_address_as_text(value)):
        return None
    return _of_object(value) or None


def is_function(value: Any) -> bool:
    """Whether a value is a function, or an object that is made of one and has its name."""
    return isinstance(value, _FUNCTIONS) or (
        callable(value) and hasattr(value, "__wrapped__") and isinstance(getattr(value, "__qualname__", None), str)
    )


def name_of(value: Any) -> str:
    """Return the full name of a class or a function, else the text of a value."""
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str):
        return str(value)
    module = getattr(value, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"


# -- kinds of objects; each returns None for an object of another kind ------------------------------------------------


def _of_omegaconf(value: Any) -> dict[Any, Any] | None:
    if not type(value).__module__.startswith("omegaconf.") or not isinstance(value, Mapping):
        return None
    convert = sys.modules["omegaconf"].OmegaConf.to_container
    try:
        return dict(convert(value, resolve=True, throw_on_missing=False))
    except Exception:  # an interpolation that cannot be resolved
        return dict(convert(value, resolve=False, throw_on_missing=False))


def _of_flags(value: Any) -> dict[Any, Any] | None:
    if isinstance(value, types.ModuleType) and value.__name__ == "absl.flags":
        value = value.FLAGS
    if not type(value).__module__.startswith("absl.flags"):
        return None
    read = getattr(type(value), "flag_values_dict", None)
    return dict(read(value)) if read is not None else None


def _of_mapping(value: Any) -> dict[Any, Any] | None:
    return dict(items(value)) if is_mapping(value) else None


def _of_fields(value: Any) -> dict[Any, Any] | None:
    kind = type(value)
    if _is_pydantic(kind):
        return dict(value)
    if issubclass(kind, tuple) and hasattr(value, "_asdict"):  # a named tuple
        return dict(value._asdict())
    names = _fields(kind)
    return None if names is None else {name: getattr(value, name) for name in names if hasattr(value, name)}


def _is_pydantic(kind: type) -> bool:
    """Whether a class is a pydantic model, of version 2 or 1."""
    return hasattr(kind, "__iter__") and (hasattr(kind, "model_fields") or hasattr(kind, "__fields__"))


def _fields(kind: type) -> list[str] | None:
    """Return the names of a class's fields; None if it declares none."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    if hasattr(kind, "__attrs_attrs__"):
        return [field.name for field in kind.__attrs_attrs__]
    if hasattr(kind, "__struct_fields__"):  # msgspec
        return list(kind.__struct_fields__)
    return None


def _of_to_dict(value: Any) -> dict[Any, Any] | None:
    if not callable(getattr(type(value), "to_dict", None)):
        return None
    try:
        made = value.to_dict()
    except Exception:  # one that takes arguments
        return None
    return dict(made) if isinstance(made, Mapping) else None


def _of_class(value: type) -> dict[Any, Any] | None:
    if issubclass(value, enum.Enum) or _is_pydantic(value) or _fields(value) is not None:
        return None  # the settings are those of an instance
    return dict(_class_attributes(value)) or None


def _of_module(value: types.ModuleType) -> dict[Any, Any] | None:
    unwanted = (type, types.ModuleType, *_FUNCTIONS)
    return {name: item for name, item in _public(vars(value)) if not isinstance(item, unwanted)} or None


def _of_object(value: Any) -> dict[Any, Any]:
    kind = type(value)
    settings = dict(_class_attributes(kind))
    for parent in kind.__mro__:
        slots = parent.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if not name.startswith("_") and hasattr(value, name):
                settings[name] = getattr(value, name)
    settings.update(_public(getattr(value, "__dict__", {})))
    return settings


# -- attributes -------------------------------------------------------------------------------------------------------


def _public(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((name, item) for name, item in list(attributes.items()) if not str(name).startswith("_"))


def _class_attributes(kind: type) -> Iterator[tuple[str, Any]]:
    """Return the public attributes of a class and its bases that are data. A class in its body is a dict of its own."""
    for parent in reversed(kind.__mro__):
        if parent.__module__ in ("builtins", "typing", "abc"):
            continue
        for name, item in _public(vars(parent)):
            own = f"{parent.__qualname__}.{name}" == getattr(item, "__qualname__", None)
            if isinstance(item, type):
                yield name, (dict(_class_attributes(item)) if own else item)
            elif isinstance(item, types.FunctionType):
                if not own:  # not a method, but a value
                    yield name, item
            elif not hasattr(type(item), "__get__"):
                yield name, item


def has_address_as_text(value: Any) -> bool:
    """Whether all that the text of an object says is its class and its address in memory."""
    kind: Any = type(value)
    return kind.__repr__ is object.__repr__ and kind.__str__ is object.__str__
