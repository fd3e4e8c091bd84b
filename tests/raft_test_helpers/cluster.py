"""Several cores, disks that sync when told, and a network that delivers when told.

`Cluster` does what `node/perform.py` does, in the order of the fields of `Update`, and asserts
after every step what must always hold: one leader and one vote per term, the same entries
applied everywhere, nothing committed lost, and no message that says more than a disk holds.

Nothing happens by itself: the test ticks, delivers, syncs, drops, cuts and crashes.
"""

from collections import deque
from collections.abc import Iterable

import msgspec

from faunadb.raft import Core, CoreConfig, found_cluster, restore
from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Index,
    MemberId,
    Peer,
    SnapshotMeta,
    Term,
    decode_configuration,
    encode_configuration,
)
from faunadb.raft.events import (
    Applied,
    ChangeAnswer,
    Event,
    LogCut,
    Outgoing,
    Persisted,
    ReadReady,
    Received,
    Role,
    RoleChange,
    SendSnapshot,
    SnapshotPersisted,
    SnapshotSent,
    Tick,
    Update,
    Write,
)
from faunadb.raft.messages import (
    AppendResponse,
    InstallSnapshot,
    Message,
    VoteResponse,
    decode_message,
    encode_message,
)

CONFIG = CoreConfig(election_ticks=10, heartbeat_ticks=2, peer_lost_ticks=2)


def nonce_of(member: int, generation: int = 0) -> bytes:
    return bytes([member, generation]) * 8


def peer(member: int, generation: int = 0) -> Peer:
    return Peer(MemberId(member), f"m{member}", nonce_of(member, generation))


class Disk:
    """What is durable, and the writes that are not yet, each with what waits for it."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.entries: list[Entry] = []  # consecutive, from any index
        self.snapshot: SnapshotMeta | None = None
        self.pending: deque[tuple[Write, list[Outgoing]]] = deque()

    def write(self, write: Write) -> None:
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        start = write.truncate_from
        if start is not None:
            self.entries = [entry for entry in self.entries if entry.index < start]
        if write.entries and self.entries:
            behind = write.entries[0].index - self.entries[-1].index
            if behind > 1:  # a snapshot lies between
                assert self.snapshot is not None
                assert self.snapshot.id.index == write.entries[0].index - 1
                self.entries = []
            else:
                assert behind == 1, "a log is appended to"
        self.entries.extend(write.entries)

    def holds(self, index: int) -> bool:
        """Say whether everything up to `index` is durable."""
        if self.snapshot is not None and index <= self.snapshot.id.index:
            return True
        return bool(self.entries) and index <= self.entries[-1].index

    def holds_entry(self, entry: Entry) -> bool:
        """Say whether exactly this entry is durable, in the log or in the snapshot."""
        if self.snapshot is not None and entry.index <= self.snapshot.id.index:
            return True
        at = entry.index - self.entries[0].index if self.entries else -1
        return 0 <= at < len(self.entries) and self.entries[at].raw == entry.raw

    def cut(self, through: int) -> None:
        """Recycle what lies behind a snapshot."""
        assert self.snapshot is not None
        assert through <= self.snapshot.id.index
        self.entries = [entry for entry in self.entries if entry.index > through]


class Member:
    """One core with its disk, and what it told the world."""

    def __init__(self, member: MemberId, nonce: bytes, config: CoreConfig) -> None:
        self.id = member
        self.nonce = nonce
        self.config = config
        self.disk = Disk()
        self.up = True
        self.applied: dict[int, bytes] = {}
        self.applied_through = Index(0)
        self.configuration: tuple[EntryId, Configuration] | None = None  # of the applied state
        self.commit_seen = 0
        self.reads: list[ReadReady] = []
        self.changes: list[ChangeAnswer] = []
        self.roles: list[RoleChange] = []
        self.snapshots_asked: list[SendSnapshot] = []
        self.install: SnapshotMeta | None = None
        self.refused_count = 0
        self.core = self._boot()

    def _boot(self) -> Core:
        found = restore(
            self.disk.hard_state,
            self.disk.snapshot,
            self.disk.entries,
            applied=self.applied_through,
            joined=False,
        )
        return Core(self.config, self.id, self.nonce, found)

    def crash(self, survived_count: int = 0) -> None:
        """Lose the state, down to the snapshot, and what was not synced.

        The first `survived_count` of the running writes reached the disk nevertheless.
        """
        self.up = False
        for write, _ in list(self.disk.pending)[:survived_count]:
            self.disk.write(write)
        self.disk.pending.clear()
        self.install = None
        self.snapshots_asked.clear()
        snapshot = self.disk.snapshot
        self.applied_through = Index(snapshot.id.index if snapshot else 0)
        self.configuration = (
            (snapshot.configuration_id, snapshot.configuration) if snapshot else None
        )
        self.commit_seen = 0

    def restart(self) -> None:
        self.up = True
        self.core = self._boot()


class Flight(msgspec.Struct, frozen=True):
    """A message on its way."""

    sender: MemberId
    to: MemberId
    nonce: bytes
    message: Message


class Cluster:
    """Members by id, the network between them, and what the whole world has seen."""

    def __init__(self, config: CoreConfig = CONFIG) -> None:
        self.config = config
        self.members: dict[int, Member] = {}
        self.network: list[Flight] = []
        self.cut: set[tuple[int, int]] = set()
        self.leaders: dict[int, int] = {}  # term -> leader
        self.votes: dict[tuple[int, int], int] = {}  # (term, voter) -> candidate
        self.chosen: dict[int, bytes] = {}  # index -> entry that somebody applied
        self.hung: set[int] = set()  # members whose disk syncs nothing by itself
        self.through_bytes = False  # encode and decode every message

    # ------------------------------------------------------------ building

    @classmethod
    def of(
        cls, voters: int, *, learners: Iterable[int] = (), config: CoreConfig = CONFIG
    ) -> "Cluster":
        """Make a cluster whose members share a first configuration entry, in term 1."""
        cluster = cls(config)
        everyone = tuple(peer(member) for member in range(1, voters + 1))
        learning = tuple(peer(member) for member in learners)
        highest = max(p.id for p in everyone + learning)
        configuration = Configuration(everyone, (), learning, highest)
        first = Entry.make(
            Term(1), Index(1), EntryKind.CONFIGURATION, encode_configuration(configuration)
        )
        for named in everyone + learning:
            member = cluster.add(named.id)
            member.disk.hard_state = HardState(Term(1), MemberId(0), Index(1))
            member.disk.entries = [first]
            member.restart()
        return cluster

    def found(self, member: int = 1) -> Member:
        """Make the one voter that `init` leaves behind."""
        founder = self.add(member)
        founder.disk.hard_state, entries = found_cluster(peer(member))
        founder.disk.entries = list(entries)
        founder.restart()
        return founder

    def add(self, member: int, generation: int = 0) -> Member:
        """Put an empty directory into the world."""
        made = Member(MemberId(member), nonce_of(member, generation), self.config)
        self.members[member] = made
        return made

    # ------------------------------------------------------------ acting

    def step(self, member: int, event: Event) -> Update:
        """Let one core take in an event and do what it says."""
        at = self.members[member]
        update = at.core.step(event)
        at.core.check()
        self._perform(at, update)
        self._check(at)
        return update

    def _perform(self, at: Member, update: Update) -> None:
        if update.write is not None:
            at.disk.pending.append((update.write, []))
        self._send(at, update.messages)
        if update.messages_after_sync and at.disk.pending:
            at.disk.pending[-1][1].extend(update.messages_after_sync)
        else:
            self._send(at, update.messages_after_sync)
        at.reads.extend(update.reads_ready)
        at.changes.extend(update.changes)
        at.snapshots_asked.extend(update.send_snapshot)
        at.refused_count += update.refused
        if update.role is not None:
            at.roles.append(update.role)
        if update.install_snapshot is not None:
            at.install = update.install_snapshot
        for entry in update.committed:
            self._apply(at, entry)
        if update.committed:
            self.step(at.id, Applied(at.applied_through))

    def _apply(self, at: Member, entry: Entry) -> None:
        assert at.applied_through + 1 == entry.index, "applied in order, each once"
        assert at.disk.holds(entry.index), "applied before it was durable here (SAFETY 15)"
        raw = self.chosen.setdefault(entry.index, entry.raw)
        assert raw == entry.raw, f"two histories at {entry.index}"
        at.applied[entry.index] = entry.raw
        at.applied_through = entry.index
        if entry.kind is EntryKind.CONFIGURATION:
            at.configuration = (entry.id, decode_configuration(entry.payload))

    def _send(self, at: Member, messages: Iterable[Outgoing]) -> None:
        for outgoing in messages:
            self._check_sent(at, outgoing.message)
            message = outgoing.message
            if self.through_bytes:
                message = decode_message(encode_message(message))
                assert message == outgoing.message
            self.network.append(Flight(at.id, outgoing.to, at.nonce, message))

    def tick(self, member: int, draw: float = 0.0) -> None:
        self.step(member, Tick(draw))

    def tick_all(self, count: int = 1) -> None:
        """Let time pass for everybody; timeouts differ by member."""
        for _ in range(count):
            for member in sorted(self.members):
                if self.members[member].up:
                    self.tick(member, draw=(member % 7) / 10)

    def sync(self, member: int, count: int | None = None) -> None:
        """Finish the oldest `count` writes (all if None), and let go what waited for them."""
        at = self.members[member]
        while at.disk.pending and count != 0:
            write, waiting = at.disk.pending.popleft()
            at.disk.write(write)
            self._send(at, waiting)
            self.step(member, Persisted(write.token))
            count = None if count is None else count - 1

    def deliver(self, position: int = 0, *, keep: bool = False) -> Flight | None:
        """Deliver the message at `position`; `keep` leaves a copy on its way."""
        flight = self.network[position] if keep else self.network.pop(position)
        target = self.members.get(flight.to)
        if target is None or not target.up or (flight.sender, flight.to) in self.cut:
            return None
        self.step(flight.to, Received(flight.message, flight.nonce))
        return flight

    def drop(self, *, sender: int = 0, to: int = 0, kind: type[Message] | None = None) -> int:
        """Lose messages on their way; 0 and None mean all."""
        kept = [
            f
            for f in self.network
            if (sender and f.sender != sender)
            or (to and f.to != to)
            or (kind is not None and not isinstance(f.message, kind))
        ]
        lost = len(self.network) - len(kept)
        self.network = kept
        return lost

    def settle(self, rounds_max: int = 10_000, *, sync: bool = True) -> None:
        """Deliver and sync everything that is on its way, in order, until it is quiet."""
        for _ in range(rounds_max):
            if sync:
                for member in sorted(self.members):
                    if self.members[member].up and member not in self.hung:
                        self.sync(member)
            if self.network:
                self.deliver()
            elif not sync or not self._writing():
                return
        raise AssertionError("the cluster never comes to rest")

    def _writing(self) -> bool:
        working = [m for m in self.members.values() if m.up and m.id not in self.hung]
        return any(member.disk.pending for member in working)

    def isolate(self, member: int) -> None:
        """Cut a member off, both ways."""
        for other in self.members:
            if other != member:
                self.cut |= {(member, other), (other, member)}

    def heal(self) -> None:
        self.cut.clear()

    def crash(self, member: int, survived_count: int = 0) -> None:
        self.members[member].crash(survived_count)

    def restart(self, member: int) -> None:
        self.members[member].restart()

    def elect(self, member: int) -> None:
        """Make `member` the leader by letting only its time pass, and settle."""
        for _ in range(3 * self.config.election_ticks):
            if self.members[member].core.role is Role.LEADER:
                return
            for other in self.members.values():  # nobody else has heard a leader lately
                if other.id != member and other.up and other.core.role is not Role.LEADER:
                    other.core._s.contact_at = -self.config.election_ticks
            self.tick(member)
            self.settle()
        assert self.members[member].core.role is Role.LEADER

    def snapshot_of(self, member: int) -> SnapshotMeta:
        """Describe the applied state of a member."""
        at = self.members[member]
        id_, configuration = at.configuration or at.core.committed_configuration
        raw_id = self._id_at(at, at.applied_through)
        return SnapshotMeta(raw_id, configuration, b"digest", id_)

    def _id_at(self, at: Member, index: int) -> EntryId:
        if at.disk.snapshot is not None and at.disk.snapshot.id.index == index:
            return at.disk.snapshot.id
        return next(entry.id for entry in at.disk.entries if entry.index == index)

    def install(self, member: int) -> None:
        """Make the snapshot that was asked for durable and swap it in."""
        at = self.members[member]
        meta = at.install
        assert meta is not None
        at.install = None
        at.disk.snapshot = meta
        at.applied_through = meta.id.index
        at.configuration = (meta.configuration_id, meta.configuration)
        self.step(member, SnapshotPersisted(meta))

    def take_snapshot(self, member: int, *, keep_count: int = 0) -> None:
        """Write a snapshot of the applied state and cut the log behind it."""
        at = self.members[member]
        meta = self.snapshot_of(member)
        at.disk.snapshot = meta
        through = Index(max(0, meta.id.index - keep_count))
        at.disk.cut(through)
        self.step(member, LogCut(through))

    def send_snapshot(self, member: int, *, ok: bool = True) -> None:
        """Carry out the oldest transfer that a leader asked for; it arrives verified, or not."""
        at = self.members[member]
        asked = at.snapshots_asked.pop(0)
        target = self.members.get(asked.to)
        if ok and target is not None and target.up and at.disk.snapshot is not None:
            assert at.disk.snapshot.id.index >= asked.index_min
            self.hand_snapshot(at.disk.snapshot, at, asked.to)
        self.step(member, SnapshotSent(asked.to, ok))

    def hand_snapshot(self, meta: SnapshotMeta, source: Member, to: int) -> None:
        """Tell a member that a snapshot of `source` has arrived whole."""
        message = InstallSnapshot(source.id, source.core.term, meta)
        self.step(to, Received(message, source.nonce))

    # ------------------------------------------------------------ what must always hold

    def _check_sent(self, at: Member, message: Message) -> None:
        """No message says more than the disk holds (SAFETY 20)."""
        durable = at.disk.hard_state
        assert message.term <= durable.term, "a term left before it was durable"
        if isinstance(message, VoteResponse) and message.granted:
            key = (message.term, at.id)
            if durable.term == message.term:
                self.votes.setdefault(key, durable.vote)
                assert self.votes[key] == durable.vote, "two votes in one term"
        if isinstance(message, AppendResponse) and not message.refused:
            assert at.disk.holds(message.index), "acknowledged before it was durable"

    def _check(self, at: Member) -> None:
        core = at.core
        assert core.commit >= at.commit_seen, "the commit index fell"
        if core.role is Role.LEADER and core.commit > at.commit_seen > 0:
            self._check_quorum(core)
        at.commit_seen = core.commit
        if core.role is Role.LEADER:
            assert self.leaders.setdefault(core.term, at.id) == at.id, "two leaders in one term"
            self._check_complete(core)

    def _check_quorum(self, core: Core) -> None:
        """What a leader commits is on the synced disks of a quorum."""
        if core.commit <= core.base.index:
            return
        entry = core.entries_after(Index(core.commit - 1))[0]
        _, now = core.configuration
        for group in (now.voters, now.voters_outgoing):
            disks = [self.members[p.id].disk for p in group if p.id in self.members]
            held_count = sum(1 for disk in disks if disk.holds_entry(entry))
            assert not group or 2 * held_count > len(group), f"{entry.id} is not on a majority"

    def _check_complete(self, core: Core) -> None:
        """A leader has all that was applied anywhere in its term or before (Raft 5.4)."""
        tail = core.entries_after(core.base.index)
        mine: dict[int, bytes] = {entry.index: entry.raw for entry in tail}
        last = core.last.index
        for index in range(core.base.index + 1, max(self.chosen, default=0) + 1):
            chosen = self.chosen[index]
            if index <= last:
                assert mine[index] == chosen or self._newer(chosen, core), f"lost {index}"
            else:
                assert self._newer(chosen, core), f"lost {index}"

    @staticmethod
    def _newer(raw: bytes, core: Core) -> bool:
        """Say whether an entry may be of a term after this leader's."""
        return int.from_bytes(raw[5:13], "little") > core.term


def led(voters: int = 3, *, config: CoreConfig = CONFIG, learners: tuple[int, ...] = ()) -> Cluster:
    """Return a quiet cluster that member 1 leads in term 2."""
    cluster = Cluster.of(voters, learners=learners, config=config)
    cluster.elect(1)
    cluster.settle()
    return cluster


def core(cluster: Cluster, member: int) -> Core:
    return cluster.members[member].core
