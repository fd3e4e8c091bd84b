"""The one way to open and to close a data directory; the command line calls it.

    IDENTITY              what the directory is                     identity.py
    LOCK                  one process at a time                     files.py
    CRASHED               a process died of a signal                crashes.py
    wal/                  the log                                   wal.py, scan.py
    state-{n}/            the state, VALID, CLEAN                   states.py, engine.py
    snap-{index}-{term}/  snapshots                                 snapshots.py

Trap: an empty directory is nobody. It waits until it is told what it is; a directory with data
and without IDENTITY is never taken for an empty one.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from faunadb.disk.boot import Boot
from faunadb.disk.identity import ID_BYTES, RESTORING, read_identity, write_identity
from faunadb.disk.incarnation import Begin
from faunadb.disk.ports import DATA_NAME, Describe, Engine, Engines
from faunadb.disk.recover import Opened, recover
from faunadb.disk.snapshots import Snapshots, copy_verified
from faunadb.disk.states import States
from faunadb.disk.wal import DIRECTORY, Position, Wal, WalLimits
from faunadb.errors import Corrupt
from faunadb.node.ports import Files, Identity, Recovered
from faunadb.raft.entries import EntryId, MemberId


class Built(NamedTuple):
    """A state that nobody uses yet."""

    number: int
    engine: Engine


class Expected(msgspec.Struct, frozen=True):
    """What the caller was told that the directory is."""

    cluster_id: bytes
    member_id: MemberId
    incarnation: int


class DataDirectory:
    """An open data directory.

    `recovered` was made durable again; `notes` are sentences for the process's log.
    """

    def __init__(self, files: Files, identity: Identity, opened: Opened) -> None:
        self.identity = identity
        self.recovered: Recovered = opened.recovered
        self.wal: Wal = opened.wal
        self.engine: Engine = opened.engine
        self.snapshots: Snapshots = opened.snapshots
        self.notes = opened.notes
        self._files = files
        self._states: States = opened.states
        self._state_number = opened.state_number
        self._replaced: list[Engine] = []

    def build_state(self, id_: EntryId) -> Built:
        """Build a state from the snapshot of `id_`, after the log recorded its installation.

        It takes as long as the copy, and any thread may do it; from the end on the next start
        finds the new state. Raises `Corrupt`, OSError.
        """
        snapshot = next((kept for kept in self.snapshots.all() if kept.id == id_), None)
        if snapshot is None:
            raise Corrupt("snapshot", f"the snapshot at {id_.index} is not there any more")
        number, path = self._states.prepare()
        copy_verified(self._files, snapshot, f"{path}/{DATA_NAME}")
        self._states.believe(number)
        return Built(number, self._states.open(number))

    def swap_state(self, built: Built) -> Engine:
        """Go on with a state that was built: nothing new may read from the old one."""
        self._replaced.append(self.engine)
        self._state_number, self.engine = built
        return self.engine

    def remove_old(self) -> None:
        """Close and remove what was replaced, states and snapshots; nobody may read from them.

        Any thread may do it.
        """
        while self._replaced:
            self._replaced.pop().close()
        self._states.remove_others(self._state_number)
        self.snapshots.prune()

    def disown_state(self) -> None:
        """A sync of the state failed: it is not believed at the next start. Crash after it."""
        self._states.disown(self._state_number)

    def close(self) -> None:
        """Let go without saying that all is well, as a crash would."""
        self.engine.close()
        self.wal.close()

    def close_cleanly(self) -> None:
        """Sync everything and say so, so that the next start believes the state (SAFETY 16).

        The writer thread of the log has ended and nothing is written after it. OSError: the mark
        is not written, and the next start takes the longer way.
        """
        position: Position = self.wal.position()
        self.engine.force_sync()
        self.engine.close()
        self.wal.close()
        self._states.mark_clean(self._state_number, position)


def open_data_directory(
    files: Files,
    engines: Engines,
    expected: Expected | None,
    *,
    boot: Boot,
    describe: Describe,
    draw: Callable[[int], bytes],
    pause: Callable[[], None],
    begin: Begin | None = None,
    limits: WalLimits = WalLimits(),  # noqa: B008 - frozen
) -> DataDirectory | None:
    """Open a directory, or return None when it is empty.

    `draw` gives random bytes for salts, `pause` waits a moment between pieces of a long sync,
    `begin` says how the log goes on in an incarnation that `recover_single` named.
    Raises `Corrupt` (exit code 78) when it is another member's or cannot be believed.
    """
    identity = read_identity(files)
    if identity is None:
        _check_empty(files)
        return None
    if expected is not None:
        _check_expected(identity, expected)
    opened = recover(
        files,
        engines,
        identity,
        boot=boot,
        describe=describe,
        draw=draw,
        limits=limits,
        pause=pause,
        begin=begin,
    )
    return DataDirectory(files, identity, opened)


def recover_single(
    files: Files,
    target: Expected,
    source: int,
    *,
    open_as: Callable[[Expected], DataDirectory | None],
    draw: Callable[[int], bytes],
    created_us: int,
) -> None:
    """Name this member's directory the beginning of `target`, if it is of incarnation `source`.

    It is opened as what it is first: nothing is named that could not go on. IDENTITY is the
    commit point; one that says `target` already stays, with its salt. Raises `Corrupt` for any
    other directory, an empty one and one whose log is empty too.
    """
    identity = read_identity(files)
    if identity is None:
        _check_empty(files)
        raise Corrupt("identity", "the directory is empty: there is nothing to recover")
    if identity.incarnation == target.incarnation:
        return
    directory = open_as(msgspec.structs.replace(target, incarnation=source))
    assert directory is not None, "it has an IDENTITY"
    found = directory.recovered
    directory.close()
    if not found.entries and found.snapshot is None:
        raise Corrupt("log", "the log is empty: this member never had anything to recover")
    salt = draw(ID_BYTES)
    begun = msgspec.structs.replace(identity, incarnation=target.incarnation, incarnation_salt=salt)
    write_identity(files, begun, created_us)


def _check_empty(files: Files) -> None:
    if RESTORING in files.list(""):
        raise Corrupt("identity", "a restore was begun here and did not finish")
    data = [
        name for name in files.list("") if name == DIRECTORY or name.startswith(("state-", "snap-"))
    ]
    if data:
        raise Corrupt("identity", f"there is no IDENTITY, but there is {data[0]}")


def _check_expected(identity: Identity, expected: Expected) -> None:
    if identity.cluster_id != expected.cluster_id:
        raise Corrupt("identity", f"the directory belongs to cluster {identity.cluster_id.hex()}")
    if identity.member_id != expected.member_id:
        raise Corrupt("identity", f"the directory belongs to member {identity.member_id}")
    if identity.incarnation != expected.incarnation:
        raise Corrupt("identity", f"the directory is of incarnation {identity.incarnation}")
