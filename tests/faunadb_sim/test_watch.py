"""The judges of the simulator see what they are there for."""

from typing import cast

import pytest

from faunadb.codec import OpenForClients, encode_payload
from faunadb.node.ports import LogRestart, Recovered
from faunadb.raft.entries import Entry, EntryId, EntryKind, HardState, Index, MemberId, Term
from faunadb.raft.events import Token, Write
from faunadb.raft.messages import AppendResponse, VoteResponse
from faunadb_sim.books import Books
from faunadb_sim.watch import Watch, check_times
from faunadb_sim.world import Violation, World

ONE = MemberId(1)
TOKEN = Token(Term(1), 1)
PAYLOAD = encode_payload(OpenForClients())


def entry(index: int, term: int = 1, payload: bytes = PAYLOAD) -> Entry:
    return Entry.make(Term(term), Index(index), EntryKind.DATA, payload)


def write(*entries: Entry, term: int = 1, truncate_from: int | None = None) -> Write:
    start = None if truncate_from is None else Index(truncate_from)
    return Write(TOKEN, HardState(Term(term), ONE, Index(0)), start, entries)


def books(watch: Watch, *, on_platter: bool = True) -> Books:
    made = Books(ONE, watch.truncating, watch.appending, lambda: on_platter)
    watch.books[ONE] = made
    return made


def recovered(*entries: Entry, term: int = 1, vote: int = 1) -> Recovered:
    hard_state = HardState(Term(term), MemberId(vote), Index(0))
    return Recovered(
        hard_state, None, entries, joined=True, state_applied=EntryId(Term(0), Index(0))
    )


def keep(kept: Books, *writes: Write | LogRestart) -> None:
    for each in writes:
        kept.submitted(each)
        kept.framed([each])
        kept.synced([each])


def test_a_sync_that_did_nothing_is_seen() -> None:
    """What the log calls durable is looked for on the platter."""
    kept = books(Watch(), on_platter=False)

    with pytest.raises(Violation, match="does not have"):
        keep(kept, write(entry(1)))


def test_a_durable_entry_must_come_back() -> None:
    """A start that finds less than was synced breaks a promise."""
    kept = books(Watch())
    keep(kept, write(entry(1), entry(2)))

    with pytest.raises(Violation, match="lost its durable entry 1/2"):
        kept.recovered(recovered(entry(1)))


def test_a_frame_that_was_not_synced_may_come_back_or_not() -> None:
    """Whole or missing: both are right."""
    for found in (recovered(entry(1)), recovered(entry(1), entry(2), term=2)):
        kept = books(Watch())
        keep(kept, write(entry(1)))
        kept.framed([write(entry(2), term=2)])
        kept.recovered(found)

        assert len(found.entries) == kept.durable.last


def test_a_vote_must_come_back() -> None:
    """Whoever forgets its vote may vote twice."""
    kept = books(Watch())
    keep(kept, write(entry(1)))

    with pytest.raises(Violation, match="vote 0"):
        kept.recovered(recovered(entry(1), vote=0))


def test_nobody_promises_more_than_is_durable() -> None:
    """Terms, votes and acknowledgements are on disk before they are heard of."""
    watch = Watch()
    keep(books(watch), write(entry(1)))
    watch.sent(ONE, MemberId(2), AppendResponse(ONE, Term(1), Index(1)))

    with pytest.raises(Violation, match="not durable"):
        watch.sent(ONE, MemberId(2), AppendResponse(ONE, Term(1), Index(2)))
    with pytest.raises(Violation, match="not durable"):
        watch.sent(ONE, MemberId(2), AppendResponse(ONE, Term(2), Index(1)))
    with pytest.raises(Violation, match="not on its disk"):
        watch.sent(ONE, MemberId(2), VoteResponse(ONE, Term(1), granted=True))


def test_two_histories_of_one_entry_are_seen() -> None:
    """Log matching (Raft 5.3)."""
    watch = Watch()
    watch.appending(write(entry(1), entry(2)), 0)

    with pytest.raises(Violation, match="1/2"):
        watch.appending(write(entry(2, payload=b"other")), 1)


def test_what_is_committed_is_not_thrown_away() -> None:
    """Nobody truncates an entry that somebody applied."""
    watch = Watch()
    keep(books(watch), write(entry(1)))
    watch.applied(ONE, 0, [entry(1)], b"hash")

    with pytest.raises(Violation, match="thrown away"):
        watch.books[ONE].submitted(write(truncate_from=1))


def test_two_states_after_one_entry_are_seen() -> None:
    """Equal hashes at equal index."""
    watch = Watch()
    keep(books(watch), write(entry(1)))
    watch.applied(ONE, 0, [entry(1)], b"hash")

    with pytest.raises(Violation, match="another state"):
        watch.state_at(MemberId(2), 1, b"other")


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ([(0, 5, 10), (6, 9, 10)], "share the time"),
        ([(0, 5, 10), (6, 9, 9)], "was given after"),
        ([(0, 5, 10), (4, 9, 9)], ""),
    ],
)
def test_transaction_times_follow_real_time(
    answers: list[tuple[int, int, int]], complaint: str
) -> None:
    """An answer that ended before a question was asked has the smaller time."""
    if not complaint:
        check_times(answers)
        return
    with pytest.raises(Violation, match=complaint):
        check_times(answers)


def test_events_of_one_time_come_in_the_order_in_which_they_were_put() -> None:
    """A heap alone would not say so."""
    world, seen = World(1), cast("list[int]", [])
    for number in range(20):
        world.after(5, "event", lambda number=number: seen.append(number))  # type: ignore[misc]
    world.run(10)

    assert list(range(20)) == seen
    assert 10 == world.now_us
