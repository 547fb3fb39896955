"""The faults on the way to servers, a module each; ``python -m tests.servers.faults`` plays them."""
