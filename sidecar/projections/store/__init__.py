"""The embedded store: the metrics of a run's log in columns, and the run's state. A projection: it can be rebuilt.

``database`` is the connection (the only file that imports sqlite3), ``blocks`` encodes columns as bytes, ``writer`` is
the one writer of a run's store, ``reader`` any of its readers, ``rows`` turns blocks into rows and histories, ``sink``
is the store with the run's other projections. The package knows nothing of sockets or threads.
"""
