"""From a backup to a point in time: archived entries on top of it, applied as members do.

    plan       the segments that lead from the backup's entry to the target; refused, before
               anything is written, when one is missing or the target lies outside
    apply      each entry through `machine.Machine`, up to the target and no further
    floor      timestamps that the lost history had issued are never issued again (SAFETY 10)

A target is an entry, or a time: then the last transaction that is not after it. Only the
incarnation of the backup counts: another one may be another history.

House rules: segments are read one at a time. Trap: a time is reached only when the archive holds
a transaction at or after it; an archive that ends earlier may have missed some before it.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from faunadb.backup.layout import LOG, Manifest
from faunadb.backup.objects import Objects
from faunadb.backup.progress import Progress
from faunadb.backup.segments import (
    SEGMENT_BYTES_MAX,
    Held,
    Incarnation,
    PointRefused,
    Segment,
    decode_segment,
    folder_of_log,
    gap_behind,
    held,
    path_through,
)
from faunadb.codec import Payload, RaiseCeiling, Transaction, decode_payload
from faunadb.errors import Corrupt, Malformed
from faunadb.machine import Machine
from faunadb.raft.entries import Entry, EntryKind
from faunadb.store.bookkeeping import bookkeeping_pair
from faunadb.store.ports import KeyValue

BATCH_ENTRIES = 1000  # of one write transaction


@dataclass(frozen=True)
class Target:
    """How far: an entry, a time in microseconds, or neither (the backup as it is)."""

    index: int | None = None
    ts_us: int | None = None

    def __str__(self) -> str:
        if self.index is not None:
            return f"index {self.index}"
        return "" if self.ts_us is None else f"ts {self.ts_us}"


@dataclass(frozen=True)
class Point:
    """Where a replay ends."""

    term: int
    index: int
    last_ts: int


class Plan(NamedTuple):
    """What is to be applied to a backup. `floor_us`: the highest time in the whole archive."""

    manifest: Manifest
    target: Target
    path: tuple[Segment, ...]
    floor_us: int


def make_plan(objects: Objects, manifest: Manifest, target: Target) -> Plan:
    """Find the way from a backup to the target. Raises `PointRefused`, `Corrupt`, `StoreFailed`."""
    _check_not_before(manifest, target)
    incarnation = Incarnation(manifest.incarnation, manifest.incarnation_salt)
    folder = folder_of_log(manifest.cluster_id, incarnation)
    found = held(stored.key for stored in objects.list(folder))
    path: list[Segment] = []
    if target.index is not None:
        path = path_through(found, manifest.index, target.index)
    elif target.ts_us is not None and target.ts_us > manifest.last_ts:
        path = path_through(found, manifest.index, None)
        _check_reaches(objects, found, path, manifest, target.ts_us)
    return Plan(manifest, target, tuple(path), _highest_us(objects, manifest.cluster_id))


def apply(plan: Plan, objects: Objects, kv: KeyValue, progress: Progress) -> None:
    """Apply the archived entries up to the target to a state that holds the backup.

    Raises `Corrupt` when they do not follow it, `StoreFailed`.
    """
    machine = Machine(kv)
    for entries in _entries(plan, objects, progress):
        term, index = machine.record.applied
        if entries[0].index != index + 1 or entries[0].term < term:
            raise Corrupt("archive", f"entry {entries[0].id} does not follow {term}/{index}")
        try:
            machine.apply(entries)
        except Malformed as problem:
            raise Corrupt("archive", f"behind entry {index}: {problem}") from problem
    floor_us = max(machine.record.ceiling, plan.floor_us)
    record = msgspec.structs.replace(machine.record, ceiling=floor_us)
    with kv.write() as writer:
        writer.put_many([bookkeeping_pair(record)])


def foretell(plan: Plan, objects: Objects, progress: Progress) -> Point:
    """Return where `apply` would end, by reading the same segments."""
    manifest = plan.manifest
    point = Point(manifest.term, manifest.index, manifest.last_ts)
    for entries in _entries(plan, objects, progress):
        times = _times(entries)
        point = Point(entries[-1].term, entries[-1].index, max([point.last_ts, *times]))
    return point


def parse_time(text: str) -> int:
    """Return an RFC 3339 time in microseconds since 1970. Raises ValueError with a sentence.

    >>> parse_time("1970-01-01T00:00:01.5Z")
    1500000
    """
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"{text!r} is not a time like 2026-11-22T10:00:00Z")
    return (found - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def say_time(us: int) -> str:
    """Return microseconds since 1970 as RFC 3339."""
    return (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=us)).isoformat() + "Z"  # noqa: DTZ001


# ---------------------------------------------------------------- refusals


def _check_not_before(manifest: Manifest, target: Target) -> None:
    backup = f"backup {manifest.backup_id}"
    if target.index is not None and target.index < manifest.index:
        raise PointRefused(
            "before_backup",
            f"entry {target.index} lies before {backup}, which is of entry {manifest.index}:"
            " take an earlier backup",
        )
    if target.ts_us is not None and target.ts_us < manifest.last_ts:
        raise PointRefused(
            "before_backup",
            f"{say_time(target.ts_us)} lies before {backup}, whose last transaction is of"
            f" {say_time(manifest.last_ts)}: take an earlier backup",
        )


def _check_reaches(
    objects: Objects, found: Held, path: list[Segment], manifest: Manifest, ts_us: int
) -> None:
    """Raise `PointRefused` unless the path holds a transaction at or after the wanted time."""
    last_ts = manifest.last_ts
    for segment in reversed(path):
        times = _times(_read(objects, segment))
        if times:
            last_ts = times[-1]
            break
    if last_ts >= ts_us:
        return
    reach = path[-1].last if path else manifest.index
    raise gap_behind(found, reach) or PointRefused(
        "beyond_archive",
        f"{say_time(ts_us)} lies behind the last archived transaction, which is of"
        f" {say_time(last_ts)} (the archive ends at entry {reach})",
    )


# ---------------------------------------------------------------- reading


def _entries(plan: Plan, objects: Objects, progress: Progress) -> Iterator[Sequence[Entry]]:
    """Yield the entries behind the backup up to the target, in batches."""
    reach = plan.manifest.index
    if plan.path:
        progress.stage("replay", segments=len(plan.path), target=str(plan.target))
    for segment in plan.path:
        block = _read(objects, segment)
        progress.advance(sum(len(entry.raw) for entry in block))
        wanted = [entry for entry in block if entry.index > reach]
        kept = _up_to(wanted, plan.target)
        for at in range(0, len(kept), BATCH_ENTRIES):
            yield kept[at : at + BATCH_ENTRIES]
        if len(kept) < len(wanted):
            return
        reach = segment.last


def _up_to(entries: list[Entry], target: Target) -> list[Entry]:
    if target.index is not None:
        return [entry for entry in entries if entry.index <= target.index]
    assert target.ts_us is not None, "without a target there is no path"
    for at, entry in enumerate(entries):
        payload = _payload(entry)
        if isinstance(payload, Transaction) and payload.ts > target.ts_us:
            return entries[:at]
    return entries


def _read(objects: Objects, segment: Segment) -> list[Entry]:
    return decode_segment(segment, objects.get(segment.key, SEGMENT_BYTES_MAX))


def _times(entries: Sequence[Entry]) -> list[int]:
    found = map(_payload, entries)
    return [payload.ts for payload in found if isinstance(payload, Transaction)]


def _payload(entry: Entry) -> Payload | None:
    if entry.kind is not EntryKind.DATA:
        return None
    try:
        return decode_payload(entry.payload)
    except Malformed as problem:
        raise Corrupt("archive", f"entry {entry.id}: {problem}") from problem


def _highest_us(objects: Objects, cluster_id: str) -> int:
    """Return the highest time that any incarnation's newest segment tells of, 0 for none."""
    newest: dict[str, Segment] = {}
    for segment in held(stored.key for stored in objects.list(f"{cluster_id}/{LOG}")).segments:
        newest[segment.key.rpartition("/")[0]] = segment  # in order of first entry
    highest = 0
    for segment in newest.values():
        for payload in map(_payload, _read(objects, segment)):
            if isinstance(payload, Transaction):
                highest = max(highest, payload.ts, payload.ceiling)
            elif isinstance(payload, RaiseCeiling):
                highest = max(highest, payload.ceiling)
    return highest
