"""Tests, and the benchmarks."""
