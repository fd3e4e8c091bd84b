"""Linearizable reads wait here for a confirmation (dissertation 6.4).

A leader confirms by hearing that a majority still follows it, a follower by asking the leader.
Both number their attempts, and both wait in the same queue: a read stands behind the first
attempt whose messages left *after* it arrived, and is served by the answer to that attempt or
to any later one.

Trap: an attempt that is sent again under its old number lets a late answer confirm reads that
came after it was given (etcd #20418). So a number is used for one broadcast only, and a process
counts from a place drawn by chance: an answer to its earlier life, in the same term, fits none.
"""

from collections import deque

import msgspec

from faunadb.raft.entries import MemberId

ROUNDS = 2**52  # all that a float between 0 and 1 can tell apart


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A read: whose it is (0: of this member itself), its token there, when it came."""

    origin: MemberId
    token: int
    asked_at: int  # ticks


class ReadQueue:
    """Reads in order of arrival, in batches that stand behind a numbered attempt."""

    def __init__(self) -> None:
        self.round = 0  # the newest attempt
        self.waiting: list[Waiting] = []  # no attempt covers them yet
        self._batches: deque[tuple[int, list[Waiting]]] = deque()

    def count_from(self, draw: float) -> None:
        """Begin to number attempts at a place of 2**52; `draw` in [0, 1)."""
        assert not self.running, "only before the first attempt"
        self.round = int(draw * ROUNDS)

    def ask(self, read: Waiting) -> None:
        self.waiting.append(read)

    def begin(self, *, cover: bool = True) -> int:
        """Number a new attempt, whose messages must leave now; it covers all that wait."""
        self.round += 1
        if cover and self.waiting:
            self._batches.append((self.round, self.waiting))
            self.waiting = []
        return self.round

    @property
    def running(self) -> bool:
        """Say whether reads stand behind an attempt that was not answered."""
        return bool(self._batches)

    def confirm(self, round_: int) -> list[Waiting]:
        """Return the reads that an answer to attempt `round_` serves."""
        served: list[Waiting] = []
        if round_ > self.round:
            return served  # not a number of ours
        while self._batches and self._batches[0][0] <= round_:
            served.extend(self._batches.popleft()[1])
        return served

    def drop(self) -> list[Waiting]:
        """Return all reads and forget them: nobody can serve them any more."""
        dropped = self.confirm(self.round) + self.waiting
        self.waiting = []
        return dropped

    def expire(self, asked_before: int) -> list[Waiting]:
        """Return the reads that came before this tick and forget them."""
        expired: list[Waiting] = []
        for batch in [*(batch for _, batch in self._batches), self.waiting]:
            late_count = sum(1 for read in batch if read.asked_at < asked_before)
            expired.extend(batch[:late_count])
            del batch[:late_count]
            if batch:
                break
        while self._batches and not self._batches[0][1]:
            self._batches.popleft()
        return expired
