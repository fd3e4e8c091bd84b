"""The log in memory: what follows `base`, what of it is on disk, and what is committed.

Indexes grow strictly: base <= commit <= last; `synced` is how far our own disk has the log,
`emitted` how far the machine was given it (at most min(commit, synced), SAFETY 15).

Trap: the disk finishes writes in order but later, and meanwhile a conflict may have replaced
what they wrote. `_writes` remembers, for each running write, up to where it still covers the
log; a truncation lowers that, so a late completion never counts an entry that it did not write.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import msgspec

from faunadb.raft.entries import Entry, EntryId, Index, Term

READY_ENTRIES_MAX = 1024  # that the machine gets at once: some 25 ms of its time
READY_BYTES_MAX = 4 * 1024 * 1024


class LogSlice(msgspec.Struct, frozen=True):
    """Consecutive entries and the entry before them; terms do not fall."""

    prev: EntryId
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        term, index = self.prev.term, self.prev.index
        for entry in self.entries:
            assert entry.index == index + 1, f"{entry.id} does not follow {index}"
            assert entry.term >= term, f"{entry.id} is older than term {term}"
            term, index = entry.term, entry.index


class RaftLog:
    """Entries after `base`, the last entry that a snapshot stands for."""

    def __init__(self, base: EntryId, entries: Sequence[Entry], *, commit: Index) -> None:
        LogSlice(base, tuple(entries))
        self.base = base
        self.last = entries[-1].id if entries else base
        assert base.index <= commit <= self.last.index, "commit lies outside the log"
        self.commit = commit
        self.synced = self.last.index  # what recovery reads was made durable again (SAFETY 14)
        self.emitted = base.index
        self._entries = list(entries)
        self._writes: deque[list[int]] = deque()  # [sequence, covered up to], in order

    # ------------------------------------------------------------ questions

    def term_at(self, index: int) -> Term | None:
        """Return the term of the entry at `index`, `None` before `base` and after the end."""
        offset = index - self.base.index
        if offset <= 0:
            return self.base.term if offset == 0 else None
        return self._entries[offset - 1].term if offset <= len(self._entries) else None

    def has(self, id_: EntryId) -> bool:
        """Say whether the log holds exactly this entry (or has it as its base)."""
        return self.term_at(id_.index) == id_.term

    def between(self, after: int, through: int) -> Sequence[Entry]:
        """Return the entries in (after, through]; `after` is not below the base."""
        assert after >= self.base.index, f"{after} was cut"
        start = self.base.index
        return self._entries[after - start : through - start]

    def from_(self, index: int) -> Iterator[Entry]:
        """Yield the entries from `index` on."""
        assert index > self.base.index, f"{index} was cut"
        for offset in range(index - self.base.index - 1, len(self._entries)):
            yield self._entries[offset]

    def newest_fitting(self, hint: EntryId) -> EntryId:
        """Return our newest entry at or before `hint.index` whose term is not above its term.

        Entries of a higher term cannot be in the other log at that place, so a whole term of
        conflict costs one message (Raft 5.3, end).
        """
        index = min(hint.index, self.last.index)
        while (
            index > self.base.index and self._entries[index - self.base.index - 1].term > hint.term
        ):
            index = Index(index - 1)
        term = self.term_at(index)
        return EntryId(Term(0) if term is None else term, index)

    def batch_end(self, start: int, bytes_max: int) -> int:
        """Return the last index of a message that starts at `start`: at least one entry."""
        size = 0
        for entry in self.from_(start):
            size += len(entry.raw)
            if size > bytes_max and entry.index > start:
                return entry.index - 1
        return self.last.index

    # ------------------------------------------------------------ changes

    def append(self, entries: Sequence[Entry]) -> None:
        """Put `entries` at the end."""
        LogSlice(self.last, tuple(entries))
        self._entries.extend(entries)
        self.last = self._entries[-1].id if self._entries else self.base

    def truncate(self, from_index: int) -> None:
        """Forget the entries from `from_index` on; never one that is committed."""
        assert from_index > self.commit, f"{from_index} is committed"
        del self._entries[from_index - self.base.index - 1 :]
        self.last = self._entries[-1].id if self._entries else self.base
        self._lower(from_index - 1)

    def cut(self, through: int) -> None:
        """Let the entries up to `through` leave memory; only what the machine holds."""
        through = min(through, self.emitted)
        if through <= self.base.index:
            return
        term = self.term_at(through)
        assert term is not None
        del self._entries[: through - self.base.index]
        self.base = EntryId(term, Index(through))

    def reset(self, base: EntryId) -> None:
        """Start over after a snapshot that the log does not contain."""
        assert base.index > self.commit, "a snapshot never takes back what is committed"
        self._entries.clear()
        self.base = self.last = base
        self._lower(0)
        self.commit = self.synced = self.emitted = base.index

    def _lower(self, covered: int) -> None:
        self.synced = min(self.synced, Index(covered))
        for write in self._writes:
            write[1] = min(write[1], covered)

    # ------------------------------------------------------------ the disk

    def writing(self, sequence: int) -> None:
        """Remember that a write which covers the log to its present end was handed out."""
        self._writes.append([sequence, self.last.index])

    def wrote(self, sequence: int) -> None:
        """Count what the write `sequence`, and all before it, put on disk."""
        while self._writes and self._writes[0][0] <= sequence:
            _, covered = self._writes.popleft()
            if covered > self.synced:
                self.synced = Index(covered)

    @property
    def is_far_behind(self) -> bool:
        """Say whether the machine lacks more than it is given at once."""
        return min(self.commit, self.synced) - self.emitted > READY_ENTRIES_MAX

    def take_ready(self) -> Sequence[Entry]:
        """Return the next entries that the machine may have, each once and not too many."""
        through = min(self.commit, self.synced)
        if through <= self.emitted:
            return ()
        ready = self.between(self.emitted, min(through, self.emitted + READY_ENTRIES_MAX))
        size = 0
        for count, entry in enumerate(ready, 1):
            size += len(entry.raw)
            if size >= READY_BYTES_MAX:
                ready = ready[:count]
                break
        self.emitted = ready[-1].index
        return ready

    def check(self) -> None:
        """Assert what always holds."""
        assert self.base.index <= self.emitted <= self.commit <= self.last.index
        assert self.synced <= self.last.index
        assert self.emitted <= max(self.synced, self.base.index)
        assert self.last.index == self.base.index + len(self._entries)
