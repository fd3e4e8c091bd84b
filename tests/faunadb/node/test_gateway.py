"""What a member may say of a query that it handed on; each of these was found by the simulator."""

from collections.abc import Callable

from faunadb.codec import Answer
from faunadb.errors import DeadlineExceeded, OutcomeUnknown
from faunadb.node.faults import encode_fault
from faunadb.node.gateway import Done, Gateway, PointDone, ReadDone
from faunadb.node.query import Outcome, Query
from faunadb.node.wire import Forward, Forwarded, NodeMessage, ReadPoint
from faunadb.raft.entries import MemberId

LATE = encode_fault(DeadlineExceeded("The deadline passed before the query began."))


class Fixed:
    """Time that stands still, and chance that begins where it is told."""

    def __init__(self, first: int = 0) -> None:
        self._first = first

    def monotonic_s(self) -> float:
        return 1.0

    def wall_us(self) -> int:
        return 1

    def random(self) -> float:
        return 0.5

    def bytes(self, count: int) -> bytes:
        return self._first.to_bytes(count, "big")


class Follower:
    """A member that does not lead and hands everything on."""

    own_id = MemberId(1)

    def __init__(self) -> None:
        self.leader = MemberId(2)
        self.sent: list[Forward] = []

    def is_read_only(self, query: Query) -> bool:
        return False

    def write(self, query: Query, deadline_s: float, done: Done) -> None:
        raise AssertionError("it does not lead")

    def read_point(self, count: int, last_txn_ts: int, done: PointDone) -> None:
        raise AssertionError("it does not lead")

    def read_at(self, query: Query, point: ReadPoint, deadline_s: float, done: ReadDone) -> None:
        raise AssertionError("nothing is read")

    def now_us(self) -> int:
        return 1

    def send(self, to: MemberId, message: NodeMessage) -> bool:
        assert isinstance(message, Forward)
        self.sent.append(message)
        return True


def gateway(first: int = 0) -> tuple[Gateway, Follower, list[Outcome], Callable[[], None]]:
    follower, answers = Follower(), list[Outcome]()
    made = Gateway(follower, Fixed(), Fixed(first))
    return made, follower, answers, lambda: made.submit(Query(b"{}"), answers.append)


def test_what_one_leader_refuses_an_earlier_one_may_have_applied() -> None:
    """Never applied is said only by the first leader that was asked (SAFETY 6)."""
    made, follower, answers, submit = gateway()
    submit()
    follower.leader = MemberId(3)
    made.leader_changed()
    made.forwarded(Forwarded(follower.sent[-1].call, error=LATE))

    assert 2 == len(follower.sent)
    assert [OutcomeUnknown] == [type(answer) for answer in answers]


def test_the_first_leader_that_is_asked_is_believed() -> None:
    """It knows whether it proposed the query."""
    made, follower, answers, submit = gateway()
    submit()
    made.forwarded(Forwarded(follower.sent[0].call, error=LATE))

    assert [DeadlineExceeded] == [type(answer) for answer in answers]


def test_an_answer_to_an_earlier_process_is_nobody_s() -> None:
    """A leader may answer, over the new connection, what a process before this one asked."""
    _, earlier, _, submit_earlier = gateway(first=1)
    made, _, answers, submit = gateway(first=2**40)
    submit_earlier()
    submit()
    made.forwarded(Forwarded(earlier.sent[0].call, Answer(200, b'"of another"', "", 1, 1)))

    assert [] == answers
