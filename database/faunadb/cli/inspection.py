"""What a stopped member's directory holds, for a person who must decide something."""

from pathlib import Path
from typing import Any

from faunadb.disk.files import DirectoryFiles
from faunadb.disk.identity import read_identity
from faunadb.disk.snapshots import list_snapshots


def inspect_directory(data_dir: Path) -> dict[str, Any]:
    """Read identity, snapshots and sizes; takes the directory's lock for a moment.

    Raises `Corrupt`, `DirectoryInUse`, OSError.
    """
    files = DirectoryFiles(data_dir)
    identity = read_identity(files)
    if identity is None:
        return {"state": "empty", "files": files.list("")}
    snapshots, broken = list_snapshots(files, identity)
    return {
        "state": "member",
        "cluster_id": identity.cluster_id.hex(),
        "member_id": identity.member_id,
        "nonce": identity.nonce.hex(),
        "incarnation": identity.incarnation,
        "incarnation_salt": identity.incarnation_salt.hex(),
        "snapshots": [
            {"term": found.id.term, "index": found.id.index, "bytes": found.manifest.data_bytes}
            for found in snapshots
        ],
        "broken_snapshots": broken,
        "segments": [name for name in files.list("wal") if name.endswith(".wal")],
        "states": [name for name in files.list("") if name.startswith("state-")],
    }
