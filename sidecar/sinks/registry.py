"""Which sink is for which kind of address; each is imported when a run first goes there."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.sinks.contract import Sink, SinkTarget


def _mlflow(target: SinkTarget) -> Sink:
    from sidecar.sinks.mlflow.sink import MlflowSink

    return MlflowSink(target)


def _clickhouse(target: SinkTarget) -> Sink:
    from sidecar.sinks.clickhouse.sink import ClickhouseSink

    return ClickhouseSink(target)


def _upstream(target: SinkTarget) -> Sink:
    from sidecar.sinks.upstream.sink import UpstreamSink

    return UpstreamSink(target)


_TABLE: dict[str, Callable[[SinkTarget], Sink]] = {
    "mlflow": _mlflow,
    "clickhouse": _clickhouse,
    "sidecar": _upstream,
}


def open_sink(target: SinkTarget) -> Sink:
    """Return a sink for the target's address, which is not yet open."""
    return _TABLE[target.address.kind](target)
