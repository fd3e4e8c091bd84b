"""Open a member's data directory, found a cluster in an empty one, or recover a lone one.

Founding is three durable steps, each of which may be the last before a crash:

    FOUNDING      somebody told this member to form the cluster
    IDENTITY      it is this member, of this incarnation (the commit point)
    first frame   the configuration with one voter; then FOUNDING goes

An IDENTITY with an empty log and FOUNDING is finished at the next start; without FOUNDING it is
a member that was added and has not heard from its leader yet.

Recovering (`--recover-single`) is two: IDENTITY names the new incarnation, the log begins it
(disk/incarnation.py). The second is finished by any start. Client writes are closed by it until
the cluster has grown again: one disk holds everything (SAFETY 26).
"""

import time
from pathlib import Path

from faunadb.cli.settings import MemberSettings
from faunadb.codec import CloseForClients, Payload, RaiseCeiling, encode_payload
from faunadb.disk.boot import this_boot
from faunadb.disk.directory import (
    DataDirectory,
    Expected,
    open_data_directory,
    recover_single,
)
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.disk.identity import create_identity, read_identity
from faunadb.disk.ports import Description
from faunadb.machine import describe as describe_state
from faunadb.node.world import SystemChance
from faunadb.raft.core import found_cluster, recovered_cluster, restore
from faunadb.raft.entries import (
    Entry,
    EntryId,
    HardState,
    Index,
    MemberId,
    Peer,
    Term,
    decode_configuration,
)
from faunadb.raft.events import Token, Write
from faunadb.raft.state import Restored
from faunadb.store.ports import Reader

FOUNDING = "FOUNDING"
SYNC_PAUSE_S = 0.01


class Opening:
    """The data directory of `settings`, locked for this process."""

    def __init__(self, settings: MemberSettings) -> None:
        self._settings = settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.files = DirectoryFiles(settings.data_dir)
        self._chance = SystemChance()

    @property
    def path(self) -> Path:
        return self._settings.data_dir

    def open(self) -> tuple[DataDirectory, Restored] | None:
        """Open what is there; None for an empty directory. Raises `Corrupt`, OSError."""
        settings = self._settings
        expected = Expected(settings.cluster_id, settings.member_id, settings.incarnation)
        if settings.recovery is not None:
            recover_single(
                self.files,
                expected,
                settings.recovery.source,
                open_as=self._open,
                draw=self._chance.bytes,
                created_us=time.time_ns() // 1000,
            )
        directory = self._open(expected)
        if directory is None:
            return None
        recovered = directory.recovered
        if FOUNDING in self.files.list("") and not recovered.joined:
            return directory, self._finish_founding(directory)
        return directory, restore(
            recovered.hard_state,
            recovered.snapshot,
            recovered.entries,
            applied=recovered.state_applied.index,
            joined=recovered.joined,
        )

    def _open(self, expected: Expected) -> DataDirectory | None:
        return open_data_directory(
            self.files,
            LmdbEngines(self._settings.data_dir),
            expected,
            boot=this_boot(self._settings.pod_uid),
            describe=describe,
            draw=self._chance.bytes,
            pause=lambda: time.sleep(SYNC_PAUSE_S),
            begin=self._begin_incarnation,
        )

    def _begin_incarnation(
        self, hard_state: HardState, last: Index, highest: MemberId
    ) -> tuple[HardState, tuple[Entry, ...]]:
        settings, identity = self._settings, read_identity(self.files)
        assert identity is not None
        payloads: list[Payload] = [CloseForClients()]
        if settings.recovery is not None and settings.recovery.floor_us:
            payloads.append(RaiseCeiling(settings.recovery.floor_us))
        peer = Peer(settings.member_id, settings.name, identity.nonce)
        encoded = [encode_payload(payload) for payload in payloads]
        return recovered_cluster(peer, hard_state, last, highest, encoded)

    def found(self) -> tuple[DataDirectory, Restored]:
        """Make the empty directory a cluster of one voter."""
        marker = self.files.open(FOUNDING, create=True)
        marker.fdatasync()
        marker.close()
        self.files.fsync_directory("")
        self.become(self._chance.bytes(16))
        opened = self.open()
        assert opened is not None, "IDENTITY was just written"
        return opened

    def become(self, incarnation_salt: bytes) -> None:
        """Make the empty directory a member of the incarnation with this salt."""
        create_identity(
            self.files,
            cluster_id=self._settings.cluster_id,
            member_id=self._settings.member_id,
            incarnation=self._settings.incarnation,
            incarnation_salt=incarnation_salt,
            created_us=time.time_ns() // 1000,
            draw=self._chance.bytes,
        )

    def _finish_founding(self, directory: DataDirectory) -> Restored:
        peer = Peer(self._settings.member_id, self._settings.name, directory.identity.nonce)
        hard_state, entries = found_cluster(peer)
        directory.wal.write([Write(Token(Term(1), 0), hard_state, None, entries)])
        directory.wal.sync()
        self.files.remove(FOUNDING)
        self.files.fsync_directory("")
        return restore(hard_state, None, entries, applied=Index(0), joined=True)


def describe(reader: Reader) -> Description:
    """Say of a state what snapshots and recovery need to know."""
    record = describe_state(reader)
    term, index = record.applied
    at_term, at_index = record.configuration_id
    return Description(
        applied=EntryId(Term(term), Index(index)),
        configuration=decode_configuration(record.configuration) if record.configuration else None,
        configuration_id=EntryId(Term(at_term), Index(at_index)),
    )
