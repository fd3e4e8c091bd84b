"""The committed log of a cluster, continuously, into an object store: what point in time needs.

    survey     who is there, in which incarnation, and how much is committed
    read       from a member, behind the last entry that the store holds
    write      a segment when 16 MiB are together, or the oldest entry waits for 5 s
    gap        what no member has any more is named in the store, and in `Status`

What the store holds is the only memory: a restarted archive lists it and goes on. A new
incarnation begins a folder of its own (segments.py).

House rules: one segment after the other, each durable before the next; a store that is away stops
the reading, never loses. Only a store that cannot be read at the start ends the program.
Trap: a gap is named only when everybody who is known was heard, or nobody else for a minute:
another member may still have the entries.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from faunadb.backup.layout import LOG, MIB
from faunadb.backup.log_source import LogGone, MemberFailed, Piece, Seen, Survey, choose
from faunadb.backup.objects import Objects, StoreFailed
from faunadb.backup.segments import (
    SEGMENT_BYTES_MAX,
    Gap,
    Held,
    Incarnation,
    Range,
    decode_segment,
    encode_gap,
    encode_segment,
    folder_of_log,
    gap_key,
    held,
    incarnation_of,
)
from faunadb.codec import Transaction, decode_payload
from faunadb.errors import Corrupt, Malformed
from faunadb.raft.entries import Entry, EntryKind

READ_BYTES = 4 * MIB  # what is read at once: it bounds what waits in memory beyond one segment
READY_LAG_S = 60.0
PENDING_MAX = 10_000  # commits that are remembered until they are archived
Say = Callable[..., None]  # (event, **facts)


class Status(msgspec.Struct, kw_only=True):
    """What `GET /status` says. `problem` is a sentence, "" when all is well."""

    cluster_id: str
    incarnation: int = 0
    incarnation_salt: str = ""
    archived_index: int = 0
    archived_ts: int = 0
    commit: int = 0
    lag_s: float = 0.0
    gaps: list[Gap] = msgspec.field(default_factory=list)
    problem: str = ""


class Limits(NamedTuple):
    """When a segment is written: full, or old; how often is asked, how long a gap is doubted."""

    segment_bytes: int = 16 * MIB
    every_s: float = 5.0
    poll_s: float = 0.5
    gap_patience_s: float = 60.0


class Members(Protocol):
    """Who is asked: `log_source.LogSource`."""

    async def survey(self) -> Survey:
        """Raises OSError."""
        ...

    async def read(self, address: str, start: int, bytes_max: int) -> Piece:
        """Raises `LogGone`, `MemberFailed`."""
        ...


class Lag:
    """For how long the newest entry that was committed, and is not archived, has waited.

    Who hears nobody knows of no commit; therefore silence counts as lag.
    """

    def __init__(self, now_s: float) -> None:
        self._heard_s = now_s
        self._waiting: deque[tuple[float, int]] = deque()

    def heard(self, commit: int, now_s: float) -> None:
        self._heard_s = now_s
        if len(self._waiting) < PENDING_MAX and (
            not self._waiting or commit > self._waiting[-1][1]
        ):
            self._waiting.append((now_s, commit))

    def seconds(self, archived: int, now_s: float) -> float:
        while self._waiting and self._waiting[0][1] <= archived:
            self._waiting.popleft()
        since_s = self._waiting[0][0] if self._waiting else self._heard_s
        return max(0.0, now_s - min(since_s, self._heard_s))


class Archive:
    """One archive of one cluster. `run` is a task; `status` is true at any moment."""

    def __init__(
        self, cluster_id: str, objects: Objects, source: Members, limits: Limits, say: Say
    ) -> None:
        self._objects, self._source, self._limits, self._say = objects, source, limits, say
        self._status = Status(cluster_id=cluster_id)
        self._incarnation: Incarnation | None = None
        self._entries: list[Entry] = []  # read and not archived
        self._bytes = 0
        self._oldest_s = 0.0
        self._lag = Lag(time.monotonic())
        self._quiet_since_s = time.monotonic()  # when the gap that we see was seen first
        self._gap_seen: Range | None = None

    def status(self) -> Status:
        """Return where the archive stands now."""
        self._status.lag_s = round(
            self._lag.seconds(self._status.archived_index, time.monotonic()), 1
        )
        return self._status

    @property
    def is_ready(self) -> bool:
        return self._incarnation is not None and self.status().lag_s <= READY_LAG_S

    async def run(self) -> None:
        """Archive for ever. Raises `StoreFailed` when the store cannot be listed at the start."""
        newest = await asyncio.to_thread(self._newest_incarnation)
        if newest is not None:
            await self._enter(newest)
        while True:
            try:
                await self._round()
                self._tell_problem("")
            except (MemberFailed, StoreFailed, OSError) as problem:
                self._tell_problem(str(problem))
            await asyncio.sleep(self._limits.poll_s)

    async def _round(self) -> None:
        """Read what is new and write what is due."""
        survey = await self._source.survey()
        incarnation = _newest(survey)
        if self._incarnation is None or incarnation.number > self._incarnation.number:
            await self._write()
            await self._enter(incarnation)
        members = choose(survey.seen, self._current)
        if not members:
            raise MemberFailed(f"nobody is of incarnation {self._status.incarnation}")
        self._status.commit = max(self._status.commit, *(each.commit for each in members))
        self._lag.heard(self._status.commit, time.monotonic())
        while await self._read(members, survey):
            await self._write_when_due()
        await self._write_when_due()

    # ------------------------------------------------------------ reading

    async def _read(self, members: list[Seen], survey: Survey) -> bool:
        """Read a piece from the first member that has it; say whether there is more."""
        start = self._next
        firsts: list[int] = []
        failures: list[str] = []
        for member in members:
            if member.commit < start:
                continue
            try:
                piece = await self._source.read(member.address, start, READ_BYTES)
            except LogGone as gone:
                firsts.append(gone.first)
                continue
            except MemberFailed as problem:
                failures.append(str(problem))
                continue
            if piece.incarnation == self._current and piece.entries:
                self._take(piece.entries)
                return piece.last >= self._next
        if firsts:
            unheard = len(failures) + len(survey.silent)
            await self._pass_over(Range(start, min(firsts) - 1), unheard)
        elif failures:
            raise MemberFailed("; ".join(failures))
        return False

    def _take(self, entries: list[Entry]) -> None:
        assert entries[0].index == self._next, "the log was asked for from there"
        if not self._entries:
            self._oldest_s = time.monotonic()
        self._entries += entries
        self._bytes += sum(len(entry.raw) for entry in entries)
        self._gap_seen = None

    async def _pass_over(self, gap: Range, unheard: int) -> None:
        """Go on behind entries that nobody has; name them, unless the archive just begins."""
        now_s = time.monotonic()
        if self._gap_seen is None:
            self._gap_seen, self._quiet_since_s = gap, now_s
        if unheard and now_s - self._quiet_since_s < self._limits.gap_patience_s:
            raise MemberFailed(
                f"entries {gap.first} to {gap.last} are gone at every member that answers;"
                f" {unheard} others may have them"
            )
        self._gap_seen = None
        await self._write()
        if self._status.archived_index:
            said = await self._name(self._folder, gap, "no member had them any more")
            self._status.gaps.append(said)
        self._status.archived_index = gap.last

    # ------------------------------------------------------------ writing

    async def _write_when_due(self) -> None:
        waited_s = time.monotonic() - self._oldest_s
        if self._entries and (
            self._bytes >= self._limits.segment_bytes or waited_s >= self._limits.every_s
        ):
            await self._write()

    async def _write(self) -> None:
        """Make what was read durable as one segment."""
        if not self._entries:
            return
        folder, entries = self._folder, self._entries
        segment = await asyncio.to_thread(self._put, folder, entries)
        self._entries, self._bytes = [], 0
        self._status.archived_index = segment
        self._status.archived_ts = _last_ts(entries) or self._status.archived_ts
        self._say("segment", first=entries[0].index, last=segment, lag_s=self.status().lag_s)

    def _put(self, folder: str, entries: list[Entry]) -> int:
        segment, block = encode_segment(folder, entries)
        self._objects.put(segment.key, block)
        return segment.last

    async def _name(self, folder: str, gap: Range, reason: str) -> Gap:
        named = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        said = Gap(gap.first, gap.last, reason, named)
        await asyncio.to_thread(self._objects.put, gap_key(folder, gap), encode_gap(said))
        self._say("gap", first=gap.first, last=gap.last, why=reason)
        return said

    # ------------------------------------------------------------ where we are

    @property
    def _current(self) -> Incarnation:
        assert self._incarnation is not None, "entered before anything is read"
        return self._incarnation

    @property
    def _folder(self) -> str:
        return folder_of_log(self._status.cluster_id, self._current)

    @property
    def _next(self) -> int:
        return 1 + (self._entries[-1].index if self._entries else self._status.archived_index)

    def _newest_incarnation(self) -> Incarnation | None:
        cluster_id = self._status.cluster_id
        found = {
            incarnation_of(stored.key, cluster_id)
            for stored in self._objects.list(f"{cluster_id}/{LOG}")
        }
        return max((each for each in found if each is not None), default=None)

    async def _enter(self, incarnation: Incarnation) -> None:
        """Go on in the folder of an incarnation behind what it holds; nothing changes before."""
        folder = folder_of_log(self._status.cluster_id, incarnation)
        keys = await asyncio.to_thread(lambda: [each.key for each in self._objects.list(folder)])
        found = held(keys)
        gaps = [Gap(each.first, each.last) for each in found.gaps]
        for hole in found.holes():
            why = "no segment was found when the archive started"
            gaps.append(await self._name(folder, hole, why))
        last_ts = await asyncio.to_thread(self._ts_of, found)
        self._incarnation = incarnation
        self._status.incarnation, self._status.incarnation_salt = incarnation
        self._status.archived_index, self._status.archived_ts = found.last, last_ts
        self._status.commit, self._status.gaps = 0, gaps
        self._lag = Lag(time.monotonic())
        self._say("incarnation", number=incarnation.number, archived_index=found.last)

    def _ts_of(self, found: Held) -> int:
        """Return the time of the last transaction in the newest segment, 0 when it says none."""
        if not found.segments:
            return 0
        newest = found.segments[-1]
        try:
            return _last_ts(
                decode_segment(newest, self._objects.get(newest.key, SEGMENT_BYTES_MAX))
            )
        except Corrupt as problem:
            self._say("damaged", why=problem.detail)
            return 0

    def _tell_problem(self, problem: str) -> None:
        if problem != self._status.problem:
            self._status.problem = problem
            self._say("problem" if problem else "well", why=problem)


def _newest(survey: Survey) -> Incarnation:
    """Return the latest incarnation that answered. Raises `MemberFailed`."""
    found = {each.incarnation for each in survey.seen}
    if not found:
        raise MemberFailed(f"no member answers: {', '.join(survey.silent)}")
    newest = max(found)
    if any(each.number == newest.number and each != newest for each in found):
        raise MemberFailed(f"members disagree about what incarnation {newest.number} is")
    return newest


def _last_ts(entries: list[Entry]) -> int:
    """Return the time of the last transaction, 0 when there is none. Says nothing of bad ones."""
    for entry in reversed(entries):
        if entry.kind is not EntryKind.DATA:
            continue
        try:
            payload: Any = decode_payload(entry.payload)
        except Malformed:
            continue  # of a later version than ours: to be archived all the same
        if isinstance(payload, Transaction):
            return payload.ts
    return 0
