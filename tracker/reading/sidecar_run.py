"""SidecarRun: a run that is read through a sidecar. Used on any thread; knows the sidecar only through its reader."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from tracker.reading.editing import RunEditor
from tracker.reading.remote_run import RemoteReader, RemoteRun
from tracker.reading.sidecar_store import FileInfo, SidecarReader
from tracker.reading.stored_run import StoredFile


class SidecarFile(StoredFile):
    """A file of a run, which is downloaded into a temporary directory when its path is first asked for."""

    reader: SidecarReader
    _fetched: Path | None = None

    @property
    def path(self) -> Path:
        """Where it is on this machine."""
        if self._fetched is None:
            self._fetched = self.reader.download(self.name)
        return self._fetched


class SidecarRun(RemoteRun):
    """A run of `tracker.Api` that a sidecar keeps. It has no directory on this machine."""

    _reader: SidecarReader

    @property
    def sinks(self) -> dict[str, dict[str, Any]]:
        """The servers it is sent to, as `StoredRun.sinks`."""
        return dict(self._reader.about().get("sinks") or {})

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes of its log and of its store, in bytes."""
        log, store = self._reader.about().get("sizes") or (0, 0)
        return int(log), int(store)

    def editor(self) -> RunEditor:
        """Return what edits the run, through the sidecar that keeps it."""
        return self._reader.editor

    def files(self) -> list[StoredFile]:
        """Return the files that were saved with the run, by name; each is downloaded when its path is asked for."""
        files: list[StoredFile] = []
        for name, size, _ in self._reader.files():
            file = SidecarFile(name, Path(), size)
            file.reader = self._reader
            files.append(file)
        return files

    def listed(self) -> list[FileInfo]:
        """Return name, size and time of change of its files, by name."""
        return self._reader.files()

    def fetch(self, name: str) -> BinaryIO:
        """Return the content of a file, in a file that has no name on this machine and vanishes when it is closed."""
        file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            for chunk in self._reader.file(name):
                file.write(chunk)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file


def remote_run(reader: RemoteReader, address: str, stalled_after: float, state: dict[str, Any] | None) -> RemoteRun:
    """Return the run that a reader of a server, or of a sidecar, reads."""
    class_ = SidecarRun if isinstance(reader, SidecarReader) else RemoteRun
    return class_(reader, address, stalled_after, state)
