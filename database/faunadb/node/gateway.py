"""Who answers a query: this member, the leader, or nobody yet (SAFETY 1, 6, 7).

Every query comes in here. A program that is proven read-only is evaluated by this member at a
read point that the leader issues; all others go to the leader, which may be this very member.
Nobody is ever redirected: a forwarded query carries its time left and a request id, so that
this member's own retry is applied once.

House rules: no asyncio, no I/O; everything happens in calls, answers in callbacks.
Trap: once a query was handed to a leader its outcome may be unknown; only `NotLeader` and a
refusal to take it say that nothing was proposed.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from faunadb.codec import RequestId
from faunadb.errors import (
    DeadlineExceeded,
    FaunaError,
    Malformed,
    OutcomeUnknown,
    TooManyPending,
)
from faunadb.node.faults import decode_fault
from faunadb.node.ports import Chance, Clock
from faunadb.node.query import HOLD_WITHOUT_LEADER_S, NotReadOnly, Outcome, Query, Reply
from faunadb.node.wire import (
    Forward,
    Forwarded,
    NodeMessage,
    ReadPoint,
    ReadPointAsked,
)
from faunadb.raft.entries import MemberId

QUERIES_PENDING_MAX = 8192  # queries of clients that this member has taken and not answered
CALL_BYTES = 7  # of the first number of a process: two processes never meet, none overflows
OUTCOME_GRACE_S = 0.25  # a leader answers 440 or 503 itself; wait that much longer for it


class NotLeader(Exception):
    """This member does not lead (any more) and has proposed nothing of the query."""


Done = Callable[[Outcome | NotLeader], None]
ReadDone = Callable[[Outcome | NotReadOnly], None]
PointDone = Callable[[ReadPoint], None]


class Local(Protocol):
    """What the gateway asks of the member that it belongs to."""

    @property
    def leader(self) -> MemberId:
        """Return who leads as far as we know, 0 for nobody."""
        ...

    @property
    def own_id(self) -> MemberId: ...

    def is_read_only(self, query: Query) -> bool:
        """Return whether the program is proven to write nothing. Raises `InvalidRequest`."""
        ...

    def write(self, query: Query, deadline_s: float, done: Done) -> None:
        """Evaluate as leader; `done(NotLeader())` when this member is none."""
        ...

    def read_point(self, count: int, last_txn_ts: int, done: PointDone) -> None:
        """Issue read timestamps as leader; ts 0 when this member is none."""
        ...

    def read_at(self, query: Query, point: ReadPoint, deadline_s: float, done: ReadDone) -> None:
        """Evaluate a read-only program at `point` once its index is applied here."""
        ...

    def now_us(self) -> int:
        """Return the cluster's time, 0 while it is not known here."""
        ...

    def send(self, to: MemberId, message: NodeMessage) -> bool: ...


class _Pending(msgspec.Struct):
    """A query that this member has taken and must answer."""

    query: Query
    reply: Reply
    deadline_s: float
    read_only: bool
    hold_until_s: float  # without a leader: give up then with 429
    sent_to: MemberId = MemberId(0)
    proposed: bool = False  # somebody may have proposed it: 440 and 429 are no longer true
    handed_count: int = 0  # to leaders; what a later one refuses an earlier one may have proposed


class _PointAsked(msgspec.Struct, frozen=True):
    """Reads that wait for the read points that `leader` was asked for."""

    leader: MemberId
    reads: list[int]


class Gateway:
    """Takes queries, finds who can answer them, and answers exactly once."""

    def __init__(self, local: Local, clock: Clock, chance: Chance) -> None:
        self._local, self._clock, self._chance = local, clock, chance
        self._pending: dict[int, _Pending] = {}
        # A leader may answer what an earlier process of this member asked: no number comes twice.
        self._calls = int.from_bytes(chance.bytes(CALL_BYTES), "big")
        self._unsent: list[int] = []  # no leader, or not connected to it
        self._reads: list[int] = []  # want a read point at the end of this turn
        self._points: dict[int, _PointAsked] = {}

    @property
    def pending_count(self) -> int:
        return len(self._pending)

    def submit(self, query: Query, reply: Reply) -> None:
        """Take a query and call `reply` once with its outcome."""
        if len(self._pending) >= QUERIES_PENDING_MAX:
            reply(TooManyPending("This member has too many queries in flight.", retry_after_s=1))
            return
        try:
            read_only = self._local.is_read_only(query)
        except FaunaError as error:
            reply(error)
            return
        now = self._clock.monotonic_s()
        deadline = now + query.timeout_ms / 1000
        call = self._next_call()
        self._pending[call] = _Pending(
            query,
            reply,
            deadline,
            read_only,
            min(deadline, now + HOLD_WITHOUT_LEADER_S),
        )
        self._dispatch(call)

    def end_of_turn(self) -> None:
        """Ask for the read points of all reads that came in this turn, at once."""
        if not self._reads:
            return
        reads, self._reads = self._reads, []
        self._ask_point(reads)

    def _ask_point(self, reads: list[int]) -> None:
        reads = [read for read in reads if read in self._pending]
        if not reads:
            return
        highest = max(self._pending[read].query.last_txn_ts for read in reads)
        leader = self._local.leader
        call = self._next_call()
        self._points[call] = _PointAsked(leader, reads)
        if leader == self._local.own_id:
            self._local.read_point(len(reads), highest, lambda p: self._point_came(call, p))
            return
        asked = ReadPointAsked(call, len(reads), highest)
        if not leader or not self._local.send(leader, asked):
            del self._points[call]
            self._unsent.extend(reads)

    def forwarded(self, answer: Forwarded) -> None:
        """The leader answered a query that this member forwarded."""
        if answer.answer is not None:
            self._finish(answer.call, answer.answer)
        elif answer.not_leader:
            self._retry(answer.call)
        else:
            self._finish(answer.call, _fault(answer.error))

    def point_came(self, point: ReadPoint) -> None:
        """The leader issued (or refused) a read point."""
        self._point_came(point.call, point)

    def leader_changed(self) -> None:
        """Send again what waited for a leader, and what an earlier leader did not answer.

        A request id makes the second sending harmless.
        """
        leader = self._local.leader
        self._take_back(lambda asked: asked != leader)
        if leader:
            self._resend()

    def disconnected(self, member: MemberId) -> None:
        """A link to or from `member` broke: what it was asked, or its answer, may be lost."""
        self._take_back(lambda asked: asked == member)

    def _take_back(self, lost: Callable[[MemberId], bool]) -> None:
        """Put what was handed to a member for whom `lost` holds back among what is unsent."""
        for call, asked in list(self._points.items()):
            if lost(asked.leader):
                del self._points[call]
                self._unsent.extend(asked.reads)
        for call, pending in list(self._pending.items()):
            if pending.sent_to and lost(pending.sent_to):
                self._retry(call)

    def tick(self) -> None:
        """Answer what is late, and try again what could not be sent."""
        now = self._clock.monotonic_s()
        self._unsent = [call for call in self._unsent if call in self._pending]
        unsent = set(self._unsent)
        for call, pending in list(self._pending.items()):
            if call in unsent and not pending.proposed:
                if now >= pending.hold_until_s:
                    self._finish(call, _late(pending, now, "The cluster has no leader now."))
            elif now >= pending.deadline_s + OUTCOME_GRACE_S:
                self._finish(call, _late(pending, now, "The leader did not answer in time."))
        if self._unsent and self._local.leader:
            self._resend()

    def _dispatch(self, call: int) -> None:
        pending = self._pending[call]
        leader = self._local.leader
        if not leader:
            self._unsent.append(call)
        elif pending.read_only:
            self._reads.append(call)
        elif not self._named(pending):
            self._unsent.append(call)
        elif leader == self._local.own_id:
            pending.sent_to, pending.proposed = leader, True
            pending.handed_count += 1
            self._local.write(pending.query, pending.deadline_s, lambda o: self._came(call, o))
        else:
            self._forward(call, pending, leader)

    def _forward(self, call: int, pending: _Pending, leader: MemberId) -> None:
        left_ms = int((pending.deadline_s - self._clock.monotonic_s()) * 1000)
        if left_ms <= 0:
            self._finish(call, _late(pending, self._clock.monotonic_s(), "Too late to begin."))
            return
        query = msgspec.structs.replace(pending.query, timeout_ms=left_ms)
        if self._local.send(leader, Forward(call, query)):
            pending.sent_to = leader
            pending.proposed = True
            pending.handed_count += 1
        else:
            self._unsent.append(call)

    def _came(self, call: int, outcome: Outcome | NotLeader) -> None:
        if isinstance(outcome, NotLeader):
            self._retry(call)
        else:
            self._finish(call, outcome)

    def _point_came(self, call: int, point: ReadPoint) -> None:
        asked = self._points.pop(call, None)
        reads = [read for read in asked.reads if read in self._pending] if asked else []
        if point.error and len(reads) > 1:
            middle = len(reads) // 2  # one of them asks for too much; the others are not to blame
            self._ask_point(reads[:middle])
            self._ask_point(reads[middle:])
        elif point.error:
            for read in reads:
                self._finish(read, _fault(point.error))
        elif not point.ts:
            for read in reads:
                self._retry(read)
        else:
            for nth, read in enumerate(reads):
                self._read_at(read, ReadPoint(point.call, point.ts + nth, point.index))

    def _read_at(self, call: int, point: ReadPoint) -> None:
        pending = self._pending[call]
        self._local.read_at(
            pending.query, point, pending.deadline_s, lambda outcome: self._was_read(call, outcome)
        )

    def _was_read(self, call: int, outcome: Outcome | NotReadOnly) -> None:
        if not isinstance(outcome, NotReadOnly):
            self._finish(call, outcome)
        elif call in self._pending:
            self._pending[call].read_only = False
            self._dispatch(call)

    def _retry(self, call: int) -> None:
        pending = self._pending.get(call)
        if pending is not None:
            if pending.sent_to:
                attempt = pending.query.attempt + 1
                pending.query = msgspec.structs.replace(pending.query, attempt=attempt)
            pending.sent_to = MemberId(0)
            self._unsent.append(call)

    def _resend(self) -> None:
        unsent, self._unsent = self._unsent, []
        for call in dict.fromkeys(unsent):
            if call in self._pending:
                self._dispatch(call)

    def _finish(self, call: int, outcome: Outcome) -> None:
        pending = self._pending.pop(call, None)
        if pending is None:
            return
        if isinstance(outcome, FaunaError) and pending.handed_count > 1:
            outcome = OutcomeUnknown(f"{outcome} An earlier leader may have applied it.")
        pending.reply(outcome)

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls

    def _named(self, pending: _Pending) -> bool:
        """Give a write a request id of ours, so that our own retry of it is applied once.

        False while the cluster's time is not known: our own clock may be wrong.
        """
        if pending.query.request is None:
            now_us = self._local.now_us()
            if not now_us:
                return False
            drawn = RequestId(now_us, self._chance.bytes(16))
            pending.query = msgspec.structs.replace(pending.query, request=drawn)
        return True


def _fault(data: bytes) -> FaunaError:
    try:
        return decode_fault(data)
    except Malformed as error:
        return OutcomeUnknown(f"The leader's answer cannot be read: {error}")


def _late(pending: _Pending, now_s: float, why: str) -> FaunaError:
    """Say what is true: never applied, or unknown."""
    if not pending.read_only and (pending.proposed or pending.sent_to):
        return OutcomeUnknown(f"{why} The outcome is unknown.")
    if now_s >= pending.deadline_s:
        return DeadlineExceeded(f"{why} Nothing was applied.")
    return TooManyPending(f"{why} Nothing was applied.", retry_after_s=1)
