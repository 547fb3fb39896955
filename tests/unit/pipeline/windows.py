"""Windows as a client leaves them: real owner and segment files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sidecar.protocol.codec import encode
from sidecar.protocol.frames import frame
from sidecar.protocol.records import Record
from sidecar.protocol.segments import OwnerLock, header


def write_window(directory: Path, records: Iterable[Record], segment_records: int = 3, **info: Any) -> OwnerLock:
    """Write a window whose segments hold `segment_records` records each; return its owner's lock, which is held."""
    directory.mkdir(parents=True)
    owner = OwnerLock.make(directory, {"client": directory.name, **info})
    records = list(records)
    for number, start in enumerate(range(0, len(records), segment_records)):
        part = records[start : start + segment_records]
        data = header(part[0].seq) + b"".join(frame(encode(record)) for record in part)
        (directory / f"{number:08d}.seg").write_bytes(data.ljust(len(data) + 100, b"\0"))
    return owner


def write_orphan(directory: Path, records: Iterable[Record], segment_records: int = 3, **info: Any) -> Path:
    """Write a window whose owner is gone; return its directory."""
    write_window(directory, records, segment_records, **info).release()
    return directory
