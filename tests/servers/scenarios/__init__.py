"""Faults on the way to servers, one module each; ``python -m tests.servers.faults`` plays them."""
