"""What a leadership does with a query, over a tip that says what the test wants."""

from collections.abc import Callable

import msgspec
import pytest

from faunadb.codec import Answer, Payload, RaiseCeiling, RemoveVersions, RequestId, Transaction
from faunadb.codec import decode_payload as decode
from faunadb.errors import (
    Contended,
    DeadlineExceeded,
    FaunaError,
    InvalidRequest,
    OutcomeUnknown,
    TooManyPending,
)
from faunadb.fql.budget import OverBudget
from faunadb.node.gateway import NotLeader
from faunadb.node.leader import BACKLOG_BYTES_MAX, Evaluated, Known, Leader
from faunadb.node.query import Outcome, Query
from faunadb.node.timestamps import Counter
from faunadb.raft.entries import Index, Term
from faunadb.store.effects import Effects, ReadSet
from faunadb.store.requests import REQUEST_HORIZON_US

NOW_US = 1_800_000_000_000_000
TERM = Term(3)
BASE = 10  # entries of the log when the leadership begins
OK, NO = Answer(200, b"1", "", 0, 0), Answer(400, b"{}", "", 0, 0)
NOTHING = Effects((3, BASE), 3, 0, ReadSet())
WRITE = msgspec.structs.replace(NOTHING, writes=((b"k", b"\x01v"),))
QUERY = Query(b"{}", timeout_ms=10_000)


class Tip:
    """Evaluates to `result`; None is over budget, and then `worker` gets the callback."""

    def __init__(self) -> None:
        self.result: Evaluated | FaunaError | None = Evaluated(OK, WRITE)
        self.workers: list[Callable[[Evaluated | FaunaError], None]] = []
        self.valid, self.has_expired, self.is_open, self.closed = True, False, True, False
        self.known: dict[RequestId, Known] = {}
        self.chores: list[Evaluated | RemoveVersions] = []
        self.entries: list[tuple[Index, Payload]] = []

    def evaluate(self, query: Query, ts: int) -> Evaluated:
        if self.result is None:
            raise OverBudget
        if isinstance(self.result, FaunaError):
            raise self.result
        return self.result

    def evaluate_in_worker(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Evaluated | FaunaError], None],
    ) -> None:
        self.workers.append(done)

    def still_valid(self, evaluated: Evaluated, term: Term) -> bool:
        return self.valid

    def seal(self, evaluated: Evaluated, ts: int) -> tuple[tuple[bytes, bytes | None], ...]:
        return evaluated.effects.writes

    def expired(self, evaluated: Evaluated, ts: int) -> bool:
        return self.has_expired

    def append(self, index: Index, payload: Payload) -> None:
        self.entries.append((index, payload))

    def end_view(self) -> None:
        """There is none."""

    def close(self) -> None:
        self.closed = True

    def chore(self, ts: int) -> Evaluated | RemoveVersions | None:
        return self.chores.pop() if self.chores else None

    def find(self, query: Query) -> Known | None:
        assert query.request is not None
        return self.known.get(query.request)

    def fill(self, answer: Answer, ts: int) -> Answer:
        return msgspec.structs.replace(answer, txn_ts=ts)


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def monotonic_s(self) -> float:
        return self.s

    def wall_us(self) -> int:
        raise AssertionError("a leader asks the median")


class Led:
    """A leadership with a clock, a log and a disk that the test moves."""

    def __init__(self, *, granted: bool = True) -> None:
        self.clock, self.wall_us, self.log_last = Clock(), NOW_US, BASE
        self.backlog_bytes, self.has_space, self.has_reserve = 0, True, True
        self.tip = Tip()
        self.leader = Leader(
            term=TERM,
            log_last=lambda: Index(self.log_last),
            counter=Counter(NOW_US - 5),
            ceiling_us=NOW_US,
            tip=self.tip,
            clock=self.clock,
            now_us=lambda: self.wall_us or None,
            latest_us=lambda: self.wall_us or None,
            room=self,
        )
        if granted:
            self.leader.lease_granted()

    def may_write(self, *, only_deletes: bool) -> bool:
        return self.has_reserve if only_deletes else self.has_space

    def ask(self, query: Query = QUERY, *, seconds: float = 10.0) -> list[Outcome | NotLeader]:
        found: list[Outcome | NotLeader] = []
        self.leader.write(query, self.clock.s + seconds, found.append)
        return found

    def commit(self) -> list[Payload]:
        """Let what was proposed commit; return it."""
        raws = self.leader.take_payloads()
        for _ in raws:
            self.log_last += 1
            self.leader.committed(Index(self.log_last), TERM)
        return [decode(raw) for raw in raws]

    def prove(self) -> None:
        """Confirm a round for all that waits."""
        self.leader.rounds.begin(1, self.leader.last)
        self.leader.rounds.confirmed(1, self.leader.last)


def kinds(found: list[Outcome | NotLeader]) -> list[object]:
    return [one.http_status if isinstance(one, Answer) else type(one) for one in found]


def named(nonce: int = 1, *, age_us: int = 0, attempt: int = 1) -> Query:
    request = RequestId(NOW_US - age_us, nonce.to_bytes(16, "big"))
    return msgspec.structs.replace(QUERY, request=request, attempt=attempt)


def test_a_write_is_answered_when_it_is_applied() -> None:
    """With the time of its transaction, under a ceiling of its own."""
    led = Led()
    found = led.ask()
    assert [] == found
    (entry,) = led.commit()

    assert isinstance(entry, Transaction)
    assert entry.ceiling > entry.ts
    (answer,) = found
    assert isinstance(answer, Answer)
    assert (200, entry.ts) == (answer.http_status, answer.txn_ts)


def test_another_term_took_its_place() -> None:
    """The entry at its index is another's: nothing of it was applied."""
    led = Led()
    found = led.ask()
    led.leader.take_payloads()
    led.leader.committed(Index(BASE + 1), Term(TERM + 1))

    assert [NotLeader] == kinds(found)


@pytest.mark.parametrize("answer", [OK, NO])
def test_an_answer_without_an_entry_waits_for_a_round(answer: Answer) -> None:
    """A value that writes nothing, and an error whatever it wrote (SAFETY 4)."""
    led = Led()
    led.tip.result = Evaluated(answer, NOTHING if answer is OK else WRITE)
    found = led.ask()
    (raised,) = led.commit()
    assert isinstance(raised, RaiseCeiling), "nobody hears of a time above the ceiling"
    assert [] == found
    led.prove()

    assert [answer.http_status] == kinds(found)


def test_an_answer_that_must_be_remembered_gets_an_entry() -> None:
    """The earlier sending may still arrive, and would be evaluated again (SAFETY 5)."""
    led = Led()
    led.tip.result = Evaluated(NO, WRITE)
    found = led.ask(named(attempt=2))
    (entry,) = led.commit()

    assert isinstance(entry, Transaction)
    assert () == entry.writes
    assert entry.answer is not None
    assert [400] == kinds(found)


def test_nothing_begins_without_a_worker_number() -> None:
    """Queries wait for it, in order; who resigns tells them (SAFETY 27)."""
    led = Led(granted=False)
    first, second = led.ask(), led.ask(seconds=0.5)
    led.leader.housekeep()
    assert [] == led.leader.take_payloads()
    led.clock.s += 1
    led.leader.lease_granted()
    led.commit()
    assert ([200], [DeadlineExceeded]) == (kinds(first), kinds(second))

    lost = Led(granted=False)
    found = lost.ask()
    lost.leader.resign()
    assert [NotLeader] == kinds(found)
    assert lost.tip.closed
    assert [NotLeader] == kinds(lost.ask())


def test_what_is_refused_is_not_proposed() -> None:
    """Late, closed, no space, no room in the log, a header of the future (SAFETY 6, 21)."""
    led = Led()
    assert [DeadlineExceeded] == kinds(led.ask(seconds=0))
    led.tip.result = InvalidRequest("a header from the future")
    assert [InvalidRequest] == kinds(led.ask())
    led.tip.result = Evaluated(OK, WRITE)
    led.tip.is_open = False
    assert [TooManyPending] == kinds(led.ask())
    led.tip.is_open, led.has_space = True, False
    assert [TooManyPending] == kinds(led.ask())
    led.has_space, led.backlog_bytes = True, BACKLOG_BYTES_MAX + 1
    assert [TooManyPending] == kinds(led.ask())
    led.backlog_bytes = BACKLOG_BYTES_MAX
    assert [] == led.ask()

    assert 1 == len(led.commit())


def test_after_the_deadline_the_outcome_is_unknown() -> None:
    """It was proposed; the one who asks again under its id gets the answer."""
    led = Led()
    found = led.ask(named(), seconds=1)
    led.leader.tick()
    assert [] == found
    led.clock.s += 1
    led.leader.tick()
    assert [OutcomeUnknown] == kinds(found)
    led.tip.known[RequestId(NOW_US, (1).to_bytes(16, "big"))] = Known(None)
    again = led.ask(named())
    led.leader.tick()
    led.commit()

    assert [200] == kinds(again)
    assert [OutcomeUnknown] == kinds(found)


def test_a_known_request_gets_its_answer() -> None:
    """Once its view is proven; of a long answer only that it was given is known."""
    led = Led()
    request = named().request
    assert request is not None
    led.tip.known[request] = Known(OK)
    found = led.ask(named())
    assert [] == found
    led.prove()
    led.tip.known[request] = Known(None)

    assert [200, OutcomeUnknown] == kinds([*found, *led.ask(named())])
    assert [] == led.commit()


def test_an_id_out_of_its_time() -> None:
    """Too old: refused, or unknown when it was sent before; from the future: refused."""
    led = Led()
    old = REQUEST_HORIZON_US + 1_000_000

    assert [InvalidRequest] == kinds(led.ask(named(age_us=old)))
    assert [OutcomeUnknown] == kinds(led.ask(named(age_us=old, attempt=2)))
    assert [InvalidRequest] == kinds(led.ask(named(age_us=-old)))
    assert [InvalidRequest] == kinds(led.ask(named(age_us=-old, attempt=2)))
    led.wall_us = 0  # the clocks were not heard yet
    assert [NotLeader] == kinds(led.ask(named(age_us=-old)))


def test_long_programs_are_validated_and_tried_again() -> None:
    """Five times in all; then somebody else was always faster (SAFETY 1)."""
    led = Led()
    led.tip.result, led.tip.valid = None, False
    found = led.ask()
    for attempt in range(QUERY.attempts_max):
        assert attempt + 1 == len(led.tip.workers)
        led.tip.has_expired, led.tip.valid = attempt == 2, attempt == 2
        led.tip.workers[-1](Evaluated(OK, WRITE))

    assert [Contended] == kinds(found)
    assert [] == led.commit()


def test_a_long_program_that_is_valid_is_proposed() -> None:
    """In the turn in which its effects came."""
    led = Led()
    led.tip.result = None
    found = led.ask(named())
    led.tip.workers[0](Evaluated(OK, WRITE))
    led.commit()

    assert [200] == kinds(found)


def test_a_long_program_that_comes_too_late() -> None:
    """Nothing of it is proposed, however old its id is by then; nor by who does not lead."""
    led = Led()
    led.tip.result = None
    late, failed, lost = led.ask(named(), seconds=120), led.ask(), led.ask()
    led.tip.workers[1](DeadlineExceeded("The worker was killed."))
    led.clock.s += 121
    led.wall_us += 121_000_000
    led.tip.workers[0](Evaluated(OK, WRITE))
    led.leader.resign()
    led.tip.workers[2](Evaluated(OK, WRITE))

    assert [DeadlineExceeded, DeadlineExceeded, NotLeader] == kinds([*late, *failed, *lost])
    assert [] == led.commit()


def test_another_sending_was_faster() -> None:
    """Both wait for the one entry."""
    led = Led()
    led.tip.result = None
    slow = led.ask(named())
    led.tip.result = Evaluated(OK, WRITE)
    fast = led.ask(named(attempt=2))
    led.tip.known[RequestId(NOW_US, (1).to_bytes(16, "big"))] = Known(OK)
    led.tip.workers[0](Evaluated(OK, WRITE))

    assert 1 == len(led.commit())
    assert ([200], [200]) == (kinds(slow), kinds(fast))


def test_chores_are_proposed_and_wait_for_space() -> None:
    """Removals of old versions free space; building an index takes it."""
    led = Led()
    removal = RemoveVersions(b"a", b"b", NOW_US, 10)
    led.has_space = False
    led.tip.chores = [Evaluated(OK, WRITE), removal]
    led.leader.housekeep()
    led.leader.housekeep()
    assert [removal] == led.commit()
    led.has_space = True
    led.tip.chores = [Evaluated(OK, WRITE)]
    led.leader.housekeep()
    (built,) = led.commit()

    assert isinstance(built, Transaction)


def test_reads_raise_a_ceiling_and_resigning_tells_them() -> None:
    """A read time is told only when a ceiling above it is committed (SAFETY 9)."""
    led = Led()
    points: list[tuple[int, int]] = []
    led.wall_us += 10_000_000
    led.leader.read_point(3, 0, lambda ts, index: points.append((ts, index)))
    led.prove()
    (raised,) = led.commit()
    assert isinstance(raised, RaiseCeiling)
    assert raised.ceiling > points[0][0] + 2
    assert BASE + 1 == points[0][1]
    led.leader.read_point(1, 0, lambda ts, index: points.append((ts, index)))
    led.leader.resign()

    assert (0, 0) == points[1]
    with pytest.raises(InvalidRequest):
        led.leader.read_point(1, 10**17, lambda *_: None)
