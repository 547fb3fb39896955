"""Children of all kinds: forked, spawned, from a fork server or a pool, forked in a thread, or exiting without logging.

The parent logs throughout, from its main thread and from another, so that locks are held when it forks.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tracker
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Tally, Trainer, pace, sidecars
from tests.support import wait_until

CALLS = 40
"""Number of calls of each child."""

FIRST_CHILD = 2
"""Number of the first child; writer 0 is the parent's main thread, writer 1 another of its threads."""

DEADLOCK_SECONDS = 60.0


# -- in the trainer ------------------------------------------------------------------


def parent(options: dict[str, Any]) -> None:
    """Program: start the children named by ``options["kind"]`` while two threads log; then finish."""
    run = tracker.init(project="faults", id=options["run"])
    tally = Tally(Path(options["tally"]), options["writers"])
    call = tally.caller(run.log, 0)
    call()
    stop = threading.Event()
    thread = threading.Thread(target=lambda: pace(tally.caller(run.log, 1), 2000, lambda: not stop.is_set()))
    thread.start()
    _KINDS[options["kind"]](tally, run.id)
    for _ in range(100):
        call()
    stop.set()
    thread.join()
    assert run.state == "running", f"a child's exit made the run {run.state}"
    run.finish()
    assert tally.raised() == 0, f"log() raised {tally.raised()} times"
    records = tracker.Api(options["directory"]).run(run.id).records
    assert records == tally.returned(), f"finish() returned with {records} of {tally.returned()} calls in the store"


def _log_to_the_parents_run(tally: Tally, writer: int) -> None:
    call = tally.caller(tracker.log, writer)
    for _ in range(CALLS):
        call()


def _log_as_another_process(path: str, writers: int, run: str, writer: int) -> None:
    """Log in a spawned child, which finds its parent's sidecar through the environment."""
    tally = Tally(Path(path), writers)
    tracker.init(project="faults", id=run)
    _log_to_the_parents_run(tally, writer)
    assert not _has_a_sidecar_of_its_own(), "a child launched a sidecar of its own"


def _has_a_sidecar_of_its_own() -> bool:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return any(b"sidecar" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children)


def _fork(tally: Tally, run: str) -> None:
    """Fork with `os.fork`; the children run at the same time and exit in different ways."""
    pids = []
    for writer in tally.writers[FIRST_CHILD:]:
        pid = os.fork()
        if pid == 0:
            _log_to_the_parents_run(tally, writer)
            if writer % 2:
                os._exit(0)
            sys.exit(0)
        pids.append(pid)
    _reap(pids)


def _reap(pids: list[int]) -> None:
    for pid in pids:
        _, status = os.waitpid(pid, 0)
        assert status == 0, f"a child ended with {os.waitstatus_to_exitcode(status)}"


def _processes(method: str, tally: Tally, run: str) -> None:
    """Start `multiprocessing.Process` with the given method."""
    context: Any = multiprocessing.get_context(method)
    if method == "fork":
        processes = [
            context.Process(target=_log_to_the_parents_run, args=(tally, writer))
            for writer in tally.writers[FIRST_CHILD:]
        ]
    else:
        processes = [
            context.Process(target=_log_as_another_process, args=(str(tally.path), len(tally.writers), run, writer))
            for writer in tally.writers[FIRST_CHILD:]
        ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0, f"a child ended with {process.exitcode}"


_pool_call: Callable[[], None]


def _begin_worker(tally: Tally, next_writer: Any) -> None:
    global _pool_call
    with next_writer.get_lock():
        writer = next_writer.value
        next_writer.value += 1
    _pool_call = tally.caller(tracker.log, writer)


def _task(_: int) -> None:
    _pool_call()


def _pool(tally: Tally, run: str) -> None:
    """Run a pool of forked workers, which end by SIGTERM; each task logs once."""
    context = multiprocessing.get_context("fork")
    children = tally.writers[FIRST_CHILD:]
    arguments = tally, context.Value("i", children[0])
    with context.Pool(len(children), _begin_worker, arguments) as pool:
        pool.map(_task, range(CALLS * len(children)), chunksize=1)


def _in_a_thread(tally: Tally, run: str) -> None:
    """Fork in a thread, which is then the only thread of the child."""
    failed: list[BaseException] = []

    def fork(writer: int) -> None:
        try:
            pid = os.fork()
            if pid == 0:
                with _then_exit():
                    _log_to_the_parents_run(tally, writer)
            _reap([pid])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=fork, args=(writer,)) for writer in tally.writers[FIRST_CHILD:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


@contextlib.contextmanager
def _then_exit() -> Iterator[None]:
    try:
        yield
    except BaseException:
        os._exit(1)
    os._exit(0)


def _only_exit(tally: Tally, run: str) -> None:
    """Fork children that log nothing, and exit in every possible way."""
    for way in range(5):
        pid = os.fork()
        if pid == 0:
            if way == 0:
                os._exit(0)
            elif way == 1:
                sys.exit(0)
            elif way == 2:
                sys.exit(3)
            elif way == 3:
                raise RuntimeError("planned, in a child")
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == (0, 0, 3, 1, -signal.SIGTERM)[way], f"child {way} ended with {code}"


_KINDS: dict[str, Callable[[Tally, str], None]] = {
    "fork": _fork,
    "process, fork": partial(_processes, "fork"),
    "process, spawn": partial(_processes, "spawn"),
    "process, forkserver": partial(_processes, "forkserver"),
    "pool": _pool,
    "thread": _in_a_thread,
    "exit": _only_exit,
}


# -- in the tests ------------------------------------------------------------------


def _run(kind: str, children: int, directory: Path, seed: int) -> Figures:
    root = directory / "root"
    writers = FIRST_CHILD + children
    with Trainer(root, f"{__name__}:parent", writers=writers, kind=kind, directory=str(root)) as trainer:
        trainer.wait(seconds=DEADLOCK_SECONDS)
        tally = trainer.tally
        counts = tally.counts()
        logged = [counts[writer][0] for writer in tally.writers[FIRST_CHILD:]]
        assert sum(logged) == CALLS * children, f"the children made {logged} calls"
        wait_until(lambda: not sidecars(root), "the sidecar has exited")
        result = read_back(root, "run", [tally])
        assert result.run.state == "finished", f"the run is {result.run.state}"
        assert not result.run.losses, f"losses: {result.run.losses}"
        return Figures(result.calls, result.read, result.lost, result.duplicated, tally.worst())


_REQUIREMENT = "every logged point is stored once; a child's exit never finishes the run; no deadlock"

SCENARIOS = [
    Scenario(7, name, partial(_run, kind, children), rounds, _REQUIREMENT)
    for name, kind, children, rounds in (
        ("os.fork(), children log", "fork", 4, 3),
        ("multiprocessing, fork", "process, fork", 3, 2),
        ("multiprocessing, spawn", "process, spawn", 2, 1),
        ("multiprocessing, forkserver", "process, forkserver", 2, 1),
        ("multiprocessing pool", "pool", 3, 2),
        ("os.fork() in a thread", "thread", 4, 3),
        ("children that exit without logging", "exit", 0, 3),
    )
]
