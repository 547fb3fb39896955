"""Faults on purpose: real processes, real signals, full disks, torn files. ``python -m tests.faults`` runs them all."""
