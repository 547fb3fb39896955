"""References to runs, as people type them: an id, a unique prefix of one, an exact name, or ``last``.

Pure decisions over a `Source`, on any thread. An id is checked before a path is made of it.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Mapping

from sidecar.protocol.limits import valid_name
from tracker.errors import AmbiguousRunError, RunNotFoundError
from tracker.reading.root import kept_elsewhere
from tracker.reading.sources import Source
from tracker.reading.stored_run import StoredRun
from tracker.terminal.text import ago, clean, counted

LAST = "last"
"""The reference to the run that was started last."""

_MAX_LISTED = 10
_MAX_SIMILAR = 5
_SIMILARITY = 0.7


def find_run(source: Source, reference: str) -> StoredRun:
    """Return the run that `reference` means.

    An id comes first and costs no look at other runs; then ``last``, then the run with exactly this name, then the
    one whose id begins so. ``project/reference`` looks only among the runs of that project, or is the whole name of a
    run; what stands before the project, an entity of Weights & Biases, is ignored.

    Raises:
        RunNotFoundError: no run fits; the message names similar ones. AmbiguousRunError: several fit; it lists them.
    """
    path, slash, wanted = str(reference).rpartition("/")
    project = path.rpartition("/")[2] or None
    if slash and project is None:
        wanted = ""
    of_other_project = None
    if valid_name(wanted):
        run = source.run(wanted)
        if run is not None and (project is None or run.project == project):
            return run
        of_other_project = run
    if wanted == LAST:
        newest = source.newest(project)
        run = source.run(newest.id) if newest is not None else None
        if run is not None:
            return run
    names = source.names(project)
    matches = [id for id, name in names.items() if name == wanted] if wanted else []
    if slash:
        matches += [id for id, name in source.names().items() if name == str(reference) and id not in matches]
    if not matches and valid_name(wanted):
        matches = [id for id in names if id.startswith(wanted)]
    if len(matches) > 1:
        raise _ambiguous(source, reference, matches)
    run = source.run(matches[0]) if matches else None
    if run is not None:
        return run
    if of_other_project is not None:
        run = of_other_project
        raise RunNotFoundError(f"run {run.id!r} belongs to project {run.project!r}, not {project!r}")
    raise _not_found(source, reference, names)


def _ambiguous(source: Source, reference: str, ids: Iterable[str]) -> AmbiguousRunError:
    runs = [run for run in map(source.run, ids) if run is not None]
    runs.sort(key=lambda run: (run.start_time or 0.0, run.id), reverse=True)
    now = time.time()
    lines = []
    for run in runs[:_MAX_LISTED]:
        facts = [] if run.name == run.id else [clean(run.name)]
        facts += [fact for fact in (run.state, ago(run.start_time, now)) if fact]
        lines.append(f"{run.id} ({', '.join(facts)})")
    more = f" and {len(runs) - _MAX_LISTED} more" if len(runs) > _MAX_LISTED else ""
    return AmbiguousRunError(f"{reference!r} fits {counted(len(runs), 'run')}: {', '.join(lines)}{more}; give an id")


def _not_found(source: Source, reference: str, names: Mapping[str, str]) -> RunNotFoundError:
    message = f"run {str(reference)!r} not found in {source.place}"
    hint = ""
    if "/" in str(reference):
        hint = "; there are no entities: use the run's id or name, or project/name"
        names = names or source.names()
    elif not names:
        return RunNotFoundError(f"{message}, which has no runs{kept_elsewhere(source.place)}")
    similar = _similar(str(reference).rpartition("/")[2], names)
    if similar:
        return RunNotFoundError(f"{message}; did you mean {', '.join(similar)}?{hint[1:]}")
    return RunNotFoundError(f"{message}, which has {counted(len(names), 'run')}{hint}{kept_elsewhere(source.place)}")


def _similar(wanted: str, names: Mapping[str, str]) -> list[str]:
    """Return the runs whose id or name is similar, for people."""
    if not wanted:
        return []
    ids = [id for id in names if len(wanted) > 2 and wanted in id]
    ids += difflib.get_close_matches(wanted, names, n=_MAX_SIMILAR, cutoff=_SIMILARITY)
    similar_names = set(difflib.get_close_matches(wanted, set(names.values()), n=_MAX_SIMILAR, cutoff=_SIMILARITY))
    ids += [id for id, name in names.items() if name in similar_names]
    shown = [id if names[id] in ("", id) else f"{id} ({clean(names[id])})" for id in dict.fromkeys(ids)]
    return shown[:_MAX_SIMILAR]
