"""One member of the cluster, whole: consensus, state, queries. Synchronous; ports do the I/O.

The asyncio shell (`node.py`) and the simulator drive the very same object: every call below is
one event, `end_of_turn` comes after the events of one turn. What came in one turn is one batch:
one append, one message per peer, one fsync, one ReadIndex round.

House rules: no asyncio, no clock and no chance but the ports.
Trap: entries that this turn's evaluation made are proposed before the core sees another event,
so that their indexes are what the tip took them for.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from faunadb.codec import HashPoint, OpenForClients
from faunadb.errors import FaunaError, InvalidRequest, Malformed
from faunadb.node.faults import encode_fault
from faunadb.node.gateway import Done, Gateway, NotLeader, ReadDone
from faunadb.node.leader import Leader, Tip
from faunadb.node.perform import Performer
from faunadb.node.ports import Chance, Clock, Identity, Log, Peers
from faunadb.node.query import NotReadOnly, Outcome, Query, Reply
from faunadb.node.replies import Replies
from faunadb.node.timestamps import ClockMedian, Counter
from faunadb.node.wire import (
    NODE_MESSAGE_KIND,
    ClusterTime,
    Forward,
    Forwarded,
    HashReport,
    NodeMessage,
    ReadPoint,
    ReadPointAsked,
    WallClock,
    decode_node_message,
    encode_node_message,
)
from faunadb.raft.core import Core
from faunadb.raft.entries import Configuration, Entry, Index, MemberId, SnapshotMeta, Term
from faunadb.raft.events import (
    ChangeAnswer,
    ChangeAsked,
    DiskState,
    LogCut,
    PeerLost,
    ReadAsked,
    ReadReady,
    Received,
    Role,
    RoleChange,
    SendSnapshot,
    SnapshotPersisted,
    SnapshotSent,
    Tick,
    Token,
    TransferAsked,
)
from faunadb.raft.messages import Message

TICK_S = 0.01
NOBODY = MemberId(0)
ALONE_TICKS = 200  # more than any election timeout
CLOCK_EVERY_TICKS = 100
HEARD_TICKS_MAX = 50  # the shortest election timeout: who is silent longer may be gone
LATE_EVERY_TICKS = 10
HASH_EVERY_TICKS = 3000


class State(Protocol):
    """The applied state and the language over it: `node/state.py`."""

    @property
    def applied(self) -> Index: ...

    @property
    def is_open(self) -> bool:
        """Return whether clients may write (SAFETY 26)."""
        ...

    @property
    def last_ts(self) -> int:
        """Return the highest transaction time that is applied, in microseconds."""
        ...

    @property
    def ceiling_us(self) -> int:
        """Return the highest committed ceiling of timestamps."""
        ...

    def apply(self, entries: tuple[Entry, ...]) -> None:
        """Apply committed entries in one transaction of the store."""
        ...

    def tip(self, term: Term, tail: tuple[Entry, ...]) -> Tip:
        """Make the view of a new leader: the applied state and its inherited tail."""
        ...

    def highest_us(self, tail: tuple[Entry, ...]) -> int:
        """Return the highest timestamp or ceiling in state and tail."""
        ...

    def has_lease(self, process: bytes) -> bool:
        """Return whether this process holds a worker number for document ids."""
        ...

    def is_read_only(self, query: Query) -> bool:
        """Return whether the program is proven to write nothing. Raises `InvalidRequest`."""
        ...

    def read_at(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Outcome | NotReadOnly], None],
    ) -> None:
        """Evaluate a read-only program at `ts`, in a worker when it is long."""
        ...

    def take_hashes(self) -> list[tuple[Index, bytes]]:
        """Hand over the state hashes that were computed since the last call."""
        ...

    def hash_at(self, index: Index) -> bytes | None:
        """Return the state hash that a `HashPoint` at `index` recorded."""
        ...


class SnapshotService(Protocol):
    """Copies of the state and their transfers: `node/snapshots.py`."""

    def send(self, wanted: SendSnapshot, done: Callable[[bool], None]) -> None: ...

    def install(self, meta: SnapshotMeta, done: Callable[[], None]) -> None: ...

    def tick(self, applied: Index) -> Index:
        """Take a copy when one is due; return up to where the log may leave memory."""
        ...

    def may_write(self, *, only_deletes: bool) -> bool:
        """Return whether the disk has space for such writes (SAFETY 21)."""
        ...


class _WaitingRead(msgspec.Struct):
    query: Query
    point: ReadPoint
    deadline_s: float
    done: ReadDone


class Member:
    """See the module's docstring. `process` is 16 random bytes of this start of the program."""

    def __init__(
        self,
        *,
        identity: Identity,
        core: Core,
        state: State,
        log: Log,
        peers: Peers,
        snapshots: SnapshotService,
        clock: Clock,
        chance: Chance,
        process: bytes,
    ) -> None:
        self.identity, self.core, self.state = identity, core, state
        self.gateway = Gateway(self, clock, chance)
        self.leadership: Leader | None = None
        self._log, self._peers, self._snapshots = log, peers, snapshots
        self._clock, self._chance, self._process = clock, chance, process
        self._perform = Performer(core, log, peers, self)
        self._median = ClockMedian()
        self._offset_us: int | None = None  # cluster time minus our monotonic clock
        self._reads_waiting: list[_WaitingRead] = []
        self._read_tokens = 0
        self._change_tokens = 0
        self._changes: dict[int, Callable[[ChangeAnswer], None]] = {}
        self._ticks = 0
        self._replies = Replies(self.send, clock.monotonic_s)
        self._cut = Index(0)
        self._voters_of: Configuration | None = None
        self._voter_ids: tuple[MemberId, ...] = ()
        self.diverged: set[MemberId] = set()  # members whose state differed from ours
        peers.set_peers(core.configuration[1])

    # ------------------------------------------------------------ what happens to a member

    def tick(self) -> None:
        """Ten milliseconds passed."""
        self._ticks += 1
        stall_ticks = int(self._log.oldest_sync_age_s() / TICK_S)
        if stall_ticks or self._ticks % CLOCK_EVERY_TICKS == 0:
            self._perform.step(DiskState(free_bytes=1 << 62, stall_ticks=stall_ticks))
        self._perform.step(Tick(self._chance.random()))
        if self._ticks % CLOCK_EVERY_TICKS == 1:
            self._tell_clock()
            self._cut_log()
        if self._ticks % LATE_EVERY_TICKS == 0:
            self._replies.tick()
            self.gateway.tick()
            if self.leadership is not None:
                self.leadership.tick()
                self.leadership.housekeep()
        if self._ticks % HASH_EVERY_TICKS == 0 and self.leadership is not None:
            self.leadership.propose(HashPoint())

    def received(self, nonce: bytes, message: Message) -> None:
        """A verified peer sent a message of consensus."""
        self._perform.step(Received(message, nonce))

    def received_node_message(self, sender: MemberId, kind: int, body: bytes | memoryview) -> None:
        """A verified peer sent a message of the node. Raises `Malformed`."""
        if kind != NODE_MESSAGE_KIND:
            raise Malformed(f"message of kind {kind}")
        match decode_node_message(body):
            case Forward() as forward:
                self._forward_came(sender, forward)
            case Forwarded() as answer:
                self.gateway.forwarded(answer)
            case ReadPointAsked() as asked:
                self._read_point_asked(sender, asked)
            case ReadPoint() as point:
                self.gateway.point_came(point)
            case WallClock() as said:
                self._clock_said(sender, said)
            case ClusterTime() as told:
                self._cluster_time_told(told)
            case HashReport() as report:
                self._compare_hash(sender, report)

    def peer_lost(self, member: MemberId) -> None:
        """The connection to `member` was reset and a new one refused."""
        self._perform.step(PeerLost(member, self._chance.random()))

    def disconnected(self, member: MemberId) -> None:
        """A link to or from `member` broke; what was on its way may be lost."""
        self._replies.forget(member)
        self.gateway.disconnected(member)

    def persisted(self, token: Token) -> None:
        """The log synced a write and all before it."""
        self._perform.persisted(token)

    def submit(self, query: Query, reply: Reply) -> None:
        """A client asks; `reply` is called once."""
        self.gateway.submit(query, reply)

    def change(
        self, asked: Callable[[int], ChangeAsked], done: Callable[[ChangeAnswer], None]
    ) -> None:
        """An operator asks for a change of membership: `asked` gets the token to use."""
        self._change_tokens += 1
        self._changes[self._change_tokens] = done
        self._perform.step(asked(self._change_tokens))

    def transfer(self, to: MemberId = NOBODY) -> None:
        """Hand leadership over, to the most caught-up voter when 0."""
        self._perform.step(TransferAsked(to))

    @property
    def clocks_off(self) -> frozenset[int]:
        """Return, on the leader, the voters whose clock is more than one second off (SAFETY 11)."""
        if self.leadership is None:
            return frozenset()
        return self._median.off(peer.id for peer in self.core.configuration[1].voters)

    def campaign_now(self) -> None:
        """Let an election timeout pass at once: who is alone need not wait for anybody."""
        assert len(self.core.configuration[1].voters) == 1, "others may still be heard"
        for _ in range(ALONE_TICKS):
            if self.core.role in {Role.CANDIDATE, Role.LEADER}:
                return
            self._perform.step(Tick(0.0))

    def open(self) -> None:
        """Let clients write from here on (SAFETY 26); nothing when this member does not lead."""
        if self.leadership is not None:
            self.leadership.propose(OpenForClients())

    def end_of_turn(self) -> None:
        """Propose, and begin the rounds, for all that came in this turn."""
        self.gateway.end_of_turn()
        self._perform.flush()
        leadership = self.leadership
        if leadership is not None and leadership.rounds.has_gathered():
            self._read_tokens += 1
            leadership.rounds.begin(self._read_tokens, leadership.last)
            self._perform.step(ReadAsked(self._read_tokens))
        if leadership is not None:
            leadership.end_view()

    # ------------------------------------------------------------ what the gateway asks

    @property
    def leader(self) -> MemberId:
        """Return who leads; this member only once it can evaluate."""
        leader = self.core.leader
        if leader == self.own_id and self.leadership is None:
            return NOBODY
        return leader

    @property
    def own_id(self) -> MemberId:
        return self.identity.member_id

    def is_read_only(self, query: Query) -> bool:
        return self.state.is_read_only(query)

    def write(self, query: Query, deadline_s: float, done: Done) -> None:
        if self.leadership is None or self.core.transferring_to:
            done(NotLeader())
        else:
            self.leadership.write(query, deadline_s, done)

    def read_point(self, count: int, last_txn_ts: int, done: Callable[[ReadPoint], None]) -> None:
        self._issue_read_point(ReadPointAsked(0, count, last_txn_ts), done)

    def read_at(self, query: Query, point: ReadPoint, deadline_s: float, done: ReadDone) -> None:
        if point.index <= self.state.applied:
            self.state.read_at(query, point.ts, deadline_s, done)
        else:
            self._reads_waiting.append(_WaitingRead(query, point, deadline_s, done))

    def now_us(self) -> int:
        """Return the time that request ids of this member carry: the cluster's, 0 while unknown.

        Its own clock may be wrong; ids that it draws must not be refused for that.
        """
        if self.leadership is not None:
            return self.leadership.time_us or self._clock.wall_us()
        if self._offset_us is not None:
            return self._monotonic_us() + self._offset_us
        return 0

    def send(self, to: MemberId, message: NodeMessage) -> bool:
        return self._peers.send_node(to, NODE_MESSAGE_KIND, encode_node_message(message))

    # ------------------------------------------------------------ what a leadership asks

    @property
    def backlog_bytes(self) -> int:
        return self.core.uncommitted_bytes

    def may_write(self, *, only_deletes: bool) -> bool:
        return self._snapshots.may_write(only_deletes=only_deletes)

    # ------------------------------------------------------------ what the core decides

    def take_payloads(self) -> list[bytes]:
        return self.leadership.take_payloads() if self.leadership is not None else []

    def apply(self, entries: tuple[Entry, ...]) -> None:
        self.state.apply(entries)
        for index, state_hash in self.state.take_hashes():
            if self.core.leader not in {NOBODY, self.own_id}:
                self.send(self.core.leader, HashReport(index, state_hash))
        leadership = self.leadership
        if leadership is not None:
            leadership.end_view()
            if not leadership.has_lease and self.state.has_lease(self._process):
                leadership.lease_granted()
            for entry in entries:
                leadership.committed(entry.index, entry.term)
            leadership.rounds.applied(entries[-1].index)
        if self._reads_waiting:
            self._serve_waiting_reads()

    def read_ready(self, ready: ReadReady) -> None:
        if self.leadership is None:
            return
        if ready.index is None:
            self.leadership.rounds.failed(ready.token)
        else:
            self.leadership.rounds.confirmed(ready.token, self.state.applied)

    def install_snapshot(self, meta: SnapshotMeta) -> None:
        self._snapshots.install(meta, lambda: self._installed(meta))

    def send_snapshot(self, wanted: SendSnapshot) -> None:
        self._snapshots.send(wanted, lambda ok: self._perform.step(SnapshotSent(wanted.to, ok)))

    def role_changed(self, change: RoleChange) -> None:
        leading = change.role is Role.LEADER
        if self.leadership is not None and (not leading or self.leadership.term != change.term):
            resigned, self.leadership = self.leadership, None
            resigned.resign()
        if leading and self.leadership is None:
            self._lead()
        elif not leading:
            self._median.reset()
        self.gateway.leader_changed()
        self._tell_clock()

    def configuration_changed(self, configuration: Configuration) -> None:
        self._peers.set_peers(configuration)

    def change_answered(self, answer: ChangeAnswer) -> None:
        done = self._changes.pop(answer.token, None)
        if done is not None:
            done(answer)

    def proposals_refused(self) -> None:
        """The core took nothing of this turn: the tip is not the log's any more; start over."""
        if self.leadership is not None:
            resigned, self.leadership = self.leadership, None
            resigned.resign()
            if self.core.role is Role.LEADER:
                self._lead()

    # ------------------------------------------------------------ helpers, in order of use

    def _lead(self) -> None:
        tail = self.core.entries_after(self.state.applied)
        self._median.reset()
        self.leadership = Leader(
            term=self.core.term,
            log_last=lambda: self.core.last.index,
            counter=Counter(self.state.highest_us(tail)),
            ceiling_us=self.state.highest_us(tail),
            tip=self.state.tip(self.core.term, tail),
            clock=self._clock,
            now_us=self._now_us,
            latest_us=self._latest_us,
            room=self,
        )
        if self.state.has_lease(self._process):
            self.leadership.lease_granted()
        else:
            self.leadership.lease(self.own_id, self._process)

    def _now_us(self) -> int | None:
        return self._median.now_us(self._voters(), self._monotonic_us())

    def _latest_us(self) -> int | None:
        return self._median.latest_us(self._voters(), self._monotonic_us())

    def _voters(self) -> tuple[MemberId, ...]:
        _, configuration = self.core.configuration
        if configuration is not self._voters_of:
            self._voters_of = configuration
            self._voter_ids = tuple([peer.id for peer in configuration.voters])
        return self._voter_ids

    def _monotonic_us(self) -> int:
        return int(self._clock.monotonic_s() * 1_000_000)

    def _installed(self, meta: SnapshotMeta) -> None:
        self._perform.step(SnapshotPersisted(meta))
        self._serve_waiting_reads()

    def _tell_clock(self) -> None:
        """Say our wall clock to the leader; a leader whose own is off hands over (SAFETY 11)."""
        wall_us = self._clock.wall_us()
        if self.leadership is None:
            if self.core.leader:
                self.send(self.core.leader, WallClock(self.core.term, wall_us))
            return
        self._median.heard(self.own_id, wall_us, self._monotonic_us())
        off = self.clocks_off
        if self.own_id in off:
            self._hand_over_to_another_than(off)

    def _hand_over_to_another_than(self, off: frozenset[int]) -> None:
        """Leadership goes to a voter that is heard; the most caught-up one whose clock is right.

        Two clocks that are off would hand it to and fro; so it is better kept than given to one.
        """
        voters = {peer.id for peer in self.core.configuration[1].voters} - off
        able = [
            view
            for view in self.core.progress()
            if view.member in voters and view.heard_ago_ticks < HEARD_TICKS_MAX
        ]
        if able:
            self.transfer(max(able, key=lambda view: view.match).member)

    def _clock_said(self, sender: MemberId, said: WallClock) -> None:
        if self.leadership is None or said.term != self.core.term:
            return
        known = self._now_us() is not None
        self._median.heard(sender, said.wall_us, self._monotonic_us())
        if self._now_us() is None:
            return
        everyone = [peer.id for peer in self.core.configuration[1].everyone()]
        for peer in [sender] if known else everyone:
            if peer != self.own_id:
                self.send(peer, ClusterTime(self.core.term, self.leadership.time_us))

    def _cluster_time_told(self, told: ClusterTime) -> None:
        first, self._offset_us = self._offset_us is None, told.now_us - self._monotonic_us()
        if first:
            self.gateway.leader_changed()  # writes without a request id waited for it

    def _cut_log(self) -> None:
        cut = self._snapshots.tick(self.state.applied)
        if cut > self._cut:
            self._cut = cut
            self._perform.step(LogCut(cut))

    def _forward_came(self, sender: MemberId, forward: Forward) -> None:
        deadline_s = self._clock.monotonic_s() + forward.query.timeout_ms / 1000

        def done(outcome: Outcome | NotLeader) -> None:
            self._replies.reply(sender, _forwarded(forward.call, outcome))

        self.write(forward.query, deadline_s, done)

    def _read_point_asked(self, sender: MemberId, asked: ReadPointAsked) -> None:
        self._issue_read_point(asked, lambda point: self._replies.reply(sender, point))

    def _issue_read_point(self, asked: ReadPointAsked, done: Callable[[ReadPoint], object]) -> None:
        if self.leadership is None:
            done(ReadPoint(asked.call, 0, 0))
            return
        try:
            self.leadership.read_point(
                asked.count,
                asked.last_txn_ts,
                lambda ts, index: done(ReadPoint(asked.call, ts, index)),
            )
        except InvalidRequest as error:
            done(ReadPoint(asked.call, 0, 0, encode_fault(error)))

    def _serve_waiting_reads(self) -> None:
        applied = self.state.applied
        ready = [read for read in self._reads_waiting if read.point.index <= applied]
        if ready:
            self._reads_waiting = [r for r in self._reads_waiting if r.point.index > applied]
        for read in ready:
            self.state.read_at(read.query, read.point.ts, read.deadline_s, read.done)

    def _compare_hash(self, sender: MemberId, report: HashReport) -> None:
        """Two members that differ at the same entry: one is corrupt, and a person must look."""
        own = self.state.hash_at(Index(report.index))
        if own is not None and own != report.state_hash:
            self.diverged.add(sender)


def _forwarded(call: int, outcome: Outcome | NotLeader) -> Forwarded:
    if isinstance(outcome, NotLeader):
        return Forwarded(call, not_leader=True)
    if isinstance(outcome, FaunaError):
        return Forwarded(call, error=encode_fault(outcome))
    return Forwarded(call, answer=outcome)
