"""What one member wrote and what of it is durable: kept beside the real log, to be compared.

    written   what the core has handed to the log
    durable   what a sync has covered; only this may be promised to anybody

After a crash the log must come back with all that was durable. One frame more may have survived
(each is whole or missing; of one that changes term or vote, its twin may have survived alone).
"""

from collections.abc import Callable, Sequence

from faunadb.node.ports import LogRestart, Recovered
from faunadb.raft.entries import HardState, Index, MemberId
from faunadb.raft.events import Write
from faunadb_sim.world import Violation


class Terms:
    """The terms of a log's entries by index; everything up to `base` is in a snapshot."""

    def __init__(self) -> None:
        self.base = 0
        self.by_index: dict[int, int] = {}
        self.last = 0

    def take(self, write: Write | LogRestart) -> None:
        """Do what a write says."""
        if isinstance(write, LogRestart):
            self.by_index.clear()
            self.base = self.last = write.id.index
            return
        if write.truncate_from is not None:
            self._truncate(write.truncate_from)
        for entry in write.entries:
            self.by_index[entry.index] = entry.term
        if write.entries:
            self.last = write.entries[-1].index

    def holds(self, index: int, term: int) -> bool:
        """Say whether this entry is here, or in the snapshot."""
        return index <= self.base or self.by_index.get(index) == term

    def _truncate(self, start: int) -> None:
        for index in range(start, self.last + 1):
            self.by_index.pop(index, None)
        self.last = min(self.last, start - 1)


class Books:
    """Implements `log.LogWatch` for one directory, over all lives of its processes."""

    def __init__(
        self,
        member: MemberId,
        truncating: Callable[[int, dict[int, int]], None],
        appending: Callable[[Write, int], None],
        on_platter: Callable[[], bool],
    ) -> None:
        """`truncating(start, terms)` and `appending(write, previous term)` judge a write;
        `on_platter` says whether the disk really has what the log says that it has."""
        self.member = member
        self.written, self.durable = Terms(), Terms()
        self.hard_state = HardState()
        self._truncating, self._appending, self._on_platter = truncating, appending, on_platter
        self._frame: tuple[Write | LogRestart, ...] = ()

    def submitted(self, write: Write | LogRestart) -> None:
        if isinstance(write, Write):
            if write.truncate_from is not None:
                self._truncating(write.truncate_from, self.written.by_index)
            if write.entries:
                self._appending(write, self._term_before(write))
        self.written.take(write)

    def framed(self, batch: Sequence[Write | LogRestart]) -> None:
        self._frame = tuple(batch)

    def synced(self, batch: Sequence[Write | LogRestart]) -> None:
        if not self._on_platter():
            raise Violation(f"member {self.member} calls durable what its disk does not have")
        for write in batch:
            self.durable.take(write)
            if isinstance(write, Write) and write.hard_state is not None:
                self.hard_state = write.hard_state
        self._frame = ()

    def recovered(self, found: Recovered) -> None:
        """Compare with what a start found, and begin again from there."""
        self._check_hard_state(found.hard_state)
        self._check_entries(found)
        self.hard_state = found.hard_state
        self._frame = ()
        for terms in (self.written, self.durable):
            terms.by_index = {entry.index: entry.term for entry in found.entries}
            terms.base = found.snapshot.id.index if found.snapshot else 0
            terms.last = max([terms.base, *terms.by_index])

    def _term_before(self, write: Write) -> int:
        return self.written.by_index.get(write.entries[0].index - 1, 0)

    def _check_hard_state(self, found: HardState) -> None:
        writes = [write for write in self._frame if isinstance(write, Write)]
        newer = [write.hard_state for write in writes if write.hard_state is not None]
        possible = [self.hard_state, *newer]
        if (found.term, found.vote) not in {(state.term, state.vote) for state in possible}:
            raise Violation(
                f"member {self.member} came back with term {found.term} and vote {found.vote},"
                f" not with one of {possible}"
            )

    def _check_entries(self, found: Recovered) -> None:
        terms: dict[int, int] = {entry.index: entry.term for entry in found.entries}
        start, base = self._voided_from(found), found.snapshot.id.index if found.snapshot else 0
        last = max([base, *terms])
        for index, term in self.durable.by_index.items():
            if base < index < start and terms.get(index) != term:
                raise Violation(f"member {self.member} lost its durable entry {term}/{index}")
        if self.durable.base > last:
            raise Violation(f"member {self.member} lost a snapshot at {self.durable.base}")

    def _voided_from(self, found: Recovered) -> float:
        """Return from where on a frame that may have survived says that the log is void."""
        start = float("inf")
        for write in self._frame:
            if isinstance(write, Write) and write.truncate_from is not None:
                start = min(start, write.truncate_from)
            elif isinstance(write, LogRestart):
                start = 0
        if found.snapshot is not None:
            held = self.durable.by_index.get(found.snapshot.id.index)
            if held is not None and held != found.snapshot.id.term:
                start = Index(0)
        return start
