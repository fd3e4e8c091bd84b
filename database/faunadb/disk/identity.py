"""The file IDENTITY: what a data directory is, for its life (SAFETY 22, 25).

Its atomic rename is the only commit point of bootstrap, restore and recovery: before it the
directory is empty, after it the member exists. The nonce is drawn with it and never again.

Trap: a directory with data and without IDENTITY is not empty, it is `Corrupt`.
"""

from collections.abc import Callable

import msgspec

from faunadb.disk.seals import read_whole, replace, seal, unseal
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import Files, Identity
from faunadb.raft.entries import MemberId

NAME = "IDENTITY"
RESTORING = "RESTORING"  # beside no IDENTITY: a restore has begun (backup/restore.py)
MAGIC = b"FaunaIDN"
ID_BYTES = 16


class _IdentityFile(msgspec.Struct, frozen=True):
    identity: Identity
    created_us: int


def read_identity(files: Files) -> Identity | None:
    """Return what the directory is, None when it is empty. Raises `Corrupt`."""
    try:
        identity = unseal(MAGIC, _IdentityFile, read_whole(files, NAME)).identity
    except FileNotFoundError:
        return None
    except Malformed as problem:
        raise Corrupt("identity", f"{NAME}: {problem}") from problem
    for part in (identity.cluster_id, identity.nonce, identity.incarnation_salt):
        if len(part) != ID_BYTES:
            raise Corrupt("identity", f"{NAME} holds an id of {len(part)} bytes")
    return identity


def create_identity(
    files: Files,
    *,
    cluster_id: bytes,
    member_id: MemberId,
    incarnation: int,
    incarnation_salt: bytes,
    created_us: int,
    draw: Callable[[int], bytes],
) -> Identity:
    """Make an empty directory a member, with a nonce of its own; durable on return."""
    assert read_identity(files) is None, "a directory is one member for its life"
    identity = Identity(
        cluster_id=cluster_id,
        member_id=member_id,
        nonce=draw(ID_BYTES),
        incarnation=incarnation,
        incarnation_salt=incarnation_salt,
    )
    write_identity(files, identity, created_us)
    return identity


def write_identity(files: Files, identity: Identity, created_us: int) -> None:
    """Put IDENTITY in place at once; also how a later incarnation of the same member begins."""
    for part in (identity.cluster_id, identity.nonce, identity.incarnation_salt):
        assert len(part) == ID_BYTES
    replace(files, "", NAME, seal(MAGIC, _IdentityFile(identity, created_us)))
