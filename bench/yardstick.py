"""What this machine can do at the moment, so that figures of two runs can be compared."""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

SYNCS_COUNT = 200
LOOP_COUNT = 3_000_000


def measure(folder: Path) -> dict[str, Any]:
    """Return µs of an fdatasync of 4 KiB in `folder`, ns of a Python loop, and the load."""
    return {
        "fdatasync_us": round(statistics.median(syncs_us(folder))),
        "loop_ns": round(loop_ns(), 1),
        "processors": os.cpu_count(),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }


def syncs_us(folder: Path) -> list[float]:
    """Time writes over blocks that exist, each with its fdatasync."""
    times, block = [], bytes(4096)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        descriptor = file.fileno()
        os.pwrite(descriptor, bytes(4096 * SYNCS_COUNT), 0)
        os.fsync(descriptor)
        for number in range(SYNCS_COUNT):
            began_s = time.perf_counter()
            os.pwrite(descriptor, block, number * 4096)
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - began_s) * 1e6)
    return times


def loop_ns() -> float:
    """Return the best of five of one turn of an empty Python loop."""
    best = float("inf")
    for _ in range(5):
        began_s = time.perf_counter()
        for _ in range(LOOP_COUNT):
            pass
        best = min(best, time.perf_counter() - began_s)
    return best * 1e9 / LOOP_COUNT
