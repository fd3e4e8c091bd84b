"""The same entries make the same state, whatever the batches, the hash seed or a crash."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.codec import (
    Answer,
    CloseForClients,
    HashPoint,
    LeaseWorker,
    OpenForClients,
    Payload,
    RaiseCeiling,
    RemoveVersions,
    RequestId,
    Transaction,
    encode_payload,
)
from faunadb.errors import Malformed
from faunadb.machine import (
    CONFIGURATION,
    DATA,
    NOOP,
    Applied,
    CeilingRaised,
    Closed,
    Configured,
    Hashed,
    Leased,
    Machine,
    Nothing,
    Opened,
    VersionsRemoved,
    describe,
    state_hash_of,
)
from faunadb.store.keys import REQUESTS, document_prefix, suffix
from faunadb.store.mvcc import DELETED, encode_version
from faunadb.store.requests import REQUEST_HORIZON_US
from faunadb.values import Value
from store_test_helpers import Crash, LogEntry, MemoryKeyValue

ROOT = Path(__file__).parents[2]
START = 10**15


def entry(index: int, payload: Payload, *, term: int = 1) -> LogEntry:
    return LogEntry(term, index, DATA, memoryview(encode_payload(payload)))


def transaction(ts: int, writes: dict[int, Value], request: RequestId | None = None) -> Transaction:
    pairs = tuple(
        (document_prefix(0, 1024, doc_id) + suffix(ts), _raw(content))
        for doc_id, content in writes.items()
    )
    return Transaction(ts, ts + 10, pairs, request, Answer(200, b"1", "", ts, 0))


def _raw(content: Value) -> bytes:
    return DELETED if content is None else encode_version({"n": content}, None)


def request_of(number: int, born_us: int) -> RequestId:
    return RequestId(born_us, number.to_bytes(16, "big"))


def build_log(steps: Sequence[tuple[int, int, int]]) -> list[LogEntry]:
    """A log of every kind of entry; each step is (kind, number, milliseconds that go by)."""
    log, ts = [LogEntry(1, 1, NOOP, memoryview(b""))], START
    for kind, number, milliseconds in steps:
        index, ts = len(log) + 1, ts + 1 + milliseconds * 1000
        payload: Payload = HashPoint()
        match kind:
            case 0 | 1 | 2:
                born = request_of(index, ts - number * 10_000_000)
                content = None if number == 0 else number
                payload = transaction(ts, {number: content, number + 1: 1}, born)
            case 3:
                payload = RemoveVersions(b"d", b"j", ts - 50_000, 3 + number)
            case 4:
                payload = RaiseCeiling(ts + number)
            case 5:
                payload = LeaseWorker(number, b"p%d" % number)
            case 6:
                log.append(LogEntry(1, index, CONFIGURATION, memoryview(b"c%d" % number)))
                continue
        log.append(entry(index, payload))
    return log


steps = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 4), st.sampled_from([0, 0, 30, 40_000])),
    max_size=25,
)


@settings(max_examples=100, deadline=None)
@given(steps, st.lists(st.integers(1, 7), min_size=1), st.lists(st.integers(0, 3), max_size=5))
def test_batches_and_crashes_make_no_difference(
    chosen: list[tuple[int, int, int]], batches: list[int], crashes: list[int]
) -> None:
    """Applied one by one, or in batches with crashes between them, the state is the same."""
    log = build_log(chosen)
    one_by_one = MemoryKeyValue()
    reference = Machine(one_by_one)
    outcomes = [outcome for item in log for outcome in reference.apply([item])]

    kv = MemoryKeyValue()
    machine, seen, turn = Machine(kv), list(outcomes[:0]), 0
    left = list(crashes)
    while machine.record.applied[1] < len(log):
        done = machine.record.applied[1]
        kv.commits_left = left.pop() if left else None
        try:
            for _ in range(4):
                done = machine.record.applied[1]
                some = machine.apply(log[done : done + batches[turn % len(batches)]])
                seen += some
                turn += 1
        except Crash:
            machine = Machine(kv)
            assert done == machine.record.applied[1]
    assert outcomes == seen
    assert one_by_one.pairs == kv.pairs
    with kv.read() as reader:
        assert state_hash_of(reader) == describe(reader).state_hash == machine.record.state_hash


def test_every_kind_of_entry_has_its_outcome() -> None:
    """What the node must act on is said, in the order of the log."""
    kv = MemoryKeyValue()
    machine = Machine(kv)
    write = transaction(START, {1: 1})
    outcomes = machine.apply(
        [
            LogEntry(2, 1, NOOP, memoryview(b"")),
            LogEntry(2, 2, CONFIGURATION, memoryview(b"members")),
            entry(3, write, term=2),
            entry(4, RaiseCeiling(START + 5), term=2),
            entry(5, LeaseWorker(3, b"p"), term=2),
            entry(6, OpenForClients(), term=2),
            entry(7, HashPoint(), term=2),
            entry(8, RemoveVersions(b"d", b"j", 0, 10), term=3),
            entry(9, CloseForClients(), term=3),
        ]
    )
    assert (
        Nothing(1),
        Configured(2, 2, b"members"),
        Applied(3, write),
        CeilingRaised(4, START + 10),
        Leased(5, 3, b"p", 0),
        Opened(6),
        Hashed(7, machine.record.state_hash),
        VersionsRemoved(8, 0),
        Closed(9),
    ) == outcomes
    with kv.read() as reader:
        record = describe(reader)
    assert record == machine.record == Machine(kv).record
    assert ((3, 9), b"members", (2, 2)) == (
        record.applied,
        record.configuration,
        record.configuration_id,
    )
    assert (START, START + 10) == (record.last_ts, record.ceiling)
    assert not record.open_for_clients
    assert () == machine.apply([])


@pytest.mark.parametrize(
    "broken",
    [
        LogEntry(1, 1, 9, memoryview(b"")),
        LogEntry(1, 1, DATA, memoryview(b"")),
        LogEntry(1, 1, DATA, memoryview(b"\x02\x92\x02\x05")),
        entry(1, Transaction(5, 5, ((b"d" + suffix(4), b"x"),))),
        entry(1, Transaction(5, 5, ((b"m" + suffix(5), b"x"),))),
    ],
)
def test_what_is_not_understood_is_never_skipped(broken: LogEntry) -> None:
    """Unknown kinds, formats and keys raise, and nothing of their batch is applied."""
    kv = MemoryKeyValue()
    machine = Machine(kv)
    good = entry(1, transaction(1, {1: 1}))
    second = LogEntry(1, 2, broken.kind, broken.payload)
    with pytest.raises(Malformed):
        machine.apply([good, second])
    assert 0 == len(kv.pairs)
    assert (0, 0) == machine.record.applied


def test_order_is_checked() -> None:
    """A gap, an older term and a time that does not grow are crashes."""
    machine = Machine(MemoryKeyValue())
    machine.apply([entry(1, transaction(5, {1: 1}), term=2)])
    for broken, said in (
        (entry(3, HashPoint(), term=2), "order"),
        (entry(2, HashPoint(), term=1), "terms"),
        (entry(2, transaction(5, {1: 1}), term=2), "timestamps"),
    ):
        with pytest.raises(AssertionError, match=said):
            machine.apply([broken])


def test_a_request_that_was_applied_is_a_crash() -> None:
    """Apply never skips conditionally: in the same batch or a later one (SAFETY 5)."""
    request = request_of(1, START)
    first = entry(1, transaction(START + 1, {1: 1}, request))
    second = entry(2, transaction(START + 2, {1: 2}, request))
    with pytest.raises(AssertionError, match="twice"):
        Machine(MemoryKeyValue()).apply([first, second])
    machine = Machine(MemoryKeyValue())
    machine.apply([first])
    with pytest.raises(AssertionError, match="twice"):
        machine.apply([second])


def test_the_table_of_requests_forgets_by_birth() -> None:
    """Within two minutes everything is found; long after, the table is empty again."""
    kv = MemoryKeyValue()
    machine = Machine(kv)
    for number in range(1, 2001):
        born = START + number * 1000
        machine.apply([entry(number, transaction(born, {1: number}, request_of(number, born)))])
    with kv.read() as reader:
        found = machine.find_request(reader, request_of(1, START + 1000))
        assert found is not None
        assert START + 1000 == found.ts
    late = START + REQUEST_HORIZON_US + 10_000_000
    sizes = []
    for number in range(4):
        machine.apply([entry(2001 + number, transaction(late + number, {1: number}))])
        sizes.append(sum(key.startswith(REQUESTS) for key in kv.pairs))
    assert [976, 0, 0, 0] == sizes
    with kv.read() as reader:
        assert machine.find_request(reader, request_of(1, START + 1000)) is None
        assert state_hash_of(reader) == machine.record.state_hash


def test_a_deleted_key_leaves_the_hash() -> None:
    """Raw deletions count, also of keys written in the same batch or never written."""
    kv = MemoryKeyValue()
    machine = Machine(kv)
    write = transaction(START, {1: 1})
    gone = Transaction(START + 1, 0, ((write.writes[0][0], None), (b"d nothing", None)))
    machine.apply([entry(1, write), entry(2, gone)])
    assert bytes(16) == machine.record.state_hash


def test_a_removal_sees_what_its_own_batch_wrote() -> None:
    """Batches end anywhere: one that holds writes and a removal is like two."""
    log = [
        entry(1, transaction(START, {1: 1})),
        entry(2, transaction(START + 1, {1: 2})),
        entry(3, RemoveVersions(b"d", b"j", START + 2, 10)),
    ]
    kv = MemoryKeyValue()
    assert VersionsRemoved(3, 1) == Machine(kv).apply(log)[2]
    assert 1 == sum(key.startswith(b"d") for key in kv.pairs)


def test_the_oldest_request_is_known_whatever_order_they_come_in() -> None:
    """It is forgotten in its time, and none that is younger."""
    kv = MemoryKeyValue()
    machine = Machine(kv)
    young, late = START + 60_000_000, START + REQUEST_HORIZON_US + 2_000_000
    machine.apply([entry(1, transaction(young, {1: 1}, request_of(1, young)))])
    machine.apply([entry(2, transaction(young + 1, {1: 2}, request_of(2, START)))])
    machine.apply([entry(3, transaction(late, {1: 3}, request_of(3, late)))])
    with kv.read() as reader:
        known = [
            machine.find_request(reader, request_of(number, born)) is not None
            for number, born in ((1, young), (2, START), (3, late))
        ]
    assert [True, False, True] == known


DIGEST = """
import hashlib, sys
sys.path[:0] = ["tests", "database"]
from store_test_helpers.story import long_story
world = long_story()
print(hashlib.sha256(b"".join(k + v for k, v in world.kv.pairs.items())).hexdigest())
"""


def test_the_hash_seed_of_python_makes_no_difference() -> None:
    """One story, evaluated and applied under two seeds, ends in the same bytes."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout
        for seed in ("1", "2")
    }
    assert 1 == len(digests)
    assert 65 == len(digests.pop())
    assert hashlib.sha256(b"").hexdigest() not in digests
