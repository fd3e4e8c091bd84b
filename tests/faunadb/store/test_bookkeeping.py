"""What a state knows about itself, and the requests that it remembers."""

import pytest

from faunadb.codec import Answer, RequestId, Transaction
from faunadb.definitions import SystemCollection
from faunadb.errors import Malformed
from faunadb.store.bookkeeping import (
    LEASES_MAX,
    Bookkeeping,
    bookkeeping_pair,
    lease_worker,
    read_bookkeeping,
)
from faunadb.store.effects import Effects, ReadSet
from faunadb.store.ids import EPOCH_MS, IdSource
from faunadb.store.keys import document_prefix
from faunadb.store.mvcc import DELETED
from faunadb.store.requests import (
    ANSWER_BYTES_MAX,
    answer_to_keep,
    find_request,
    may_be_known,
    request_key,
    request_pair,
)
from store_test_helpers import MemoryKeyValue


def test_a_record_is_read_back() -> None:
    """The pair that keeps it gives the same record; an empty state gives an empty one."""
    kv, record = MemoryKeyValue(), Bookkeeping((3, 9), b"c", (2, 4), 5, 6, open_for_clients=True)
    with kv.read() as reader:
        assert Bookkeeping() == read_bookkeeping(reader)
        kv.pairs[bookkeeping_pair(record)[0]] = bookkeeping_pair(record)[1]
        assert record == read_bookkeeping(reader)


@pytest.mark.parametrize("raw", [b"", b"\x02", b"\x01", b"\x01\xc1", b"\x01\x91\x05"])
def test_a_record_that_is_none_is_malformed(raw: bytes) -> None:
    """A later format and bytes that are no record are refused."""
    kv = MemoryKeyValue()
    kv.pairs[bookkeeping_pair(Bookkeeping())[0]] = raw
    with kv.read() as reader, pytest.raises(Malformed):
        read_bookkeeping(reader)


def test_a_worker_number_belongs_to_one_process() -> None:
    """The same process keeps its number, a new one of the member gets a fresh one."""
    record, first = lease_worker(Bookkeeping(), 1, b"a")
    record, second = lease_worker(record, 2, b"b")
    assert (record, first) == lease_worker(record, 1, b"a")
    record, third = lease_worker(record, 1, b"c")
    assert 3 == len({first, second, third})
    assert [(1, third), (2, second)] == [(lease.member, lease.worker) for lease in record.leases]


def test_worker_numbers_come_round_and_stay_apart() -> None:
    """After 1,024 the numbers begin again, past those that are held; leases are bounded."""
    record, held = lease_worker(Bookkeeping(), 1, b"kept")
    for number in range(3000):
        record, worker = lease_worker(record, 2, b"%d" % number)
        assert worker != held
        assert 0 <= worker < 1024
    for member in range(3, 2000):
        record, _ = lease_worker(record, member, b"x")
    assert LEASES_MAX == len(record.leases)
    assert LEASES_MAX == len({lease.worker for lease in record.leases})


def test_ids_have_their_layout() -> None:
    """43 bits of milliseconds, 10 of sequence, 10 of worker; a clock that stands is no matter."""
    source = IdSource(5)
    now = (EPOCH_MS + 1) * 1000
    assert [(1 << 20) + 5, (1 << 20) + 1024 + 5] == [source.draw(now) for _ in range(2)]
    assert source.draw(0) == (1 << 20) + 2048 + 5
    assert source.draw((EPOCH_MS + 2**43 - 1) * 1000) < 2**63


def test_short_answers_are_kept_and_long_ones_are_not() -> None:
    """Up to 4 KiB the answer itself, beyond that its digest."""
    short = Answer(200, b"1", "", 1, 0)
    long = Answer(200, b"1" * ANSWER_BYTES_MAX, "", 1, 0)
    assert (short, b"") == answer_to_keep(short, wrote())
    kept, digest = answer_to_keep(long, wrote())
    assert kept is None
    assert 32 == len(digest)


@pytest.mark.parametrize("coll", [SystemCollection.KEY, SystemCollection.TOKEN])
def test_an_answer_that_shows_a_secret_is_kept_nowhere(coll: int) -> None:
    """Log, state and backups hold a key's hash; the answer to its making holds the key."""
    answer = Answer(200, b'"secret"', "", 1, 0)

    assert (None, 32) == kept_of(answer, wrote((document_prefix(0, coll, 1), b"version")))
    assert (answer, 0) == kept_of(answer, wrote((document_prefix(0, coll, 1), DELETED)))
    assert (answer, 0) == kept_of(answer, wrote((document_prefix(0, 1024, 1), b"version")))


def wrote(*writes: tuple[bytes, bytes]) -> Effects:
    return Effects((1, 1), 1, 1, ReadSet(), writes)


def kept_of(answer: Answer, effects: Effects) -> tuple[Answer | None, int]:
    kept, digest = answer_to_keep(answer, effects)
    return kept, len(digest)


def test_a_request_is_found_with_its_answer() -> None:
    """The table gives back time and answer, and refuses bytes that are no outcome."""
    kv, request = MemoryKeyValue(), RequestId(5, b"n" * 16)
    answer = Answer(200, b"1", "", 1, 0)
    with kv.read() as reader:
        assert find_request(reader, request) is None
        key, raw = request_pair(request, Transaction(7, 7, (), request, answer))
        kv.pairs[key] = raw
        found = find_request(reader, request)
        assert found is not None
        assert (7, answer) == (found.ts, found.answer)
        kv.pairs[key] = b"\xc1"
        with pytest.raises(Malformed):
            find_request(reader, request)
    with pytest.raises(AssertionError, match="front"):
        request_key(RequestId(5, b"short"))


def test_ids_out_of_their_time_are_refused() -> None:
    """Two minutes back and one ahead the table can tell."""
    now, second = 10**15, 1_000_000
    births = [now - 121 * second, now - 119 * second, now + 59 * second, now + 61 * second]
    ids = [RequestId(born, bytes(16)) for born in births]

    assert [False, True, True, False] == [may_be_known(id_, now, now) for id_ in ids]
    assert [False, True, True, True] == [may_be_known(id_, now, now + 2 * second) for id_ in ids]
