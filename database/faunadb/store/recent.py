"""What did the latest transactions write? The keys, while somebody asks for them.

A feed that is asked again and again wants what happened since it was last asked. This spares it
the look through the whole history of its collection: the keys of the latest transactions are
kept in memory from the first feed on, until nobody has asked for long.

Trap: this knows nothing of what was applied before it began; `changes` says None then, and
history has to be looked through.
"""

from collections import deque
from collections.abc import Callable, Iterable

from faunadb.store.changes import ORDINAL_MAX, Change, Place, Stretch, numbered

KEYS_MAX = 100_000  # about 12 MB
UNASKED_MAX = 100_000  # transactions after which nobody seems to ask any more


class Recent:
    """Keys of transactions, oldest first; everything behind `_since` is here."""

    def __init__(self) -> None:
        self._written: deque[tuple[int, list[bytes]]] = deque()
        self._keys = self._unasked = 0
        self._since: int | None = None

    def applied(self, ts: int, writes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Remember the transaction at `ts` microseconds, if anybody wants to know."""
        if self._since is None:
            return
        self._unasked += 1
        if self._unasked > UNASKED_MAX:
            self.forget()
            return
        keys = [key for key, raw in writes if raw is not None]
        self._written.append((ts, keys))
        self._keys += len(keys)
        while self._keys > KEYS_MAX:
            self._since, gone = self._written.popleft()
            self._keys -= len(gone)

    def changes(
        self,
        stretch: Stretch,
        after: Place,
        last_ts: int,
        through_ts: int,
        tick: Callable[[int], None],
    ) -> list[Change] | None:
        """Return what was written behind `after` up to `through_ts`; None when that is not known.

        `last_ts` is the last transaction that was applied: from there on all will be known.
        """
        self._unasked = 0
        if self._since is None:
            self._since = last_ts
        if after < (self._since, ORDINAL_MAX):
            return None
        found: list[tuple[int, bytes]] = []
        for ts, keys in reversed(self._written):
            if ts < after.ts:
                break
            tick(1 + len(keys))
            if ts <= through_ts:
                found += [(ts, key) for key in keys if stretch.start <= key < stretch.end]
        found.sort()
        return numbered(found, after)

    def forget(self) -> None:
        """Nobody asks, or the state was replaced: begin anew with the next question."""
        self._written.clear()
        self._keys = self._unasked = 0
        self._since = None
