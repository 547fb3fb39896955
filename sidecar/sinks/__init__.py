"""The sinks: a run's log as others want it. Each is a projection: it has a checkpoint, may lag, and sending it the same
records twice changes nothing.

``store`` is the embedded store, which every run has. The others are servers: ``contract`` says what such a sink must
do, ``http`` is how those that speak HTTP do (the only file that imports requests). Which run goes to which server, and
how far it is, is `sidecar.sinks.delivery`'s.
"""
