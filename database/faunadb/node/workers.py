"""Processes that evaluate what is too long for the event loop, so that no heartbeat waits.

A worker opens the same LMDB file (LMDB is made for that), takes one job at a time, and is
killed when the job's deadline passes or its memory limit is reached. It is spawned, never
forked, and dies with this process.

It runs in the scheduler's class for what is idle: whatever else wakes up takes its processor at
once. Mere niceness lets it finish its slice of 3 ms (EEVDF), twice in each fdatasync; measured
beside four of them: 0.2 ms instead of 5.9. Where nothing is ever idle it ends at its deadline.
And one processor is never a worker's: where workers keep all of them busy the kernel no longer
looks for a free one when somebody wakes up, and who wakes waits behind the slice of another.

Trap: a killed worker has done nothing: effects count only once the leader has accepted them.
But it leaves its reader behind, and LMDB keeps every page for it: `ended` must free the slot.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

import msgspec

from faunadb.codec import Answer
from faunadb.errors import DeadlineExceeded, FaunaError, Malformed, TooManyPending
from faunadb.node.faults import decode_fault
from faunadb.node.jobs import JOB_BYTES_MAX, LENGTH, Job, JobDone, decode_done, encode_frame
from faunadb.node.language import fill
from faunadb.node.leader import Evaluated
from faunadb.node.ports import Clock
from faunadb.node.query import Query

WORKERS_COUNT = 2
JOBS_WAITING_MAX = 512
_TOO_LATE = "The query did not finish before its deadline. Nothing was applied."
_GONE = "The worker process ended while it evaluated the query; it may need too much memory."


def processors_of_workers(processors: set[int]) -> set[int]:
    """Return where workers may run: all `processors` of the member but the first, if it has two."""
    return processors - {min(processors)} if len(processors) > 1 else processors


class _Task(msgspec.Struct):
    query: Query
    ts: int
    term: int
    deadline_s: float
    done: Callable[[JobDone | FaunaError], None]


class WorkerPool:
    """Implements `tip.Workers` on the running loop; `run` is to be a task of its owner."""

    def __init__(
        self,
        command: Sequence[str],
        where: Callable[[], tuple[str, int]],
        clock: Clock,
        act: Callable[[Callable[[], None]], None],
        ended: Callable[[], object],
    ) -> None:
        """`where` names the state directory and this process's worker number for ids;
        `act` lets something happen to the member within a turn, `ended` frees what a worker held.
        """
        self._command, self._where, self._clock, self._act = command, where, clock, act
        self._ended = ended
        self._waiting: asyncio.Queue[_Task] = asyncio.Queue(JOBS_WAITING_MAX)

    def write(
        self,
        query: Query,
        ts: int,
        term: int,
        deadline_s: float,
        done: Callable[[Evaluated | FaunaError], None],
    ) -> None:
        def came(outcome: JobDone | FaunaError) -> None:
            if isinstance(outcome, FaunaError):
                done(outcome)
            else:
                assert outcome.answer is not None
                assert outcome.effects is not None
                done(Evaluated(outcome.answer, outcome.effects))

        self._queue(query, ts, term, deadline_s, came)

    def read(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Answer | FaunaError], None],
    ) -> None:
        def came(outcome: JobDone | FaunaError) -> None:
            if isinstance(outcome, FaunaError):
                done(outcome)
            else:
                assert outcome.answer is not None
                done(fill(outcome.answer, ts))

        self._queue(query, ts, 0, deadline_s, came)

    async def run(self) -> None:
        """Keep the workers going until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS_COUNT):
                group.create_task(self._serve())

    def _queue(
        self,
        query: Query,
        ts: int,
        term: int,
        deadline_s: float,
        done: Callable[[JobDone | FaunaError], None],
    ) -> None:
        task = _Task(query, ts, term, deadline_s, done)
        try:
            self._waiting.put_nowait(task)
        except asyncio.QueueFull:
            done(TooManyPending("Too many long queries are waiting.", retry_after_s=1))

    async def _serve(self) -> None:
        """One worker after the other, each for as many jobs as it survives."""
        process: asyncio.subprocess.Process | None = None
        try:
            while True:
                task = await self._waiting.get()
                if self._clock.monotonic_s() >= task.deadline_s:
                    self._tell(task, DeadlineExceeded(_TOO_LATE))
                    continue
                if process is not None and process.returncode is not None:
                    await self._end(process)
                    process = None
                if process is None:
                    try:
                        process = await self._spawn()
                    except OSError as problem:
                        self._tell(task, TooManyPending(f"No worker can be started: {problem}"))
                        continue
                outcome = await self._work(process, task)
                if isinstance(outcome, FaunaError):
                    await self._end(process)
                    process = None
                self._tell(task, outcome)
        finally:
            if process is not None:
                await self._end(process)

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=JOB_BYTES_MAX,
        )
        with contextlib.suppress(OSError):  # it may have ended already, or may not be told
            os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
            os.sched_setaffinity(process.pid, processors_of_workers(os.sched_getaffinity(0)))
        return process

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.kill()
        await process.wait()
        self._ended()

    async def _work(self, process: asyncio.subprocess.Process, task: _Task) -> JobDone | FaunaError:
        assert process.stdin is not None
        assert process.stdout is not None
        left_ms = max(1, int((task.deadline_s - self._clock.monotonic_s()) * 1000))
        query = msgspec.structs.replace(task.query, timeout_ms=left_ms)
        job = Job(query, task.ts, task.term, *self._where())
        try:
            async with asyncio.timeout(task.deadline_s - self._clock.monotonic_s()):
                process.stdin.write(encode_frame(job))
                await process.stdin.drain()
                (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                if length > JOB_BYTES_MAX:
                    return TooManyPending(_GONE)
                return _checked(decode_done(await process.stdout.readexactly(length)))
        except TimeoutError:
            return DeadlineExceeded(_TOO_LATE)
        except (asyncio.IncompleteReadError, OSError, Malformed):
            return TooManyPending(_GONE)

    def _tell(self, task: _Task, outcome: JobDone | FaunaError) -> None:
        self._act(lambda: task.done(outcome))


def _checked(done: JobDone) -> JobDone | FaunaError:
    return decode_fault(done.refused) if done.answer is None else done
