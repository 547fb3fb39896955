"""The conformance kit: checks whether a client, in any language, does what ``sidecar/PROTOCOL.md`` requires.

    python -m tests.tools.conformance --command './conformance'

starts real sidecars, runs the program, kills and restarts the sidecar while the program is attached, intercepts and
drops messages, and reads the run back from disk. Faults are reported in plain sentences; the exit status is 0 (no
fault), 1 (faults) or 2 (bad usage, or no sidecar starts here). The kit knows no language: a client is a command.

**The program.** The kit appends arguments to the command::

    --door ENDPOINT --run ID --steps N --interval MILLISECONDS [--label LABEL] [--notes no] [--project PROJECT]

ENDPOINT is a sidecar's control socket. The program attaches there, and waits for a sidecar that has not started yet.
Then it sends, each as a record of its own:

1. ``run``: ``project`` and ``label`` as given, ``start_time``, ``host``, ``pid``, ``program``, and in ``python`` the
   version of its language;
2. ``config``, with ``set``: ``{"lr": 0.1, "steps": N, "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
   "unicode": "größe ✓", "nothing": null, "flag": true}``;
3. ``define``: metric ``acc``, summary ``["max"]``, goal ``maximize``;
4. for i from 0 to N - 1 a ``log`` with step i, and MILLISECONDS of pause after each. Its data: ``loss`` 1 / (i + 1),
   ``acc`` i * 0.25, ``count`` i * 1000003 (an integer), ``odd`` i % 2 == 1 (a boolean), ``note`` the text ``step i``
   where i % 10 == 0 (never with ``--notes no``), ``wild`` NaN, infinity and minus infinity where i % 3 is 0, 1 and 2;
5. ``summary``, with ``set``: ``{"best": 1 / N}``. Then it waits until everything is durable;
6. ``exit``: state ``finished``, exit code 0. Then it asks for ``state``, finds its own ``best`` in the summary of the
   answer, detaches, and exits with status 0.

If the sidecar disappears, the program keeps trying at the same endpoint for at least a minute, and keeps the records
that are not acked in memory. An endpoint in ``attached`` with the host ``*`` is at the host of ENDPOINT. If the sidecar
refuses the program, it prints the sidecar's message on standard error and exits with a status other than 0.

**Rows.** A client that writes rows writes the steps without a text as rows, and the others as ``log`` records. One that
writes only ``log`` records is checked with ``--without-rows``: the scenarios that need rows are left out, and its
program never gets ``--notes``.

**Golden vectors.** ``vectors.json`` beside this file holds messages as bytes, and what a reader must find in them, to
test a codec without a sidecar. Its key ``about`` describes its form. ``--write-vectors`` writes it again.
"""
