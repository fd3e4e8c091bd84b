"""Committed entries are read from segments as they are written, truncated, cut and recycled."""

from random import Random

import pytest

from disk_test_helpers.member import Storage, entry
from faunadb.disk.log_reader import oldest_index, read_committed
from faunadb.disk.wal import segment_path
from faunadb.raft.entries import Entry, EntryId, HardState, Index, MemberId, Term
from faunadb.raft.events import Write
from faunadb_sim.disk import SimDisk

PIECE_BYTES = 1000


def read(storage: Storage, start: int) -> list[Entry]:
    pieces = list(read_committed(storage.disk, Index(start), PIECE_BYTES))
    assert all(pieces), "an empty piece says nothing"
    return [found for piece in pieces for found in piece]


def opened(seed: int = 1) -> Storage:
    storage = Storage(SimDisk(Random(seed)), Random(seed))
    storage.open()
    return storage


def live(storage: Storage, chance: Random) -> None:
    """Do one thing that happens to a log."""
    match chance.randrange(9):
        case 0:
            storage.vote()
        case 1 | 2:
            storage.append(chance.randrange(1, 5))
        case 3:
            storage.append(1, large=chance.randrange(100, 5000))
        case 4 if storage.reported.last_index > storage.reported.hard_state.commit:
            storage.replace_tail()
        case 5 | 6:
            storage.commit_and_apply()
        case 7:
            storage.snapshot()
            storage.opened.wal.prepare_spare()
        case 8:
            storage.directory = None
            storage.disk.crash_process()
            storage.open()


@pytest.mark.parametrize("seed", range(40))
def test_what_is_read_is_what_was_committed(seed: int) -> None:
    """From any entry that is left, in order, every one that the log says is committed."""
    chance, storage = Random(seed), opened(seed)
    history: dict[int, EntryId] = {}
    for _ in range(60):
        live(storage, chance)
        history |= {id_.index: id_ for id_ in storage.reported.ids}
        commit = storage.reported.hard_state.commit
        oldest = oldest_index(storage.disk)
        assert oldest is not None
        for start in {1, oldest, commit, chance.randrange(1, commit + 3)}:
            found = read(storage, start)
            expected = range(start, commit + 1) if start >= oldest else range(0)
            assert [history[at] for at in expected] == [each.id for each in found]


def test_what_is_not_committed_is_not_read() -> None:
    """It may be truncated yet; after that, what stands in its place is read."""
    storage = opened()
    storage.append(3, commit=1)
    assert [1] == [each.index for each in read(storage, 1)]
    storage.vote()
    storage.replace_tail()
    term = storage.reported.hard_state.term
    state = HardState(Term(term), MemberId(1), Index(3))
    storage.write(Write(storage.token(), state, None, (entry(4, term),)))

    assert [(1, 1), (term, 2), (term, 3)] == [(e.term, e.index) for e in read(storage, 1)]


def test_a_log_that_begins_at_a_snapshot_is_read_from_there() -> None:
    """Entries before an installation lead nowhere; those behind it are read."""
    leader, storage = opened(5), opened(6)
    leader.append(20)
    leader.commit_and_apply()
    leader.snapshot()
    storage.append(4, commit=4)
    storage.install_from(leader)
    at = storage.reported.last_index
    storage.append(2, commit=at + 1)

    assert [1, 2, 3, 4] == [each.index for each in read(storage, 1)]
    assert [at + 1] == [each.index for each in read(storage, at + 1)]
    assert [] == read(storage, at - 2)


def test_a_segment_that_is_recycled_meanwhile_ends_the_reading() -> None:
    """What was read before is right, and nothing of the new content is taken for the old."""
    storage = opened()
    for _ in range(12):
        storage.append(5)
        storage.commit_and_apply()
    storage.append(1, commit=storage.reported.last_index)
    pieces = read_committed(storage.disk, Index(1), PIECE_BYTES)
    seen = [each.index for each in next(pieces)]
    storage.disk.remove(segment_path(4))
    seen += [each.index for piece in pieces for each in piece]

    assert seen == [*range(1, seen[-1] + 1)]
    assert seen[-1] < storage.reported.hard_state.commit
    assert (oldest_index(storage.disk) or 0) > 1


def test_foreign_bytes_under_a_segments_name_are_none() -> None:
    """A header that does not verify, or is of another segment, is left out with all before it."""
    storage = opened()
    for _ in range(12):
        storage.append(5)
        storage.commit_and_apply()
    storage.disk.open(segment_path(2)).pwrite(b"nonsense", 0)
    oldest = oldest_index(storage.disk)

    assert [] == read(storage, 1)
    assert oldest is not None
    assert [*range(oldest, storage.reported.hard_state.commit + 1)] == [
        each.index for each in read(storage, oldest)
    ]
    assert oldest_index(SimDisk(Random(1))) is None
