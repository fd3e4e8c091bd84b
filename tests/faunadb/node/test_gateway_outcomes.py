"""Every query that a member takes is answered once, and with no more than is known."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from faunadb.codec import Answer, RequestId
from faunadb.errors import (
    DeadlineExceeded,
    FaunaError,
    InvalidRequest,
    OutcomeUnknown,
    TooManyPending,
)
from faunadb.node.faults import decode_fault, encode_fault
from faunadb.node.gateway import (
    QUERIES_PENDING_MAX,
    Done,
    Gateway,
    NotLeader,
    PointDone,
    ReadDone,
)
from faunadb.node.query import NotReadOnly, Outcome, Query
from faunadb.node.wire import Forward, Forwarded, NodeMessage, ReadPoint, ReadPointAsked
from faunadb.raft.entries import MemberId

NOBODY, ME, OTHER, THIRD = MemberId(0), MemberId(1), MemberId(2), MemberId(3)
YES = Answer(200, b'"yes"', "", 5, 1)
READ, WRITE, BAD = b"read", b"write", b"bad"
Body = bytes


class World:
    """A member around a gateway: who leads, what was sent, and what is evaluated here."""

    own_id = ME

    def __init__(self, leader: MemberId = OTHER) -> None:
        self.leader = leader
        self.now_s = 100.0
        self.time_us = 7_000_000
        self.reachable = True
        self.sent: list[tuple[MemberId, NodeMessage]] = []
        self.writes: list[tuple[Query, Done]] = []
        self.points: list[tuple[int, int, PointDone]] = []
        self.reads: list[tuple[Query, ReadPoint, ReadDone]] = []
        self.answers: dict[str, list[Outcome]] = {}
        self.draws = 0
        self.gateway = Gateway(self, self, self)

    # the ports

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_us(self) -> int:
        return 1

    def random(self) -> float:
        return 0.5

    def bytes(self, count: int) -> bytes:
        self.draws += 1
        return self.draws.to_bytes(count, "big")

    def is_read_only(self, query: Query) -> bool:
        if query.body == BAD:
            raise InvalidRequest("not a query")
        return query.body == READ

    def write(self, query: Query, deadline_s: float, done: Done) -> None:
        self.writes.append((query, done))

    def read_point(self, count: int, last_txn_ts: int, done: PointDone) -> None:
        self.points.append((count, last_txn_ts, done))

    def read_at(self, query: Query, point: ReadPoint, deadline_s: float, done: ReadDone) -> None:
        self.reads.append((query, point, done))

    def now_us(self) -> int:
        return self.time_us

    def send(self, to: MemberId, message: NodeMessage) -> bool:
        if self.reachable:
            self.sent.append((to, message))
        return self.reachable

    # what a test does

    def ask(
        self, body: Body, name: str = "q", *, timeout_ms: int = 10_000, last_txn_ts: int = 0
    ) -> None:
        answers = self.answers.setdefault(name, [])
        query = Query(body, timeout_ms=timeout_ms, last_txn_ts=last_txn_ts)
        self.gateway.submit(query, answers.append)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.gateway.tick()

    def elect(self, leader: MemberId) -> None:
        self.leader = leader
        self.gateway.leader_changed()

    @property
    def forwards(self) -> list[Forward]:
        return [message for _, message in self.sent if isinstance(message, Forward)]

    @property
    def points_asked(self) -> list[ReadPointAsked]:
        return [message for _, message in self.sent if isinstance(message, ReadPointAsked)]

    def kinds(self, name: str = "q") -> list[type]:
        return [type(answer) for answer in self.answers[name]]


def answered(world: World) -> None:
    world.gateway.forwarded(Forwarded(world.forwards[-1].call, YES))


def refused(world: World, fault: FaunaError) -> None:
    world.gateway.forwarded(Forwarded(world.forwards[-1].call, error=encode_fault(fault)))


def not_leader(world: World) -> None:
    world.gateway.forwarded(Forwarded(world.forwards[-1].call, not_leader=True))


def lose_link(world: World) -> None:
    world.gateway.disconnected(OTHER)


def lose_leader(world: World) -> None:
    world.elect(NOBODY)


def unreachable(world: World) -> None:
    world.reachable = False


late = DeadlineExceeded("late")
full = TooManyPending("full")
wait = partial(World.pass_time, seconds=0.0)
Step = Callable[[World], None]

TRUTH: dict[str, tuple[bytes, MemberId, Sequence[Step], type]] = {
    "answered": (WRITE, OTHER, [answered], Answer),
    "the leader was too late to begin": (WRITE, OTHER, [partial(refused, fault=late)], type(late)),
    "the leader was full": (WRITE, OTHER, [partial(refused, fault=full)], type(full)),
    "the leader does not know": (
        WRITE,
        OTHER,
        [partial(refused, fault=OutcomeUnknown("?"))],
        OutcomeUnknown,
    ),
    "the leader is silent": (
        WRITE,
        OTHER,
        [partial(World.pass_time, seconds=10.3)],
        OutcomeUnknown,
    ),
    "no leader": (WRITE, NOBODY, [partial(World.pass_time, seconds=5.1)], TooManyPending),
    "no leader for a read": (READ, NOBODY, [partial(World.pass_time, seconds=5.1)], TooManyPending),
    "no leader and no time": (
        WRITE,
        NOBODY,
        [partial(World.pass_time, seconds=11)],
        DeadlineExceeded,
    ),
    "the link broke and nobody leads any more": (
        WRITE,
        OTHER,
        [lose_link, lose_leader, partial(World.pass_time, seconds=10.3)],
        OutcomeUnknown,
    ),
    "sent twice, and the second refusal is no proof": (
        WRITE,
        OTHER,
        [lose_link, wait, partial(refused, fault=late)],
        OutcomeUnknown,
    ),
    "sent twice and answered": (WRITE, OTHER, [lose_link, wait, answered, answered], Answer),
    "the leader had just resigned": (
        WRITE,
        OTHER,
        [not_leader, partial(World.elect, leader=THIRD), answered],
        Answer,
    ),
    "a read whose leader is silent": (
        READ,
        OTHER,
        [partial(World.pass_time, seconds=10.3)],
        DeadlineExceeded,
    ),
    "not a query": (BAD, OTHER, [], InvalidRequest),
    "the leader answers when it is too late": (
        WRITE,
        OTHER,
        [partial(World.pass_time, seconds=10.3), answered],
        OutcomeUnknown,
    ),
}


@pytest.mark.parametrize("case", TRUTH)
def test_one_answer_and_a_true_one(case: str) -> None:
    """440 and 429 only where nothing can have been proposed, 503 where it may (SAFETY 6)."""
    body, leader, steps, expected = TRUTH[case]
    world = World(leader)
    world.ask(body)
    world.gateway.end_of_turn()
    for step in steps:
        step(world)
        world.gateway.end_of_turn()

    assert [expected] == world.kinds()
    assert 0 == world.gateway.pending_count


def test_a_write_of_a_lost_leader_is_sent_again_under_its_id() -> None:
    """So that it is applied once, whoever had proposed it; the attempt is counted (SAFETY 5)."""
    world = World()
    world.ask(WRITE)
    world.elect(THIRD)

    first, second = world.forwards
    assert first.query.request == second.query.request is not None
    assert RequestId(7_000_000, (2).to_bytes(16, "big")) == first.query.request
    assert [1, 2] == [first.query.attempt, second.query.attempt]
    assert [OTHER, THIRD] == [to for to, _ in world.sent]


def test_what_is_forwarded_carries_the_time_that_is_left() -> None:
    """A deadline is of one member's clock; another is told how much is left."""
    world = World(NOBODY)
    world.ask(WRITE, timeout_ms=10_000)
    world.now_s += 4
    world.elect(OTHER)

    assert [6_000] == [forward.query.timeout_ms for forward in world.forwards]


def test_a_member_that_leads_evaluates_itself() -> None:
    """And what its leadership did not do, the next leader is asked."""
    world = World(ME)
    world.ask(WRITE)
    world.leader = OTHER
    world.writes[0][1](NotLeader())
    world.gateway.leader_changed()
    answered(world)

    assert 1 == len(world.forwards)
    assert [YES] == world.answers["q"]


def test_the_late_end_of_an_own_leadership_answers_nobody_twice() -> None:
    """The next leader may be faster than a worker of the last leadership."""
    world = World(ME)
    world.ask(WRITE)
    world.elect(OTHER)
    answered(world)
    world.writes[0][1](NotLeader())
    world.writes[0][1](YES)
    world.gateway.tick()

    assert [YES] == world.answers["q"]
    assert 1 == len(world.forwards)


def test_reads_of_one_turn_share_one_question() -> None:
    """Each gets a timestamp of its own, in order of arrival."""
    world = World()
    for name in "abc":
        world.ask(READ, name)
    world.gateway.end_of_turn()
    (asked,) = world.points_asked
    world.gateway.point_came(ReadPoint(asked.call, 50, 9))

    assert 3 == asked.count
    assert [(50, 9), (51, 9), (52, 9)] == [(p.ts, p.index) for _, p, _ in world.reads]


def test_one_header_from_the_future_fails_one_read() -> None:
    """The others of its turn are asked for again without it."""
    world = World()
    for name, last_txn_ts in {"a": 0, "b": 0, "future": 10**18, "c": 3}.items():
        world.ask(READ, name, last_txn_ts=last_txn_ts)
    world.gateway.end_of_turn()
    seen = 0
    while seen < len(world.points_asked):
        asked = world.points_asked[seen]
        seen += 1
        fault = encode_fault(InvalidRequest("later than any transaction"))
        refusal = asked.last_txn_ts > 1000
        world.gateway.point_came(
            ReadPoint(asked.call, 0, 0, fault) if refusal else ReadPoint(asked.call, 50, 9)
        )
    for _, _, done in world.reads:
        done(YES)

    assert [InvalidRequest] == world.kinds("future")
    assert {"a": [Answer], "b": [Answer], "c": [Answer]} == {n: world.kinds(n) for n in "abc"}


@pytest.mark.parametrize("lost", [lose_link, partial(World.elect, leader=THIRD)])
def test_a_read_point_that_was_lost_is_asked_again(lost: Step) -> None:
    """And the answer to the first question, should it still come, is nobody's."""
    world = World()
    world.ask(READ)
    world.gateway.end_of_turn()
    lost(world)
    world.gateway.tick()
    world.gateway.end_of_turn()
    first, second = world.points_asked
    world.gateway.point_came(ReadPoint(first.call, 40, 8))
    world.gateway.point_came(ReadPoint(second.call, 50, 9))

    assert [50] == [point.ts for _, point, _ in world.reads]


def test_a_point_of_a_member_that_no_longer_leads_is_none() -> None:
    """Timestamp 0 means: ask elsewhere."""
    world = World()
    world.ask(READ)
    world.gateway.end_of_turn()
    world.gateway.point_came(ReadPoint(world.points_asked[0].call, 0, 0))
    world.elect(THIRD)
    world.gateway.end_of_turn()

    assert [OTHER, THIRD] == [to for to, _ in world.sent]
    assert [] == world.answers["q"]


def test_what_writes_at_its_read_point_goes_to_the_leader() -> None:
    """This member had not heard of the collection yet, or a function became a writing one."""
    world = World()
    world.ask(READ)
    world.gateway.end_of_turn()
    world.gateway.point_came(ReadPoint(world.points_asked[0].call, 50, 9))
    world.reads[0][2](NotReadOnly())
    answered(world)

    assert [YES] == world.answers["q"]


def test_ids_are_drawn_only_in_the_cluster_s_time() -> None:
    """A write without an id waits until this member has heard what time it is."""
    world = World()
    world.time_us = 0
    world.ask(WRITE)
    assert [] == world.forwards
    world.time_us = 9
    world.gateway.leader_changed()

    assert [9] == [f.query.request.born_us for f in world.forwards if f.query.request]


def test_an_outage_leaves_nothing_behind() -> None:
    """What was refused because nobody leads is forgotten, however long it lasts."""
    world = World(NOBODY)
    for nth in range(100):
        world.ask(WRITE, f"q{nth}")
        world.pass_time(5.1)
    world.gateway.tick()

    assert {TooManyPending} == {type(a) for answers in world.answers.values() for a in answers}
    assert [] == world.gateway._unsent


def test_a_member_takes_so_many_queries() -> None:
    """One more is refused, and nothing of it was done."""
    world = World()
    for _ in range(QUERIES_PENDING_MAX):
        world.ask(WRITE)
    world.ask(WRITE, "one more")

    assert [TooManyPending] == world.kinds("one more")
    assert QUERIES_PENDING_MAX == len(world.forwards)


def test_an_unreachable_leader_is_no_leader() -> None:
    """Held like a query without a leader, and sent as soon as there is a link."""
    world = World()
    unreachable(world)
    world.ask(WRITE)
    world.ask(READ, "r")
    world.gateway.end_of_turn()
    world.reachable = True
    world.pass_time(0.1)
    world.gateway.end_of_turn()

    assert 1 == len(world.forwards)
    assert 1 == len(world.points_asked)


def test_a_fault_that_cannot_be_told_proves_nothing() -> None:
    """Only what says so itself is a refusal before anything was proposed."""

    class Novel(FaunaError):
        code, http_status = "novel", 500

    assert isinstance(decode_fault(encode_fault(Novel("!"))), OutcomeUnknown)
