"""Processes that evaluate what is too long for the event loop, so that no heartbeat waits.

A worker opens the same LMDB file (LMDB is made for that), takes one job at a time, and is
killed when the job's deadline passes or its memory limit is reached. It is spawned, never
forked, and dies with this process.

Trap: a killed worker has done nothing: effects count only once the leader has accepted them.
"""

import asyncio
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


class _Task(msgspec.Struct):
    job: Job
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
    ) -> None:
        """`where` names the state directory and this process's worker number for ids;
        `act` lets something happen to the member within a turn."""
        self._command, self._where, self._clock, self._act = command, where, clock, act
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
                answer, effects = outcome.answer, outcome.effects
                assert answer is not None
                assert effects is not None
                writes = answer.http_status == 200 and not effects.read_only
                done(Evaluated(answer, effects, writes))

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
        state, worker = self._where()
        task = _Task(Job(query, ts, term, state, worker), deadline_s, done)
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
                if process is None or process.returncode is not None:
                    process = await asyncio.create_subprocess_exec(
                        *self._command,
                        stdin=asyncio.subprocess.PIPE,
                        stdout=asyncio.subprocess.PIPE,
                        limit=JOB_BYTES_MAX,
                    )
                outcome = await self._work(process, task)
                if isinstance(outcome, FaunaError):
                    await _end(process)
                    process = None
                self._tell(task, outcome)
        finally:
            if process is not None:
                await _end(process)

    async def _work(self, process: asyncio.subprocess.Process, task: _Task) -> JobDone | FaunaError:
        left_s = task.deadline_s - self._clock.monotonic_s()
        if left_s <= 0:
            return DeadlineExceeded(_TOO_LATE)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(left_s):
                process.stdin.write(encode_frame(task.job))
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


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
