"""The clock of the trainer and its sidecar jumps up to an hour back and forward.

A time namespace (``unshare --time``) shifts only the monotonic clocks, not the time of day, and setting the time of the
whole machine would disturb everything else on it. So a small library, compiled with ``cc`` when the scenario runs,
replaces libc's clock functions in both processes (``LD_PRELOAD``), and adds an offset in a mapped file to the time of
day. Like a jump of the real clock, it does not affect the monotonic clocks.
"""

from __future__ import annotations

import mmap
import random
import shutil
import subprocess
import time
from pathlib import Path

from sidecar.log.reader import LogReader
from sidecar.protocol.layout import LOG_NAME, RUNS_NAME
from sidecar.protocol.records import Record
from tests.faults.readback import read_back
from tests.faults.scenario import Figures, Scenario
from tests.faults.trainers import Trainer, find_sidecar, row

HOUR = 3600
_JUMPS = 12

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t none, *shift = &none;
static __thread int64_t last_shift;  /* the shift when this thread last read the clock */
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_timedwait)(sem_t *, const struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_SHIFT");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_timedwait = dlsym(RTLD_NEXT, "sem_timedwait");
    if (fd < 0) return;
    void *map = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) shift = map;
    close(fd);
}

static void add(struct timespec *t, int64_t by) {
    int64_t all = t->tv_sec * 1000000000LL + t->tv_nsec + by;
    t->tv_sec = all / 1000000000LL;
    t->tv_nsec = all % 1000000000LL;
}

int clock_gettime(clockid_t id, struct timespec *t) {
    int result = real_gettime(id, t);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) add(t, last_shift = *shift);
    return result;
}

int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

/* Python 3.10 waits for locks until a time of day. The kernel's clock is not shifted, so undo the shift here. */
int sem_timedwait(sem_t *sem, const struct timespec *until) {
    struct timespec at = *until;
    add(&at, -last_shift);
    return real_timedwait(sem, &at);
}
"""


class _Clock:
    """An adjustable clock for processes that are started with `env`.

    Args:
        directory: directory for the library and the mapped file.
    """

    def __init__(self, directory: Path) -> None:
        compiler = shutil.which("cc")
        assert compiler, "cc not found; install a C compiler: apt-get install gcc"
        source, library, shift = directory / "clock.c", directory / "clock.so", directory / "shift"
        source.write_text(_SHIM)
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        shift.write_bytes(bytes(8))
        self.env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}
        self.seconds = 0.0
        with open(shift, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 8)

    def jump(self, seconds: float) -> None:
        """Set the clock ahead of the real one by this much, or behind it if negative."""
        self.seconds = seconds
        with memoryview(self._memory).cast("q") as shift:  # written at once; pack_into would write zeros first
            shift[0] = round(seconds * 1e9)

    def close(self) -> None:
        self._memory.close()


def _records(path: Path) -> list[Record]:
    with LogReader(path) as reader:
        return [record for batch in reader.batches() for record in batch.records]


def run(directory: Path, seed: int) -> Figures:
    """A trainer logs while the clock jumps, and finishes; another resumes the run at an earlier time of day."""
    rng = random.Random(seed)
    root = directory / "root"
    clock = _Clock(directory)
    start = time.time()
    try:
        tallies = []
        worst = p99 = 0.0
        for part in range(2):
            clock.jump(0 if part == 0 else -2 * HOUR)
            init = {"resume": "allow"}
            with Trainer(root, "steady", rate=1000, first=part, env=clock.env, init=init) as trainer:
                trainer.wait_for_stage()
                sidecar = find_sidecar(root)
                assert sidecar is not None, "no sidecar holds the run"
                for pid in (trainer.pid, sidecar):
                    assert clock.env["LD_PRELOAD"] in Path(f"/proc/{pid}/maps").read_text(), "the library is not loaded"
                for _ in range(_JUMPS):
                    trainer.wait_for_calls(trainer.tally.returned() + rng.randrange(5, 150))
                    clock.jump(rng.choice((-HOUR, HOUR, 0, rng.uniform(-HOUR, HOUR))))
                assert find_sidecar(root) == sidecar, "another sidecar was started"
                trainer.tally.command = 1
                trainer.wait()
                worst, p99 = max(worst, trainer.tally.worst()), max(p99, trainer.tally.p99())
                output = trainer.output().strip()
                assert not output, f"the trainer printed: {output}"
                tallies.append(trainer.tally.counts())
        called = {writer: counts for tally in tallies for writer, counts in tally.items()}
        result = read_back(root, "run", called)
        assert result.run.state == "finished", f"the run is {result.run.state}"
        jumped = _check_order(root / RUNS_NAME / "run" / LOG_NAME, called)
        expected = [row(writer, number) for writer in sorted(called) for number in range(called[writer][0])]
        rows = [{key: value for key, value in points.items() if key[0] != "_"} for points in result.run.scan_history()]
        assert rows == expected, "the rows of the store are not in the order of the calls"
        steps = result.run.history(keys=["i"])["_step"]
        assert list(steps) == list(range(len(expected))), "steps are not counted on across the resume"
        sampled = result.run.history(keys=["i"], samples=50, x="time")
        assert 0 < len(sampled["i"]) <= 50, "sampling over time returns no points"
    finally:
        clock.close()
    note = f"{jumped} backward jumps of more than a minute among the records; took {time.time() - start:.0f} s"
    return Figures(result.calls, result.read, result.lost, result.duplicated, worst, p99, note)


def _check_order(log: Path, called: dict[int, tuple[int, int]]) -> int:
    """Check that records are in the order of their numbers and calls; return how often the time jumped back."""
    last: dict[str, Record] = {}
    calls = dict.fromkeys(called, 0)
    jumped = 0
    for record in _records(log):
        if not record.client:
            continue
        before = last.get(record.client)
        assert record.seq == (before.seq + 1 if before else 1), f"seq {record.seq} follows {before}"
        jumped += before is not None and record.time < before.time - 60
        last[record.client] = record
        if record.kind == "log":
            writer, number = record.body["data"]["w"], record.body["data"]["i"]
            assert number == calls[writer], f"call {number} is where {calls[writer]} should be"
            calls[writer] += 1
    assert jumped, "the clock never jumped among the records"
    return jumped


SCENARIO = Scenario(
    12,
    "clock of trainer and sidecar jumps up to an hour back and forward",
    run,
    rounds_in_ci=1,
    requirement="records keep their order and numbering",
)
