"""What does one query see and remember? A snapshot, its own writes on top, and all it looked at.

House rules: everything read goes into the read set, the absent too; ranges grow while they are
consumed, so that an unfinished scan depends on no more than it has seen. A scan sees the own
writes that were there when it began: a loop over a set may write what it runs over.

Trap: an own version has no time yet (`ts` is None).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from sortedcontainers import SortedList

from faunadb.errors import QueryError
from faunadb.store import keys, mvcc
from faunadb.store.effects import ReadSet
from faunadb.store.indexes import Entry
from faunadb.store.mvcc import Version
from faunadb.store.ports import Reader

TRANSACTION_BYTES_MAX = 16 * 1024 * 1024


class _Span:
    """A range that is being read: [start, end) grows as the scan consumes."""

    __slots__ = ("end", "start")

    def __init__(self, start: bytes, end: bytes) -> None:
        self.start, self.end = start, end


class Buffer:
    """One query's snapshot at `ts` microseconds in database `scope`."""

    def __init__(self, reader: Reader, scope: int, ts: int) -> None:
        self.reader = reader
        self.scope = scope
        self.ts = ts
        self.own: dict[bytes, Entry] = {}  # in the order of writing
        self.valid_before: int | None = None  # first expiry among what was seen, microseconds
        self._points: set[bytes] = {keys.schema_prefix(scope)}
        self._spans: list[_Span] = []
        self._order: SortedList[bytes] | None = None  # own prefixes, from the first scan on
        self._bytes = 0

    def current(self, prefix: bytes) -> Version | None:
        """Return what stands for `prefix` now, deletions and expired versions included."""
        own = self.own.get(prefix)
        if own is not None:
            return Version(prefix, None, own.raw)
        self._points.add(prefix)
        return mvcc.newest(self.reader, prefix, self.ts)

    def visible(self, prefix: bytes) -> Version | None:
        """Return the version that the query sees."""
        found = self.current(prefix)
        return found if found is not None and self._sees(found) else None

    def live(self, start: bytes, end: bytes, *, reverse: bool = False) -> Iterator[Version]:
        """Yield the versions that the query sees in [start, end)."""
        if start >= end:
            return
        span = _Span(end, end) if reverse else _Span(start, start)
        self._spans.append(span)
        for found in self._merged(start, end, reverse=reverse):
            if reverse:
                span.start = found.prefix
            else:
                span.end = keys.after(found.prefix)
            if self._sees(found):
                yield found
        span.start, span.end = start, end

    def is_untouched(self, start: bytes, end: bytes) -> bool:
        """Return whether no version at all, however old, lies in [start, end)."""
        if next(iter(self.reader.scan(start, end)), None) is not None:
            return False  # needs no record: what was written once stays written
        self._spans.append(_Span(start, end))
        return not self._own_between(start, end)

    def write(self, entries: Iterable[tuple[bytes, Entry]]) -> None:
        """Put own versions; refuses, as `invalid_request`, more than 16 MiB in all."""
        for prefix, entry in entries:
            before = self.own.get(prefix)
            if before is not None:
                self._bytes -= len(prefix) + len(before.raw)
            elif self._order is not None:
                self._order.add(prefix)
            self._bytes += len(prefix) + len(entry.raw)
            self.own[prefix] = entry
        if self._bytes > TRANSACTION_BYTES_MAX:
            raise QueryError(
                "invalid_request",
                f"Transaction exceeded limit: got {self._bytes} bytes, "
                f"limit {TRANSACTION_BYTES_MAX} bytes",
            )

    def take_back(self, prefixes: Iterable[bytes]) -> None:
        """Forget own versions."""
        for prefix in prefixes:
            self._bytes -= len(prefix) + len(self.own.pop(prefix).raw)
            if self._order is not None:
                self._order.remove(prefix)

    def reads(self) -> ReadSet:
        """Return what was read so far, also by scans that are not finished."""
        ranges = tuple([(span.start, span.end) for span in self._spans if span.start < span.end])
        return ReadSet(frozenset(self._points), ranges)

    def _merged(self, start: bytes, end: bytes, *, reverse: bool) -> Iterator[Version]:
        stored = mvcc.scan_newest(self.reader, start, end, self.ts, reverse=reverse)
        own = self._own_between(start, end)
        if not own:
            return stored
        if reverse:
            own.reverse()
        mine = [Version(prefix, None, self.own[prefix].raw) for prefix in own]
        return _merge(stored, mine, reverse=reverse)

    def _own_between(self, start: bytes, end: bytes) -> list[bytes]:
        if not self.own:
            return []
        if self._order is None:
            self._order = SortedList(self.own)
        return list(self._order.irange(start, end, (True, False)))

    def _sees(self, found: Version) -> bool:
        if not found.live_at(self.ts):
            return False
        ttl = found.ttl
        if ttl is not None:
            until = -(-ttl.nanos // 1000)
            self.valid_before = min(until, self.valid_before or until)
        return True


def _merge(
    stored: Iterator[Version], own: Sequence[Version], *, reverse: bool
) -> Iterator[Version]:
    """Yield both in order; of one prefix the own version only."""
    waiting = iter(own)
    mine = next(waiting, None)
    for found in stored:
        while mine is not None and (
            mine.prefix > found.prefix if reverse else mine.prefix < found.prefix
        ):
            yield mine
            mine = next(waiting, None)
        if mine is not None and mine.prefix == found.prefix:
            yield mine
            mine = next(waiting, None)
        else:
            yield found
    if mine is not None:
        yield from chain((mine,), waiting)
