"""The stages a record passes in the sidecar: check, append, project; and the runs and sessions that they serve."""
