"""Media with files, of types that are defined here: what is recorded, and how the files are named."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import tracker
from sidecar.protocol.limits import valid_file_name
from tracker import media
from tracker.media.base import Media, MediaFile, logged
from tracker.sdk.files import copy_into
from tracker.sdk.plain import plain
from tracker.sdk.values import metrics, row

CONTENT = b"\x89PNG content"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Picture(Media):
    """A type with a file: all that it takes."""

    type = "picture"

    def __init__(self, content: bytes | Path, width: int = 2) -> None:
        self._file = MediaFile(content, "png")
        self._width = width

    def check(self) -> None:
        if self._width < 1:
            raise ValueError(f"width must be at least 1, not {self._width}")

    def to_map(self) -> dict[str, Any]:
        return {"_type": self.type, "width": self._width}

    def files(self) -> Sequence[MediaFile]:
        return [self._file]


class Masked(Picture):
    """A type with two files."""

    type = "masked"

    def files(self) -> Sequence[MediaFile]:
        return [self._file, MediaFile(b"mask", "bin", role="mask")]


@pytest.mark.parametrize("from_path", [False, True])
def test_what_is_recorded_describes_the_file(tmp_path: Path, from_path: bool) -> None:
    path = tmp_path / "picture"
    path.write_bytes(CONTENT)
    data, files = row({"val": {"image": Picture(path if from_path else CONTENT)}, "loss": 0.5})
    name = f"media/val.image/{SHA256[:16]}.png"
    assert data == {
        "val.image": {"_type": "picture", "width": 2, "path": name, "sha256": SHA256, "size": len(CONTENT)},
        "loss": 0.5,
    }
    assert list(files) == ["val.image"]
    ((file, file_name),) = files["val.image"]
    assert file_name == name and valid_file_name(name)
    with file.open() as content:
        assert content.read() == CONTENT


def test_several_files_are_described_under_their_roles() -> None:
    body, files = logged(Masked(CONTENT), "x")
    assert body["sha256"] == SHA256 and body["mask"]["sha256"] == hashlib.sha256(b"mask").hexdigest()
    assert [name for _, name in files] == [body["path"], body["mask"]["path"]]


@pytest.mark.parametrize(
    "key", ["a/b", "../../etc", ".hidden", "..", "/", "a\\b", "ü ☃", "x" * 512, "𝒳" * 512, "a\nb", ".part-x"]
)
def test_any_key_gives_a_valid_name(key: str) -> None:
    name = MediaFile(b"", "bin").name(key)
    assert valid_file_name(name) and name.count("/") == 2 and name.startswith("media/")


def test_metrics_without_files_have_none() -> None:
    assert row({"h": tracker.Histogram([1, 2]), "x": 1}).files == {}


def test_what_cannot_be_logged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="width must be at least 1, not 0"):
        metrics({"x": Picture(CONTENT, width=0)})
    with pytest.raises(FileNotFoundError):
        Picture(tmp_path / "missing")
    with pytest.raises(TypeError, match="a Picture has files and can only be logged"):
        plain({"x": Picture(CONTENT)})
    for extension in ("", "../x", "PNG", "p.ng", "x" * 17):
        with pytest.raises(ValueError, match="extension must be"):
            MediaFile(b"", extension)


def test_a_file_that_changes_before_it_is_stored_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(CONTENT)
    _, ((file, name),) = logged(Picture(path), "x")
    path.write_bytes(b"other")
    with pytest.raises(OSError, match="changed"):
        copy_into(tmp_path / "run", file, name)
    assert [each for each in (tmp_path / "run").rglob("*") if each.is_file()] == []
    path.write_bytes(CONTENT)
    assert copy_into(tmp_path / "run", file, name) == {"name": name, "size": len(CONTENT), "sha256": SHA256}
    assert (tmp_path / "run" / "files" / name).read_bytes() == CONTENT


def test_the_table_of_types() -> None:
    assert set(media.__all__) == set(media.HOMES) <= set(tracker.__all__)
    for type_name, (module, name) in media.TYPES.items():
        cls = getattr(import_module(module), name)
        assert issubclass(cls, Media) and cls.type == type_name
        assert getattr(tracker, name) is cls and f"tracker.{name}(...)" in media.HINT
    modules = {f"tracker.media.{path.stem}" for path in Path(media.__file__).parent.glob("*.py")}
    assert modules - {"tracker.media.__init__", "tracker.media.base"} == set(media.HOMES.values())
