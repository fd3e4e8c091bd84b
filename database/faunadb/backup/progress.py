"""How far is it? A line at least every five seconds, whatever the work is waiting for.

House rules: the work says what it does (`stage`, `advance`), a thread of its own says it aloud.
Trap: the thread says only what was told; work that hangs shows as a figure that does not move.
"""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

EVERY_S = 5.0
MIB = 1024 * 1024
Say = Callable[..., None]  # (event, **facts), as `cli.logs.Logger.line`


class Progress:
    """A context manager; inside, stages follow one another."""

    def __init__(self, say: Say, every_s: float = EVERY_S) -> None:
        self._say, self._every_s = say, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._stage, self._done, self._total, self._begun_s = "", 0, 0, time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def stage(self, name: str, total_bytes: int = 0, **facts: object) -> None:
        """Begin another piece of work; `total_bytes` 0 is not known."""
        self._stage, self._done, self._total = name, 0, total_bytes
        self._begun_s = time.monotonic()
        self._say(name, **facts)

    def advance(self, byte_count: int) -> None:
        self._done += byte_count

    def _run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._tell()

    def _tell(self) -> None:
        took_s = time.monotonic() - self._begun_s
        facts = {"seconds": round(took_s), "mib": self._done // MIB}
        if self._total:
            facts |= {"of_mib": self._total // MIB, "percent": 100 * self._done // self._total}
        self._say("progress", stage=self._stage, **facts)


class Pace:
    """Keeps work below `mib_s`; 0 is no limit. Short pauses are saved up."""

    def __init__(self, mib_s: float) -> None:
        self._bytes_s = mib_s * MIB
        self._begun_s = time.monotonic()
        self._done = 0

    def pause_s(self, byte_count: int) -> float:
        """Return how long to wait after `byte_count` more bytes."""
        if not self._bytes_s:
            return 0.0
        self._done += byte_count
        return max(0.0, self._begun_s + self._done / self._bytes_s - time.monotonic())
