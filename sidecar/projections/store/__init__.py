"""The embedded store: what a run's log says, in columns. A projection, so it may be deleted and rebuilt.

``database`` is the connection (the only file that imports sqlite3), ``blocks`` columns as bytes, ``writer`` the one
writer of a run's store, ``reader`` any number of readers, ``rows`` blocks as rows and as histories. The package knows
the records of `sidecar.protocol` and nothing of logs, sockets or threads.
"""
