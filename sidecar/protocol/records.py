"""Records and results: plain frozen data, and the one table of their kinds.

A record is ``[kind, run, client, seq, time, body]``; a result has the same form. The table says for each kind which
keys its body has, of what type and meaning; unknown kinds and unknown keys are kept and otherwise ignored, so an old
sidecar survives a new client. Knows nothing of bytes, files or sockets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Body = dict[str, Any]


class Record(NamedTuple):
    """One record, or one result.

    Attributes:
        kind: a name from `KINDS`, or one that this version does not know.
        run: the run's id.
        client: the id of the attachment it comes from, or for a result the one it goes to; empty for fire-and-forget.
        seq: counts from 1 per client without gaps; 0 for what is not numbered (requests, fire-and-forget, results).
        time: Unix seconds by the writer's clock.
        body: the kind's keys.
    """

    kind: str
    run: str
    client: str
    seq: int
    time: float
    body: Body


class Field(NamedTuple):
    """A key of a body: its types, what it means, whether it must be there, and which strings it, or its items, may be.

    A list's items are strings, in every kind.
    """

    types: tuple[type, ...]
    meaning: str
    required: bool = False
    choices: tuple[str, ...] = ()


class Kind(NamedTuple):
    """A kind of record or result.

    Attributes:
        way: ``"record"`` (client to sidecar, kept in the log), ``"request"`` (client to sidecar, answered, not kept),
            ``"result"`` (sidecar to client), ``"door"`` (asked or answered at the door).
        meaning: one line.
        fields: the body's keys.
    """

    way: str
    meaning: str
    fields: Mapping[str, Field]


RELAY = "relay"
"""What a client that passes on a sidecar's own records names as its parent, so that it has no say in how a run ends."""

SUMMARIES = ("last", "min", "max", "mean", "best", "first", "none")
GOALS = ("minimize", "maximize")
END_STATES = ("finished", "failed", "killed", "preempted", "crashed")
ASKS = ("flush", "state", "progress")
RESUMES = ("allow", "must", "never")

_STR = (str,)
_INT = (int,)
_NUM = (int, float)
_MAP = (dict,)
_LIST = (list,)
_BOOL = (bool,)
_BYTES = (bytes,)
_NONE = type(None)

KINDS: Mapping[str, Kind] = {
    # client -> sidecar, kept in the log
    "run": Kind(
        "record",
        "what the run is; any of the keys, at any time, the later wins",
        {
            "project": Field(_STR, "the project's name"),
            "name": Field(_STR, "the run's name for people"),
            "group": Field((str, _NONE), "runs that belong together"),
            "job_type": Field((str, _NONE), "what kind of job it is, such as 'train' or 'eval'"),
            "tags": Field(_LIST, "strings"),
            "notes": Field((str, _NONE), "free text"),
            "start_time": Field(_NUM, "Unix seconds at init(); no NaN, below 1e15 in size"),
            "label": Field((str, _NONE), "names this writer among several of the run"),
            "parent": Field((str, _NONE), "the client whose process this one was forked from"),
            "host": Field((str, _NONE), "the writer's host name"),
            "pid": Field((int, _NONE), "the writer's process id"),
            "program": Field((str, _NONE), "the script that runs"),
            "python": Field((str, _NONE), "the version of the interpreter, or of the client's language"),
        },
    ),
    "log": Kind(
        "record",
        "metrics of one step",
        {
            "step": Field(_INT, "a signed 64-bit integer, in any order, repeated or not", required=True),
            "data": Field(
                _MAP,
                "metric key -> number, boolean, string, or a map with '_type' (a media object)",
                required=True,
            ),
        },
    ),
    "config": Kind(
        "record",
        "changes of the run's configuration",
        {
            "set": Field(_MAP, "key -> value, plain data"),
            "delete": Field(_LIST, "keys that are no longer there"),
        },
    ),
    "summary": Kind(
        "record",
        "changes of the run's summary made by hand; they stay until the key is logged or set again",
        {
            "set": Field(_MAP, "key -> value, plain data"),
            "delete": Field(_LIST, "keys that are no longer there"),
        },
    ),
    "define": Kind(
        "record",
        "how a metric is to be summed up and drawn",
        {
            "metric": Field(_STR, "a key, or a pattern with '*'", required=True),
            "step_metric": Field((str, _NONE), "the metric that is its x axis"),
            "step_sync": Field(_BOOL, "whether rows that lack the step metric repeat its last value"),
            "summary": Field(_LIST, "of 'last', 'min', 'max', 'mean', 'best', 'first', 'none'", choices=SUMMARIES),
            "goal": Field((str, _NONE), "'minimize' or 'maximize'", choices=GOALS),
        },
    ),
    "file": Kind(
        "record",
        "a file of the run, whole or a part of it; its parts come in order",
        {
            "name": Field(_STR, "its path below the run's files, with '/'", required=True),
            "size": Field(_INT, "of the whole file", required=True),
            "sha256": Field(_STR, "of the whole file, in hex", required=True),
            "offset": Field(_INT, "where 'data' begins in the file"),
            "data": Field(_BYTES, "a part of the content; left out where the file is in its place already"),
            "relayed": Field(_BOOL, "whether the content comes in records of a relay"),
        },
    ),
    "losses": Kind(
        "record",
        "what its writer could not keep, as sums since the writer began",
        {
            "counts": Field(_MAP, "reason -> how many records", required=True),
            "source": Field(_STR, "who counted: a client's id, or 'sidecar'", required=True),
        },
    ),
    "rejected": Kind(
        "record",
        "stands in the log in the place of a record that could not be used, and keeps its number; no client sends it",
        {
            "kind": Field(_STR, "the record's kind", required=True),
            "code": Field(_STR, "as in 'problem'", required=True),
            "message": Field(_STR, "as in 'problem'", required=True),
        },
    ),
    "preempting": Kind("record", "the machine is about to be taken away", {}),
    "exit": Kind(
        "record",
        "the last record of a writer; one that says 'crashed' comes from the sidecar, with the writer in 'writer'",
        {
            "state": Field(_STR, "'finished', 'failed', 'killed', 'preempted' or 'crashed'", True, END_STATES),
            "exit_code": Field((int, _NONE), "the process's exit code, where it is known"),
            "signal": Field((int, _NONE), "the signal that ended it, where it is known"),
            "traceback": Field((str, _NONE), "of the exception that ended it"),
            "reason": Field((str, _NONE), "why, for people"),
            "writer": Field(_STR, "the client that is gone, where the sidecar says it"),
        },
    ),
    # client -> sidecar, not kept
    "request": Kind(
        "request",
        "a question; its answer comes when all that the client sent before it is durable",
        {
            "id": Field(_INT, "chosen by the client, repeated in the answer", required=True),
            "ask": Field(_STR, "'flush' (durable), 'state' (and readable in the store), 'progress'", True, ASKS),
        },
    ),
    "beat": Kind("request", "a sign of life; a client sends one a second when it has nothing else", {}),
    "detach": Kind("request", "the client goes; its result channel is closed", {}),
    # sidecar -> client
    "ack": Kind("result", "durable up to here", {"seq": Field(_INT, "the highest durable number", required=True)}),
    "reattach": Kind(
        "result",
        "a number is missing: attach again and send again from there",
        {"expected": Field(_INT, "the number that should have come", required=True)},
    ),
    "problem": Kind(
        "result",
        "a record was not used; it is counted, and nothing else is disturbed",
        {
            "code": Field(_STR, "short and stable, see the table of errors", required=True),
            "message": Field(_STR, "for people", required=True),
            "seq": Field(_INT, "the record's number, 0 for one that is not numbered"),
        },
    ),
    "answer": Kind(
        "result",
        "to a request",
        {
            "id": Field(_INT, "the request's", required=True),
            "seq": Field(_INT, "the highest durable number of this client"),
            "state": Field(_MAP, "the run's state, for 'state'"),
            "sinks": Field(_MAP, "sink -> {'behind_bytes', 'error'}, for 'progress' and 'state'"),
            "error": Field((str, _NONE), "why it could not be answered"),
        },
    ),
    # at the door
    "attach": Kind(
        "door",
        "let this client in to a run",
        {
            "protocol": Field(_INT, "the version the client speaks", required=True),
            "resume": Field(
                (str, _NONE), "'allow', 'must', 'never'; nil: attach to a run that is open or new", choices=RESUMES
            ),
            "again": Field(_BOOL, "whether this client was attached before (a re-attach)"),
            "pid": Field((int, _NONE), "the client's process id"),
            "place": Field((str, _NONE), "the pid namespace it is valid in; see PROTOCOL.md"),
            "label": Field((str, _NONE), "names this writer"),
            "parent": Field((str, _NONE), "the client whose process this one was forked from"),
            "window": Field((str, _NONE), "directory of the client's window, if the sidecar may take the rest from it"),
            "sinks": Field(_LIST, "addresses of servers that the run is to be sent to; only to a local sidecar"),
            "offline": Field(_BOOL, "whether 'sinks' are only noted, for a later sync"),
            "relay": Field(_BOOL, "whether this client is a sidecar that passes another client's records on"),
        },
    ),
    "attached": Kind(
        "door",
        "the client is in",
        {
            "protocol": Field(_INT, "the version the sidecar speaks", required=True),
            "records": Field(_STR, "the endpoint to push records to", required=True),
            "results": Field(_STR, "the endpoint to pull this client's results from", required=True),
            "last": Field(_INT, "the highest durable number of this client, 0 at first", required=True),
            "state": Field(_MAP, "the run's state as it was kept so far", required=True),
            "resumed": Field(_BOOL, "whether the run was there before"),
            "version": Field(_STR, "the sidecar's version"),
            "directory": Field(_STR, "the run's directory, on the sidecar's machine"),
            "place": Field(_STR, "where that is, as in 'attach'"),
        },
    ),
    "refused": Kind(
        "door",
        "the client is not in",
        {
            "code": Field(_STR, "short and stable, see the table of errors", required=True),
            "message": Field(_STR, "for people", required=True),
            "where": Field((str, _NONE), "the connection file of the sidecar that holds the run"),
        },
    ),
    "status": Kind("door", "how is it going? answered by the same kind, see PROTOCOL.md for the keys", {}),
    "stop": Kind("door", "drain and exit; answered by the same kind at once", {}),
}
