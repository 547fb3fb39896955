"""What the tracker costs and carries, measured: ``python -m tests.tools.benchmarks``.

A program, not tests: it prints figures beside the bars they must reach, and never fails because a machine is slow.
Imports nothing here, so that a measured child process starts with nothing of the benchmarks in its memory.
"""
