"""``python -m tracker``: the command line, for machines whose PATH lacks ``tracker``."""

from __future__ import annotations

import sys

from tracker.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
