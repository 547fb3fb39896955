"""The dashboard: an HTTP server on this machine, and the page that it serves."""
