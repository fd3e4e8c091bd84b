"""The applied state plus every later entry of the log, as one leadership sees it (SAFETY 2).

A view is one pair taken together: a reader, whose applied index is read from inside it, and the
overlay of all later entries. The reader lives for one turn; it is given back as soon as
something is applied or the turn ends.

Trap: `append` is told of this member's own proposals only. Entries that the core appends by
itself (the first of a term, configurations) are gaps that hold no writes.
"""

from collections.abc import Callable
from typing import Protocol

from faunadb.codec import Answer, Payload, RemoveVersions, Transaction
from faunadb.definitions import Schema
from faunadb.errors import FaunaError
from faunadb.fql.budget import STEPS_ON_LOOP, Budget, OverBudget
from faunadb.node.language import Language, fill
from faunadb.node.leader import Evaluated, Known
from faunadb.node.query import Query
from faunadb.raft.entries import Index, Term
from faunadb.store.bookkeeping import read_bookkeeping
from faunadb.store.effects import changes_schema, seal
from faunadb.store.history import RemovalPlanner
from faunadb.store.overlay import Overlay, TipReader
from faunadb.store.ports import KeyValue, Reader
from faunadb.store.schema import SchemaCache

ROOT = 0
LATEST = 2**63 - 1
NO_ANSWER = Answer(200, b"null", "", 0, 0)
Came = Callable[[Evaluated | FaunaError], None]


class Workers(Protocol):
    """Processes that evaluate what is too long for the event loop: `node/workers.py`."""

    def write(self, query: Query, ts: int, term: int, deadline_s: float, done: Came) -> None:
        """Evaluate against the applied state; the effects say at which base."""
        ...

    def read(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Answer | FaunaError], None],
    ) -> None:
        """Evaluate a read-only query at `ts`."""
        ...


class LeaderTip:
    """Implements `leader.Tip`."""

    def __init__(
        self,
        *,
        term: Term,
        kv: KeyValue,
        overlay: Overlay,
        language: Language,
        workers: Workers,
        draw_id: Callable[[int], int],
    ) -> None:
        self._term, self._kv, self._overlay = term, kv, overlay
        self._language, self._workers, self._draw_id = language, workers, draw_id
        self._schemas = SchemaCache()
        self._newest: dict[int, Schema] = {}  # by database; the tip changes by `append` alone
        self._removals = RemovalPlanner(
            lambda scope: self._schemas.at(self._reader(), scope, LATEST)
        )
        self._opened: Opened | None = None

    def evaluate(self, query: Query, ts: int) -> Evaluated:
        if self._language.is_large(query):
            raise OverBudget
        reader = self._reader()
        schema = self._schema(reader, query.caller.scope, ts)
        view = self._language.view(reader, schema, ts, self._draw_id)
        answer = self._language.answer(query, view, Budget(STEPS_ON_LOOP))
        return Evaluated(answer, view.effects(self._overlay.last, self._term))

    def chore(self, ts: int) -> Evaluated | RemoveVersions | None:
        reader = self._reader()
        schema = self._schema(reader, ROOT, ts)
        view = self._language.view(reader, schema, ts, self._draw_id)
        if view.fill_index():
            return Evaluated(NO_ANSWER, view.effects(self._overlay.last, self._term))
        return self._removals.next(reader, ts)

    def evaluate_in_worker(self, query: Query, ts: int, deadline_s: float, done: Came) -> None:
        self._workers.write(query, ts, self._term, deadline_s, done)

    def still_valid(self, evaluated: Evaluated, term: Term) -> bool:
        effects = evaluated.effects
        base = effects.base[1]
        window = self._overlay.window
        return (
            effects.leader_term == term
            and window.covers(base)
            and not window.conflicts(effects.reads, base)
        )

    def expired(self, evaluated: Evaluated, ts: int) -> bool:
        valid_before = evaluated.effects.valid_before
        return valid_before is not None and ts >= valid_before

    def seal(self, evaluated: Evaluated, ts: int) -> tuple[tuple[bytes, bytes | None], ...]:
        return seal(evaluated.effects, ts)

    def append(self, index: Index, payload: Payload) -> None:
        while self._overlay.last[1] + 1 < index:
            self._overlay.append((self._term, self._overlay.last[1] + 1), None)
        self._overlay.append((self._term, index), payload)
        if isinstance(payload, Transaction) and changes_schema(payload.writes):
            self._newest.clear()

    def find(self, query: Query) -> Known | None:
        assert query.request is not None
        known = self._overlay.find_request(self._view().reader, query.request)
        return None if known is None else Known(known.answer)

    def fill(self, answer: Answer, ts: int) -> Answer:
        return fill(answer, ts)

    @property
    def is_open(self) -> bool:
        return self._overlay.open_for_clients

    def end_view(self) -> None:
        """Give the reader back: something was applied, or the turn ends."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        """Leadership is lost, and with it perhaps what this view has seen."""
        self.end_view()
        self._language.forget()

    def _reader(self) -> TipReader:
        return self._overlay.over(self._view().reader)

    def _view(self) -> "Opened":
        if self._opened is None:
            self._opened = Opened(self._kv)
            self._overlay.prune(self._opened.applied_index)
        return self._opened

    def _schema(self, reader: Reader, scope: int, ts: int) -> Schema:
        """Return the newest schema; `ts` is later than all that was appended."""
        found = self._newest.get(scope)
        if found is None:
            found = self._newest[scope] = self._schemas.at(reader, scope, ts)
        return found


class Opened:
    """A reader of the state that stays open until it is closed."""

    def __init__(self, kv: KeyValue) -> None:
        self._context = kv.read()
        self.reader: Reader = self._context.__enter__()
        self.applied_index = read_bookkeeping(self.reader).applied[1]

    def close(self) -> None:
        self._context.__exit__(None, None, None)
