"""The embedded store: the metrics of a run's log in columns, and the run's state. A projection: it can be rebuilt.

``database`` is the connection (the only file that imports sqlite3), ``blocks`` encodes columns as bytes, ``writer`` is
the one writer of a run's store, ``reader`` any of its readers, ``rows`` turns blocks into rows and histories, ``sink``
is the store with the run's other projections. For charts, ``pieces`` sums up neighbouring points, ``pyramid`` stores
such pieces in several sizes, ``series`` reads a series in pieces as fine as asked for, ``buckets`` turns them into
buckets, ``sampling`` chooses rows for a sampled history, ``cache`` keeps what was read. The package knows nothing of
sockets or threads.
"""
