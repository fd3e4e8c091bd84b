"""How does a leader see what is appended but not applied? As a layer over the applied state.

The tip is one pair: a reader whose applied index A is read from inside it, and the writes of
every entry in (A, last], committed or not (SAFETY 2). The layer may hold more than that,
because an entry that is in both parts says the same twice; so it is pruned only below the
oldest open view.

House rules: exists only while the member leads; a new leader loads its inherited tail before
it evaluates or issues a timestamp. Removal of history is not in it: nobody who may read misses
what goes.

Trap: `Window` forgets by bytes. Effects whose base lies below it are evaluated again, not
validated (SAFETY 3).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from sortedcontainers import SortedDict

from faunadb.codec import (
    CloseForClients,
    OpenForClients,
    Payload,
    RaiseCeiling,
    RequestId,
    Transaction,
)
from faunadb.store.bookkeeping import Bookkeeping
from faunadb.store.effects import ReadSet, written_prefixes
from faunadb.store.ports import Reader
from faunadb.store.requests import Remembered, find_request, remembered

WINDOW_BYTES_MAX = 64 * 1024 * 1024
_PREFIX_OVERHEAD_BYTES = 150  # measured size of an entry of a dict of short bytes


class Overlay:
    """The log's tail of a leader. Pairs are (term, index), times microseconds."""

    def __init__(self, applied: Bookkeeping) -> None:
        self.last = applied.applied
        self.last_ts = applied.last_ts
        self.ceiling = applied.ceiling
        self.open_for_clients = applied.open_for_clients
        self.window = Window(applied.applied[1])
        self._pairs: SortedDict[bytes, tuple[int, bytes | None]] = SortedDict()
        self._requests: dict[RequestId, Remembered] = {}
        self._entries: deque[tuple[int, Sequence[bytes], RequestId | None]] = deque()

    def load(self, tail: Iterable[tuple[tuple[int, int], Payload | None]]) -> None:
        """Take in an inherited tail; `None` stands for entries that are no payloads."""
        for entry, payload in tail:
            self.append(entry, payload)
        self.window = Window(self.last[1])

    def append(self, entry: tuple[int, int], payload: Payload | None) -> None:
        """Take in the entry that was appended to the log; consecutive (assertion)."""
        assert entry[1] == self.last[1] + 1, "the log has no gaps"
        assert entry[0] >= self.last[0], "terms never fall"
        self.last = entry
        match payload:
            case Transaction():
                self._append_transaction(entry[1], payload)
            case RaiseCeiling(ceiling):
                self.ceiling = max(self.ceiling, ceiling)
            case OpenForClients():
                self.open_for_clients = True
            case CloseForClients():
                self.open_for_clients = False

    def _append_transaction(self, index: int, transaction: Transaction) -> None:
        assert transaction.ts > self.last_ts, "the order of the log is the order of timestamps"
        self.last_ts = transaction.ts
        self.ceiling = max(self.ceiling, transaction.ceiling)
        self._pairs.update([(key, (index, raw)) for key, raw in transaction.writes])
        if transaction.request is not None:
            assert transaction.request not in self._requests, "a request is appended once"
            self._requests[transaction.request] = remembered(transaction)
        written = [key for key, _ in transaction.writes]
        self._entries.append((index, written, transaction.request))
        self.window.note(index, list(written_prefixes(transaction.writes)))

    def prune(self, through: int) -> None:
        """Forget entries up to index `through`: every open view's state has applied them."""
        while self._entries and self._entries[0][0] <= through:
            index, written, request = self._entries.popleft()
            for key in written:
                kept = self._pairs.get(key)
                if kept is not None and kept[0] == index:
                    del self._pairs[key]
            if request is not None:
                del self._requests[request]

    def over(self, reader: Reader) -> "TipReader":
        """Return a reader of the tip; valid until the next `append` or `prune`."""
        return TipReader(reader, self._pairs)

    def find_request(self, reader: Reader, request: RequestId) -> Remembered | None:
        """Return how a request was answered, in the tail or in the state (SAFETY 5)."""
        found = self._requests.get(request)
        return found if found is not None else find_request(reader, request)

    def __len__(self) -> int:
        """Return how many transactions it holds."""
        return len(self._entries)


class TipReader:
    """A `Reader` of the applied state and the tail on top."""

    def __init__(self, base: Reader, pairs: "SortedDict[bytes, tuple[int, bytes | None]]") -> None:
        self._base = base
        self._pairs = pairs

    def get(self, key: bytes) -> bytes | None:
        found = self._pairs.get(key)
        return self._base.get(key) if found is None else found[1]

    def scan(
        self, start: bytes, end: bytes | None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs with start <= key < end, descending if `reverse`."""
        stored = self._base.scan(start, end, reverse=reverse)
        above = self._pairs.irange(start, end, (True, False), reverse)
        first = next(above, None)
        if first is None:
            return stored
        return self._merged(stored, first, above, reverse=reverse)

    def _merged(
        self,
        stored: Iterator[tuple[bytes, bytes]],
        first: bytes,
        above: Iterator[bytes],
        *,
        reverse: bool,
    ) -> Iterator[tuple[bytes, bytes]]:
        mine: bytes | None = first
        for pair in stored:
            key = pair[0]
            while mine is not None and (mine > key if reverse else mine < key):
                raw = self._pairs[mine][1]
                if raw is not None:
                    yield mine, raw
                mine = next(above, None)
            if mine != key:
                yield pair
        while mine is not None:
            raw = self._pairs[mine][1]
            if raw is not None:
                yield mine, raw
            mine = next(above, None)


class Window:
    """What was written lately, by prefix: covers the entries in (`start`, last]."""

    def __init__(self, start: int, bytes_max: int = WINDOW_BYTES_MAX) -> None:
        self.start = start
        self._bytes_max = bytes_max
        self._bytes = 0
        self._last: dict[bytes, int] = {}
        self._entries: deque[tuple[int, list[bytes]]] = deque()

    def note(self, index: int, prefixes: list[bytes]) -> None:
        """Remember what the entry at `index` wrote; forget the oldest beyond the limit."""
        self._entries.append((index, prefixes))
        for prefix in prefixes:
            self._last[prefix] = index
        self._bytes += _bytes_of(prefixes)
        while self._bytes > self._bytes_max:
            self._forget()

    def _forget(self) -> None:
        self.start, prefixes = self._entries.popleft()
        self._bytes -= _bytes_of(prefixes)
        for prefix in prefixes:
            if self._last[prefix] == self.start:
                del self._last[prefix]

    def covers(self, base: int) -> bool:
        """Return whether effects computed at index `base` can be validated here."""
        return base >= self.start

    def conflicts(self, reads: ReadSet, base: int) -> bool:
        """Return whether anything read at `base` was written since; needs `covers(base)`."""
        assert self.covers(base)
        if any(self._last.get(point, 0) > base for point in reads.points):
            return True
        for index, prefixes in reversed(self._entries):
            if index <= base:
                return False
            for prefix in prefixes:
                if any(start <= prefix < end for start, end in reads.ranges):
                    return True
        return False


def _bytes_of(prefixes: Iterable[bytes]) -> int:
    return sum([len(prefix) + _PREFIX_OVERHEAD_BYTES for prefix in prefixes])
