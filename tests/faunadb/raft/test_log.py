"""The log in memory, and what of it is on disk."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.raft.entries import NOTHING, Entry, EntryId, EntryKind, Index, Term
from faunadb.raft.log import READY_ENTRIES_MAX, LogSlice, RaftLog


def entry(term: int, index: int, payload: bytes = b"x") -> Entry:
    return Entry.make(Term(term), Index(index), EntryKind.DATA, payload)


def log(*terms: int, base: EntryId = NOTHING, commit: int = 0) -> RaftLog:
    """Make a log whose entries after `base` have these terms."""
    entries = [entry(term, base.index + n) for n, term in enumerate(terms, 1)]
    return RaftLog(base, entries, commit=Index(max(commit, base.index)))


def id_(term: int, index: int) -> EntryId:
    return EntryId(Term(term), Index(index))


def test_terms_are_known_from_the_base_to_the_end() -> None:
    """The base has a term, what lies before it and after the end has none."""
    some = log(4, 5, base=id_(3, 7))

    assert [None, 3, 4, 5, None] == [some.term_at(index) for index in range(6, 11)]
    assert some.has(id_(3, 7))
    assert not some.has(id_(3, 8))


@pytest.mark.parametrize(
    ("prev", "expected"),
    [
        ((9, 3), (2, 3)),  # our log may be equal up to there
        ((2, 9), (2, 4)),  # we end earlier, and term 5 cannot be there
        ((1, 4), (1, 2)),  # a whole term is passed over
        ((9, 9), (5, 5)),
        ((0, 0), (0, 0)),
    ],
)
def test_newest_fitting(prev: tuple[int, int], expected: tuple[int, int]) -> None:
    """One message passes over all entries of a term that cannot agree (Raft 5.3)."""
    assert id_(*expected) == log(1, 1, 2, 2, 5).newest_fitting(id_(*prev))


def test_a_message_has_at_least_one_entry() -> None:
    """Batches respect the limit of bytes, but a large entry travels alone."""
    some = RaftLog(NOTHING, [entry(1, n, b"x" * 10) for n in range(1, 6)], commit=Index(0))
    raw_bytes = len(entry(1, 1, b"x" * 10).raw)

    assert some.batch_end(1, raw_bytes * 2) == 2
    assert some.batch_end(1, 1) == 1
    assert some.batch_end(3, 10**6) == 5


def test_a_late_completion_does_not_count_what_was_truncated() -> None:
    """The write of an entry that was replaced makes nothing of its successor durable (ABA)."""
    some = log(1, 1)
    some.append([entry(1, 3), entry(1, 4)])
    some.writing(1)
    some.truncate(3)
    some.append([entry(2, 3)])
    some.writing(2)

    some.wrote(1)
    assert some.synced == 2

    some.wrote(2)
    assert some.synced == 3
    some.check()


def test_what_was_synced_and_truncated_is_not_synced() -> None:
    """Truncation takes durability back, too."""
    some = log(1, 1, 1)
    assert some.synced == 3

    some.truncate(2)

    assert some.synced == 1


def test_the_machine_gets_what_is_committed_and_synced_once() -> None:
    """Up to min(commit, synced), in order, each entry once (SAFETY 15)."""
    some = log(1, 1)
    some.append([entry(1, 3)])
    some.writing(1)
    some.commit = Index(3)

    assert [1, 2] == [e.index for e in some.take_ready()]
    assert not some.take_ready()

    some.wrote(1)
    assert [3] == [e.index for e in some.take_ready()]


def test_the_machine_is_given_pieces() -> None:
    """Who is far behind does not apply all of it in one go: 1024 entries or 4 MiB."""
    some = log(*[1] * (READY_ENTRIES_MAX + 1), commit=READY_ENTRIES_MAX + 1)
    large = log(commit=0)
    mib = bytes(1024 * 1024)
    large.append([Entry.make(Term(1), Index(n + 1), EntryKind.DATA, mib) for n in range(6)])
    large.writing(1)
    large.wrote(1)
    large.commit = Index(6)

    assert [READY_ENTRIES_MAX, 1, 0] == [len(some.take_ready()) for _ in range(3)]
    assert [4, 2, 0] == [len(large.take_ready()) for _ in range(3)]


def test_cut_keeps_what_the_machine_has_not() -> None:
    """The log is cut only behind what was handed out; the base keeps its term."""
    some = log(1, 2, 3, commit=2)
    some.take_ready()

    some.cut(99)

    assert some.base == id_(2, 2)
    assert [3] == [e.index for e in some.from_(3)]
    some.cut(1)  # already done
    some.check()


def test_a_snapshot_starts_the_log_anew() -> None:
    """What ran before does not count for it."""
    some = log(1, 1)
    some.append([entry(1, 3)])
    some.writing(1)

    some.reset(id_(4, 10))
    some.wrote(1)

    assert (10, 10, 10) == (some.commit, some.synced, some.emitted)
    assert some.last == id_(4, 10)
    some.check()


def test_what_is_committed_stays() -> None:
    """Neither truncation nor a snapshot takes it back: that would be a broken invariant."""
    some = log(1, 1, commit=2)

    with pytest.raises(AssertionError):
        some.truncate(2)
    with pytest.raises(AssertionError):
        some.reset(id_(1, 2))


@pytest.mark.parametrize("entries", [[(1, 3)], [(1, 2), (1, 2)], [(0, 2)]])
def test_slices_are_consecutive(entries: list[tuple[int, int]]) -> None:
    """A gap, a repetition and a falling term are programmer errors."""
    with pytest.raises(AssertionError):
        LogSlice(id_(1, 1), tuple(entry(*e) for e in entries))


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["append", "sync", "truncate"]), max_size=30), st.randoms())
def test_synced_is_what_a_disk_that_works_in_order_holds(actions: list[str], rng: object) -> None:
    """Against a disk that applies whole writes in order."""
    some, term, sequence = log(), 1, 0
    disk: list[int] = []  # terms by index
    running: list[tuple[int, int, list[int]]] = []  # sequence, cut from, terms
    for action in actions:
        last = some.last.index
        if action == "sync":
            if running:
                done, start, terms = running.pop(0)
                disk[start - 1 :] = terms
                some.wrote(done)
        else:
            start = last + 1
            if action == "truncate" and last:
                start = rng.randrange(1, last + 1)  # type: ignore[attr-defined]
                some.truncate(start)
                term += 1
            some.append([entry(term, start)])
            sequence += 1
            some.writing(sequence)
            running.append((sequence, start, [term]))
        held = 0
        while held < min(len(disk), some.last.index) and disk[held] == some.term_at(held + 1):
            held += 1
        assert some.synced <= held
        some.check()
    for done, *_ in running:
        some.wrote(done)
    assert some.synced == some.last.index
