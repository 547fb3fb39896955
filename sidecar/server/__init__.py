"""The sidecar's sockets and the loop that serves them: control socket, record socket, result sockets, access."""
