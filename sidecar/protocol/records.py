"""Records and results, and the one table of their kinds.

A record is ``[kind, run, client, seq, time, body]``; a result has the same form. The table `KINDS` gives for each kind
the keys of its body, its check, who may send it, and its projections. Unknown kinds and unknown keys are kept and
otherwise ignored, so that an old sidecar works with a new client. Knows nothing of bytes, files or sockets.

To add a kind, add a row here, describe it in PROTOCOL.md, and write its projection, see `sidecar.projections.registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sidecar.protocol.bodies import check_edit, check_file, check_metrics, check_run, check_schema
from sidecar.protocol.envelope import Body, Record


class Field(NamedTuple):
    """A key of a body.

    Attributes:
        types: types of the value. The items of a list are strings, in every kind.
        meaning: one line, as in PROTOCOL.md.
        required: whether the key must be present.
        choices: strings that the value, or each item of a list, may be; empty for any.
    """

    types: tuple[type, ...]
    meaning: str
    required: bool = False
    choices: tuple[str, ...] = ()


class Kind(NamedTuple):
    """A kind of record or result.

    Attributes:
        way: ``"record"`` (client to sidecar, kept in the log), ``"request"`` (client to sidecar, answered, not kept),
            ``"result"`` (sidecar to client), ``"control"`` (request or answer on the control socket).
        meaning: one line, as in PROTOCOL.md.
        fields: the keys of the body.
        projections: names of the projections that use records of this kind; see `sidecar.projections.registry`.
        check: checks a body further, once all its fields have their types. Raises `RecordError`.
        sender: who may send it: ``"any"``, ``"attached"`` (an attached client), ``"relay"`` (a relay).
    """

    way: str
    meaning: str
    fields: Mapping[str, Field]
    projections: tuple[str, ...] = ()
    check: Callable[[Body], None] | None = None
    sender: str = "any"


RELAY = "relay"
"""Parent named by a client that relays a sidecar's own records; such a client does not affect how the run ends."""

SUMMARIES = ("last", "min", "max", "mean", "best", "first", "none")
GOALS = ("minimize", "maximize")
END_STATES = ("finished", "failed", "preempted", "killed", "crashed")
"""How a writer or a run can end, from best to worst. A run of several writers ends as the worst of them."""

ASKS = ("flush", "state", "progress")
RESUMES = ("allow", "must", "never")
READS = ("versions", "states", "state", "keys", "columns", "buckets", "arrived", "files", "file")

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
        "attributes of the run and of this writer; may be sent at any time, later values replace earlier ones",
        {
            "project": Field(_STR, "name of the project"),
            "name": Field(_STR, "display name of the run"),
            "group": Field((str, _NONE), "name of the group that the run belongs to"),
            "job_type": Field((str, _NONE), "kind of job, such as 'train' or 'eval'"),
            "tags": Field(_LIST, "tags, each a string"),
            "notes": Field((str, _NONE), "free text"),
            "start_time": Field(_NUM, "time of init(), in Unix seconds; not NaN, magnitude below 1e15"),
            "label": Field((str, _NONE), "name of this writer, to tell several writers of a run apart"),
            "parent": Field((str, _NONE), "client id of the process that this one was forked from"),
            "host": Field((str, _NONE), "host name of the writer"),
            "pid": Field((int, _NONE), "process id of the writer"),
            "program": Field((str, _NONE), "script that is running"),
            "python": Field((str, _NONE), "version of the interpreter, or of the client's language"),
        },
        ("state",),
        check=check_run,
    ),
    "log": Kind(
        "record",
        "metrics of one step",
        {
            "step": Field(_INT, "signed 64-bit integer; steps may come in any order and may repeat", required=True),
            "data": Field(
                _MAP,
                "metric key -> number, boolean, string, or a map with '_type' (a media object)",
                required=True,
            ),
        },
        ("state", "store"),
        check=check_metrics,
    ),
    "schema": Kind(
        "record",
        "keys and types of the client's rows; with seq 0 it is not kept, and declares them again after an attach",
        {
            "id": Field(_INT, "chosen at random by the client, 0 to 2^56 - 1; named by each row", required=True),
            "keys": Field(_LIST, "metric keys, in the order of a row's values", required=True),
            "types": Field(
                _STR, "for each key 'd' (float64), 'q' (int64) or '?' (boolean, as the int64 0 or 1)", required=True
            ),
            "client": Field(_STR, "client that the rows are of, where a sidecar writes the record"),
        },
        check=check_schema,
        sender="attached",
    ),
    "config": Kind(
        "record",
        "changes to the run's configuration",
        {"set": Field(_MAP, "key -> new value, plain data"), "delete": Field(_LIST, "keys to remove")},
        ("state",),
    ),
    "summary": Kind(
        "record",
        "changes to the run's summary made by hand; a value stays until the key is logged or set again",
        {"set": Field(_MAP, "key -> new value, plain data"), "delete": Field(_LIST, "keys to remove")},
        ("state",),
    ),
    "define": Kind(
        "record",
        "how to summarize and plot a metric",
        {
            "metric": Field(_STR, "metric key, or a pattern with '*'", required=True),
            "step_metric": Field((str, _NONE), "metric to use as the x axis"),
            "step_sync": Field(_BOOL, "whether rows without the step metric repeat its last value"),
            "summary": Field(_LIST, "any of 'last', 'min', 'max', 'mean', 'best', 'first', 'none'", choices=SUMMARIES),
            "goal": Field((str, _NONE), "'minimize' or 'maximize'", choices=GOALS),
        },
        ("state",),
    ),
    "file": Kind(
        "record",
        "a file of the run, or one part of it; parts come in order",
        {
            "name": Field(_STR, "path below the run's files, with '/' as the separator", required=True),
            "size": Field(_INT, "size of the whole file", required=True),
            "sha256": Field(_STR, "SHA-256 of the whole file, in hex", required=True),
            "offset": Field(_INT, "position of 'data' in the file"),
            "data": Field(_BYTES, "part of the content; omitted if the file is already in place"),
            "relayed": Field(_BOOL, "whether a relay sends the content, in records of its own"),
        },
        ("files",),
        check=check_file,
    ),
    "edit": Kind(
        "record",
        "changes that a user made to a run; they take precedence over what the run's writers say, before and after",
        {
            "id": Field(_STR, "chosen by the editor; an edit whose id was applied before is ignored"),
            "name": Field(_STR, "display name of the run, not empty"),
            "group": Field((str, _NONE), "as in 'run'"),
            "job_type": Field((str, _NONE), "as in 'run'"),
            "tags": Field(_LIST, "all tags, each a string"),
            "notes": Field((str, _NONE), "as in 'run'"),
            "color": Field((str, _NONE), "'#rrggbb' in lower case, or the name of a color; nil: chosen by the viewer"),
            "deleted": Field(_BOOL, "whether the run is left out of listings"),
            "config": Field(_MAP, "key of the config -> new value, plain data"),
            "summary": Field(_MAP, "key of the summary -> new value, plain data"),
            "undo": Field(
                _BOOL, "whether to take back the last edit instead; what is taken back is not an edit any more"
            ),
            "by": Field((str, _NONE), "name of the user"),
        },
        ("edits",),
        check=check_edit,
    ),
    "losses": Kind(
        "record",
        "records that the writer could not keep, counted since it started",
        {
            "counts": Field(_MAP, "reason -> number of records", required=True),
            "source": Field(_STR, "who counted them: a client id, or 'sidecar'", required=True),
        },
        ("losses",),
    ),
    "rejected": Kind(
        "record",
        "takes the place and the number of a record that could not be used; only sidecars write it",
        {
            "kind": Field(_STR, "kind of the rejected record", required=True),
            "code": Field(_STR, "as in 'problem'", required=True),
            "message": Field(_STR, "as in 'problem'", required=True),
        },
        ("losses",),
        sender="relay",
    ),
    "preempting": Kind("record", "the machine is about to be preempted", {}, ("state",)),
    "exit": Kind(
        "record",
        "last record of a writer; for a writer that crashed the sidecar writes it and names the writer in 'writer'",
        {
            "state": Field(_STR, "'finished', 'failed', 'preempted', 'killed' or 'crashed'", True, END_STATES),
            "exit_code": Field((int, _NONE), "exit code of the process, if known"),
            "signal": Field((int, _NONE), "signal that ended the process, if known"),
            "traceback": Field((str, _NONE), "traceback of the exception that ended the process"),
            "reason": Field((str, _NONE), "reason, for people"),
            "writer": Field(_STR, "client id of the writer that is gone, if the sidecar reports it"),
            "final": Field(_BOOL, "whether a forked child ended the run itself, in place of a parent that is gone"),
        },
        ("state",),
        sender="attached",
    ),
    # client -> sidecar, not kept
    "request": Kind(
        "request",
        "a question, answered once everything that the client sent before it is durable",
        {
            "id": Field(_INT, "chosen by the client and repeated in the answer", required=True),
            "ask": Field(_STR, "'flush' (durable), 'state' (also readable in the store), 'progress'", True, ASKS),
        },
    ),
    "beat": Kind("request", "heartbeat, sent once a second while there is nothing else to send", {}),
    "detach": Kind("request", "detaches the client and closes its result channel", {}),
    # sidecar -> client
    "ack": Kind(
        "result",
        "all records up to this number are durable",
        {"seq": Field(_INT, "highest durable number", required=True)},
    ),
    "reattach": Kind(
        "result",
        "a number is missing: attach again and resend from there",
        {"expected": Field(_INT, "number that was expected", required=True)},
    ),
    "problem": Kind(
        "result",
        "a record could not be used; it is counted, and other records are not affected",
        {
            "code": Field(_STR, "short and stable, see the table of errors", required=True),
            "message": Field(_STR, "for people", required=True),
            "seq": Field(_INT, "number of the record, 0 if it has none"),
        },
    ),
    "answer": Kind(
        "result",
        "answer to a request",
        {
            "id": Field(_INT, "id of the request", required=True),
            "seq": Field(_INT, "highest durable number of this client"),
            "state": Field(_MAP, "state of the run, for 'state'"),
            "sinks": Field(_MAP, "sink -> {'behind_bytes', 'error'}, for 'progress' and 'state'"),
            "error": Field((str, _NONE), "why the request could not be answered"),
        },
    ),
    # on the control socket
    "attach": Kind(
        "control",
        "attach this client to a run",
        {
            "protocol": Field(_INT, "protocol version of the client", required=True),
            "resume": Field(
                (str, _NONE), "'allow', 'must' or 'never'; nil: attach to a run that is open or new", choices=RESUMES
            ),
            "again": Field(_BOOL, "whether this client was attached before"),
            "pid": Field((int, _NONE), "process id of the client"),
            "place": Field((str, _NONE), "pid namespace in which 'pid' is valid, see PROTOCOL.md"),
            "label": Field(
                (str, _NONE), "as in 'run', which names the writer; here it only opens a run that has ended"
            ),
            "parent": Field((str, _NONE), "client id of the process that this one was forked from"),
            "window": Field(
                (str, bytes, _NONE), "directory of the client's window, if the sidecar may recover records from it"
            ),
            "sinks": Field(_LIST, "addresses of servers to send the run to; only for a local sidecar"),
            "offline": Field(_BOOL, "whether 'sinks' are only stored, for a later sync"),
            "relay": Field(_BOOL, "whether this client is a sidecar that relays the records of another client"),
        },
    ),
    "attached": Kind(
        "control",
        "the client is attached",
        {
            "protocol": Field(_INT, "protocol version of the sidecar", required=True),
            "records": Field(_STR, "endpoint to push records to", required=True),
            "results": Field(_STR, "endpoint to pull this client's results from", required=True),
            "last": Field(_INT, "highest durable number of this client, 0 if there is none", required=True),
            "state": Field(_MAP, "state of the run so far", required=True),
            "resumed": Field(_BOOL, "whether the run existed before"),
            "rows": Field(_BOOL, "whether the sidecar takes rows; omitted by earlier versions"),
            "version": Field(_STR, "version of the sidecar"),
            "directory": Field((str, bytes), "directory of the run, on the sidecar's machine"),
            "place": Field(_STR, "pid namespace of the sidecar, as in 'attach'"),
        },
    ),
    "refused": Kind(
        "control",
        "the request was refused",
        {
            "code": Field(_STR, "short and stable, see the table of errors", required=True),
            "message": Field(_STR, "for people", required=True),
            "where": Field((str, bytes, _NONE), "connection file of the sidecar that holds the run"),
        },
    ),
    "change": Kind(
        "control",
        "appends an 'edit' record to a run that exists, whether or not a client is attached to it",
        {"edit": Field(_MAP, "body of the 'edit' record", required=True)},
    ),
    "changed": Kind(
        "control",
        "the edit is durable",
        {"error": Field((str, _NONE), "why it cannot be read from the store yet")},
    ),
    "read": Kind(
        "control",
        "asks for a page of what a run has, or all runs, see PROTOCOL.md",
        {
            "id": Field(_INT, "number of the read, chosen by the client, new for each read", required=True),
            "what": Field(_STR, "what to read; omitted to ask for the next page", choices=READS),
            "args": Field(_MAP, "arguments of what is read"),
            "close": Field(_BOOL, "whether no more pages are needed"),
        },
    ),
    "page": Kind(
        "control",
        "a page of a read",
        {
            "data": Field(_BYTES, "at most 1 MiB of the values, see PROTOCOL.md", required=True),
            "more": Field(_BOOL, "whether there is another page", required=True),
        },
    ),
    "status": Kind("control", "asks for the sidecar's status; answered by the same kind, see PROTOCOL.md", {}),
    "stop": Kind("control", "asks the sidecar to drain and exit; answered at once by the same kind", {}),
}


def kinds_of(projection: str) -> frozenset[str]:
    """Return the kinds of records that the projection named `projection` uses."""
    return frozenset(name for name, kind in KINDS.items() if projection in kind.projections)


def uses(projection: str, kind: str) -> bool:
    """Return whether the projection named `projection` uses records of `kind`, which may be unknown."""
    row = KINDS.get(kind)
    return row is not None and projection in row.projections


__all__ = [
    "ASKS", "END_STATES", "GOALS", "KINDS", "READS", "RELAY", "RESUMES", "SUMMARIES",
    "Body", "Field", "Kind", "Record", "kinds_of", "uses",
]  # fmt: skip
