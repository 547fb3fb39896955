"""The ground both sides stand on: what a training process and a sidecar must agree on, and all of it.

``limits`` bounds, ``errors`` their violations, ``records`` the kinds, ``codec`` records as bytes, ``frames`` bytes with
a checksum, ``segments`` the window's files, ``channels`` the sockets (the only file that imports zmq), ``connection``
the connection file, ``deadline`` time that runs out. Imports nothing of the rest of ``sidecar``.
"""

PROTOCOL_VERSION = 1
"""Raised when a client of the old version could no longer work; a door refuses versions it does not know."""
