"""Real worker processes over a real LMDB directory.

They get only the time that nobody else wants, so no other test may run beside them.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from faunadb.codec import Answer
from faunadb.disk.engine import LmdbEngine
from faunadb.errors import DeadlineExceeded, FaunaError, InvalidRequest, Malformed, TooManyPending
from faunadb.node.jobs import Job, decode_done, decode_job, encode_frame
from faunadb.node.query import Query
from faunadb.node.workers import JOBS_WAITING_MAX, WorkerPool, processors_of_workers
from faunadb.node.world import SystemClock
from node_test_helpers import Cluster
from node_test_helpers.cluster import query

pytestmark = pytest.mark.process
STATE = "state-1"
HANG_S = 30.0  # nothing here takes that long
PLENTY_S = 25.0
LONG = "Set.sequence(0, 20000).fold(0, (a, b) => a + b)"
ENDLESS = "Set.sequence(0, 90000000).fold(0, (a, b) => a + b)"
GREEDY = """
    let big = Set.sequence(0, 22).fold("x", (s, n) => s + s)
    Set.sequence(0, 400).fold([], (all, n) => [all, big + "y"])
"""


class Pool:
    """A pool over a state with one document; `ended` counts the workers that ended."""

    def __init__(self, root: Path, command: list[str] | None = None) -> None:
        self.clock, self.state, self.ended = SystemClock(), STATE, 0
        command = command or [
            *(sys.executable, "-m", "faunadb", "worker", str(root)),
            *((b"k" * 32).hex(), (b"i" * 24).hex(), str(os.getpid())),
        ]
        self.pool = WorkerPool(command, lambda: (self.state, 9), self.clock, self._act, self._end)

    @staticmethod
    def _act(event: Callable[[], None]) -> None:
        event()

    def _end(self) -> None:
        self.ended += 1

    def begin(
        self, text: str, *, ts: int = 2**62, seconds: float = PLENTY_S
    ) -> "asyncio.Future[Answer | FaunaError]":
        found: asyncio.Future[Answer | FaunaError] = asyncio.get_running_loop().create_future()
        deadline_s = self.clock.monotonic_s() + seconds
        self.pool.read(query(text), ts, deadline_s, found.set_result)
        return found

    async def read(self, text: str, *, ts: int = 2**62, seconds: float = PLENTY_S) -> object:
        """Return the value, or the refusal."""
        outcome = await asyncio.wait_for(self.begin(text, ts=ts, seconds=seconds), HANG_S)
        if isinstance(outcome, FaunaError):
            return outcome
        assert 200 == outcome.http_status, outcome
        return json.loads(outcome.data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory whose state holds one document."""
    engine = LmdbEngine(tmp_path, STATE)
    leader = Cluster(make_kv=lambda _: engine).elect()
    leader.data('Collection.create({name: "A"})')
    leader.data("A.create({n: 7})")
    engine.close()
    return tmp_path


@asynccontextmanager
async def running(pool: Pool) -> AsyncIterator[Pool]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pool.pool.run())
        try:
            yield pool
        finally:
            task.cancel()


def test_a_long_query_is_evaluated_apart(root: Path) -> None:
    """On the state's own file, and one worker serves many; what is refused is refused as such."""

    async def run() -> None:
        async with running(Pool(root)) as pool:
            assert 199_990_000 == await pool.read(LONG)
            assert [7] == await pool.read("A.all().map(.n).toArray()")
            assert isinstance(await pool.read(GREEDY), InvalidRequest | TooManyPending)
            assert [7] == await pool.read("A.all().map(.n).toArray()")

    asyncio.run(run())


def test_a_worker_is_killed_at_the_deadline(root: Path) -> None:
    """And LMDB is told, because its reader would keep every page of the file for ever."""

    async def run() -> None:
        pool = Pool(root)
        own = LmdbEngine(root, STATE)
        async with running(pool):
            await asyncio.gather(pool.read(LONG), pool.read(LONG))  # both have the state open
            late = pool.begin("A.all().first()!.n\n" + ENDLESS, seconds=5.0)
            other = await pool.read(LONG)
            assert isinstance(await late, DeadlineExceeded)
            assert 199_990_000 == other
            assert 1 == pool.ended
            assert own.reader_check() > 0
            assert [7] == await pool.read("A.all().map(.n).toArray()")
        own.close()

    asyncio.run(run())


def test_workers_get_what_others_leave(root: Path) -> None:
    """They are in the class for what is idle: whoever wakes up need not wait for their slice."""

    async def run() -> list[tuple[int, set[int]]]:
        async with running(Pool(root)) as pool:
            await asyncio.gather(pool.read(LONG), pool.read(LONG))
            pids = workers_of(root)
            return [(os.sched_getscheduler(pid), os.sched_getaffinity(pid)) for pid in pids]

    theirs = processors_of_workers(os.sched_getaffinity(0))
    assert [(os.SCHED_IDLE, theirs)] * 2 == asyncio.run(run())
    assert os.SCHED_OTHER == os.sched_getscheduler(0)


def workers_of(root: Path) -> list[int]:
    """Return the processes that were started to evaluate over `root`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if f"\0worker\0{root}\0".encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def test_a_job_that_is_late_before_it_begins_costs_no_worker(root: Path) -> None:
    """Else a queue of late jobs would start a process for each of them."""

    async def run() -> None:
        pool = Pool(root)
        async with running(pool):
            assert [7] == await pool.read("A.all().map(.n).toArray()")
            late = [pool.begin(LONG, seconds=-1.0) for _ in range(50)]
            assert {DeadlineExceeded} == {type(outcome) for outcome in await asyncio.gather(*late)}
            assert 0 == pool.ended

    asyncio.run(run())


def test_a_state_that_was_replaced_is_not_made_anew(root: Path) -> None:
    """A worker that opened it would find it empty, and answer from that."""

    async def run() -> None:
        pool = Pool(root)
        pool.state = "state-7"
        async with running(pool):
            assert isinstance(await pool.read("A.all().toArray()"), TooManyPending)

    asyncio.run(run())
    assert not (root / "state-7").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["/nonexistent"],
        ["/bin/true"],
        [sys.executable, "-c", "print('a stray line that is much too long to be a length')"],
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes([2, 0, 0, 0, 9, 9]))"],
    ],
    ids=["none", "ends at once", "talks", "not an outcome"],
)
def test_a_worker_that_is_none_harms_nobody(root: Path, command: list[str]) -> None:
    """The query is refused, and the next one gets another worker."""

    async def run() -> None:
        async with running(Pool(root, command)) as pool:
            assert isinstance(await pool.read(LONG), TooManyPending)
            assert isinstance(await pool.read(LONG), TooManyPending)

    asyncio.run(run())


def test_so_many_jobs_may_wait(root: Path) -> None:
    """One more is refused at once."""

    async def run() -> None:
        pool = Pool(root)
        waiting = [pool.begin(LONG) for _ in range(JOBS_WAITING_MAX)]
        assert isinstance(await pool.read(LONG), TooManyPending)
        assert not any(future.done() for future in waiting)

    asyncio.run(run())


def test_frames_are_whole_or_malformed() -> None:
    """A worker may be killed at any byte."""
    job = Job(Query(b"{}"), 1, 2, STATE, 3)
    body = encode_frame(job)[4:]

    assert job == decode_job(body)
    for end in range(len(body)):
        with pytest.raises(Malformed):
            decode_job(body[:end])
        with pytest.raises(Malformed):
            decode_done(body[:end])
