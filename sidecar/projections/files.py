"""Files of a run whose content came through the socket, assembled below ``<run>/files/`` from the log's records.

The same records give the same files, and sending them twice changes nothing. Used by one thread at a time. A file
appears under its name once its last part has arrived and its digest is right; parts are stored as they are applied.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

from sidecar.log.reader import Batch
from sidecar.protocol.atomic import publish
from sidecar.protocol.bodies import check_file
from sidecar.protocol.digests import digest_file
from sidecar.protocol.errors import RecordError
from sidecar.protocol.layout import FILES_NAME
from sidecar.protocol.limits import PART_PREFIX
from sidecar.protocol.records import Record, kinds_of

_log = logging.getLogger("sidecar")


class Files:
    """The files of one run; a projection.

    Args:
        run_directory: the run's directory.
    """

    def __init__(self, run_directory: Path) -> None:
        self._run = run_directory.name
        self._top = run_directory / FILES_NAME
        self._kinds = kinds_of("files")
        self._end = 0

    def apply(self, batch: Batch) -> None:
        """Take the records of a batch that hold files.

        Raises:
            OSError: a file cannot be written now, for example because the disk is full; apply the batch again later.
        """
        for record in batch.of(self._kinds):
            self.take(record)
        self._end = batch.end

    def commit(self) -> int:
        return self._end

    def take(self, record: Record) -> None:
        """Take one record; without content it only says that the file is already in place.

        Raises:
            OSError: as `apply`.
        """
        body = record.body
        if "data" not in body:
            return
        try:
            check_file(body)  # the log may have come from anywhere
            self._write(record.client, body["name"], body["size"], body["sha256"], body.get("offset", 0), body["data"])
        except (RecordError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            _log.error("run %s: a file of client %s cannot be stored: %s", self._run, record.client, error)

    def _write(self, client: str, name: str, size: int, sha256: str, offset: int, data: bytes) -> None:
        path = self._top / name
        part = path.with_name(PART_PREFIX + hashlib.sha256(f"{client}/{name}/{sha256}".encode()).hexdigest()[:32])
        path.parent.mkdir(parents=True, exist_ok=True)
        if offset and not part.exists():
            if not (path.is_file() and path.stat().st_size == size):  # otherwise it is complete, and this is a resend
                _log.error("run %s: the beginning of file %s is missing; the file is omitted", self._run, name)
            return
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if offset else os.O_TRUNC), 0o644)
        with os.fdopen(fd, "r+b") as file:
            if offset > os.fstat(fd).st_size:  # or else two small records could create a file of any size to digest
                part.unlink(missing_ok=True)
                _log.error("run %s: a part of file %s is missing; the file is omitted", self._run, name)
                return
            file.seek(offset)
            file.write(data)
        if offset + len(data) < size:
            return
        with open(part, "rb") as whole:
            digest = digest_file(whole)
        if digest.sha256 != sha256:
            part.unlink(missing_ok=True)
            _log.error("run %s: file %s is omitted: its SHA-256 is %s, not %s", self._run, name, digest.sha256, sha256)
            return
        try:
            publish(part, path)
        except IsADirectoryError:
            part.unlink(missing_ok=True)
            raise


PROJECTION = Files
