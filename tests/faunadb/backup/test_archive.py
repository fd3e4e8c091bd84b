"""What the archive writes, whatever members, store and incarnations do meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backup_test_helpers import CLUSTER_ID, SALT, STARTED_US
from faunadb.backup.archive import Archive, Lag, Limits
from faunadb.backup.log_source import (
    LogGone,
    MemberFailed,
    Piece,
    Seen,
    Survey,
    choose,
)
from faunadb.backup.objects import FolderObjects, Objects, Stored, StoreFailed
from faunadb.backup.segments import (
    Held,
    Incarnation,
    Range,
    decode_segment,
    folder_of_log,
    held,
)
from faunadb.codec import HashPoint, Transaction, encode_payload
from faunadb.raft.entries import Entry, EntryKind, Index, Term

pytestmark = pytest.mark.anyio
HANG_S = 30
FIRST, SECOND = Incarnation(1, SALT), Incarnation(2, "22" * 16)
QUICK = Limits(segment_bytes=1, every_s=0.0, poll_s=0.001, gap_patience_s=0.05)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def entry(index: int, term: int = 1) -> Entry:
    payload = Transaction(STARTED_US + index, 0, ()) if index % 2 else HashPoint()
    return Entry.make(Term(term), Index(index), EntryKind.DATA, encode_payload(payload))


class Member(msgspec.Struct):
    """Has entries from `first` to `commit`; `answers` False is dead, "log" only refuses its log."""

    commit: int = 0
    first: int = 1
    incarnation: Incarnation = FIRST
    leads: bool = False
    answers: bool = True
    refuses: bool = False


class FakeMembers:
    """Members of which a test says what they have."""

    def __init__(self, *members: Member) -> None:
        self.members = list(members)
        self.reads: list[tuple[int, int]] = []
        self.piece_entries = 100
        self.surveys = 0

    async def survey(self) -> Survey:
        await asyncio.sleep(0)
        self.surveys += 1
        seen = [
            Seen(str(at), each.incarnation, each.commit, each.leads)
            for at, each in enumerate(self.members)
            if each.answers
        ]
        silent = [str(at) for at, each in enumerate(self.members) if not each.answers]
        return Survey(tuple(seen), tuple(silent))

    async def read(self, address: str, start: int, bytes_max: int) -> Piece:
        await asyncio.sleep(0)
        assert bytes_max > 0
        member = self.members[int(address)]
        self.reads.append((int(address), start))
        if member.refuses:
            raise MemberFailed(f"{address} refuses")
        if start < member.first:
            raise LogGone(member.first)
        last = min(member.commit, start + self.piece_entries - 1)
        return Piece(
            member.incarnation, member.commit, [entry(at) for at in range(start, last + 1)]
        )


class MoodyObjects:
    """A folder that can be away."""

    def __init__(self, root: Path) -> None:
        self._objects: Objects = FolderObjects(root)
        self.is_away = False

    def put(self, key: str, data: bytes | bytearray) -> None:
        if self.is_away:
            raise StoreFailed("the store is away")
        self._objects.put(key, data)

    def put_new(self, key: str, data: bytes | bytearray) -> None:
        raise AssertionError(key)

    def get(self, key: str, bytes_max: int) -> memoryview:
        return self._objects.get(key, bytes_max)

    def list(self, prefix: str) -> Iterator[Stored]:
        return self._objects.list(prefix)

    def delete(self, key: str) -> None:
        raise AssertionError(key)


class Bench:
    """An archive, its members and its store; `until` runs it until something holds."""

    def __init__(self, folder: Path, *members: Member, limits: Limits = QUICK) -> None:
        self.members = FakeMembers(*members)
        self.objects = MoodyObjects(folder)
        self.said: list[tuple[str, dict[str, Any]]] = []
        self._work: asyncio.Task[None] | None = None
        self._begin(limits)

    def _begin(self, limits: Limits) -> None:
        def say(event: str, **facts: object) -> None:
            self.said.append((event, facts))

        self.archive = Archive(CLUSTER_ID, self.objects, self.members, limits, say)

    async def stop(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
            self._work = None

    async def restart(self) -> None:
        """Another process: it remembers nothing."""
        await self.stop()
        self._begin(QUICK)

    async def until(self, holds: Callable[[], object]) -> None:
        if self._work is None:
            self._work = asyncio.create_task(self.archive.run())
        async with asyncio.timeout(HANG_S):
            while not holds():
                assert not self._work.done(), self._work.result()
                await asyncio.sleep(0.001)

    async def until_archived(self, index: int) -> None:
        await self.until(lambda: self.archive.status().archived_index >= index)

    def held(self, incarnation: Incarnation = FIRST) -> Held:
        folder = folder_of_log(CLUSTER_ID, incarnation)
        return held(stored.key for stored in self.objects.list(folder))

    def indexes(self, incarnation: Incarnation = FIRST) -> list[int]:
        """Return the entries in the store; what was put twice, by a process that ended, once."""
        found: list[int] = []
        for segment in self.held(incarnation).segments:
            block = self.objects.get(segment.key, 1 << 30)
            found += [each.index for each in decode_segment(segment, block)]
        return sorted(set(found))


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[MakeBench]:
    """Make benches on one folder; they are stopped in the end."""
    made: list[Bench] = []

    def one(*members: Member, limits: Limits = QUICK) -> Bench:
        made.append(Bench(tmp_path, *members, limits=limits))
        return made[-1]

    yield one
    for bench in made:
        await bench.stop()


async def test_everything_that_is_committed_is_written_once(make: MakeBench) -> None:
    """In order, and how far it is shows in entry and time."""
    bench = make(Member(40), Member(41, leads=True))
    bench.members.piece_entries = 7
    await bench.until_archived(40)
    bench.members.members[0].commit = 55
    await bench.until_archived(55)
    status = bench.archive.status()

    assert [*range(1, 56)] == bench.indexes()
    assert 55 == sum(each.last - each.first + 1 for each in bench.held().segments)
    assert (55, STARTED_US + 55, []) == (status.archived_index, status.archived_ts, status.gaps)
    assert bench.archive.is_ready
    assert {0} == {address for address, _ in bench.members.reads}, "the leader is spared"


async def test_a_segment_waits_until_it_is_full_or_old(make: MakeBench) -> None:
    """Nothing is written for entries that came just now."""
    bench = make(Member(10), limits=QUICK._replace(segment_bytes=1 << 20, every_s=1e6))
    await bench.until(lambda: bench.members.surveys > 5)

    assert [] == bench.indexes()
    await bench.restart()
    await bench.until_archived(10)
    assert [*range(1, 11)] == bench.indexes()


async def test_a_restarted_archive_goes_on_where_the_store_ends(make: MakeBench) -> None:
    """The store is its only memory."""
    bench = make(Member(10))
    await bench.until_archived(10)
    bench.members.members[0].commit = 20
    bench.members.reads.clear()
    await bench.restart()
    await bench.until_archived(20)

    assert [*range(1, 21)] == bench.indexes()
    assert 11 == bench.members.reads[0][1]
    await bench.restart()
    await bench.until_archived(20)
    assert STARTED_US + 19 == bench.archive.status().archived_ts


async def test_a_damaged_segment_does_not_stop_the_archive(make: MakeBench, tmp_path: Path) -> None:
    """It is said; what comes is archived all the same."""
    bench = make(Member(10))
    await bench.until_archived(10)
    (tmp_path / bench.held().segments[-1].key).write_bytes(b"nonsense")
    bench.members.members[0].commit = 20
    await bench.restart()
    await bench.until_archived(20)

    assert "damaged" in {event for event, _ in bench.said}
    assert (11, 20) == (bench.held().segments[-1].first, bench.held().last)


async def test_another_member_gives_what_one_has_not(make: MakeBench) -> None:
    """One is dead, one refuses, one has cut its log, and one has all."""
    bench = make(
        Member(30, answers=False),
        Member(30, refuses=True),
        Member(30, first=20),
        Member(30, leads=True),
    )
    await bench.until_archived(30)

    assert ([*range(1, 31)], []) == (bench.indexes(), bench.archive.status().gaps)


async def test_what_nobody_has_is_a_named_gap(make: MakeBench) -> None:
    """In the store and in the status, also after a restart; and the archive goes on behind it."""
    bench = make(Member(10))
    await bench.until_archived(10)
    bench.members.members = [Member(40, first=31), Member(40, first=21)]
    await bench.until_archived(40)

    assert ([Range(11, 20)], []) == ([*bench.held().gaps], bench.held().holes())
    assert [*range(1, 11), *range(21, 41)] == bench.indexes()
    assert [(11, 20)] == [(gap.first, gap.last) for gap in bench.archive.status().gaps]
    await bench.restart()
    bench.members.members[0].commit = 41
    await bench.until_archived(41)
    assert [(11, 20)] == [(gap.first, gap.last) for gap in bench.archive.status().gaps]


async def test_a_gap_is_doubted_while_somebody_is_silent(make: MakeBench) -> None:
    """Whoever does not answer may have the entries; it is waited for, and the problem is said."""
    patient = QUICK._replace(gap_patience_s=1e6)
    bench = make(Member(10), limits=patient)
    await bench.until_archived(10)
    bench.members.members = [Member(40, first=21), Member(40, answers=False)]
    await bench.until(lambda: "1 others may have them" in bench.archive.status().problem)
    assert () == bench.held().gaps
    bench.members.members[1].answers = True
    await bench.until_archived(40)

    assert [*range(1, 41)] == bench.indexes()
    assert "" == bench.archive.status().problem


async def test_an_archive_may_begin_late(make: MakeBench) -> None:
    """What was cut before its first segment is no gap: nothing was promised."""
    bench = make(Member(40, first=21))
    await bench.until_archived(40)

    assert [*range(21, 41)] == bench.indexes()
    assert ([], ()) == (bench.archive.status().gaps, bench.held().gaps)


async def test_a_segment_that_was_removed_is_a_gap(make: MakeBench, tmp_path: Path) -> None:
    """Found at the start, and named like any other."""
    bench = make(Member(5))
    for commit in (5, 10, 15):
        bench.members.members[0].commit = commit
        await bench.until_archived(commit)
    removed = bench.held().segments[1]
    (tmp_path / removed.key).unlink()
    await bench.restart()
    await bench.until_archived(15)

    assert (Range(removed.first, removed.last),) == bench.held().gaps


async def test_a_new_incarnation_begins_a_new_folder(make: MakeBench) -> None:
    """The former one's folder stays as it is, and its members are not asked again."""
    bench = make(Member(10))
    await bench.until_archived(10)
    bench.members.members += [Member(8, incarnation=SECOND)]
    await bench.until(lambda: bench.archive.status().incarnation == 2)
    await bench.until_archived(8)
    bench.members.members[0].commit = 99
    bench.members.members[1].commit = 12
    await bench.restart()
    await bench.until_archived(12)

    assert [*range(1, 11)] == bench.indexes(FIRST)
    assert [*range(1, 13)] == bench.indexes(SECOND)


async def test_members_of_a_former_incarnation_are_not_archived(make: MakeBench) -> None:
    """A store that knows the later one waits for its members."""
    bench = make(Member(4, incarnation=SECOND))
    await bench.until_archived(4)
    bench.members.members = [Member(99)]
    await bench.restart()
    await bench.until(lambda: "nobody is of incarnation 2" in bench.archive.status().problem)

    assert [] == bench.indexes(FIRST)


async def test_two_histories_of_one_number_are_not_mixed(make: MakeBench) -> None:
    """Two survivors were recovered: a person must choose."""
    bench = make(Member(4), Member(4, incarnation=Incarnation(1, "33" * 16)))
    await bench.until(lambda: "disagree" in bench.archive.status().problem)

    assert [] == bench.indexes(FIRST)


async def test_a_store_that_is_away_loses_nothing(make: MakeBench) -> None:
    """Reading stops, the problem is said, and it goes on from the same entry."""
    bench = make(Member(10))
    await bench.until_archived(10)
    bench.objects.is_away = True
    bench.members.members[0].commit = 500
    await bench.until(lambda: "away" in bench.archive.status().problem)
    assert 10 == bench.archive.status().archived_index
    bench.objects.is_away = False
    await bench.until_archived(500)

    assert [*range(1, 501)] == bench.indexes()
    assert [] == bench.held().holes()
    assert {"problem", "well"} <= {event for event, _ in bench.said}


async def test_without_members_it_is_not_ready(make: MakeBench) -> None:
    """Who hears nobody knows of no commit."""
    bench = make(Member(answers=False))
    await bench.until(lambda: "no member answers" in bench.archive.status().problem)

    assert not bench.archive.is_ready


def test_lag_is_the_age_of_the_oldest_commit_that_is_not_archived() -> None:
    """It grows in silence, and falls when an entry is archived, not when it is read."""
    lag = Lag(0.0)
    assert 3.0 == lag.seconds(0, 3.0)
    lag.heard(10, 4.0)
    lag.heard(20, 6.0)
    assert 3.0 == lag.seconds(9, 7.0)
    assert 1.0 == lag.seconds(10, 7.0)
    assert 2.0 == lag.seconds(20, 8.0)
    lag.heard(20, 8.0)
    assert 0.0 == lag.seconds(20, 8.0)


def test_a_near_follower_is_asked_before_the_leader() -> None:
    """One that is far behind comes after it, one of another incarnation never."""
    leader = Seen("leader", FIRST, 5000, leads=True)
    near = Seen("near", FIRST, 4100, leads=False)
    far = Seen("far", FIRST, 100, leads=False)
    other = Seen("other", SECOND, 9000, leads=False)

    assert [near, leader, far] == choose([far, leader, other, near], FIRST)
