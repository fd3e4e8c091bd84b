"""The writer thread of the log, in virtual time: `node.ports.Log` over the real `Wal`.

Writing a frame and syncing it are two events, so that a crash may fall between them; what is
queued meanwhile becomes the next frame. Cutting and the spare segment are events of their own,
as they are a thread of their own in the product.

Trap: who says "persisted" here is the real `Wal`; the platter is looked at before it is believed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from faunadb.disk.wal import FRAME_BYTES_MAX, Wal
from faunadb.node.ports import LogRestart
from faunadb.raft.entries import Index
from faunadb.raft.events import Token, Write
from faunadb_sim.world import US_PER_MS, US_PER_S, World

QUEUE_WRITES_MAX = 20_000


class Later(Protocol):
    """Lets something happen to the process later, unless it has ended by then."""

    def __call__(self, delay_us: float, label: str, event: Callable[[], None]) -> None: ...


class LogWatch(Protocol):
    """Who keeps the books of what a log was given and what of it is durable."""

    def submitted(self, write: Write | LogRestart) -> None: ...

    def framed(self, batch: Sequence[Write | LogRestart]) -> None: ...

    def synced(self, batch: Sequence[Write | LogRestart]) -> None: ...


class SimLog:
    """Writes in order and reports in order. `sync_us` draws how long the disk takes."""

    def __init__(
        self,
        world: World,
        wal: Wal,
        later: Later,
        watch: LogWatch,
        *,
        sync_us: Callable[[], int],
        persisted: Callable[[Sequence[Token]], None],
    ) -> None:
        self._world, self._wal, self._later, self._watch = world, wal, later, watch
        self._sync_us, self._persisted = sync_us, persisted
        self._queue: deque[Write | LogRestart] = deque()
        self._batch: list[Write | LogRestart] = []
        self._is_busy = False
        self._sync_started_us = 0
        self._later(self._world.between(0, 50 * US_PER_MS), "log spare", self._keep_house)
        self._cut_through = Index(0)

    def submit(self, write: Write | LogRestart) -> None:
        assert len(self._queue) < QUEUE_WRITES_MAX
        self._watch.submitted(write)
        self._queue.append(write)
        if not self._is_busy:
            self._is_busy = True
            self._later(self._world.between(0, 200), "log write", self._write)

    def cut(self, through: Index) -> None:
        if through > self._cut_through:
            self._cut_through = through
            self._later(self._world.between(0, 50 * US_PER_MS), "log cut", self._keep_house)

    @property
    def segment(self) -> int:
        """Return the number of the segment that holds the newest synced frame."""
        return self._wal.position().seq

    def oldest_sync_age_s(self) -> float:
        started_us = self._sync_started_us
        return (self._world.now_us - started_us) / US_PER_S if started_us else 0.0

    def close(self) -> None:
        """Write what is queued, as a clean stop does."""
        if self._batch:
            self._sync_batch()
        while self._queue:
            self._write_batch()
            self._sync_batch()

    def _write(self) -> None:
        self._sync_started_us = self._world.now_us
        self._write_batch()
        self._later(self._sync_us(), "log sync", self._sync)

    def _sync(self) -> None:
        tokens = self._sync_batch()
        self._sync_started_us = 0
        self._later(self._world.between(0, 100), "log said", lambda: self._persisted(tokens))
        if self._wal.needs_spare():
            self._later(self._world.between(0, 5 * US_PER_MS), "log spare", self._keep_house)
        self._is_busy = bool(self._queue)
        if self._queue:
            self._write()

    def _write_batch(self) -> None:
        size = 0
        while self._queue and size < FRAME_BYTES_MAX:
            write = self._queue.popleft()
            self._batch.append(write)
            if isinstance(write, Write):
                size += sum(len(entry.raw) for entry in write.entries)
        self._watch.framed(self._batch)
        self._wal.write(self._batch)

    def _sync_batch(self) -> tuple[Token, ...]:
        self._wal.sync()
        batch, self._batch = self._batch, []
        self._watch.synced(batch)
        return tuple(write.token for write in batch)

    def _keep_house(self) -> None:
        self._wal.cut(self._cut_through)
        self._wal.prepare_spare()
