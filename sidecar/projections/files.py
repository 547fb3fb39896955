"""Files of a run whose content came through the socket: put together below ``<run>/files/`` from the log's records.

A projection like the store: the same records give the same files, sent twice they change nothing. Used by one thread
at a time. A file appears whole, under its name, once its last part is there and its sum is right.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from sidecar.protocol.atomic import publish
from sidecar.protocol.bodies import check_file
from sidecar.protocol.digests import digest_file
from sidecar.protocol.errors import RecordError
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import PART_PREFIX
from sidecar.protocol.records import Record

_log = logging.getLogger("sidecar")


class Files:
    """The files of one run.

    Args:
        run_directory: the run's directory.
    """

    def __init__(self, run_directory: Path) -> None:
        self._run = run_directory.name
        self._top = run_directory / FILES_NAME

    def apply(self, record: Record) -> None:
        """Take a ``file`` record; one without content says that the file is in its place already.

        Raises:
            OSError: it cannot be written now, as on a full disk: apply it again later.
        """
        body = record.body
        if "data" not in body:
            return
        try:
            check_file(body)  # the log may have come from anywhere
            self._write(record.client, body["name"], body["size"], body["sha256"], body.get("offset", 0), body["data"])
        except (RecordError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            _log.error("run %s: a file of %s cannot be kept: %s", self._run, record.client, error)

    def _write(self, client: str, name: str, size: int, sha256: str, offset: int, data: bytes) -> None:
        path = self._top / name
        part = path.with_name(PART_PREFIX + hashlib.sha256(f"{client}/{name}/{sha256}".encode()).hexdigest()[:32])
        path.parent.mkdir(parents=True, exist_ok=True)
        if offset and not part.exists():
            if not (path.is_file() and path.stat().st_size == size):  # else: it was finished before, and is sent again
                _log.error("run %s: file %s lacks its beginning", self._run, name)
            return
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if offset else os.O_TRUNC), 0o644)
        with os.fdopen(fd, "r+b") as file:
            if offset > os.fstat(fd).st_size:  # else two records would make a file of any size, to be read for its sum
                part.unlink(missing_ok=True)
                _log.error("run %s: file %s lacks a part", self._run, name)
                return
            file.seek(offset)
            file.write(data)
        if offset + len(data) < size:
            return
        with open(part, "rb") as whole:
            digest = digest_file(whole)
        if digest.sha256 != sha256:
            part.unlink(missing_ok=True)
            _log.error("run %s: file %s is not what its sum says; it is left out", self._run, name)
            return
        try:
            publish(part, path)
        except IsADirectoryError:
            part.unlink(missing_ok=True)
            raise
