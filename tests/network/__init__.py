"""A sidecar and its clients on machines of their own, with a network between them that fails."""
