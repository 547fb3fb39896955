"""A training process whose memory is measured from outside: at each stage it prints a word and waits for a line.

A program. Imports nothing before the first stage, so that the memory of all the tracker's imports is measured.
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
