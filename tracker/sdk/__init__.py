"""A run as its own process sees it."""
