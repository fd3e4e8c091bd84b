"""Worker processes in virtual time: what is over the step budget is evaluated later, elsewhere.

The state is read when the job is done, as a worker reads the file that the member goes on
writing; its effects then meet whatever came between.
"""

from collections.abc import Callable

from faunadb.codec import Answer
from faunadb.disk.ports import Engine
from faunadb.errors import DeadlineExceeded, FaunaError
from faunadb.fql.budget import STEPS_IN_WORKER, Budget
from faunadb.node.language import Language, fill
from faunadb.node.leader import Evaluated
from faunadb.node.ports import Clock
from faunadb.node.query import Query
from faunadb.store.bookkeeping import read_bookkeeping
from faunadb.store.effects import Effects
from faunadb.store.ids import IdSource
from faunadb.store.schema import SchemaCache
from faunadb_sim.log import Later
from faunadb_sim.world import US_PER_MS, World

_Came = Callable[[tuple[Answer, Effects] | FaunaError], None]


class SimWorkers:
    """Implements `tip.Workers` for one life of a process."""

    def __init__(
        self,
        world: World,
        language: Language,
        *,
        engine: Callable[[], Engine],
        clock: Clock,
        worker_number: Callable[[], int],
        later: Later,
        act: Callable[[Callable[[], None]], None],
    ) -> None:
        self._world, self._language, self._engine, self._clock = world, language, engine, clock
        self._worker_number, self._later, self._act = worker_number, later, act
        self._ids: dict[int, IdSource] = {}

    def write(
        self,
        query: Query,
        ts: int,
        term: int,
        deadline_s: float,
        done: Callable[[Evaluated | FaunaError], None],
    ) -> None:
        def came(outcome: tuple[Answer, Effects] | FaunaError) -> None:
            done(outcome if isinstance(outcome, FaunaError) else Evaluated(*outcome))

        self._queue(query, ts, term, deadline_s, came)

    def read(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Answer | FaunaError], None],
    ) -> None:
        def came(outcome: tuple[Answer, Effects] | FaunaError) -> None:
            done(outcome if isinstance(outcome, FaunaError) else fill(outcome[0], ts))

        self._queue(query, ts, 0, deadline_s, came)

    def _queue(self, query: Query, ts: int, term: int, deadline_s: float, came: _Came) -> None:
        evaluated: list[tuple[Answer, Effects]] = []

        def evaluate() -> None:
            evaluated.append(self._evaluate(query, ts, term))
            self._later(self._world.between(0, 20 * US_PER_MS), "worker done", finish)

        def finish() -> None:
            late = self._clock.monotonic_s() >= deadline_s
            outcome = DeadlineExceeded("The query took too long.") if late else evaluated[0]
            self._act(lambda: came(outcome))

        self._later(self._world.between(0, 20 * US_PER_MS), "worker begin", evaluate)

    def _evaluate(self, query: Query, ts: int, term: int) -> tuple[Answer, Effects]:
        number = self._worker_number()
        ids = self._ids.setdefault(number, IdSource(number))
        with self._engine().read() as reader:
            base = read_bookkeeping(reader).applied
            schema = SchemaCache().at(reader, query.caller.scope, ts)
            view = self._language.view(reader, schema, ts, ids.draw)
            answer = self._language.answer(query, view, Budget(STEPS_IN_WORKER))
            return answer, view.effects(base, term)
