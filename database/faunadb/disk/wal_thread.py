"""The writer thread of the log: `node.ports.Log` over `Wal`.

One thread writes and syncs, so that the event loop never waits for a disk; what is queued while
an fsync runs becomes the next frame, so a busy disk makes larger batches and one client pays no
delay. Each batch costs one `call_soon_threadsafe`.

A second thread does what may take long: filling the spare segment, cutting.

Trap: an OSError is reported and nothing is tried again: after a failed fsync the kernel says
that the pages are clean (SAFETY 14). The process must end at once.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from faunadb.disk.wal import FRAME_BYTES_MAX, Wal
from faunadb.node.ports import LogRestart
from faunadb.raft.entries import Index
from faunadb.raft.events import Token, Write

QUEUE_WRITES_MAX = 1_000_000  # the core bounds uncommitted bytes long before
STOP_TIMEOUT_S = 60.0


class WalThread:
    """Writes in order and reports in order.

    `call_soon_threadsafe` is the loop's, `persisted` is called there with the tokens of a batch.
    `on_fatal` is called on the thread that met the error and must end the process.
    """

    def __init__(
        self,
        wal: Wal,
        call_soon_threadsafe: Callable[[Callable[[], None]], object],
        persisted: Callable[[Sequence[Token]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._wal = wal
        self._call_soon_threadsafe = call_soon_threadsafe
        self._persisted, self._on_fatal = persisted, on_fatal
        self._wake = threading.Condition()
        self._queue: deque[Write | LogRestart] = deque()
        self._stopping = False
        self._sync_started_s = 0.0
        self._cut_through = Index(0)
        self._chores = threading.Event()
        self._writer = threading.Thread(target=self._write_all, name="wal-writer", daemon=True)
        self._keeper = threading.Thread(target=self._keep_house, name="wal-keeper", daemon=True)
        self._writer.start()
        self._keeper.start()
        self._chores.set()

    def submit(self, write: Write | LogRestart) -> None:
        with self._wake:
            assert not self._stopping, "the log is closed"
            assert len(self._queue) < QUEUE_WRITES_MAX
            self._queue.append(write)
            self._wake.notify()

    def cut(self, through: Index) -> None:
        self._cut_through = max(self._cut_through, through)
        self._chores.set()

    def oldest_sync_age_s(self) -> float:
        started_s = self._sync_started_s
        return time.monotonic() - started_s if started_s else 0.0

    def close(self) -> None:
        """Write what is queued and end both threads; the `Wal` stays open, to say where it ends."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._writer.join(STOP_TIMEOUT_S)
        self._chores.set()
        self._keeper.join(STOP_TIMEOUT_S)

    def _write_all(self) -> None:
        try:
            while batch := self._take_batch():
                self._sync_started_s = time.monotonic()
                self._wal.write(batch)
                self._wal.sync()
                self._sync_started_s = 0.0
                tokens = tuple(write.token for write in batch)
                self._call_soon_threadsafe(partial(self._persisted, tokens))
                if self._wal.needs_spare():
                    self._chores.set()
        except BaseException as problem:  # noqa: BLE001 - nothing may end this thread silently
            self._on_fatal(problem)

    def _take_batch(self) -> list[Write | LogRestart]:
        """Wait for writes; return what fits one frame, nothing when all is done and closed."""
        with self._wake:
            while not self._queue and not self._stopping:
                self._wake.wait()
            batch: list[Write | LogRestart] = []
            size = 0
            while self._queue and size < FRAME_BYTES_MAX:
                write = self._queue.popleft()
                batch.append(write)
                if isinstance(write, Write):
                    size += sum(len(entry.raw) for entry in write.entries)
            return batch

    def _keep_house(self) -> None:
        try:
            while not self._stopping:
                self._chores.wait()
                self._chores.clear()
                if self._stopping:
                    return
                self._wal.cut(self._cut_through)
                self._wal.prepare_spare()
        except BaseException as problem:  # noqa: BLE001 - nothing may end this thread silently
            self._on_fatal(problem)
