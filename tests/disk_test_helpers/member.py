"""A member's storage without a member: writes, applies, snapshots, and knows what it was told.

`StoredMember` keeps beside the real code a model of the log. After a crash `check` compares what
recovery found with the model: everything reported persisted is there, and nothing that was never
written. `Storage` is one on a simulated disk.
"""

from collections.abc import Callable
from random import Random

import msgspec

from faunadb.disk.boot import Boot
from faunadb.disk.directory import DataDirectory, open_data_directory
from faunadb.disk.identity import create_identity, read_identity
from faunadb.disk.ports import Description, Engines
from faunadb.disk.transfers import Receiver, Source
from faunadb.disk.wal import WalLimits
from faunadb.node.ports import Files, Identity, LogRestart
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
)
from faunadb.raft.events import Token, Write
from faunadb.store.ports import Reader
from faunadb_sim.disk import SimDisk, SimEngines

LIMITS = WalLimits(segment_bytes=8192, start_bytes=4096)
CLUSTER, SALT = b"c" * 16, b"s" * 16
CONFIGURATION = Configuration(
    voters=(Peer(MemberId(1), "a", b"n" * 16),), highest_member_id=MemberId(1)
)
_DESCRIPTION = b"\x00description"


def describe(reader: Reader) -> Description:
    """Read what `Storage.apply` wrote."""
    block = reader.get(_DESCRIPTION)
    return Description() if block is None else msgspec.msgpack.decode(block, type=Description)


def entry(index: int, term: int = 1, payload: bytes | None = None) -> Entry:
    data = b"%d/%d " % (term, index) * 20 if payload is None else payload
    return Entry.make(Term(term), Index(index), EntryKind.DATA, data)


def describe_pairs(at: EntryId) -> list[tuple[bytes, bytes]]:
    return [
        (
            _DESCRIPTION,
            msgspec.msgpack.encode(Description(at, CONFIGURATION, EntryId(Term(1), Index(1)))),
        )
    ]


class Logged(msgspec.Struct, frozen=True):
    """A log as the model knows it."""

    start: EntryId = EntryId(Term(0), Index(0))
    ids: tuple[EntryId, ...] = ()
    hard_state: HardState = HardState()

    @property
    def last_index(self) -> int:
        return self.ids[-1].index if self.ids else self.start.index

    def after(self, write: Write | LogRestart) -> "Logged":
        if isinstance(write, LogRestart):
            return Logged(write.id, (), self.hard_state)
        ids = self.ids
        if write.truncate_from is not None:
            ids = tuple(i for i in ids if i.index < write.truncate_from)
        ids += tuple(e.id for e in write.entries)
        return Logged(self.start, ids, write.hard_state or self.hard_state)


class StoredMember:
    """Opens a directory and uses it as a member would; `boot` says which life of the machine."""

    def __init__(
        self,
        files: Files,
        engines: Engines,
        boot: Callable[[], Boot],
        chance: Random,
        *,
        member_id: int = 1,
    ) -> None:
        self.files, self.engines, self._boot = files, engines, boot
        self.chance, self.member_id = chance, member_id
        self.reported = Logged()  # what somebody was told
        self.pending: tuple[Logged, ...] = ()  # what may be there besides
        self.applied = 0
        self.tokens = 0
        self.directory: DataDirectory | None = None

    @property
    def opened(self) -> DataDirectory:
        assert self.directory is not None
        return self.directory

    # ------------------------------------------------------------ life

    def draw(self, count: int) -> bytes:
        return self.chance.randbytes(count)

    def open(self) -> DataDirectory:
        """Start the member; its first start makes it one."""
        if read_identity(self.files) is None:
            create_identity(
                self.files,
                cluster_id=CLUSTER,
                member_id=MemberId(self.member_id),
                incarnation=1,
                incarnation_salt=SALT,
                created_us=0,
                draw=self.draw,
            )
        directory = open_data_directory(
            self.files,
            self.engines,
            None,
            boot=self._boot(),
            describe=describe,
            draw=self.draw,
            pause=lambda: None,
            limits=LIMITS,
        )
        assert directory is not None
        self.directory = directory
        self.check()
        return directory

    def stop(self) -> None:
        self.opened.close_cleanly()
        self.directory = None

    def crash(self) -> None:
        """End as kill -9 does."""
        self.opened.close()
        self.directory = None

    def noted(self) -> None:
        """`reported` or `pending` has just changed."""

    def identity(self) -> Identity:
        return self.opened.identity

    # ------------------------------------------------------------ work

    def write(self, *writes: Write | LogRestart) -> None:
        """Write one frame and sync it; then it counts as reported."""
        logged = self.reported
        for write in writes:
            logged = logged.after(write)
        self.pending = (logged,)
        self.noted()
        self.opened.wal.write(writes)
        self.opened.wal.sync()
        self.reported, self.pending = logged, ()
        self.noted()

    def token(self) -> Token:
        self.tokens += 1
        return Token(self.reported.hard_state.term, self.tokens)

    def append(self, count: int = 1, *, commit: int | None = None, large: int = 0) -> None:
        """Append entries of the present term, with a new commit index if asked."""
        state = self.reported.hard_state
        term = max(1, state.term)
        first = self.reported.last_index + 1
        payload = self.chance.randbytes(large) if large else None
        entries = tuple(entry(i, term, payload) for i in range(first, first + count))
        hard_state = None
        if commit is not None:
            hard_state = HardState(Term(term), state.vote, Index(commit))
        self.write(Write(self.token(), hard_state, None, entries))

    def vote(self) -> None:
        """Enter a new term."""
        old = self.reported.hard_state
        state = HardState(Term(old.term + 1), MemberId(self.chance.randrange(4)), old.commit)
        self.write(Write(self.token(), state, None, ()))

    def replace_tail(self) -> None:
        """Truncate what is not committed, and append something else in the same write."""
        state = self.reported.hard_state
        start = max(state.commit, self.applied) + 1
        fresh = (entry(start, state.term), entry(start + 1, state.term))
        self.write(Write(self.token(), None, Index(start), fresh))

    def apply(self, through: int) -> None:
        """Commit and apply entries; what was applied is never truncated."""
        if through <= self.applied:
            return
        at = next(i for i in self.reported.ids if i.index == through)
        with self.opened.engine.write() as writer:
            writer.put_many(
                [(b"k%06d" % i, b"%d" % i) for i in range(self.applied + 1, through + 1)]
            )
            writer.put_many(describe_pairs(at))
        self.applied = through

    def commit_and_apply(self) -> None:
        last = self.reported.last_index
        if last > self.reported.hard_state.commit:
            self.append(1, commit=last)
        self.apply(last)

    def snapshot(self) -> None:
        self.opened.snapshots.take(self.opened.engine)
        self.cut()

    def cut(self) -> None:
        self.opened.wal.cut(self.opened.snapshots.cut_index())

    def install_from(self, leader: "StoredMember") -> None:
        """Receive the leader's newest snapshot and swap it in."""
        snapshot = leader.opened.snapshots.newest()
        assert snapshot is not None
        if snapshot.id.index <= self.reported.last_index:
            return
        source = Source(leader.files, snapshot)
        directory = self.opened
        receiver = Receiver(
            self.files, self.engines, directory.identity, directory.snapshots, describe
        )
        at = receiver.begin(source.manifest_block, source.digest)
        while at < source.data_bytes:
            at = receiver.add(at, source.chunk(at))
        installed = Logged(snapshot.id, (), self.reported.hard_state)
        self.pending = (installed,)
        self.noted()
        received = receiver.finish()
        self.write(LogRestart(self.token(), received.id))
        self.applied = received.id.index
        directory.swap_state(directory.build_state(received.id))
        directory.remove_old()

    # ------------------------------------------------------------ judgement

    def check(self) -> None:
        """Compare what recovery found with the model, and go on from what it found."""
        found = self.opened.recovered
        last = found.entries[-1].index if found.entries else _start_of(found.snapshot)
        for logged in (self.reported, *self.pending):
            if last == logged.last_index and _agrees(found.entries, logged):
                break
        else:
            raise AssertionError(f"found {last}, told {self.reported.last_index}")
        votes = {(s.term, s.vote) for s in self._hard_states()}
        assert (found.hard_state.term, found.hard_state.vote) in votes
        assert found.hard_state.commit >= self.reported.hard_state.commit
        if self.reported.ids or self.reported.start.index:
            assert found.joined
        with self.opened.engine.read() as reader:
            self._check_state(reader, found.state_applied)
        first = found.entries[0].index if found.entries else last + 1
        assert found.state_applied.index >= max(first - 1, _start_of(found.snapshot))
        self.reported = Logged(logged.start, logged.ids, found.hard_state)
        self.pending = ()
        self.applied = found.state_applied.index
        self.noted()

    def _hard_states(self) -> list[HardState]:
        return [logged.hard_state for logged in (self.reported, *self.pending)]

    def _check_state(self, reader: Reader, applied: EntryId) -> None:
        assert applied == describe(reader).applied
        pairs = sum(1 for _ in reader.scan(b"k", b"l"))
        assert pairs == applied.index, "the state is not what was applied"


class Storage(StoredMember):
    """A member's storage on a simulated disk."""

    def __init__(self, disk: SimDisk, chance: Random, *, member_id: int = 1) -> None:
        super().__init__(disk, SimEngines(disk), lambda: disk.boot, chance, member_id=member_id)
        self.disk = disk


def _start_of(snapshot: SnapshotMeta | None) -> int:
    return 0 if snapshot is None else snapshot.id.index


def _agrees(entries: tuple[Entry, ...], logged: Logged) -> bool:
    known = {i.index: i for i in logged.ids}
    return all(known.get(e.index, e.id) == e.id for e in entries)
