"""Is what lies on the disk still what was written? A slow walk over all pairs of the state.

Every value is checked when it is read; what nobody reads for a year is read here (SAFETY 18). A
slice is a few milliseconds of a thread that also copies snapshots, then it rests: a thousand
pairs or four MiB in a second, and an hour after the last pair.

Trap: a slice is a reader, and a reader stops the reuse of pages: it must end soon.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor

from faunadb.disk.engine import scrub
from faunadb.disk.ports import Engine

SLICE_PAIRS = 256
EVERY_S = 0.25
REST_S = 3600.0


class Scrubber:
    """Walks over the present `engine`; `run` raises `Corrupt` when something does not match."""

    def __init__(
        self, engine: Callable[[], Engine], *, every_s: float = EVERY_S, rest_s: float = REST_S
    ) -> None:
        self._engine, self._every_s, self._rest_s = engine, every_s, rest_s
        self.passes = 0

    async def run(self, threads: Executor) -> None:
        """Scrub until cancelled, on one of `threads`."""
        loop = asyncio.get_running_loop()
        at: bytes | None = b""
        while True:
            at = await loop.run_in_executor(threads, self._slice, at or b"")
            if at is None:
                self.passes += 1
            await asyncio.sleep(self._rest_s if at is None else self._every_s)

    def _slice(self, start: bytes) -> bytes | None:
        with self._engine().read() as reader:
            return scrub(reader, start, SLICE_PAIRS)
