"""What lies in the archive of a cluster's log, and under which names (docs/formats.md).

    {clusterID}/log/{incarnation:010d}-{salt}/
        {first:020d}-{last:020d}-{sha256}.zst    consecutive committed entries, as records
        gap-{from:020d}-{to:020d}.json           entries that nobody had any more

An incarnation has a folder of its own, because its history may have left the former one's.

House rules: nothing here talks to a store. Segments may overlap: two archives may have run at
once, and committed entries are the same wherever they come from.
Trap: names and bytes come from outside: both are checked, and the digest is of what is stored.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import zstandard

from faunadb.backup.layout import LOG, MIB
from faunadb.errors import Corrupt, Malformed
from faunadb.raft.entries import Entry
from faunadb.raft.records import decode_records, encode_records

SEGMENT_BYTES_MAX = 128 * MIB  # more than any segment: 64 MiB asked for and one whole entry
_LEVEL = 3
_FOLDER = re.compile(r"([0-9]{10})-([0-9a-f]{32})")
_SEGMENT = re.compile(r"([0-9]{20})-([0-9]{20})-([0-9a-f]{64})\.zst")
_GAP = re.compile(r"gap-([0-9]{20})-([0-9]{20})\.json")


class PointRefused(Exception):
    """The archive does not lead from the backup to the wanted point; nothing was written."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Incarnation(NamedTuple):
    """Which history; later ones compare greater. `salt` is 32 hex digits."""

    number: int
    salt: str


class Range(NamedTuple):
    """Entries from `first` to `last`, both included."""

    first: int
    last: int


class Segment(NamedTuple):
    """One object of entries, by its name."""

    first: int
    last: int
    sha256: str
    key: str


class Gap(msgspec.Struct, frozen=True):
    """Entries that are in no segment, and why. `named` is RFC 3339."""

    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")
    reason: str = ""
    named: str = ""


class Held(NamedTuple):
    """What a folder holds, in order of first entry."""

    segments: tuple[Segment, ...]
    gaps: tuple[Range, ...]

    @property
    def last(self) -> int:
        """Return the last entry that a segment or a named gap covers, 0 for none."""
        return max((each.last for each in self._covered()), default=0)

    def holes(self) -> list[Range]:
        """Return what lies between segments and is named by no gap."""
        covered = self._covered()
        found, reach = [], covered[0].first - 1 if covered else 0
        for each in covered:
            if each.first > reach + 1:
                found.append(Range(reach + 1, each.first - 1))
            reach = max(reach, each.last)
        return found

    def _covered(self) -> list[Range]:
        return sorted([*(Range(each.first, each.last) for each in self.segments), *self.gaps])


def folder_of_log(cluster_id: str, incarnation: Incarnation) -> str:
    """Return where the log of an incarnation lies."""
    return f"{cluster_id}/{LOG}/{incarnation.number:010d}-{incarnation.salt}"


def incarnation_of(key: str, cluster_id: str) -> Incarnation | None:
    """Return the incarnation in whose folder an object of the archive lies."""
    parts = key.removeprefix(f"{cluster_id}/{LOG}/").split("/")
    found = _FOLDER.fullmatch(parts[0])
    return Incarnation(int(found[1]), found[2]) if found and len(parts) == 2 else None


def gap_key(folder: str, gap: Range) -> str:
    return f"{folder}/gap-{gap.first:020d}-{gap.last:020d}.json"


def held(keys: Iterable[str]) -> Held:
    """Sort the objects of one folder; names that are not ours are left out."""
    segments: list[Segment] = []
    gaps: list[Range] = []
    for key in keys:
        name = key.rpartition("/")[2]
        if match := _SEGMENT.fullmatch(name):
            segments.append(Segment(int(match[1]), int(match[2]), match[3], key))
        elif match := _GAP.fullmatch(name):
            gaps.append(Range(int(match[1]), int(match[2])))
    return Held(tuple(sorted(segments)), tuple(sorted(gaps)))


def encode_segment(folder: str, entries: Sequence[Entry]) -> tuple[Segment, bytes]:
    """Return the name of a segment and its bytes."""
    block = zstandard.ZstdCompressor(level=_LEVEL).compress(encode_records(entries))
    sha256 = hashlib.sha256(block).hexdigest()
    first, last = entries[0].index, entries[-1].index
    name = f"{first:020d}-{last:020d}-{sha256}.zst"
    return Segment(first, last, sha256, f"{folder}/{name}"), block


def decode_segment(segment: Segment, block: bytes | memoryview) -> list[Entry]:
    """Undo `encode_segment`. Raises `Corrupt` when the bytes are not what the name says."""
    if hashlib.sha256(block).hexdigest() != segment.sha256:
        raise Corrupt("archive", f"{segment.key} does not match its digest")
    try:
        entries = decode_records(_unpacked(block))
    except (zstandard.ZstdError, Malformed) as problem:
        raise Corrupt("archive", f"{segment.key}: {problem}") from problem
    if not entries or (entries[0].index, entries[-1].index) != (segment.first, segment.last):
        raise Corrupt("archive", f"{segment.key} does not hold what its name says")
    return entries


def _unpacked(block: bytes | memoryview) -> bytes:
    size = zstandard.frame_content_size(block)
    if not 0 < size <= SEGMENT_BYTES_MAX:
        raise Malformed(f"it has {size} bytes of records")
    return zstandard.ZstdDecompressor().decompress(block)


def encode_gap(gap: Gap) -> bytes:
    """Return the object that names a gap, for people."""
    return msgspec.json.format(msgspec.json.encode(gap), indent=2)


def path_through(found: Held, after: int, through: int | None) -> list[Segment]:
    """Return segments that hold every entry from `after` + 1 on, up to `through` or the end.

    Raises `PointRefused` with the entries that are missing on the way to `through`; without it
    the path ends before the first missing one.
    """
    path: list[Segment] = []
    reach = after
    for segment in found.segments:
        if segment.last <= reach:
            continue
        if segment.first > reach + 1 or (through is not None and reach >= through):
            break
        path.append(segment)
        reach = segment.last
    if through is not None and reach < through:
        raise gap_behind(found, reach) or PointRefused(
            "beyond_archive",
            f"the archive ends at entry {reach}, before the wanted entry {through}",
        )
    return path


def gap_behind(found: Held, reach: int) -> "PointRefused | None":
    """Return a refusal that names the entries behind `reach` if later ones are there."""
    later = [segment.first for segment in found.segments if segment.first > reach + 1]
    if not later:
        return None
    if any(gap.first <= reach + 1 <= gap.last for gap in found.gaps):
        how = "a named gap"
    elif min(later) == found.segments[0].first:
        how = "it begins later"
    else:
        how = "segments that were removed"
    return PointRefused(
        "archive_gap",
        f"entries {reach + 1} to {later[0] - 1} are missing in the archive ({how}):"
        " nothing behind them can be reached from this backup",
    )
