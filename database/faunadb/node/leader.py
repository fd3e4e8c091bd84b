"""What a member does while it leads: evaluate at the tip, issue timestamps, hold answers.

One `Leader` exists for one term and is dropped with it. It evaluates and appends in one turn of
the event loop: nothing can have changed in between, nothing is validated (SAFETY 1). What needs
more than the step budget goes to a worker; its effects are validated against the conflict
window, or evaluated again, five times in all.

    write ── retry of a known id ──────────────► held answer
      │
      ├── at the tip ── no effects ────────────► held until round and view are proven (SAFETY 4)
      │        └─────── effects ── seal ───────► payload of this turn ── committed ──► answer
      └── over budget ── worker ── validated ──► payload of this turn

House rules: no asyncio, no I/O of its own; `Member` proposes the payloads at the end of a turn.
Trap: `payloads` holds entries that the log does not know yet; `last` counts them.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from faunadb.codec import (
    Answer,
    LeaseWorker,
    Payload,
    RaiseCeiling,
    RemoveVersions,
    RequestId,
    Transaction,
    encode_payload,
)
from faunadb.errors import (
    Contended,
    DeadlineExceeded,
    FaunaError,
    InvalidRequest,
    OutcomeUnknown,
    TooManyPending,
)
from faunadb.fql.budget import OverBudget
from faunadb.node.gateway import Done, NotLeader
from faunadb.node.ports import Clock
from faunadb.node.query import Query
from faunadb.node.rounds import Rounds
from faunadb.node.timestamps import CEILING_AHEAD_US, Counter
from faunadb.raft.entries import Index, Term
from faunadb.store.effects import Effects
from faunadb.store.requests import answer_to_keep, may_be_known

PROPOSALS_PENDING_MAX = 8192
BACKLOG_BYTES_MAX = 32 * 1024 * 1024  # half of what the core takes: it refuses a whole turn

NO_SPACE = (
    "The disk of the leader is nearly full: only deletes are accepted. "
    "Delete documents, or give the members larger volumes."
)
NO_SPACE_LEFT = (
    "The disk of the leader is full: nothing can be written, not even a delete. "
    "Give the members larger volumes."
)


class Evaluated(msgspec.Struct, frozen=True):
    """What an evaluation came to. `answer.txn_ts` is 0 and its transaction time a placeholder."""

    answer: Answer
    effects: Effects

    @property
    def writes(self) -> bool:
        """Return whether it needs an entry: an error writes nothing, whatever came before it."""
        return self.answer.http_status == 200 and not self.effects.read_only


class Known(msgspec.Struct, frozen=True):
    """A request id that was seen before, with the answer if it was kept."""

    answer: Answer | None


class Tip(Protocol):
    """The applied state plus every later entry of the log (SAFETY 2)."""

    def evaluate(self, query: Query, ts: int) -> Evaluated:
        """Evaluate within the step budget. Raises `fql.budget.OverBudget`."""
        ...

    def evaluate_in_worker(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Evaluated | FaunaError], None],
    ) -> None:
        """Evaluate against the applied state in a worker process, which may take long."""
        ...

    def still_valid(self, evaluated: Evaluated, term: Term) -> bool:
        """Return whether nothing after the base of its effects touched what they read."""
        ...

    def seal(self, evaluated: Evaluated, ts: int) -> tuple[tuple[bytes, bytes | None], ...]:
        """Fill the transaction time in and return the physical writes."""
        ...

    def expired(self, evaluated: Evaluated, ts: int) -> bool:
        """Return whether something that was seen has expired by `ts` (SAFETY 12)."""
        ...

    def append(self, index: Index, payload: Payload) -> None:
        """Make an entry of this turn part of the tip."""
        ...

    def end_view(self) -> None:
        """Something was applied, or the turn ends: the next view is a new one."""
        ...

    def close(self) -> None:
        """Leadership is lost: forget what only this view has seen."""
        ...

    def chore(self, ts: int) -> Evaluated | RemoveVersions | None:
        """Return the next step of building an index or of removing history, if one is due."""
        ...

    def find(self, query: Query) -> Known | None: ...

    def fill(self, answer: Answer, ts: int) -> Answer:
        """Fill the transaction time into an answer."""
        ...

    @property
    def is_open(self) -> bool:
        """Return whether clients may write (SAFETY 26)."""
        ...


class Room(Protocol):
    """What the leader's disk and its log still take (SAFETY 21)."""

    @property
    def backlog_bytes(self) -> int:
        """Return the bytes of the log that have not committed."""
        ...

    def may_write(self, *, only_deletes: bool) -> bool:
        """Return whether the disk has space for such writes."""
        ...


class _Proposal(msgspec.Struct):
    term: Term
    request: RequestId | None
    answer: Answer
    waiting: list[Done]
    deadline_s: float


class Leader:
    """The leadership of one term."""

    def __init__(
        self,
        *,
        term: Term,
        log_last: Callable[[], Index],
        counter: Counter,
        ceiling_us: int,
        tip: Tip,
        clock: Clock,
        now_us: Callable[[], int | None],
        latest_us: Callable[[], int | None],
        room: Room,
    ) -> None:
        self.term = term
        self.rounds = Rounds()
        self._counter, self._tip, self._clock, self._now_us = counter, tip, clock, now_us
        self._latest_us, self._room = latest_us, room
        self._ceiling_us = ceiling_us  # the highest that is proposed in this term
        self._log_last = log_last
        self._payloads: list[bytes] = []
        self._payload_bytes = 0
        self._proposals: dict[Index, _Proposal] = {}
        self._requests: dict[RequestId, Index] = {}  # of the proposals
        self._waiting_for_lease: list[Callable[[], None]] = []
        self._has_lease = False
        self._resigned = False

    # -------------------------------------------------------------- what clients want

    def write(self, query: Query, deadline_s: float, done: Done) -> None:
        """Evaluate `query` at the tip and propose its effects; `done` is called once."""
        if self._resigned:
            done(NotLeader())
        elif self._clock.monotonic_s() >= deadline_s:
            done(DeadlineExceeded("The deadline passed before the query began."))
        elif len(self._proposals) >= PROPOSALS_PENDING_MAX:
            done(TooManyPending("The leader has too many writes in flight.", retry_after_s=1))
        elif not self._has_lease:
            self._waiting_for_lease.append(lambda: self.write(query, deadline_s, done))
        elif not self._is_retry(query, deadline_s, done):
            self._evaluate(query, deadline_s, done)

    def read_point(
        self, count: int, last_txn_ts: int, done: Callable[[int, Index], object]
    ) -> None:
        """Issue `count` timestamps; `done(first, index)` once proven, ts 0 when not leader.

        Raises `InvalidRequest` for a `last_txn_ts` from the future.
        """
        self._raise_counter(last_txn_ts)
        first = self._issue_read(count)
        index = self.last
        self.rounds.join(lambda proven: self._point_proven(done, first, index, proven=proven))

    # -------------------------------------------------------------- what the member drives

    def propose(self, payload: Payload) -> Index:
        """Append a payload to this turn's entries and to the tip; return its index."""
        encoded = encode_payload(payload)
        self._payloads.append(encoded)
        self._payload_bytes += len(encoded)
        index = self.last
        self._tip.append(index, payload)
        return index

    def lease(self, member: int, process: bytes) -> None:
        """Ask, through the log, for the worker number that document ids carry (SAFETY 27)."""
        self.propose(LeaseWorker(member, process))

    def lease_granted(self) -> None:
        """The number is applied: evaluation may draw ids from now on."""
        self._has_lease = True
        waiting, self._waiting_for_lease = self._waiting_for_lease, []
        for begin in waiting:
            begin()

    def housekeep(self) -> None:
        """Propose one step of what keeps the state in order."""
        if not self._has_lease:
            return
        ts = self._counter.issue(self._now_us())
        chore = self._tip.chore(ts)
        if isinstance(chore, RemoveVersions):
            self.propose(chore)
        elif chore is not None and self._room.may_write(only_deletes=False):
            self._ceiling_us = max(self._ceiling_us, ts + CEILING_AHEAD_US)
            self.propose(Transaction(ts, self._ceiling_us, self._tip.seal(chore, ts)))

    @property
    def has_lease(self) -> bool:
        return self._has_lease

    @property
    def time_us(self) -> int:
        """Return what time it is for request ids: never before a timestamp that was issued.

        The table of requests forgets by timestamps; a clock that is behind must not let in what
        was forgotten, nor refuse what is new (SAFETY 5, 11).
        """
        return max(self._now_us() or 0, self._counter.last_us)

    @property
    def last(self) -> Index:
        """Return the last index of log and this turn together."""
        return Index(self._log_last() + len(self._payloads))

    def take_payloads(self) -> list[bytes]:
        """Hand over what this turn appends."""
        payloads, self._payloads, self._payload_bytes = self._payloads, [], 0
        return payloads

    def committed(self, index: Index, term: Term) -> None:
        """The entry at `index` is applied here."""
        proposal = self._proposals.pop(index, None)
        if proposal is None:
            return
        if proposal.request is not None:
            del self._requests[proposal.request]
        for done in proposal.waiting:
            done(proposal.answer if proposal.term == term else NotLeader())

    def end_view(self) -> None:
        """The next evaluation sees what was applied meanwhile."""
        self._tip.end_view()

    def tick(self) -> None:
        """Say "unknown" to those whose deadline passed after their write was proposed."""
        now = self._clock.monotonic_s()
        for proposal in self._proposals.values():
            if proposal.waiting and now >= proposal.deadline_s:
                waiting, proposal.waiting = proposal.waiting, []
                for done in waiting:
                    done(OutcomeUnknown("The write was proposed and has not committed in time."))

    def resign(self) -> None:
        """Leadership is lost: all that waits is told, and may be sent again under its id."""
        self._tip.close()
        self.rounds.resign()
        proposals, self._proposals = self._proposals, {}
        for proposal in proposals.values():
            for done in proposal.waiting:
                done(NotLeader())
        self._resigned = True
        waiting, self._waiting_for_lease = self._waiting_for_lease, []
        for begin in waiting:
            begin()

    @staticmethod
    def _point_proven(
        done: Callable[[int, Index], object], first: int, index: Index, *, proven: bool
    ) -> None:
        if proven:
            done(first, index)
        else:
            done(0, Index(0))

    # -------------------------------------------------------------- evaluation

    def _is_retry(self, query: Query, deadline_s: float, done: Done) -> bool:
        """Answer a request id that is old or known; look in the state and in the tail."""
        if query.request is None:
            return False
        time_us = self.time_us
        if not may_be_known(query.request, time_us, max(time_us, self._latest_us() or 0)):
            if self._now_us() is None and query.request.born_us > time_us:
                done(NotLeader())  # it may be of today; ask again when the clocks were heard
                return True
            if query.attempt > 1 and query.request.born_us < time_us:
                done(OutcomeUnknown("It was sent before, too long ago to say what came of it."))
            else:
                done(InvalidRequest("The request id was not drawn within the last two minutes."))
            return True
        known = self._tip.find(query)
        if known is None:
            return False
        proposal = self._proposals.get(self._requests.get(query.request, Index(0)))
        if proposal is not None:
            proposal.waiting.append(done)
            proposal.deadline_s = max(proposal.deadline_s, deadline_s)
        elif known.answer is None:
            done(OutcomeUnknown("This request was applied before; its answer was not kept."))
        else:
            self._hold(known.answer, done)
        return True

    def _evaluate(self, query: Query, deadline_s: float, done: Done) -> None:
        try:
            self._raise_counter(query.last_txn_ts)
            ts = self._counter.issue(self._now_us())
            evaluated = self._tip.evaluate(query, ts)
        except InvalidRequest as error:
            done(error)
        except OverBudget:
            self._evaluate_slowly(query, deadline_s, done, query.attempts_max)
        else:
            self._settle(query, evaluated, ts, deadline_s, done)

    def _evaluate_slowly(
        self, query: Query, deadline_s: float, done: Done, attempts_left: int
    ) -> None:
        if not attempts_left:
            done(Contended("Transaction was aborted due to detection of concurrent modification."))
            return
        ts = self._counter.issue(self._now_us())

        def came(outcome: Evaluated | FaunaError) -> None:
            if self._resigned:
                done(NotLeader())
            elif isinstance(outcome, FaunaError):
                done(outcome)
            elif self._clock.monotonic_s() >= deadline_s:
                done(DeadlineExceeded("The deadline passed before the query was done."))
            else:
                now = self._counter.issue(self._now_us())
                if self._is_retry(query, deadline_s, done):
                    return  # another sending of it was faster
                if self._tip.still_valid(outcome, self.term) and not self._tip.expired(
                    outcome, now
                ):
                    self._settle(query, outcome, now, deadline_s, done)
                else:
                    self._evaluate_slowly(query, deadline_s, done, attempts_left - 1)

        self._tip.evaluate_in_worker(query, ts, deadline_s, came)

    def _settle(
        self, query: Query, evaluated: Evaluated, ts: int, deadline_s: float, done: Done
    ) -> None:
        if not evaluated.writes and not _must_be_remembered(query):
            self._cover(ts)
            self._hold(self._tip.fill(evaluated.answer, ts), done)
        elif not self._tip.is_open:
            done(TooManyPending("The cluster is not open for writes yet.", retry_after_s=1))
        elif self._clock.monotonic_s() >= deadline_s:
            done(DeadlineExceeded("The deadline passed before the write was proposed."))
        elif (full := self._full(evaluated)) is not None:
            done(full)
        else:
            self._commit(query, evaluated, ts, deadline_s, done)

    def _full(self, evaluated: Evaluated) -> TooManyPending | None:
        """Return why log or disk cannot take a write now; nothing of it is proposed."""
        if self._room.backlog_bytes + self._payload_bytes > BACKLOG_BYTES_MAX:
            return TooManyPending("The cluster is behind with its writes.", retry_after_s=1)
        if self._room.may_write(only_deletes=evaluated.effects.only_deletes):
            return None
        return TooManyPending(NO_SPACE_LEFT if evaluated.effects.only_deletes else NO_SPACE)

    def _commit(
        self, query: Query, evaluated: Evaluated, ts: int, deadline_s: float, done: Done
    ) -> None:
        writes = self._tip.seal(evaluated, ts) if evaluated.writes else ()
        answer = self._tip.fill(evaluated.answer, ts)
        self._ceiling_us = max(self._ceiling_us, ts + CEILING_AHEAD_US)
        kept, digest = (
            (None, b"") if query.request is None else answer_to_keep(answer, evaluated.effects)
        )
        index = self.propose(
            Transaction(
                ts=ts,
                ceiling=self._ceiling_us,
                writes=writes,
                request=query.request,
                answer=kept,
                answer_digest=digest,
            )
        )
        self._proposals[index] = _Proposal(self.term, query.request, answer, [done], deadline_s)
        if query.request is not None:
            self._requests[query.request] = index

    def _hold(self, answer: Answer, done: Done) -> None:
        """Release an answer without an entry of its own once its view is proven (SAFETY 4)."""
        self.rounds.join(lambda proven: done(answer if proven else NotLeader()))

    # -------------------------------------------------------------- time

    def _issue_read(self, count: int) -> int:
        first = self._counter.issue(self._now_us(), count)
        self._cover(first + count - 1)
        return first

    def _cover(self, ts: int) -> None:
        """Have a ceiling above `ts` committed before anybody hears of `ts` (SAFETY 9)."""
        if ts >= self._ceiling_us:
            self._ceiling_us = ts + CEILING_AHEAD_US
            self.propose(RaiseCeiling(self._ceiling_us))

    def _raise_counter(self, last_txn_ts: int) -> None:
        if last_txn_ts > self._counter.last_us:
            self._counter.raise_to(last_txn_ts, self._ceiling_us)


def _must_be_remembered(query: Query) -> bool:
    """Return whether an answer without effects needs an entry nevertheless.

    An earlier sending of this request may still arrive: without an entry it would be evaluated
    again, and might write what the client was told has not happened.
    """
    return query.request is not None and query.attempt > 1
