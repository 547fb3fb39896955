"""A stand-in for a training script. ``TRACKER_SIDECAR`` and ``TRACKER_SIDECAR_KEY`` set where its metrics are sent."""

from __future__ import annotations

import math
import os
import time

import tracker


def main() -> None:
    steps = int(os.environ.get("STEPS", "1000"))
    with tracker.init(project="containers", config={"steps": steps}) as run:
        for step in range(steps):
            run.log({"loss": math.exp(-step / steps) + 0.01 * math.sin(step)})
            time.sleep(0.01)


if __name__ == "__main__":
    main()
