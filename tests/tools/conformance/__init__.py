"""The conformance kit: it says whether a client, in any language, does what ``sidecar/PROTOCOL.md`` asks of it.

    python -m tests.tools.conformance --command './conformance'

starts real sidecars, runs the program, kills and restarts the sidecar under it, stands between the two and loses
messages, and reads back from disk what came of it. What was wrong is said in plain sentences; the exit status is 0
(nothing), 1 (something) or 2 (bad usage, or no sidecar starts here).
Nothing here knows a language: a client is a command.

**The program.** The kit appends arguments to the command::

    --door ENDPOINT --run ID --steps N --interval MILLISECONDS [--label LABEL] [--project PROJECT]

It attaches at the door, and waits for a sidecar that is not there yet. Then it sends, each as a record of its own:

1. ``run``: ``project`` and ``label`` as given, ``start_time``, ``host``, ``pid``, ``program``, and in ``python`` the
   version of its language;
2. ``config``, with ``set``: ``{"lr": 0.1, "steps": N, "optimizer": {"name": "adam", "betas": [0.9, 0.999]},
   "unicode": "größe ✓", "nothing": null, "flag": true}``;
3. ``define``: metric ``acc``, summary ``["max"]``, goal ``maximize``;
4. for i from 0 to N - 1 a ``log`` with step i, and MILLISECONDS of pause after each. Its data: ``loss`` 1 / (i + 1),
   ``acc`` i * 0.25, ``count`` i * 1000003 (an integer), ``odd`` i % 2 == 1 (a boolean), ``note`` the text ``step i``
   where i % 10 == 0, ``wild`` NaN, infinity and minus infinity where i % 3 is 0, 1 and 2;
5. ``summary``, with ``set``: ``{"best": 1 / N}``. Then it waits until all is durable;
6. ``exit``: state ``finished``, exit code 0. Then it asks for ``state``, finds its own ``best`` in the summary of the
   answer, detaches, and exits with status 0.

A sidecar that is lost on the way is looked for until it is there again, at the same door, for a minute at least.
Records that are not acked are kept meanwhile, in memory. An endpoint in ``attached`` with the host ``*`` is at the host
where the door was reached. When the door refuses, the program says why on standard error and exits with another status.

**Golden vectors.** ``vectors.json`` beside this file holds messages as bytes, and what a reader must find in them; with
it a codec can be tested without a sidecar. Its key ``about`` describes its form. ``--write-vectors`` makes it anew.
"""
