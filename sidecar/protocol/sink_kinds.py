"""The sink registry: one row per kind of server that runs can be sent to.

To add a sink, write a folder ``sidecar/sinks/<name>/`` with a class that follows `sidecar.sinks.contract.Sink`, and add
a row here. No other file changes. The row lives in ``protocol`` because clients parse addresses too; it names the class
as text, so that nothing of `sidecar.sinks` is imported before a run is sent there.
"""

from __future__ import annotations

from typing import NamedTuple


class SinkKind(NamedTuple):
    """A row of the registry.

    Attributes:
        transports: the URL schemes that may follow ``<kind>+`` in an address.
        form: an example of an address, for help and errors.
        factory: what makes the sink, as ``"module:name"``; it is called with a `sidecar.sinks.contract.SinkTarget`.
        secrets: environment variables that hold its credentials; each may instead be given as ``<variable>_FILE``, the
            path of a file that contains the value.
        files: environment variables that hold paths of files it reads.
    """

    transports: tuple[str, ...]
    form: str
    factory: str
    secrets: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file, or a directory, of certificates of trusted authorities. Known from requests and OpenSSL
(https://requests.readthedocs.io/en/latest/user/advanced/)."""

SINK_KINDS: dict[str, SinkKind] = {
    "mlflow": SinkKind(
        transports=("http", "https"),
        form="mlflow+http://host:5000",
        factory="sidecar.sinks.mlflow.sink:MlflowSink",
        secrets=("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
        files=("MLFLOW_TRACKING_SERVER_CERT_PATH", *CA_VARIABLES),
    ),
    "clickhouse": SinkKind(
        transports=("http", "https"),
        form="clickhouse+http://host:8123/database",
        factory="sidecar.sinks.clickhouse.sink:ClickhouseSink",
        secrets=("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"),
        files=CA_VARIABLES,
    ),
    "sidecar": SinkKind(
        transports=("tcp", "ipc"),
        form="sidecar+tcp://host:5757",
        factory="sidecar.sinks.upstream.sink:UpstreamSink",
        files=("TRACKER_CLIENT_KEY",),
    ),
}
"""The registry: the kind, which is the part of an address before ``+`` -> its row."""


def forms() -> str:
    """Return an example of an address of each kind: "mlflow+http://host:5000, … or sidecar+tcp://host:5757"."""
    *others, last = (kind.form for kind in SINK_KINDS.values())
    return f"{', '.join(others)} or {last}" if others else last


def file_variables() -> frozenset[str]:
    """Return the environment variables that hold paths of files for sinks. A sidecar runs in another directory than
    the program that launches it, so these paths must be made absolute."""
    secrets = (f"{name}_FILE" for kind in SINK_KINDS.values() for name in kind.secrets)
    return frozenset([*secrets, *(name for kind in SINK_KINDS.values() for name in kind.files)])
