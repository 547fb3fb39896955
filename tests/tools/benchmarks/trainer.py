"""A training process whose memory is watched from outside: says "ready" and waits for a line before each stage.

As a program. Imports nothing before the first stage, so that all that the tracker imports is seen.
"""

import sys


def wait(word: str) -> str:
    print(word, flush=True)
    return sys.stdin.readline().strip()


def main() -> None:
    calls = int(wait("ready"))
    import tracker

    run = tracker.init(project="benchmark")
    wait("initialized")
    for step in range(calls):
        run.log({f"metric{i}": step * 1.1 + i * 0.37 for i in range(10)})
    wait("logged")
    run.flush()
    wait("flushed")
    run.finish()


if __name__ == "__main__":
    main()
