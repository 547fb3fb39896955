"""Projections of a run's log: the run's state, the store, files. All of them can be rebuilt from it."""
