"""Sinks: servers that a sidecar sends runs to. Each is a projection of the log: it has a checkpoint, may lag, and
receiving the same records twice changes nothing.

``contract`` is what every sink must do; ``delivery`` brings one run to one server, ``senders`` runs deliveries on a
thread per server, ``sync`` runs them for ``tracker sync``. ``http`` is what the sinks that speak HTTP share, and the
only file that imports requests. The registry is `sidecar.protocol.sink_kinds`.
"""
