"""What a stopped member's directory holds, for a person or operator who must decide something.

After the loss of a majority the survivor with the highest last (term, index) is the one to
recover; volumes that were put aside are asked by this, read-only.

Trap: nothing is changed, not even a lock is left in a directory that has none. A log that is not
believed is a finding here, not a failure.
"""

from pathlib import Path
from typing import Any

from faunadb.disk.files import DirectoryFiles
from faunadb.disk.identity import read_identity
from faunadb.disk.scan import LogScan, scan_log
from faunadb.disk.snapshots import Snapshot, list_snapshots
from faunadb.disk.wal import WalLimits
from faunadb.errors import Corrupt
from faunadb.node.ports import Files, Identity
from faunadb.raft.entries import Configuration, EntryKind, decode_configuration


def inspect_directory(data_dir: Path) -> dict[str, Any]:
    """Read identity, log, snapshots and sizes; holds the directory's lock for that moment.

    Raises `Corrupt` when IDENTITY is damaged, `DirectoryInUse`, OSError.
    """
    files = DirectoryFiles(data_dir, read_only=True)
    try:
        identity = read_identity(files)
        if identity is None:
            return {"state": "empty", "files": files.list("")}
        return _describe(files, identity)
    finally:
        files.close()


def _describe(files: Files, identity: Identity) -> dict[str, Any]:
    snapshots, broken = list_snapshots(files, identity)
    newest = snapshots[-1] if snapshots else None
    return {
        "state": "member",
        "cluster_id": identity.cluster_id.hex(),
        "member_id": identity.member_id,
        "nonce": identity.nonce.hex(),
        "incarnation": identity.incarnation,
        "incarnation_salt": identity.incarnation_salt.hex(),
        **_log(files, identity, newest),
        "snapshots": [
            {
                "term": found.id.term,
                "index": found.id.index,
                "incarnation": found.manifest.incarnation,
                "bytes": found.manifest.data_bytes,
            }
            for found in snapshots
        ],
        "broken_snapshots": broken,
        "segments": [name for name in files.list("wal") if name.endswith(".wal")],
        "states": [name for name in files.list("") if name.startswith("state-")],
    }


def _log(files: Files, identity: Identity, newest: Snapshot | None) -> dict[str, Any]:
    """Say how far the log goes, or why it is not believed."""
    try:
        scan = scan_log(files, identity, WalLimits())
    except Corrupt as problem:
        return {"log": {"corrupt": f"{problem.reason}: {problem.detail}"}, "configuration": None}
    configuration = _configuration(scan, newest)
    return {
        "log": {
            "incarnation": scan.incarnation,
            "first": scan.entries[0].index if scan.entries else scan.last_index + 1,
            "last": _last(scan, newest),
            "commit": scan.hard_state.commit,
            "term": scan.hard_state.term,
            "vote": scan.hard_state.vote,
            "joined": scan.joined,
        },
        "configuration": None if configuration is None else _named(configuration),
    }


def _last(scan: LogScan, newest: Snapshot | None) -> dict[str, int]:
    """Return the entry to which log and snapshots reach, as elections compare it (Raft 5.4.1)."""
    ends = [(entry.term, entry.index) for entry in scan.entries[-1:]]
    if newest is not None:
        ends.append((newest.id.term, newest.id.index))
    term, index = max(ends, default=(0, 0))
    return {"term": term, "index": index}


def _configuration(scan: LogScan, newest: Snapshot | None) -> Configuration | None:
    """Return the last configuration that is known here, committed or not."""
    for entry in reversed(scan.entries):
        if entry.kind is EntryKind.CONFIGURATION:
            return decode_configuration(entry.payload)
    return newest.manifest.configuration if newest is not None else None


def _named(configuration: Configuration) -> dict[str, Any]:
    return {
        "voters": [peer.id for peer in configuration.voters],
        "voters_outgoing": [peer.id for peer in configuration.voters_outgoing],
        "learners": [peer.id for peer in configuration.learners],
        "highest_member_id": configuration.highest_member_id,
    }
