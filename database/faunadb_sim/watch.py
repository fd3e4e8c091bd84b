"""What must hold after every event, over all members at once (RAFT.md §5).

    one leader in each term, one vote of each member
    two logs with the same entry have the same history before it
    a new leader has all that was committed in earlier terms
    what is committed is on the platters of a quorum, and its leader is of its term
    all apply the same entries, and have the same state after the same entry
    nobody says more than its own disk holds, and nobody takes back what is committed
    an answer of a write is on the platters of a quorum
    transaction times are the order of real time

Trap: these are statements about the world, not about one member's opinion: a member that was
paused is allowed to be wrong, but not to be believed.
"""

import hashlib
import heapq
from collections.abc import Iterable, Sequence

from faunadb.codec import Transaction, decode_payload
from faunadb.node.gateway import QUERIES_PENDING_MAX
from faunadb.raft.core import Core
from faunadb.raft.entries import Configuration, Entry, EntryKind, Index, MemberId
from faunadb.raft.events import Role, Write
from faunadb.raft.messages import AppendResponse, Message, VoteResponse
from faunadb.raft.state import CoreConfig
from faunadb_sim.books import Books
from faunadb_sim.world import Violation

_CONFIG = CoreConfig()
_PROPOSALS_OF_A_TURN_MAX = 8 * 1024 * 1024


class Watch:
    """The books of all members and what the world has seen."""

    def __init__(self) -> None:
        self.books: dict[MemberId, Books] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}  # digest, term before it
        self._chosen: dict[int, tuple[int, bytes]] = {}  # index -> term, digest
        self._leaders: dict[int, MemberId] = {}
        self._votes: dict[tuple[int, MemberId], MemberId] = {}
        self._hashes: dict[int, bytes] = {}
        self._index_of_ts: dict[int, int] = {}
        self._commit_seen: dict[MemberId, int] = {}
        self._answers: list[int] = []  # times of writes that were answered in this event
        self._configuration: Configuration | None = None  # of the last commit that was judged

    @property
    def entries_committed(self) -> int:
        return len(self._chosen)

    def started(self, member: MemberId) -> None:
        """A process begins: what it knows as committed may be less than before."""
        self._commit_seen[member] = 0

    # ------------------------------------------------------------ the log

    def truncating(self, start: int, terms: dict[int, int]) -> None:
        """Judge entries that a member throws away."""
        for index in range(start, max(terms, default=0) + 1):
            chosen = self._chosen.get(index)
            if chosen is not None and terms.get(index) == chosen[0]:
                raise Violation(f"the committed entry {chosen[0]}/{index} is thrown away")

    def appending(self, write: Write, term_before: int) -> None:
        """Judge entries that a member appends: log matching."""
        before = term_before
        for entry in write.entries:
            seen = (hashlib.blake2b(entry.raw, digest_size=16).digest(), before)
            known = self._entries.setdefault((entry.term, entry.index), seen)
            if known[0] != seen[0] or (before and known[1] and known[1] != before):
                raise Violation(f"two logs differ at or before {entry.term}/{entry.index}")
            before = entry.term

    # ------------------------------------------------------------ messages

    def sent(self, sender: MemberId, to: MemberId, message: Message) -> None:
        """No message says more than the sender's disk holds (SAFETY 20)."""
        books = self.books[sender]
        if message.term > books.hard_state.term:
            raise Violation(f"member {sender} speaks in term {message.term}: not durable")
        if isinstance(message, VoteResponse) and message.granted:
            if books.hard_state.term == message.term and books.hard_state.vote != to:
                raise Violation(f"the vote of {sender} for {to} is not on its disk")
            self._voted(message.term, sender, to)
        if isinstance(message, AppendResponse) and not message.refused:
            self._acknowledged(books, message)

    def _voted(self, term: int, voter: MemberId, candidate: MemberId) -> None:
        if self._votes.setdefault((term, voter), candidate) != candidate:
            raise Violation(f"member {voter} voted twice in term {term}")

    @staticmethod
    def _acknowledged(books: Books, message: AppendResponse) -> None:
        if message.index > books.durable.last:
            raise Violation(f"member {books.member} acknowledges {message.index}: not durable")

    # ------------------------------------------------------------ the core

    def look(self, member: MemberId, core: Core, pending_count: int) -> None:
        """Judge a member after an event."""
        core.check()
        seen = self._commit_seen.get(member, 0)
        if core.commit < seen:
            raise Violation(f"the commit index of {member} fell from {seen} to {core.commit}")
        if core.role is Role.LEADER:
            self._look_at_leader(member, core, seen)
        self._commit_seen[member] = core.commit
        if self._answers:
            self._judge_answers()
        if pending_count > QUERIES_PENDING_MAX:
            raise Violation(f"member {member} holds {pending_count} queries")
        if core.uncommitted_bytes > _CONFIG.uncommitted_bytes_max + _PROPOSALS_OF_A_TURN_MAX:
            raise Violation(f"member {member} holds {core.uncommitted_bytes} uncommitted bytes")

    def _look_at_leader(self, member: MemberId, core: Core, seen: int) -> None:
        leader = self._leaders.get(core.term)
        if leader is None:
            self._leaders[core.term] = member
            self._voted(core.term, member, member)
            self._has_all_committed(member, core)
        elif leader != member:
            raise Violation(f"{leader} and {member} both lead in term {core.term}")
        elif core.commit > seen > 0:
            self._commits(member, core)

    def _has_all_committed(self, member: MemberId, core: Core) -> None:
        held: dict[int, int] = {
            entry.index: entry.term for entry in core.entries_after(core.base.index)
        }
        for index, (term, _) in self._chosen.items():
            if index > core.base.index and term < core.term and held.get(index) != term:
                raise Violation(f"leader {member} of term {core.term} lacks {term}/{index}")

    def _commits(self, member: MemberId, core: Core) -> None:
        """A leader commits only what is of its own term and durable on a quorum (Raft 5.4.2)."""
        if core.commit <= core.base.index:
            return
        newest = core.entries_after(Index(core.commit - 1))[0]
        if newest.term != core.term:
            raise Violation(f"leader {member} of term {core.term} commits {newest.id} by count")
        self._configuration = core.configuration[1]
        self._on_quorum(self._configuration, newest.index, newest.term)

    def _on_quorum(self, configuration: Configuration, index: int, term: int) -> None:
        for group in (configuration.voters, configuration.voters_outgoing):
            holding = [
                peer.id
                for peer in group
                if peer.id in self.books and self.books[peer.id].durable.holds(index, term)
            ]
            if group and 2 * len(holding) <= len(group):
                raise Violation(f"{term}/{index} counts as committed, but only {holding} have it")

    # ------------------------------------------------------------ the state

    def applied(
        self, member: MemberId, before: int, entries: Sequence[Entry], state_hash: bytes
    ) -> None:
        """Judge what a member has just applied."""
        durable = self.books[member].durable
        for entry in entries:
            if entry.index != before + 1:
                raise Violation(f"member {member} applied {entry.index} after {before}")
            before = entry.index
            if not durable.holds(entry.index, entry.term):
                raise Violation(f"member {member} applied {entry.id}, not durable there")
            self._choose(entry)
        known = self._hashes.setdefault(before, state_hash)
        if known != state_hash:
            raise Violation(f"member {member} has another state after entry {before}")

    def state_at(self, member: MemberId, index: int, state_hash: bytes) -> None:
        """Judge a state that a member has from recovery or from a snapshot."""
        if self._hashes.setdefault(index, state_hash) != state_hash:
            raise Violation(f"member {member} starts with another state at entry {index}")

    def _choose(self, entry: Entry) -> None:
        digest = hashlib.blake2b(entry.raw, digest_size=16).digest()
        known = self._chosen.get(entry.index)
        if known is None:
            self._chosen[entry.index] = (entry.term, digest)
            if entry.kind is EntryKind.DATA:
                payload = decode_payload(entry.payload)
                if isinstance(payload, Transaction):
                    self._index_of_ts[payload.ts] = entry.index
        elif known != (entry.term, digest):
            raise Violation(f"two entries {known[0]}/{entry.index} and {entry.id} are committed")

    # ------------------------------------------------------------ answers

    def answered(self, ts: int, *, is_write: bool) -> None:
        """Take an answer as it leaves for a client; it is judged when its event is over."""
        if is_write:
            self._answers.append(ts)

    def _judge_answers(self) -> None:
        answers, self._answers = self._answers, []
        for ts in answers:
            index = self._index_of_ts.get(ts)
            if index is None:
                raise Violation(f"a write at {ts} was answered, and nobody has applied it")
            if self._configuration is not None:
                self._on_quorum(self._configuration, index, self._chosen[index][0])


def check_times(answers: Iterable[tuple[int, int, int]]) -> None:
    """Raise `Violation` unless transaction times are unique and follow real time.

    `answers` are (asked, answered, ts), in microseconds.
    """
    ended: list[tuple[int, int]] = []
    newest, seen = 0, set()
    for asked, answered, ts in sorted(answers):
        if ts in seen:
            raise Violation(f"two answers share the time {ts}")
        seen.add(ts)
        while ended and ended[0][0] < asked:
            newest = max(newest, heapq.heappop(ended)[1])
        if ts <= newest:
            raise Violation(f"time {ts} was given after {newest} had been answered")
        heapq.heappush(ended, (answered, ts))
