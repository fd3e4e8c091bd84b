"""What a data directory holds after a crash, and what of it is believed (SAFETY 14-17, 20).

    read      the log (scan.py), the manifests, the marks of the state
    judge     every proof that something durable is missing makes the directory `Corrupt`
    begin     a later incarnation, when IDENTITY names one that the log does not know yet
    rebuild   a state that is not believed, from the newest snapshot that verifies, by copy
    reopen    the log in a new segment that repeats the last frame; durable before anybody hears

Proofs that a tail was durable: the commit index in an earlier frame, the end of the log in
CLEAN, what a believed state has applied, the index of a snapshot that we took ourselves.

Trap: a *received* snapshot ahead of the log proves nothing about it: its installation was
interrupted before the log recorded it. Recovery finishes the installation.
"""

from collections.abc import Callable

import msgspec

from faunadb.disk.boot import Boot
from faunadb.disk.crashes import forget_crash, has_crashed
from faunadb.disk.frames import Restart
from faunadb.disk.incarnation import Begin, begin_incarnation, has_ended
from faunadb.disk.ports import DATA_NAME, Describe, Description, Engine, Engines
from faunadb.disk.scan import LogScan, entry_id_at, scan_log
from faunadb.disk.snapshots import (
    TAKING,
    Snapshot,
    Snapshots,
    copy_verified,
    is_snapshot_name,
    list_snapshots,
)
from faunadb.disk.states import States
from faunadb.disk.wal import DIRECTORY, NEW_TMP, SPARE_TMP, Wal, WalLimits
from faunadb.errors import Corrupt
from faunadb.node.ports import Files, Identity, Recovered
from faunadb.raft.entries import HardState, Index, MemberId, Term


class Opened(msgspec.Struct, frozen=True):
    """A data directory that is open. `notes` are sentences for the log of the process."""

    recovered: Recovered
    wal: Wal
    engine: Engine
    states: States
    state_number: int
    snapshots: Snapshots
    notes: tuple[str, ...]


def recover(
    files: Files,
    engines: Engines,
    identity: Identity,
    *,
    boot: Boot,
    describe: Describe,
    draw: Callable[[int], bytes],
    limits: WalLimits,
    pause: Callable[[], None],
    begin: Begin | None,
) -> Opened:
    """Open a member's directory. Raises `Corrupt` with one word and a sentence, or OSError."""
    files.make_directory(DIRECTORY)
    files.fsync_directory("")
    _sweep(files)
    scan = scan_log(files, identity, limits)
    kept, notes = list_snapshots(files, identity)
    states = States(files, engines, boot)
    number = states.newest()
    _check_tail(scan, kept, states, number)
    scan = _finish_installation(scan, kept)
    _check_reach(scan, kept, notes)
    if number and has_crashed(files):
        states.disown(number)
        notes.append("a process died of a signal while it used the state: rebuilding")
    if has_ended(scan, identity):
        scan, note = begin_incarnation(scan, kept, identity, begin)
        notes.append(note)
    fresh = scan.newest is None
    wal = Wal(files, identity, scan.opening, draw, limits) if fresh else None
    state = _State(files, states, describe, notes)
    engine, number, description, used = state.open(number, scan, kept)
    if wal is None:  # a directory that turns out to be `Corrupt` stays as it is
        wal = Wal(files, identity, scan.opening, draw, limits)
    states.take_over(number)
    if has_crashed(files):
        forget_crash(files)
    _remove_broken(files, used)
    snapshots = Snapshots(files, engines, identity, describe=describe, kept=used, pause=pause)
    recovered = Recovered(
        hard_state=scan.hard_state,
        snapshot=used[-1].meta if used else None,
        entries=scan.entries,
        joined=scan.joined,
        state_applied=description.applied,
    )
    return Opened(recovered, wal, engine, states, number, snapshots, tuple(notes))


def _sweep(files: Files) -> None:
    """Remove what never got its name."""
    present = files.list(DIRECTORY)
    for path in (NEW_TMP, SPARE_TMP):
        if path.rpartition("/")[2] in present:
            files.remove(path)
    if TAKING in files.list(""):
        files.remove(TAKING)


def _remove_broken(files: Files, used: list[Snapshot]) -> None:
    """Remove snapshots that cannot be used: a state stands without them."""
    good = {snapshot.path for snapshot in used}
    for name in files.list(""):
        if is_snapshot_name(name) and name not in good:
            files.remove(name)
    files.fsync_directory("")


# ---------------------------------------------------------------- judging


def _check_tail(scan: LogScan, kept: list[Snapshot], states: States, number: int) -> None:
    """Raise `Corrupt` when something proves that the log was longer."""
    if scan.newest is None:
        if number or kept:
            raise Corrupt("log", "there is a state, but no log")
        return
    own = [snapshot.id.index for snapshot in kept if not snapshot.received]
    if own and own[-1] > scan.last_index:
        raise Corrupt(
            "tail", f"we made a snapshot at {own[-1]}, but the log ends at {scan.last_index}"
        )
    clean = states.clean(number) if number else None
    if clean is None:
        return
    stopped = (clean.log.seq, clean.log.end, clean.log.crc)
    cut_short = scan.newest[0] < clean.log.seq or (
        scan.newest[0] == clean.log.seq and scan.newest != stopped
    )
    if cut_short or scan.last_index < clean.log.last_index:
        raise Corrupt(
            "tail",
            f"the member stopped cleanly with a log up to {clean.log.last_index},"
            f" but the log ends at {scan.last_index}",
        )


def _check_reach(scan: LogScan, kept: list[Snapshot], notes: list[str]) -> None:
    """Raise `Corrupt` when entries between the newest snapshot and the log are missing."""
    first_index = _first_index(scan)
    if first_index > 1 and (not kept or kept[-1].id.index < first_index - 1):
        said = "; ".join(notes) or "there is none"
        raise Corrupt("snapshot", f"the log begins at {first_index} and no snapshot fits: {said}")


def _finish_installation(scan: LogScan, kept: list[Snapshot]) -> LogScan:
    """Restart the log behind a received snapshot whose record is missing."""
    if not kept:
        return scan
    newest = kept[-1]
    known = entry_id_at(scan, newest.id.index)
    fits = known == newest.id or (known is None and newest.id.index <= scan.last_index)
    if fits:
        return scan
    if not newest.received:
        raise Corrupt("snapshot", f"we made a snapshot at {newest.id}, but the log holds {known}")
    old = scan.hard_state
    hard_state = HardState(
        term=Term(max(old.term, newest.id.term)),
        vote=old.vote if old.term >= newest.id.term else MemberId(0),
        commit=Index(max(old.commit, newest.id.index)),
    )
    opening = msgspec.structs.replace(
        scan.opening,
        hard_state=hard_state,
        joined=True,
        operations=(*scan.opening.operations, Restart(newest.id)),
        last_index=newest.id.index,
    )
    return msgspec.structs.replace(
        scan,
        hard_state=hard_state,
        joined=True,
        entries=(),
        last_index=newest.id.index,
        opening=opening,
    )


# ---------------------------------------------------------------- the state


class _State:
    """Opens the state that is believed, or builds one from the newest snapshot that verifies."""

    def __init__(self, files: Files, states: States, describe: Describe, notes: list[str]) -> None:
        self._files, self._states, self._describe, self._notes = files, states, describe, notes

    def open(
        self, number: int, scan: LogScan, kept: list[Snapshot]
    ) -> tuple[Engine, int, Description, list[Snapshot]]:
        """Return the state, its number, what it holds, and the snapshots that may be used."""
        believed = self._believed(number)
        if believed is not None:
            engine, description = believed
            if _reaches(scan, kept, description):
                return engine, number, description, kept
            engine.close()
            self._notes.append(
                f"the state ends at {description.applied.index}: a snapshot replaces it"
            )
        return self._build(scan, list(kept))

    def _believed(self, number: int) -> tuple[Engine, Description] | None:
        """Open the state if its marks say so, and if it can be read."""
        if not self._states.is_believed(number):
            if number:
                self._notes.append(
                    "the state was not synced before the machine stopped: rebuilding"
                )
            return None
        engine: Engine | None = None
        try:
            engine = self._states.open(number)
            return engine, _described(engine, self._describe)
        except Corrupt as problem:
            if engine is not None:
                engine.close()
            self._states.disown(number)
            self._notes.append(f"{problem.detail}: rebuilding")
            return None

    def _build(
        self, scan: LogScan, kept: list[Snapshot]
    ) -> tuple[Engine, int, Description, list[Snapshot]]:
        first_index = _first_index(scan)
        while kept and kept[-1].id.index >= first_index - 1:
            number, path = self._states.prepare()
            try:
                copy_verified(self._files, kept[-1], f"{path}/{DATA_NAME}")
            except Corrupt as problem:
                self._notes.append(str(problem))
                kept.pop()
                continue
            engine = self._states.open(number)
            return engine, number, _described(engine, self._describe), kept
        _check_reach(scan, kept, self._notes)
        number, _ = self._states.prepare()
        engine = self._states.open(number)
        return engine, number, _described(engine, self._describe), []


def _described(engine: Engine, describe: Describe) -> Description:
    with engine.read() as reader:
        return describe(reader)


def _reaches(scan: LogScan, kept: list[Snapshot], description: Description) -> bool:
    """Say whether the log goes on where a believed state ends. Raises `Corrupt` when it cannot."""
    applied = description.applied
    if applied.index > scan.last_index:
        raise Corrupt(
            "tail", f"the state has applied {applied.index}, but the log ends at {scan.last_index}"
        )
    known = entry_id_at(scan, applied.index)
    if known is not None and known != applied:
        raise Corrupt("state", f"the state has applied {applied}, but the log holds {known}")
    installed = kept[-1].id.index if kept else 0
    return applied.index >= max(_first_index(scan) - 1, installed)


def _first_index(scan: LogScan) -> int:
    return scan.entries[0].index if scan.entries else scan.last_index + 1
