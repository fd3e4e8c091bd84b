"""Run one life of a member's storage, to be recorded: `python -m process.recorded_life FOLDER`.

FOLDER/data is the member's directory, FOLDER/leader another member's from which it installs a
snapshot. Whenever what somebody was told changes, a marker leaves with a number; FOLDER/told holds
what the numbers mean. FOLDER/before says what was told in an earlier life of the same directory:
then this one is short, and begins with a recovery.
"""

import os
import sys
from pathlib import Path
from random import Random

import msgspec

from disk_test_helpers.life import far_ahead, life
from disk_test_helpers.member import Logged, StoredMember, entry
from faunadb.disk.boot import Boot
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.raft.events import Write


class Told(msgspec.Struct, frozen=True):
    """What was reported, and what may be there besides."""

    reported: Logged = Logged()
    pending: tuple[Logged, ...] = ()


class Before(msgspec.Struct, frozen=True):
    """What was told before this life, and which life of the machine this is."""

    told: Told
    boot: Boot


class RecordedMember(StoredMember):
    """Says by a marker that what it told has changed."""

    def __init__(self, folder: Path, before: Before, seed: int) -> None:
        super().__init__(
            DirectoryFiles(folder), LmdbEngines(folder), lambda: before.boot, Random(seed)
        )
        self.reported, self.pending = before.told.reported, before.told.pending
        self.told: list[Told] = []
        self._out = os.open(os.devnull, os.O_WRONLY)

    def noted(self) -> None:
        self.told.append(Told(self.reported, self.pending))
        os.write(self._out, b"PROOF-%08d" % (len(self.told) - 1))

    def write_and_die(self) -> None:
        """End between a write and its sync: the next start reads what is not durable."""
        extended = Logged(
            self.reported.start,
            (*self.reported.ids, entry(self.reported.last_index + 1).id),
            self.reported.hard_state,
        )
        self.pending = (extended,)
        self.noted()
        entries = (entry(extended.last_index),)
        self.opened.wal.write([Write(self.token(), None, None, entries)])
        self.crash()


def live(folder: Path, member: RecordedMember) -> None:
    """Do everything, with ends of every kind."""
    leader = StoredMember(
        DirectoryFiles(folder / "leader"),
        LmdbEngines(folder / "leader"),
        lambda: Boot("the leader's", "pod"),
        Random(99),
        member_id=2,
    )
    life(member, far_ahead(leader))
    go_on(member)


def go_on(member: RecordedMember) -> None:
    """Die unsynced, recover, and be told more."""
    member.write_and_die()
    member.open()
    member.append(2)
    member.commit_and_apply()
    member.crash()


def main(folder: Path, seed: int) -> None:
    before = msgspec.msgpack.decode((folder / "before").read_bytes(), type=Before)
    member = RecordedMember(folder / "data", before, seed)
    if before.told.reported.last_index or before.told.pending:
        member.open()
        member.vote()
        go_on(member)
    else:
        live(folder, member)
    (folder / "told").write_bytes(msgspec.msgpack.encode(member.told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
