"""The applied state of a member and the language over it.

    apply       committed entries, in one transaction of the store
    tip         what a new leader evaluates against
    read_at     a read-only program at a timestamp, in a worker when it is long

Trap: after a snapshot is installed the store is another one; everything that was derived from
the old one (machine, schemas) is made anew by `reopen`.
"""

from collections.abc import Callable

from faunadb.codec import Answer, Payload, RaiseCeiling, Transaction, decode_payload
from faunadb.definitions import Schema
from faunadb.errors import DeadlineExceeded, InvalidRequest
from faunadb.fql.budget import STEPS_ON_LOOP, Budget, OverBudget
from faunadb.fql.identity import proven
from faunadb.fql.view import View
from faunadb.machine import Applied, Hashed, Machine
from faunadb.node.followers import Followers
from faunadb.node.language import At, Language, fill
from faunadb.node.leader import Tip
from faunadb.node.ports import Clock
from faunadb.node.query import NotReadOnly, Outcome, Query
from faunadb.node.tip import LeaderTip, Workers
from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    Index,
    Term,
    decode_configuration,
)
from faunadb.store.bookkeeping import Lease
from faunadb.store.changes import Change, Place, Stretch
from faunadb.store.ids import IdSource
from faunadb.store.overlay import Overlay
from faunadb.store.ports import KeyValue
from faunadb.store.recent import Recent
from faunadb.store.schema import SchemaCache

HASHES_KEPT_MAX = 64


class AppliedState:
    """Implements `member.State`."""

    def __init__(
        self, kv: KeyValue, language: Language, workers: Workers, clock: Clock, process: bytes
    ) -> None:
        self._language, self._workers = language, workers
        self._clock, self._process = clock, process
        self._hashes: dict[Index, bytes] = {}
        self._new_hashes: list[tuple[Index, bytes]] = []
        self._ids: IdSource | None = None
        self.followers = Followers()
        self._recent = Recent()
        self.reopen(kv)

    def reopen(self, kv: KeyValue) -> None:
        """Go on with another store: a snapshot was installed."""
        self._kv = kv
        self._machine = Machine(kv)
        self._schemas = SchemaCache()
        self._newest: dict[int, Schema] = {}  # by database, as of what is applied
        self.followers.swapped()
        self._recent.forget()

    @property
    def applied(self) -> Index:
        return Index(self._machine.record.applied[1])

    @property
    def is_open(self) -> bool:
        return self._machine.record.open_for_clients

    @property
    def last_ts(self) -> int:
        return self._machine.record.last_ts

    @property
    def ceiling_us(self) -> int:
        return self._machine.record.ceiling

    def apply(self, entries: tuple[Entry, ...]) -> None:
        self._newest.clear()
        for outcome in self._machine.apply(entries):
            if isinstance(outcome, Applied):
                ts, writes = outcome.transaction.ts, outcome.transaction.writes
                self.followers.applied(ts, writes)
                self._recent.applied(ts, writes)
            if isinstance(outcome, Hashed):
                self._hashes[Index(outcome.index)] = outcome.state_hash
                self._new_hashes.append((Index(outcome.index), outcome.state_hash))
                if len(self._hashes) > HASHES_KEPT_MAX:
                    del self._hashes[next(iter(self._hashes))]

    def tip(self, term: Term, tail: tuple[Entry, ...]) -> Tip:
        overlay = Overlay(self._machine.record)
        overlay.load([((entry.term, entry.index), _payload(entry)) for entry in tail])
        return LeaderTip(
            term=term,
            kv=self._kv,
            overlay=overlay,
            language=self._language,
            workers=self._workers,
            draw_id=self._draw_id,
        )

    def highest_us(self, tail: tuple[Entry, ...]) -> int:
        record = self._machine.record
        highest = max(record.last_ts, record.ceiling)
        for entry in tail:
            match _payload(entry):
                case Transaction(ts=ts, ceiling=ceiling):
                    highest = max(highest, ts, ceiling)
                case RaiseCeiling(ceiling=ceiling):
                    highest = max(highest, ceiling)
        return highest

    def has_lease(self, process: bytes) -> bool:
        return self._lease(process) is not None

    @property
    def configuration(self) -> Configuration | None:
        """Return the applied configuration."""
        raw = self._machine.record.configuration
        return decode_configuration(raw) if raw else None

    @property
    def worker_number(self) -> int:
        """Return the leased number of this process, 0 while it draws no ids."""
        lease = self._lease(self._process)
        return lease.worker if lease is not None else 0

    def is_read_only(self, query: Query) -> bool:
        schema, claim = self._schema(query.caller.scope), query.caller.claim
        if claim is not None:
            with self._kv.read() as reader:
                view = self._language.view(reader, schema, self.last_ts, _no_id)
                if proven(view, claim) is None:
                    return True  # a wrong secret costs no compilation; `read_at` knows for certain
        if query.feed is not None:
            return True
        if query.schema is not None:
            return query.schema.action != "update"
        if self._language.is_large(query):
            return False
        prepared = self._language.prepare(query, schema)
        return isinstance(prepared, Answer) or prepared.program.read_only

    def read_at(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Outcome | NotReadOnly], None],
    ) -> None:
        if self._clock.monotonic_s() >= deadline_s:
            done(DeadlineExceeded("The deadline passed before the query began."))
            return
        try:
            outcome = self._read(query, ts)
        except OverBudget:
            self._workers.read(query, ts, deadline_s, done)
        except InvalidRequest as error:
            done(error)
        else:
            done(outcome)

    def read_here(self, query: Query, done: Callable[[Outcome], None]) -> None:
        """Answer a query for events as of the last transaction that is applied here."""
        assert query.feed is not None, "a program needs a read point"

        def came(outcome: Outcome | NotReadOnly) -> None:
            assert not isinstance(outcome, NotReadOnly)
            done(outcome)

        self.read_at(query, self.last_ts, self._clock.monotonic_s() + query.timeout_ms / 1000, came)

    def take_hashes(self) -> list[tuple[Index, bytes]]:
        """Hand over the state hashes that were computed since the last call."""
        hashes, self._new_hashes = self._new_hashes, []
        return hashes

    def hash_at(self, index: Index) -> bytes | None:
        return self._hashes.get(index)

    def _read(self, query: Query, ts: int) -> Outcome | NotReadOnly:
        schema = self._schema(query.caller.scope)
        with self._kv.read() as reader:
            if schema.version > ts:
                schema = self._schemas.at(reader, query.caller.scope, ts)
            if query.feed is not None:
                at = At(ts, Budget(STEPS_ON_LOOP), _never_late, self._latest)
                return self._language.feed(query, schema, reader, at)
            view = self._language.view(reader, schema, ts, _no_id)
            answer = self._answer(query, view)
            return fill(answer, ts) if isinstance(answer, Answer) else answer

    def _answer(self, query: Query, view: View) -> Answer | NotReadOnly:
        budget = Budget(STEPS_ON_LOOP)
        context = self._language.context(query, view, budget)
        if isinstance(context, Answer):
            return context
        if self._language.is_large(query) or (query.schema and query.schema.action == "update"):
            return NotReadOnly()
        if query.schema is not None:
            return self._language.schema(query.schema, view, budget, context)
        prepared = self._language.prepare(query, view.schema)
        if isinstance(prepared, Answer):
            return prepared
        if not prepared.program.read_only:
            return NotReadOnly()
        return self._language.evaluate(prepared, view, budget, context)

    def _latest(
        self, stretch: Stretch, after: Place, through_ts: int, tick: Callable[[int], None]
    ) -> list[Change] | None:
        return self._recent.changes(stretch, after, self.last_ts, through_ts, tick)

    def _schema(self, scope: int) -> Schema:
        """Return the schema of a database as of what is applied."""
        found = self._newest.get(scope)
        if found is None:
            with self._kv.read() as reader:
                found = self._newest[scope] = self._schemas.at(reader, scope, self.last_ts)
        return found

    def _lease(self, process: bytes) -> Lease | None:
        for lease in self._machine.record.leases:
            if lease.process == process:
                return lease
        return None

    def _draw_id(self, now_us: int) -> int:
        if self._ids is None:
            lease = self._lease(self._process)
            assert lease is not None, "a leader evaluates only once it holds a worker number"
            self._ids = IdSource(lease.worker)
        return self._ids.draw(now_us)


def _never_late() -> bool:
    """What fits into a turn of the loop takes no time."""
    return False


def _payload(entry: Entry) -> Payload | None:
    return decode_payload(entry.payload) if entry.kind is EntryKind.DATA else None


def _no_id(now_us: int) -> int:
    raise AssertionError(f"a read-only program drew an id at {now_us}")
