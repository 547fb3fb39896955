"""What the commands about servers share: the addresses they are given, and the ``sidecar`` commands they run."""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Iterator
from typing import Any

from sidecar.protocol.sink_address import SinkAddress, parse_sinks
from tracker.cli.common import CommandError, UsageError


def add_sink(parser: argparse.ArgumentParser) -> None:
    """Add ``--sink``."""
    parser.add_argument(
        "--sink", metavar="ADDRESS", action="append", default=[], help="one more server; may be repeated"
    )


def given_sinks(args: argparse.Namespace) -> tuple[SinkAddress, ...]:
    """Return the servers that the command line and the settings name."""
    from tracker.settings import resolve

    try:
        settings = resolve({"dir": getattr(args, "dir", None)})
        return parse_sinks([*args.sink, *settings.sinks])
    except ValueError as error:
        raise UsageError(str(error)) from error


def sidecar_lines(command: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the lines that a ``sidecar`` command prints, read as JSON.

    Raises:
        CommandError: it failed before it printed a line, or died; the message is the last line of its log.
    """
    from tracker.transport.interpreter import interpreter, sidecar_environment

    with tempfile.TemporaryFile("w+", errors="replace") as log:  # not a pipe, which would fill up unread
        process = subprocess.Popen(
            [interpreter(), "-m", "sidecar", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=sidecar_environment(),
        )
        assert process.stdout is not None
        printed = False
        with process:
            try:
                for text in process.stdout:
                    printed = True
                    yield json.loads(text)
            except BaseException:
                process.terminate()
                raise
        log.seek(0)
        messages = log.read().strip()
    # 1 after some lines: servers that do not have everything, as the lines say.
    if process.returncode not in (0, 1) or (process.returncode and not printed):
        raise CommandError(messages.splitlines()[-1] if messages else f"exit code {process.returncode} of the sidecar")
