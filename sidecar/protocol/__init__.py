"""Everything that a training process and a sidecar must agree on. Imports nothing else of ``sidecar``.

Records: ``records`` the kinds, ``checks`` their checks, ``limits`` bounds and names, ``codec`` records as bytes,
``frames`` bytes with a checksum, ``errors`` what can go wrong. Sockets: ``channels`` (the only file that imports zmq),
``ask`` a request to the control socket, ``endpoints``, ``keys``, ``deadline``. Files: ``layout`` where they are,
``connection`` the connection file, ``segments`` the window's files, ``atomic`` how files are published,
``filesystems`` which disks are local, ``sink_address`` and ``sink_progress`` the servers that a run is sent to.
"""

PROTOCOL_VERSION = 1
"""Incremented when a client of the version before could no longer work. A sidecar refuses versions it does not know."""
