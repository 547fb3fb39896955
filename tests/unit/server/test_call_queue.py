"""The call queue: functions of other threads run in order, and its descriptor says that some are queued."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

import pytest

from sidecar.server.call_queue import CallQueue


@pytest.fixture
def calls() -> Iterator[CallQueue]:
    queue = CallQueue()
    yield queue
    os.close(queue.fd)
    os.close(queue._wake)


def readable(calls: CallQueue) -> bool:
    return bool(select.select([calls.fd], [], [], 0.0)[0])


def test_functions_run_in_order_and_only_then(calls: CallQueue) -> None:
    made: list[int] = []
    assert not readable(calls)
    for number in range(3):
        calls.put(lambda number=number: made.append(number))  # type: ignore[misc]
    assert readable(calls) and made == []
    calls.run_all()
    assert made == [0, 1, 2] and not readable(calls)
    calls.run_all()
    assert made == [0, 1, 2]


def test_a_function_may_queue_another(calls: CallQueue) -> None:
    made: list[str] = []
    calls.put(lambda: calls.put(lambda: made.append("second")))
    calls.run_all()
    assert made == ["second"]


def test_more_calls_than_the_pipe_holds_bytes(calls: CallQueue) -> None:
    made: list[int] = []
    count = 100_000
    for _ in range(count):
        calls.put(lambda: made.append(1))
    calls.run_all()
    assert len(made) == count
    calls.run_all()
    assert not readable(calls)


def test_calls_of_many_threads_all_run(calls: CallQueue) -> None:
    made: list[int] = []

    def put_many() -> None:
        for _ in range(1000):
            calls.put(lambda: made.append(1))

    threads = [threading.Thread(target=put_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls.run_all()
    assert len(made) == 8000
