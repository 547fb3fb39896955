"""Benchmarks of cost and throughput: ``python -m tests.tools.benchmarks``.

A program, not tests: it prints figures beside the bars they must reach, and does not fail because a machine is slow.
This package imports nothing, so that a measured child process starts without the benchmarks in its memory.
"""
