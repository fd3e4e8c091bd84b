"""Snapshots of a running member: taken when due, sent to who is behind, installed when received.

Copying, hashing and verifying happen on one thread of their own; the event loop only hears of
the end. One thing at a time: a copy that is taken, or one that is sent.

    install   the received directory is durable → the log records a restart → a state is built
              from it → it is swapped in → the core is told (SAFETY 17; each step may be the last
              before a crash)

Trap: the engine that was swapped out is closed, so it must have no reader: the member has ended
its views by then, and whatever else reads it does so on our one thread.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

from faunadb.cli.scrubber import Scrubber
from faunadb.disk.directory import Built, DataDirectory
from faunadb.disk.flusher import Flusher
from faunadb.disk.ports import CopyAborted
from faunadb.disk.snapshots import Snapshot
from faunadb.disk.space import Admission, Space, admit
from faunadb.disk.wal import SEGMENT_BYTES
from faunadb.errors import Corrupt
from faunadb.node.ports import Files, Log, LogRestart
from faunadb.raft.entries import Index, MemberId, SnapshotMeta
from faunadb.raft.events import SendSnapshot, Token
from faunadb.store.ports import KeyValue

LOG_ENTRIES_KEPT = 10_000  # behind the newest snapshot, so that a short absence needs no transfer
LOG_BYTES_KEPT = (
    64 * 1024 * 1024
)  # of them; the log lies in memory, and an entry may have megabytes
MARK_EVERY_BYTES = 1024 * 1024


class Transfer(Protocol):
    """Sends one snapshot over its own connection; returns whether it was received whole."""

    def __call__(self, to: MemberId, snapshot: Snapshot) -> Awaitable[bool]: ...


class SnapshotKeeper:
    """Implements `member.SnapshotService`. `run` is to be a task of the program."""

    def __init__(
        self,
        directory: DataDirectory,
        files: Files,
        log: Log,
        flusher: Flusher,
        *,
        transfer: Transfer | None,
        swapped: Callable[[KeyValue], None],
        act: Callable[[Callable[[], None]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._directory, self._files, self._log, self._flusher = directory, files, log, flusher
        self._transfer, self._swapped = transfer, swapped
        self._act, self._fatal = act, on_fatal
        self._threads = ThreadPoolExecutor(1, "snapshots")
        self._scrubber = Scrubber(lambda: directory.engine)
        self._due = asyncio.Event()
        self._asked: list[asyncio.Future[bool]] = []
        self._sends: asyncio.Queue[tuple[SendSnapshot, Callable[[bool], None]]] = asyncio.Queue(64)
        self._installs: dict[int, tuple[SnapshotMeta, Callable[[], None]]] = {}
        self._recorded: asyncio.Queue[int] = asyncio.Queue()  # the core installs one at a time
        self._restarts = 0
        self._snapshot_written_bytes = 0
        self._marks = deque[tuple[Index, int]]([(Index(0), 0)])  # applied, and written by then
        self._admission: Admission | None = None  # the first tick says
        self.sending: MemberId = MemberId(0)

    # ------------------------------------------------------------ what the member asks

    def send(self, wanted: SendSnapshot, done: Callable[[bool], None]) -> None:
        try:
            self._sends.put_nowait((wanted, done))
        except asyncio.QueueFull:
            done(False)  # noqa: FBT003 - the shape of the port

    def install(self, meta: SnapshotMeta, done: Callable[[], None]) -> None:
        self._restarts += 1
        token = Token(meta.id.term, -self._restarts)
        self._installs[token.sequence] = (meta, done)
        self._log.submit(LogRestart(token, meta.id))

    def restart_recorded(self, token: Token) -> None:
        """The log recorded the restart that `install` asked for: the state can be built."""
        self._recorded.put_nowait(token.sequence)

    def tick(self, applied: Index) -> Index:
        engine, snapshots = self._directory.engine, self._directory.snapshots
        space = Space(
            free=self._files.free_bytes(),
            state=engine.data_bytes(),
            older_snapshot=sum(older.manifest.data_bytes for older in snapshots.all()[:-1]),
            log_since_snapshot=engine.written_bytes() - self._snapshot_written_bytes,
            segment=SEGMENT_BYTES,
            spare_ready=not self._directory.wal.needs_spare(),
        )
        self._admission = admit(space)
        if self._admission.snapshot_due or self._admission.drop_older_snapshot:
            self._due.set()
        cut = snapshots.cut_index()
        if cut:
            self._log.cut(cut)
        short_absence = self._short_absence(applied, engine.written_bytes())
        newest = snapshots.newest()
        return min(newest.id.index, short_absence) if newest is not None else Index(0)

    def _short_absence(self, applied: Index, written: int) -> Index:
        """Return the entry after which a member is not far behind: by number, and by size."""
        marks = self._marks
        if written < marks[-1][1]:  # another state was swapped in
            marks.clear()
        if not marks or written - marks[-1][1] >= MARK_EVERY_BYTES:
            marks.append((applied, written))
        while len(marks) > 1 and written - marks[1][1] >= LOG_BYTES_KEPT:
            marks.popleft()
        index, then = marks[0]
        large = index if written - then >= LOG_BYTES_KEPT else 0
        return Index(max(0, applied - LOG_ENTRIES_KEPT, large))

    def may_write(self, *, only_deletes: bool) -> bool:
        """Say whether the disk has space; deletes may use the last reserve (SAFETY 21)."""
        admission = self._admission
        if admission is None:
            return True
        return admission.reserved_writes if only_deletes else admission.ordinary_writes

    def newest(self) -> SnapshotMeta | None:
        """Return the newest snapshot for `GET /cluster`."""
        found = self._directory.snapshots.newest()
        return found.meta if found is not None else None

    async def take_now(self) -> bool:
        """Take a snapshot of what is applied now, unless the newest one is that already.

        Says False when the disk has no room for it, or the state grew too fast to be copied.
        """
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._due.set()
        return await asked

    # ------------------------------------------------------------ the tasks

    async def run(self) -> None:
        """Take, send, install and scrub until cancelled; what goes wrong is fatal."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as group:
                for work in (
                    self._take_when_due(loop),
                    self._send_when_asked(loop),
                    self._install_when_recorded(loop),
                    self._scrubber.run(self._threads),
                ):
                    group.create_task(self._guarded(work))
        finally:
            self._threads.shutdown(wait=True)

    async def _take_when_due(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            asked, self._asked = self._asked, []
            admission, taken = self._admission, False
            if admission is not None and admission.drop_older_snapshot:
                await loop.run_in_executor(self._threads, self._directory.snapshots.drop_older)
            has_room = admission is not None and admission.ordinary_writes
            if (admission is not None and admission.snapshot_due) or (asked and has_room):
                taken = await loop.run_in_executor(self._threads, self._take)
            for each in asked:
                if not each.done():
                    each.set_result(taken)

    async def _send_when_asked(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            wanted, done = await self._sends.get()
            snapshot = self._directory.snapshots.find(wanted.index_min)
            if snapshot is None:
                await loop.run_in_executor(self._threads, self._take)
                snapshot = self._directory.snapshots.find(wanted.index_min)
            ok = False
            if snapshot is not None and self._transfer is not None:
                self.sending = wanted.to
                try:
                    ok = await self._transfer(wanted.to, snapshot)
                finally:
                    self.sending = MemberId(0)
            self._report(done, ok=ok)

    async def _install_when_recorded(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            meta, done = self._installs[sequence := await self._recorded.get()]
            built = await loop.run_in_executor(self._threads, self._directory.build_state, meta.id)
            self._act(partial(self._swap, built, done))
            del self._installs[sequence]
            await loop.run_in_executor(self._threads, self._remove_old)

    def _remove_old(self) -> None:
        with self._flusher.paused():  # it may be syncing what is closed here
            self._directory.remove_old()

    def _swap(self, built: Built, done: Callable[[], None]) -> None:
        self._swapped(self._directory.swap_state(built))
        self._snapshot_written_bytes = 0
        done()

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (Corrupt, OSError) as problem:
            self._fatal(problem)

    def _report(self, done: Callable[[bool], None], *, ok: bool) -> None:
        self._act(lambda: done(ok))

    def _take(self) -> bool:
        if self._installs:
            return False  # what is applied here is about to be replaced
        snapshots, engine = self._directory.snapshots, self._directory.engine
        written = engine.written_bytes()
        try:
            snapshots.take(engine)
        except CopyAborted:
            return False  # too many writes meanwhile; it is still due
        except OSError as problem:
            if problem.errno != errno.ENOSPC:
                raise
            snapshots.discard_partial()
            return False
        self._snapshot_written_bytes = written
        snapshots.verify_all()
        snapshots.prune()
        return True
