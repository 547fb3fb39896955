"""A sidecar and its clients on separate machines (Linux namespaces), with a network between them that fails."""
