"""What is taken, dropped, sent, installed and scrubbed, on a simulated disk and a real loop."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from disk_test_helpers.member import Storage, describe
from faunadb.cli.scrubber import Scrubber
from faunadb.cli.snapshot_keeper import LOG_BYTES_KEPT, SnapshotKeeper, Transfer
from faunadb.disk.flusher import Flusher
from faunadb.disk.ports import CopyAborted
from faunadb.disk.snapshots import TAKING, Snapshot
from faunadb.disk.space import (
    APPLY_RESERVE_BYTES,
    LAST_RESERVE_BYTES,
    MIB,
    SNAPSHOT_LOG_BYTES_MIN,
)
from faunadb.disk.transfers import Receiver, Source
from faunadb.disk.wal import SEGMENT_BYTES
from faunadb.errors import Corrupt
from faunadb.node.ports import LogRestart
from faunadb.raft.entries import Index, MemberId, SnapshotMeta
from faunadb.raft.events import SendSnapshot, Write
from faunadb.store.ports import KeyValue
from faunadb_sim.disk import SimDisk, SimEngines

HANG_S = 60.0
PLENTY_BYTES = 1 << 40
NEEDED_BYTES = 2 * SEGMENT_BYTES + APPLY_RESERVE_BYTES + LAST_RESERVE_BYTES
TWO = MemberId(2)


class Log:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.restarts: list[LogRestart] = []
        self.cuts: list[Index] = []

    def submit(self, write: Write | LogRestart) -> None:
        assert isinstance(write, LogRestart)
        self.restarts.append(write)

    def cut(self, through: Index) -> None:
        self.cuts.append(through)

    def oldest_sync_age_s(self) -> float:
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


class Kept:
    """A keeper over the storage of one member, and what it did to the member."""

    def __init__(self, *, sent: bool | None = None) -> None:
        self.disk = SimDisk(Random(1), capacity_bytes=PLENTY_BYTES)
        self.storage = Storage(self.disk, Random(2))
        self.directory = self.storage.open()
        self.work()
        self.log = Log()
        self.swapped: list[KeyValue] = []
        self.went: list[tuple[MemberId, Snapshot]] = []
        self.events = 0
        self.fatal: list[BaseException] = []
        flusher = Flusher(
            lambda: self.directory.engine, self.directory.disown_state, self.fatal.append
        )
        self.flusher = flusher

        async def transfer(to: MemberId, snapshot: Snapshot) -> bool:
            assert to == self.keeper.sending
            self.went.append((to, snapshot))
            return bool(sent)

        chosen: Transfer | None = transfer
        self.keeper = SnapshotKeeper(
            self.directory,
            self.disk,
            self.log,
            flusher,
            transfer=None if sent is None else chosen,
            swapped=self.swapped.append,
            act=self._act,
            on_fatal=self.fatal.append,
        )

    def _act(self, event: Callable[[], None]) -> None:
        self.events += 1
        event()

    def work(self, count: int = 1) -> None:
        for _ in range(count):
            self.storage.append(1)
            self.storage.commit_and_apply()

    def has_room(self, free_bytes: int) -> None:
        self.disk.capacity_bytes = PLENTY_BYTES
        used = PLENTY_BYTES - self.disk.free_bytes()
        self.disk.capacity_bytes = used + free_bytes

    async def take(self) -> bool:
        """Ask for a snapshot of what is applied now."""
        self.keeper.tick(Index(1))
        return await self.keeper.take_now()

    def receive(self, count: int = 9) -> SnapshotMeta:
        """Keep a snapshot that another member made of so many pieces of work."""
        other = Storage(SimDisk(Random(3)), Random(4), member_id=2)
        other.open()
        for _ in range(count):
            other.append(1)
            other.commit_and_apply()
        other.snapshot()
        taken = other.opened.snapshots.newest()
        assert taken is not None
        source = Source(other.disk, taken)
        receiver = Receiver(
            self.disk,
            SimEngines(self.disk),
            self.directory.identity,
            self.directory.snapshots,
            describe,
        )
        at = receiver.begin(source.manifest_block, source.digest)
        while at < source.data_bytes:
            at = receiver.add(at, source.chunk(at))
        return receiver.finish().meta

    @property
    def indexes(self) -> list[int]:
        return [kept.id.index for kept in self.directory.snapshots.all()]


@asynccontextmanager
async def running(kept: Kept) -> AsyncIterator[Kept]:
    task = asyncio.create_task(kept.keeper.run())
    try:
        yield kept
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        kept.flusher.stop()
        assert not kept.fatal


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110 - of threads, too
            await asyncio.sleep(0.001)


def test_a_snapshot_is_taken_when_much_was_written() -> None:
    """And the log is cut behind the older of two (SAFETY 17, 21)."""

    async def run() -> None:
        async with running(Kept()) as kept:
            kept.keeper.tick(Index(1))
            assert [] == kept.indexes
            for number in (1, 2, 3):
                kept.work()
                kept.directory.engine.end_write(SNAPSHOT_LOG_BYTES_MIN + 1)  # type: ignore[attr-defined]
                kept.keeper.tick(Index(1))
                await until(lambda n=number: len(kept.indexes) >= min(n, 2))  # type: ignore[misc]
                newest = kept.storage.applied
                await until(lambda i=newest: kept.indexes[-1] == i)  # type: ignore[misc]
            assert 2 == len(kept.indexes)
            kept.keeper.tick(Index(20_000))
            assert kept.indexes[0] == kept.log.cuts[-1]
            assert kept.indexes[1] == kept.keeper.newest().id.index  # type: ignore[union-attr]
            assert kept.indexes[1] == kept.keeper.tick(Index(20_000))

    asyncio.run(run())


def test_a_short_absence_needs_no_snapshot() -> None:
    """The last 10,000 entries stay in memory behind a snapshot; of large ones only 64 MiB."""

    async def run() -> None:
        async with running(Kept()) as kept:
            kept.work(120)
            assert await kept.take()
            newest = kept.indexes[-1]
            kept.directory.engine.end_write(MIB)  # type: ignore[attr-defined]
            assert 0 == kept.keeper.tick(Index(100)), "not so many entries yet"
            kept.directory.engine.end_write(LOG_BYTES_KEPT - MIB)  # type: ignore[attr-defined]
            assert 0 == kept.keeper.tick(Index(110)), "nor so large ones"
            kept.directory.engine.end_write(MIB)  # type: ignore[attr-defined]
            assert 100 == kept.keeper.tick(Index(115))
            assert newest == kept.keeper.tick(Index(20_000)), "what no snapshot has stays"

    asyncio.run(run())


def test_when_space_is_short_the_older_snapshot_goes() -> None:
    """Then writes are refused, then deletes; a copy is not begun (SAFETY 21)."""

    async def run() -> None:
        async with running(Kept()) as kept:
            assert kept.keeper.may_write(only_deletes=False), "before the first tick"
            for _ in range(2):
                kept.work()
                assert await kept.take()
            assert 2 == len(kept.indexes)
            kept.has_room(NEEDED_BYTES - 10_000)
            kept.keeper.tick(Index(1))
            assert not kept.keeper.may_write(only_deletes=False)
            assert kept.keeper.may_write(only_deletes=True)
            await until(lambda: 1 == len(kept.indexes))
            assert not await kept.take()
            kept.has_room(LAST_RESERVE_BYTES - 1)
            kept.keeper.tick(Index(1))
            assert not kept.keeper.may_write(only_deletes=True)
            kept.has_room(PLENTY_BYTES // 2)
            kept.keeper.tick(Index(1))
            assert kept.keeper.may_write(only_deletes=False)

    asyncio.run(run())


@pytest.mark.parametrize("problem", [CopyAborted("grew"), OSError(errno.ENOSPC, "full")])
def test_a_copy_that_fails_harms_nobody(problem: Exception) -> None:
    """The state grew too fast, or the disk was full in the end; nothing is left of it."""

    async def run() -> None:
        async with running(Kept()) as kept:
            kept.work()
            kept.disk.plan = failing("pwrite", f"{TAKING}/data.mdb", problem)
            assert not await kept.take()
            kept.disk.plan = None
            assert not any(name.endswith(".tmp") for name in kept.disk.list("")) or isinstance(
                problem, CopyAborted
            )
            assert await kept.take()

    asyncio.run(run())


def failing(operation: str, path: str, problem: Exception) -> Callable[[int, str, str], None]:
    def plan(_: int, happening: str, where: str) -> None:
        if (happening, where) == (operation, path):
            raise problem

    return plan


@pytest.mark.parametrize(("sent", "said"), [(True, True), (False, False), (None, False)])
def test_a_snapshot_is_sent_to_who_needs_it(sent: bool | None, said: bool) -> None:
    """A new one is taken when the newest does not reach; the core hears of the end."""

    async def run() -> None:
        async with running(Kept(sent=sent)) as kept:
            kept.work(3)
            ends: list[bool] = []
            wanted = SendSnapshot(TWO, Index(kept.storage.applied))
            kept.keeper.send(wanted, ends.append)
            kept.keeper.send(wanted, ends.append)
            await until(lambda: 2 == len(ends))
            assert [said] * 2 == ends
            assert 0 == kept.keeper.sending
            if sent is not None:
                assert [kept.storage.applied] * 2 == [found.id.index for _, found in kept.went]

    asyncio.run(run())


def test_so_many_wait_to_be_sent() -> None:
    """One more is told that it failed, and its leader asks again."""

    async def run() -> None:
        kept = Kept()
        ends: list[bool] = []
        for _ in range(65):
            kept.keeper.send(SendSnapshot(TWO, Index(1)), ends.append)
        assert [False] == ends
        kept.flusher.stop()

    asyncio.run(run())


def test_the_loop_goes_on_while_a_state_is_built() -> None:
    """The copy takes as long as it takes; heartbeats do not wait for it."""

    async def run() -> None:
        async with running(Kept()) as kept:
            meta, old = kept.receive(), kept.directory.engine
            copying, go_on = threading.Event(), threading.Event()

            def slow(_: int, operation: str, path: str) -> None:
                if (operation, path) == ("pwrite", "state-2/data.mdb"):
                    copying.set()
                    assert go_on.wait(HANG_S)

            kept.disk.plan = slow
            ends: list[str] = []
            kept.keeper.install(meta, lambda: ends.append("installed"))
            (restart,) = kept.log.restarts
            assert [] == ends, "the log has not recorded it"
            kept.keeper.restart_recorded(restart.token)
            await until(copying.is_set)
            for _ in range(20):  # the loop turns, and the old state answers
                await asyncio.sleep(0)
                kept.keeper.tick(Index(1))
                with old.read() as reader:
                    assert reader.get(b"k000001")
            assert [] == ends
            assert old is kept.directory.engine
            go_on.set()
            await until(lambda: ends)
            assert ["installed"] == ends
            assert [kept.directory.engine] == kept.swapped
            with kept.directory.engine.read() as reader:
                assert reader.get(b"k%06d" % meta.id.index)
            await until(lambda: "state-1" not in kept.disk.list(""))

    asyncio.run(run())


def test_the_snapshot_that_was_asked_for_is_installed() -> None:
    """Another one that has come meanwhile waits for its own turn; none is taken between."""

    async def run() -> None:
        async with running(Kept()) as kept:
            first, second = kept.receive(9), kept.receive(12)
            assert first.id.index < second.id.index
            ends: list[int] = []
            kept.keeper.install(first, lambda: ends.append(first.id.index))
            assert not await kept.take(), "what is applied is about to be replaced"
            kept.keeper.restart_recorded(kept.log.restarts[0].token)
            await until(lambda: ends)
            with kept.directory.engine.read() as reader:
                assert reader.get(b"k%06d" % first.id.index)
                assert reader.get(b"k%06d" % (first.id.index + 1)) is None
            assert await kept.take()

    asyncio.run(run())


def test_a_scrub_walks_over_everything_and_rests() -> None:
    """Slice after slice; the next pass begins when it has rested."""

    async def run() -> None:
        kept = Kept()
        kept.work(300)
        scrubber = Scrubber(lambda: kept.directory.engine, every_s=0.0, rest_s=0.001)
        with_threads = kept.keeper._threads
        task = asyncio.create_task(scrubber.run(with_threads))
        await until(lambda: scrubber.passes >= 3)
        task.cancel()
        kept.flusher.stop()

    asyncio.run(run())


def test_a_state_that_does_not_match_is_fatal() -> None:
    """The member ends, and builds it anew at its next start (SAFETY 18)."""

    class Broken:
        def read(self) -> object:
            raise Corrupt("state", "the value of key 00 does not match its checksum")

    async def run() -> None:
        kept = Kept()
        kept.flusher.stop()
        kept.directory.engine = Broken()  # type: ignore[assignment]
        task = asyncio.create_task(kept.keeper.run())
        await until(lambda: kept.fatal)
        task.cancel()
        assert ["state"] == [getattr(problem, "reason", "") for problem in kept.fatal]

    asyncio.run(run())
