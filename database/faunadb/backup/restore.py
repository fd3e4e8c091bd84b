"""How does a backup become a member's directory? Kill it at any step, start it again: the same.

    RESTORING    names what is being restored; what lies here without IDENTITY is ours to remove
    base         the backup's pairs into a state of their own
    replay       archived entries on top, when there are any (`Replay`)
    snapshot     taken of that state as any member takes one, its hash computed anew from all pairs
    log          begins behind the snapshot, as after an installation
    RESTORED     what was restored, for a retry that finds it done
    IDENTITY     its rename is the commit point (SAFETY 25); RESTORING goes

What a start then finds is the ordinary case of recovery: a log that begins at a snapshot, whose
bookkeeping holds a configuration with this one voter. Clients may not write yet (SAFETY 26).

House rules: only the ports `Files` and `Engines`; the ids and the time come in.
Trap: the nonce is drawn anew by each attempt, before IDENTITY; only the last one ever counts.
"""

from collections.abc import Callable, Iterable

import msgspec

from faunadb.backup.layout import Manifest
from faunadb.backup.pairs import Pair, pairs_of_copy
from faunadb.disk.identity import ID_BYTES, RESTORING, read_identity, write_identity
from faunadb.disk.ports import Description, Engine, Engines
from faunadb.disk.scan import scan_log
from faunadb.disk.seals import read_whole, replace, seal, unseal
from faunadb.disk.snapshots import Snapshot, Snapshots
from faunadb.disk.wal import DIRECTORY, Wal, WalLimits
from faunadb.errors import Corrupt, Malformed
from faunadb.machine import StateHash
from faunadb.machine import describe as describe_state
from faunadb.node.ports import Files, Identity, LogRestart
from faunadb.raft.entries import (
    Configuration,
    EntryId,
    HardState,
    Index,
    MemberId,
    Peer,
    Term,
    decode_configuration,
    encode_configuration,
)
from faunadb.raft.events import Token, Write
from faunadb.store.bookkeeping import Bookkeeping, bookkeeping_pair
from faunadb.store.ports import KeyValue, Reader

RESTORED = "RESTORED"
_MAGIC_ORDER, _MAGIC_DONE = b"FaunaRSO", b"FaunaRSD"
_BUILDING = "restore.tmp"
_OURS = ("state-", "snap-", "snap.", DIRECTORY, _BUILDING, RESTORED, "IDENTITY.tmp", "RESTORED.tmp")
_DATA = ("state-", "snap-", DIRECTORY, "FOUNDING")

Replay = Callable[[KeyValue], None]
"""Applies archived entries behind the base, through `machine.Machine`. Raises `Corrupt`."""


class Order(msgspec.Struct, frozen=True):
    """What is to be restored, and as what. A retry must say the same."""

    from_cluster_id: str
    backup_id: str
    cluster_id: bytes
    incarnation: int
    member_id: int
    name: str
    floor_us: int = 0
    target: str = ""  # how far beyond the backup: "", "index I" or "ts T"


class Restored(msgspec.Struct, frozen=True):
    """What was restored. `state_hash` was computed anew from all pairs."""

    order: Order
    nonce: bytes
    term: int
    index: int
    txn_ts: int
    ceiling: int
    state_hash: str
    expected_state_hash: str


class DirectoryTaken(Exception):
    """The directory is a member's already; it is never restored over."""


class Restoring:
    """One restore into one directory. `draw` gives random bytes, `pause` waits for a moment."""

    def __init__(
        self,
        files: Files,
        engines: Engines,
        order: Order,
        *,
        draw: Callable[[int], bytes],
        created_us: int,
        pause: Callable[[], None],
        limits: WalLimits = WalLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._files, self._engines, self._order = files, engines, order
        self._draw, self._created_us, self._pause = draw, created_us, pause
        self._limits = limits

    def find_done(self) -> Restored | None:
        """Return what was restored here, None when the directory is to be filled.

        Raises `DirectoryTaken`, and `Corrupt` when there are data that no restore has left.
        """
        identity = read_identity(self._files)
        if identity is None:
            self._check_ours()
            return None
        done = self._read(RESTORED, _MAGIC_DONE, Restored)
        if done is None or done.order != self._order or done.nonce != identity.nonce:
            raise DirectoryTaken(
                f"the directory is member {identity.member_id} of cluster"
                f" {identity.cluster_id.hex()}, incarnation {identity.incarnation}"
            )
        self._end()
        return done

    def run(
        self, manifest: Manifest, base: Iterable[list[Pair]], replay: Replay | None = None
    ) -> Restored:
        """Fill the directory; it is a member on return. Raises `Corrupt`, OSError.

        `base` yields the backup's pairs. Nothing counts before the end.
        """
        self._begin()
        identity = Identity(
            cluster_id=self._order.cluster_id,
            member_id=MemberId(self._order.member_id),
            nonce=self._draw(ID_BYTES),
            incarnation=self._order.incarnation,
            incarnation_salt=self._draw(ID_BYTES),
        )
        record, snapshot = self._make_snapshot(identity, manifest, base, replay)
        found = self._hash_of(snapshot)
        if found != record.state_hash:
            raise Corrupt(
                "backup",
                f"the restored state has hash {found.hex()}, expected {record.state_hash.hex()}",
            )
        self._begin_log(identity, snapshot.id)
        done = Restored(
            order=self._order,
            nonce=identity.nonce,
            term=snapshot.id.term,
            index=snapshot.id.index,
            txn_ts=record.last_ts,
            ceiling=record.ceiling,
            state_hash=found.hex(),
            expected_state_hash=record.state_hash.hex(),
        )
        replace(self._files, "", RESTORED, seal(_MAGIC_DONE, done))
        write_identity(self._files, identity, self._created_us)
        self._end()
        return done

    # ------------------------------------------------------------ steps

    def _begin(self) -> None:
        """Say what this is going to be, then remove what an earlier attempt left."""
        files = self._files
        replace(files, "", RESTORING, seal(_MAGIC_ORDER, self._order))
        for name in files.list(""):
            if name.startswith(_OURS):
                files.remove(name)
        files.fsync_directory("")

    def _make_snapshot(
        self,
        identity: Identity,
        manifest: Manifest,
        base: Iterable[list[Pair]],
        replay: Replay | None,
    ) -> tuple[Bookkeeping, Snapshot]:
        """Build the state apart, and take a snapshot of it as a running member does."""
        self._files.make_directory(_BUILDING)
        snapshots = Snapshots(
            self._files,
            self._engines,
            identity,
            describe=_describe,
            kept=[],
            pause=self._pause,
        )
        engine = self._engines.open(_BUILDING)
        try:
            _load(engine, manifest, base)
            if replay is not None:
                replay(engine)
            record = self._configure(engine, identity)
            snapshot = snapshots.take(engine)
        finally:
            engine.close()
        assert snapshot is not None, "the state has a configuration, and nothing is kept"
        self._files.remove(_BUILDING)
        return record, snapshot

    def _configure(self, engine: Engine, identity: Identity) -> Bookkeeping:
        """Make this member the only one, and close the doors."""
        with engine.read() as reader:
            record = describe_state(reader)
        peer = Peer(identity.member_id, self._order.name, identity.nonce)
        alone = Configuration(voters=(peer,), highest_member_id=identity.member_id)
        record = msgspec.structs.replace(
            record,
            configuration=encode_configuration(alone),
            configuration_id=record.applied,
            ceiling=max(record.ceiling, record.last_ts, self._order.floor_us),
            open_for_clients=False,
            leases=(),
        )
        with engine.write() as writer:
            writer.put_many([bookkeeping_pair(record)])
        return record

    def _hash_of(self, snapshot: Snapshot) -> bytes:
        found = StateHash()
        for pairs in pairs_of_copy(self._engines, snapshot.path):
            found.add(pairs)
        return found.digest()

    def _begin_log(self, identity: Identity, at: EntryId) -> None:
        """Write a log that says: everything up to `at` came as a snapshot."""
        self._files.make_directory(DIRECTORY)
        self._files.fsync_directory("")
        opening = scan_log(self._files, identity, self._limits).opening
        wal = Wal(self._files, identity, opening, self._draw, self._limits)
        try:
            token = Token(Term(at.term), 0)
            hard_state = HardState(Term(at.term), MemberId(0), Index(at.index))
            wal.write([LogRestart(token, at), Write(token, hard_state, None, ())])
            wal.sync()
        finally:
            wal.close()

    def _end(self) -> None:
        if RESTORING in self._files.list(""):
            self._files.remove(RESTORING)
            self._files.fsync_directory("")

    def _check_ours(self) -> None:
        """Refuse to remove what no restore has left."""
        names = self._files.list("")
        data = [name for name in names if name.startswith(_DATA)]
        if data and RESTORING not in names:
            raise Corrupt("identity", f"there is no IDENTITY, but there is {data[0]}")

    def _read(self, name: str, magic: bytes, type_: type[Restored]) -> Restored | None:
        try:
            return unseal(magic, type_, read_whole(self._files, name))
        except (FileNotFoundError, Malformed):
            return None


def _load(engine: Engine, manifest: Manifest, base: Iterable[list[Pair]]) -> None:
    """Put the backup's pairs into an empty state, with bookkeeping from which a log can go on."""
    for pairs in base:
        with engine.write() as writer:
            writer.put_many(pairs)
    record = Bookkeeping(
        applied=(manifest.term, manifest.index),
        last_ts=manifest.last_ts,
        ceiling=manifest.ceiling,
        state_hash=bytes.fromhex(manifest.state_hash),
    )
    with engine.write() as writer:
        writer.put_many([bookkeeping_pair(record)])


def _describe(reader: Reader) -> Description:
    record = describe_state(reader)
    term, index = record.applied
    return Description(
        applied=EntryId(Term(term), Index(index)),
        configuration=decode_configuration(record.configuration) if record.configuration else None,
        configuration_id=EntryId(
            Term(record.configuration_id[0]), Index(record.configuration_id[1])
        ),
    )
