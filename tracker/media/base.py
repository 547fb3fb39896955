"""Media: what can be logged besides numbers and strings. Imports nothing heavy; any thread.

A type is a subclass in a module of its own, and a row in `tracker.media.TYPES`. It says how it looks as plain data and
which files belong to it; where these are stored is decided here, and how they get there by `tracker.sdk.files`.
"""

from __future__ import annotations

import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

from sidecar.protocol.digests import digest_file

MEDIA_NAME = "media"
"""Directory of media files below the run's files."""

_EXTENSION = re.compile(r"[a-z0-9]{1,16}")
_NOT_IN_NAMES = re.compile(r"[^\w.-]|^\.")
_MAX_DIRECTORY_CHARACTERS = 60  # at most four bytes each, in a name of at most 255
_DIGEST_CHARACTERS = 16


class MediaFile:
    """One file of a media object. Its name is derived from its content.

    Args:
        content: the content itself, or the path of a file that has it.
        extension: of the file's name, such as ``"png"``.
        role: the key under which the object's map describes this file; empty: in the map itself.

    Attributes:
        size: in bytes.
        sha256: in hex.

    Raises:
        OSError: the file cannot be read. ValueError: `extension` is not 1 to 16 lower-case letters and digits.
    """

    def __init__(self, content: bytes | str | os.PathLike[str], extension: str, role: str = "") -> None:
        if not _EXTENSION.fullmatch(extension):
            raise ValueError(f"extension must be 1 to 16 lower-case letters and digits, not {extension!r}")
        self._content = content if isinstance(content, bytes) else Path(content)
        self._extension = extension
        self.role = role
        with self.open() as file:
            self.size, self.sha256 = digest_file(file)

    def open(self) -> IO[bytes]:
        """Return a binary file with the content."""
        return io.BytesIO(self._content) if isinstance(self._content, bytes) else open(self._content, "rb")

    def name(self, key: str) -> str:
        """Return the name among the run's files, for a metric's key: ``"media/<key>/<digest>.<extension>"``."""
        directory = _NOT_IN_NAMES.sub("_", key[:_MAX_DIRECTORY_CHARACTERS]) or "_"
        return f"{MEDIA_NAME}/{directory}/{self.sha256[:_DIGEST_CHARACTERS]}.{self._extension}"


class Media(ABC):
    """A value of a type other than number and string.

    Attributes:
        type: the value of ``_type`` in its map.
    """

    type: ClassVar[str]

    def check(self) -> None:  # noqa: B027 (most types need none)
        """Check that the object can be logged, when it is.

        Raises:
            TypeError, ValueError: it cannot.
        """

    @abstractmethod
    def to_map(self) -> dict[str, Any]:
        """Return plain data with ``_type``, without its files."""

    def files(self) -> Sequence[MediaFile]:
        """Return the files that belong to the object."""
        return ()


class Logged(NamedTuple):
    """A media object as it is logged.

    Attributes:
        body: its map. It describes each file by ``path`` (the name among the run's files), ``sha256`` and ``size``.
        files: the files with their names; to be stored before `body` is recorded.
    """

    body: dict[str, Any]
    files: list[tuple[MediaFile, str]]


def logged(media: Media, key: str) -> Logged:
    """Return what is recorded of `media` under a metric's key.

    Raises:
        TypeError, ValueError, OSError: see `Media.check` and `MediaFile`.
    """
    media.check()
    body = media.to_map()
    files = [(file, file.name(key)) for file in media.files()]
    for file, name in files:
        about = {"path": name, "sha256": file.sha256, "size": file.size}
        body.update({file.role: about} if file.role else about)
    return Logged(body, files)
