"""ClickHouse: sends runs as rows of its tables, and reads them back.

``schema`` defines the tables, ``client`` talks to the server, ``sink`` sends a run's log, ``reader`` reads runs. Below
them, pure functions: ``wire`` is ClickHouse's binary formats, ``points`` a log's metrics in them. Everything goes over
ClickHouse's HTTP interface, with `sidecar.sinks.http`.

Works with releases from 18.16, Debian's package, to the current one. Inserts and queries are the same for all: they use
no JSON, no Bool, no DateTime64, no query parameters, which 18.16 lacks, and nothing that current releases reject. Only
the tables differ: where the server has them, they use LowCardinality and codecs.
"""
