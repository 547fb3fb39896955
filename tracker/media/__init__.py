"""Media that a run can log, one file per type."""
