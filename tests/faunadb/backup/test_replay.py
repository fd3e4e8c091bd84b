"""A backup and the archive behind it give the state of any entry between, or a reason why not."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from backup_test_helpers import (
    CLUSTER_ID,
    SALT,
    STARTED_US,
    apply_log,
    log_of,
    manifest_of,
    pairs_of,
)
from faunadb.backup.objects import FolderObjects, Objects
from faunadb.backup.progress import Progress
from faunadb.backup.replay import (
    Point,
    Target,
    apply,
    foretell,
    make_plan,
    parse_time,
    say_time,
)
from faunadb.backup.segments import (
    Incarnation,
    PointRefused,
    encode_segment,
    folder_of_log,
)
from faunadb.errors import Corrupt
from faunadb.machine import describe
from faunadb.raft.entries import Entry, EntryKind, Index, Term
from faunadb.store.bookkeeping import Bookkeeping, bookkeeping_pair
from store_test_helpers import LogEntry, MemoryKeyValue

LOG = log_of(20)
BASE = 9  # the backup's entry
FOLDER = folder_of_log(CLUSTER_ID, Incarnation(1, SALT))


def state_at(index: int) -> tuple[MemoryKeyValue, Bookkeeping]:
    kv = MemoryKeyValue()
    return kv, apply_log(kv, LOG[:index])


MANIFEST = manifest_of(state_at(BASE)[1])


def silent() -> Progress:
    return Progress(lambda _event, **_facts: None)


def entry(of: LogEntry) -> Entry:
    return Entry.make(Term(of.term), Index(of.index), EntryKind(of.kind), bytes(of.payload))


def archived(objects: Objects, *ranges: tuple[int, int], log: Sequence[LogEntry] = LOG) -> None:
    for first, last in ranges:
        segment, block = encode_segment(FOLDER, [entry(each) for each in log[first - 1 : last]])
        objects.put(segment.key, block)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """The whole log in pieces, some of it twice."""
    store = FolderObjects(tmp_path)
    archived(store, (1, 5), (6, 12), (10, 14), (15, 15), (16, len(LOG)))
    return store


def base() -> MemoryKeyValue:
    """What restore has loaded when the replay begins."""
    kv = MemoryKeyValue()
    record = Bookkeeping(
        applied=(MANIFEST.term, MANIFEST.index),
        last_ts=MANIFEST.last_ts,
        ceiling=MANIFEST.ceiling,
        state_hash=bytes.fromhex(MANIFEST.state_hash),
    )
    with kv.write() as writer:
        writer.put_many([*pairs_of(state_at(BASE)[0]), bookkeeping_pair(record)])
    return kv


def replayed(objects: Objects, target: Target) -> tuple[MemoryKeyValue, Bookkeeping]:
    kv = base()
    apply(make_plan(objects, MANIFEST, target), objects, kv, silent())
    with kv.read() as reader:
        return kv, describe(reader)


@pytest.mark.parametrize("index", range(BASE, len(LOG) + 1))
def test_every_entry_can_be_reached(objects: Objects, index: int) -> None:
    """The state is that of a member that has applied just so much; the dry run says where."""
    expected, record = state_at(index)
    kv, found = replayed(objects, Target(index=index))

    assert pairs_of(expected) == pairs_of(kv)
    assert (record.applied, record.last_ts, record.state_hash) == (
        found.applied,
        found.last_ts,
        found.state_hash,
    )
    plan = make_plan(objects, MANIFEST, Target(index=index))
    assert Point(*record.applied, record.last_ts) == foretell(plan, objects, silent())


def test_a_time_is_its_last_transaction(objects: Objects) -> None:
    """Everything that is not after it, and what has no time of its own up to the next one."""
    for at in (0, 6, 7, 14):
        wanted = STARTED_US + max(at, 4)
        _, found = replayed(objects, Target(ts_us=wanted))
        until = [index for index in range(1, len(LOG) + 1) if state_at(index)[1].last_ts <= wanted]
        assert (wanted, until[-1]) == (found.last_ts, found.applied[1])


def test_no_timestamp_of_the_lost_history_is_issued_again(objects: Objects) -> None:
    """The ceiling is above the whole archive, of every incarnation, whatever the target."""
    highest = state_at(len(LOG))[1].ceiling
    assert highest == replayed(objects, Target(index=BASE + 1))[1].ceiling
    assert highest == replayed(objects, Target())[1].ceiling
    later = folder_of_log(CLUSTER_ID, Incarnation(2, "00" * 16))
    longer = log_of(40)
    segment, block = encode_segment(later, [entry(each) for each in longer[30:]])
    objects.put(segment.key, block)

    assert apply_log(MemoryKeyValue(), longer).ceiling == replayed(objects, Target())[1].ceiling


def refused(objects: Objects, target: Target) -> str:
    with pytest.raises(PointRefused) as caught:
        make_plan(objects, MANIFEST, target)
    return f"{caught.value.reason}: {caught.value.detail}"


def test_what_lies_outside_is_refused(objects: Objects, tmp_path: Path) -> None:
    """Before the backup, behind the archive, behind a gap: each with its own sentence."""
    last_us = state_at(len(LOG))[1].last_ts
    assert "before_backup: entry 8 lies before backup b1, which is of entry 9" in (
        refused(objects, Target(index=8))
    )
    assert refused(objects, Target(ts_us=MANIFEST.last_ts - 1)).startswith("before_backup: 20")
    assert "beyond_archive: the archive ends at entry" in refused(objects, Target(index=999))
    assert "beyond_archive" in refused(objects, Target(ts_us=last_us + 1))
    assert say_time(last_us) in refused(objects, Target(ts_us=last_us + 1))
    holed = FolderObjects(tmp_path / "holed")
    archived(holed, (6, 12), (14, len(LOG)))
    assert "archive_gap: entries 13 to 13" in refused(holed, Target(index=15))
    assert "archive_gap: entries 13 to 13" in refused(holed, Target(ts_us=last_us))
    empty = FolderObjects(tmp_path / "empty")
    assert "beyond_archive" in refused(empty, Target(ts_us=MANIFEST.last_ts + 1))
    assert make_plan(empty, MANIFEST, Target(ts_us=MANIFEST.last_ts)).path == ()


def test_another_incarnation_is_another_history(objects: Objects) -> None:
    """A backup goes on with its own incarnation's log only."""
    other = msgspec.structs.replace(MANIFEST, incarnation=2)
    with pytest.raises(PointRefused, match="the archive ends at entry 9"):
        make_plan(objects, other, Target(index=12))


def test_what_does_not_follow_is_corrupt(tmp_path: Path) -> None:
    """An archive of a history whose terms fall is not applied."""
    objects = FolderObjects(tmp_path)
    old = [LogEntry(1, each.index, each.kind, each.payload) for each in LOG]
    archived(objects, (10, 12), log=old)
    plan = make_plan(objects, MANIFEST, Target(index=12))
    with pytest.raises(Corrupt, match="does not follow"):
        apply(plan, objects, base(), silent())


def test_a_payload_of_a_later_version_is_corrupt(tmp_path: Path) -> None:
    """Nothing is skipped."""
    objects = FolderObjects(tmp_path)
    foreign = [LogEntry(3, 10, 1, memoryview(b"\xff")), *LOG[10:]]
    archived(objects, (1, 3), log=foreign)
    with pytest.raises(Corrupt):
        apply(make_plan(objects, MANIFEST, Target(index=12)), objects, base(), silent())


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00.000001+01:00", 1),
        ("2026-11-22T10:00:00Z", 1_795_341_600_000_000),
    ],
)
def test_times_are_read_to_the_microsecond(text: str, us: int) -> None:
    """RFC 3339 with a zone, and back."""
    assert us == parse_time(text) == parse_time(say_time(us))


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-22T10:00:00", "2026-11-22"])
def test_a_time_without_a_zone_is_none(text: str) -> None:
    """Nobody guesses whose clock was meant."""
    with pytest.raises(ValueError, match="is not a time like"):
        parse_time(text)
