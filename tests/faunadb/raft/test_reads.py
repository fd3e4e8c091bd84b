"""Which attempt serves which read."""

from faunadb.raft.entries import MemberId
from faunadb.raft.reads import ROUNDS, ReadQueue, Waiting


def read(token: int, asked_at: int = 0) -> Waiting:
    return Waiting(MemberId(0), token, asked_at)


def tokens(reads: list[Waiting]) -> list[int]:
    return [waiting.token for waiting in reads]


def test_an_attempt_serves_what_came_before_it() -> None:
    """And nothing that came after its first message left (SAFETY 7)."""
    queue = ReadQueue()
    queue.ask(read(1))
    first = queue.begin()
    queue.ask(read(2))

    assert [1] == tokens(queue.confirm(first))
    assert [2] == tokens(queue.waiting)
    assert not queue.running


def test_a_later_attempt_serves_earlier_reads_too() -> None:
    """A late answer to the first attempt does not serve reads of the second (etcd #20418)."""
    queue = ReadQueue()
    queue.ask(read(1))
    first = queue.begin()
    queue.ask(read(2))
    second = queue.begin()

    assert first < second
    assert [1] == tokens(queue.confirm(first))
    assert not queue.confirm(first)
    assert [2] == tokens(queue.confirm(second))


def test_an_attempt_that_nobody_made_serves_nothing() -> None:
    """An answer to the earlier life of a process has a number that was not drawn here."""
    queue = ReadQueue()
    queue.count_from(0.5)
    queue.ask(read(1))
    number = queue.begin()

    assert number == ROUNDS // 2 + 1
    assert not queue.confirm(number + 1)
    assert queue.running


def test_a_heartbeat_may_be_numbered_without_covering_reads() -> None:
    """Before the first entry of a term has committed, no round serves a read."""
    queue = ReadQueue()
    queue.ask(read(1))

    queue.begin(cover=False)

    assert not queue.running
    assert [1] == tokens(queue.drop())


def test_reads_expire_by_age() -> None:
    """Those that stand behind an attempt and those that wait."""
    queue = ReadQueue()
    queue.ask(read(1, 10))
    queue.begin()
    queue.ask(read(2, 11))
    queue.ask(read(3, 20))
    queue.begin()
    queue.ask(read(4, 30))

    assert [1, 2] == tokens(queue.expire(20))
    assert [3, 4] == tokens(queue.expire(31))
    assert not queue.running
