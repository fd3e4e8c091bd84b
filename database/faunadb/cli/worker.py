"""The worker process: evaluates one long query after the other on the state's file.

Started by `node/workers.py` with a pipe on standard input and output. It has a deep stack for
deep recursion, a limit of memory, and dies with the member that started it.

Trap: standard output carries frames; nothing else may ever be printed there.
"""

import ctypes
import os
import resource
import signal
import sys
import threading
from pathlib import Path

from faunadb.codec import Answer
from faunadb.definitions import Schema
from faunadb.disk.engine import LmdbEngine
from faunadb.disk.ports import DATA_NAME
from faunadb.errors import FaunaError, InvalidRequest, TooManyPending
from faunadb.fql.budget import (
    RECURSION_LIMIT_DEEP,
    STACK_BYTES_DEEP,
    STEPS_IN_WORKER,
    Budget,
    OverBudget,
)
from faunadb.node.faults import encode_fault
from faunadb.node.feeds import DEADLINE_SHARE
from faunadb.node.jobs import LENGTH, Job, JobDone, decode_job, encode_frame
from faunadb.node.language import At, Language
from faunadb.node.sliced import SLICE_S, SlicedReader
from faunadb.node.world import SystemChance, SystemClock
from faunadb.store.bookkeeping import read_bookkeeping
from faunadb.store.ids import IdSource
from faunadb.store.schema import SchemaCache

MEMORY_BYTES_MAX = STACK_BYTES_DEEP + 768 * 1024 * 1024
_PR_SET_PDEATHSIG = 1


def run_worker(data_dir: Path, cursor_key: bytes, incarnation: bytes, parent: int) -> None:
    """Serve until standard input ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        return
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    sys.setrecursionlimit(RECURSION_LIMIT_DEEP)
    threading.stack_size(STACK_BYTES_DEEP)
    worker = _Worker(data_dir, Language(cursor_key, incarnation, SystemChance().bytes))
    thread = threading.Thread(target=worker.serve)
    thread.start()
    while thread.is_alive():
        worker.give_back_if_old()
        thread.join(SLICE_S / 2)


class _Worker:
    def __init__(self, data_dir: Path, language: Language) -> None:
        self._data_dir, self._language = data_dir, language
        self._engine: LmdbEngine | None = None
        self._schemas = SchemaCache()
        self._ids: dict[int, IdSource] = {}
        self._reader: SlicedReader | None = None

    def give_back_if_old(self) -> None:
        """Let no state be held while a query computes; called from another thread."""
        reader = self._reader
        if reader is not None:
            reader.give_back_if_old()

    def serve(self) -> None:
        source, sink = sys.stdin.buffer, sys.stdout.buffer
        while len(head := source.read(LENGTH.size)) == LENGTH.size:
            job = decode_job(source.read(LENGTH.unpack(head)[0]))
            try:
                done = self._evaluate(job)
            except OverBudget as over:
                done = _refused(InvalidRequest(f"The query is {over}: it would take too long."))
            except MemoryError:
                done = _refused(InvalidRequest("The query needs more memory than it may have."))
            except FaunaError as error:
                done = _refused(error)
            sink.write(encode_frame(done))
            sink.flush()

    def _evaluate(self, job: Job) -> JobDone:
        engine = self._open(job.state)
        with engine.read() as first:
            base = read_bookkeeping(first).applied
            schema = self._schemas.at(first, job.query.caller.scope, job.ts)
        reader = self._reader = SlicedReader(engine, SystemClock())
        ids = self._ids.setdefault(job.worker, IdSource(job.worker))
        try:
            if job.query.feed is not None:
                return JobDone(self._feed(job, schema, reader))
            view = self._language.view(reader, schema, job.ts, ids.draw)
            answer = self._language.answer(job.query, view, Budget(STEPS_IN_WORKER, deep=True))
            return JobDone(answer, view.effects(base, job.term) if job.term else None)
        finally:
            reader.close()

    def _feed(self, job: Job, schema: Schema, reader: SlicedReader) -> Answer:
        """Return a page; it ends a little before the time that is left for it."""
        clock = SystemClock()
        end_s = clock.monotonic_s() + job.query.timeout_ms / 1000 * DEADLINE_SHARE
        budget = Budget(STEPS_IN_WORKER, deep=True)
        at = At(job.ts, budget, lambda: clock.monotonic_s() >= end_s)
        return self._language.feed(job.query, schema, reader, at)

    def _open(self, state: str) -> LmdbEngine:
        if self._engine is None or self._engine.path != state:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
            if not (self._data_dir / state / DATA_NAME).exists():
                raise TooManyPending("The state was replaced by a snapshot; send the query again.")
            self._engine = LmdbEngine(self._data_dir, state)
            self._schemas.clear()
        return self._engine


def _refused(fault: FaunaError) -> JobDone:
    return JobDone(refused=encode_fault(fault))
