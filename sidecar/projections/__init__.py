"""What a log says, in readable forms: the run's state, the store, files. All of it can be rebuilt."""
