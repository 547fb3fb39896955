"""ClickHouse: runs as rows of its tables, and rows of its tables as runs.

``schema`` is what the tables are, ``client`` the way to the server, ``sink`` what sends a run's log there, ``reader``
what reads runs back. Below them, pure functions: ``wire`` is ClickHouse's binary formats, ``points`` a log's metrics in
them. Everything goes over ClickHouse's HTTP interface, with `sidecar.sinks.http`.

Written for every release from 18.16, which Debian has, to today's: so there is no JSON, no Bool, no LowCardinality, no
DateTime64, no codec, no query parameter, no table comment in it, which the old release lacks, and nothing that today's
refuse.
"""
