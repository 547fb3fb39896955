"""Names, values and files of a run as MLflow accepts them, shortened where it has limits. Pure functions: no I/O.

The rules are those of MLflow's ``mlflow/utils/validation.py`` and ``mlflow/utils/uri.py``
(https://github.com/mlflow/mlflow/blob/master/mlflow/utils/validation.py); the length of a tag is the minimum that its
documentation guarantees for every database (https://mlflow.org/docs/latest/api_reference/rest-api.html#set-tag).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sidecar.projections.run_state import RunState
from sidecar.protocol import plain

NAME_CHARS, PARAM_CHARS, TAG_CHARS, EXPERIMENT_CHARS = 250, 6000, 5000, 500

TRACEBACK_TAG = "tracker.traceback"

NOTES_TAG = "mlflow.note.content"
"""MLflow's own tag for the description that its pages show."""

ARTIFACTS_PATH = "/api/2.0/mlflow-artifacts/artifacts/"

_NOT_IN_NAMES = re.compile(r"[^/\w.\- :]")
_NOT_IN_PATHS = re.compile(r"[#%?\\;\x00-\x1f\x7f]")


class Fitted(NamedTuple):
    """Names and values as MLflow accepts them.

    Attributes:
        values: name -> value.
        whole: name -> the original key and value, of those that had to be changed.
    """

    values: dict[str, str]
    whole: dict[str, dict[str, str]]


def mlflow_name(key: str) -> str:
    """Return the name of a metric, param or tag in MLflow: `key`, if that is valid there.

    Otherwise characters and parts of a path that are not valid become "_", the length is limited to 250 characters, and
    the name ends with eight digits of the key's SHA-256, so that different keys have different names.
    """
    parts = _NOT_IN_NAMES.sub("_", key).split("/")
    name = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if name.startswith(".."):
        name = f"_{name}"
    if name == key and len(key) <= NAME_CHARS:
        return key
    return f"{name[: NAME_CHARS - 9]}-{digest(key)}"


def of_writer(label: str | None, key: str) -> str:
    """Return the full name of a metric of a writer with this label."""
    return key if label is None else f"{label}/{key}"


def label_of(state: RunState, client: str) -> str | None:
    """Return the label of a client, or None."""
    writer = state.writers.get(client)
    return None if writer is None else writer.name


def run_name(state: RunState) -> str:
    return shorten(clean(state.about["name"] or state.id), NAME_CHARS)


def user_tags(state: RunState) -> list[str]:
    """Return the run's tags, with the prefix "tag." if the name has a meaning in MLflow or here."""
    return [f"tag.{tag}" if tag.startswith(("mlflow.", "tracker.")) else tag for tag in state.about["tags"] if tag]


def artifact_name(name: str) -> str:
    """Return the name of a file among the artifacts: the same, unless it is not valid there or reserved."""
    usable = _NOT_IN_PATHS.sub("_", name)
    if name.startswith("tracker/"):
        usable = f"files/{usable}"
    if usable == name:
        return name
    stem, dot, suffix = usable.rpartition(".")
    return f"{stem}-{digest(name)}.{suffix}" if dot and "/" not in suffix else f"{usable}-{digest(name)}"


def shorten(value: str, limit: int, *, keep_end: bool = False) -> str:
    """Return `value`; if it is longer than `limit` characters, its beginning or end, with digits of its SHA-256."""
    if len(value) <= limit:
        return value
    return f"{digest(value)}…{value[9 - limit :]}" if keep_end else f"{value[: limit - 9]}…{digest(value)}"


def fit(values: Mapping[str, str], limit: int) -> Fitted:
    """Return names and values as MLflow accepts them, and the originals of those that had to be changed."""
    fitted: dict[str, str] = {}
    whole = {}
    for key, value in values.items():
        name = mlflow_name(key)
        fitted[name] = shorten(clean(value), limit, keep_end=key == TRACEBACK_TAG)  # its last line matters most
        if name != key or fitted[name] != value:
            whole[name] = {"key": key, "value": value}
    return Fitted(fitted, whole)


def flatten(config: dict[str, Any]) -> dict[str, str]:
    """Return a config as params: nested keys joined with dots, values as text.

    If a key with dots equals a nested one, it gets eight digits at the end: ``{"a": {"b": 1}, "a.b": 2}`` becomes
    ``a.b`` and ``a.b-…``.
    """
    params: dict[str, str] = {}
    dotted: list[tuple[str, str, str]] = []
    for path, value in plain.flatten(config, open_media=True):
        if any("." in part for part in path):
            dotted.append((".".join(path), digest("\0".join(path)), text(value)))
        else:
            params[".".join(path)] = text(value)
    for name, digits, value in dotted:
        params[f"{name}-{digits}" if name in params else name] = value
    return params


def text(value: Any) -> str:
    """Return a value of a config or a summary as MLflow's own client writes it; lists and maps as JSON."""
    return value if isinstance(value, str) else to_json(value) if isinstance(value, list | dict | bytes) else str(value)


def number(value: float) -> str:
    """Return a number in the JSON that protobuf reads (https://protobuf.dev/programming-guides/json/)."""
    as_float = float(value)
    if math.isfinite(as_float):
        return repr(as_float)
    return '"NaN"' if math.isnan(as_float) else '"Infinity"' if as_float > 0 else '"-Infinity"'


def numbers(values: Sequence[Any]) -> list[str]:
    """Return what `number` returns for each of the values."""
    floats = values if isinstance(values, array) and values.typecode == "d" else array("d", values)
    finite = math.isfinite(sum(floats))  # if it is not, the values may still be
    return list(map(repr if finite else number, floats))


def milliseconds(seconds: float) -> int:
    """Return Unix seconds in whole milliseconds, as MLflow has them; 0 for times that it cannot hold."""
    exact = seconds * 1000
    return int(exact) if 0 <= exact < 2**63 else 0


def list_in(value: str | None) -> list[str]:
    """Return the list in a tag, which is JSON; an empty list if there is no tag or it was shortened."""
    try:
        content = json.loads(value or "[]")
    except ValueError:
        return []
    return content if isinstance(content, list) else []


def about(state: RunState) -> dict[str, str]:
    """Return the tags with attributes of the run and how it ended."""
    first = next(iter(state.writers.values()), None)
    losses = state.losses.shown()
    named = {
        "project": state.about["project"],
        "group": state.about["group"],
        "job_type": state.about["job_type"],
        "color": state.edits.get("color"),
        "deleted": state.edits.get("deleted") or None,
        "host": first and first.about["host"],
        "python": first and first.about["python"],
        "state": state.state,
        **state.end,
        "losses": to_json(losses) if losses else None,
    }
    tags = {f"tracker.{key}": text(value) for key, value in named.items() if value is not None}
    if first and first.about["program"]:
        tags |= {"mlflow.source.name": first.about["program"], "mlflow.source.type": "LOCAL"}
    return tags


def proxied(uri: str) -> str | None:
    """Return the path of a run's artifacts below the artifact proxy; None if they are not behind it."""
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts":
        return parts.path.strip("/")
    _, anchor, path = parts.path.partition(ARTIFACTS_PATH)
    return path.strip("/") if anchor and parts.scheme in ("http", "https") else None


def clean(value: str) -> str:
    """Return `value` without what PostgreSQL cannot store in text: NUL and lone surrogates."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def digest(value: str) -> str:
    return hashlib.sha256(value.encode(errors="replace")).hexdigest()[:8]


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_json_default)


def _json_default(value: Any) -> Any:
    return {"_type": "bytes", "base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else str(value)
