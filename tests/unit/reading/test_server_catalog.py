"""The catalog of a server: what changed is found by comparing versions, and only that is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sidecar.projections.run_state import RunState
from sidecar.sinks.clickhouse.reader import ClickhouseStore
from tracker.reading import server_catalog
from tracker.reading.server_catalog import ServerCatalog


class Reader:
    """The reader of a run, of which only the id is asked for."""

    def __init__(self, id: str) -> None:
        self.id = id


class Server:
    """Answers as a ClickHouse database does, from a dictionary: id -> version. Notes which states are asked for."""

    address = "clickhouse+http://nowhere:8123/test"

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}
        self.asked: list[list[str] | None] = []

    def versions(self) -> dict[str, int]:
        return dict(self.stored)

    def runs(self, ids: Sequence[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
        self.asked.append(None if ids is None else list(ids))
        return [
            (id, RunState().to_map() | {"id": id, "name": f"{id}-{version}"})
            for id, version in self.stored.items()
            if ids is None or id in ids
        ]

    def run(self, id: str) -> Reader:
        return Reader(id)

    def close(self) -> None:
        pass


def test_only_what_changed_is_read() -> None:
    server = Server()
    cards = ServerCatalog(cast(ClickhouseStore, server), 600.0)
    assert cards.refresh() == set() and cards.runs() == [] and cards.progress is None
    server.stored = {"a": 1, "b": 1}
    assert cards.refresh() == {"a", "b"}
    kept = cards.run("a")
    assert cards.refresh() == set()
    server.stored = {"a": 1, "b": 2, "c": 1}
    assert cards.refresh() == {"b", "c"}
    assert sorted(run.name for run in cards.runs()) == ["a-1", "b-2", "c-1"] and cards.run("a") is kept
    del server.stored["a"]
    assert cards.refresh() == {"a"} and cards.run("a") is None
    assert server.asked == [["a", "b"], ["b", "c"]]
    cards.close()


def test_many_changes_are_read_together() -> None:
    server = Server()
    server.stored = {f"run{number}": 1 for number in range(server_catalog._MOST_NAMED + 1)}
    cards = ServerCatalog(cast(ClickhouseStore, server), 600.0)
    assert len(cards.refresh()) == len(cards.runs()) == server_catalog._MOST_NAMED + 1
    assert server.asked == [None]
