"""Fault injection: real processes, real signals, full disks, damaged files. ``python -m tests.faults`` runs it."""
