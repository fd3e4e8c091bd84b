"""Who is to be told that a commit wrote what he watches?

A follower watches one stretch of keys. Of each transaction that is applied here he gets the
changes in it, computed once for all who watch the same; nobody else is woken.

Trap: a follower is told inside of the application of entries. He notes it and looks later.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from faunadb.store.changes import Change, Stretch, changes_in
from faunadb.store.keys import HEAD_BYTES


class Follower(Protocol):
    def touched(self, changes: Sequence[Change]) -> None:
        """One transaction wrote these documents; must only take note of it."""
        ...

    def broken(self) -> None:
        """The state is another one from here on: what was missed is not known."""
        ...


class Followers:
    """All who follow at one member, by what they watch."""

    def __init__(self) -> None:
        self._watched: dict[bytes, dict[Stretch, dict[Follower, None]]] = {}

    def add(self, stretch: Stretch, follower: Follower) -> None:
        """Tell `follower` of all transactions that are applied from now on."""
        self._watched.setdefault(stretch.head, {}).setdefault(stretch, {})[follower] = None

    def remove(self, stretch: Stretch, follower: Follower) -> None:
        """Tell him no more; nothing when he was not there."""
        stretches = self._watched.get(stretch.head, {})
        here = stretches.get(stretch, {})
        here.pop(follower, None)
        if not here:
            stretches.pop(stretch, None)
        if not stretches:
            self._watched.pop(stretch.head, None)

    def applied(self, ts: int, writes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """The transaction at `ts` microseconds is in the state."""
        if not self._watched:
            return
        written: dict[bytes, list[bytes]] = {}
        for key, raw in writes:
            if raw is not None and key[:HEAD_BYTES] in self._watched:
                written.setdefault(key[:HEAD_BYTES], []).append(key)
        for head, found in written.items():
            for stretch, followers in self._watched[head].items():
                changes = changes_in(ts, found, stretch)
                if changes:
                    for follower in followers:
                        follower.touched(changes)

    def swapped(self) -> None:
        """The whole state was replaced."""
        watched, self._watched = self._watched, {}
        for stretches in watched.values():
            for followers in stretches.values():
                for follower in followers:
                    follower.broken()
