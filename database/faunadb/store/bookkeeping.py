"""What does a state know about itself? One record, rewritten in the transaction of its batch.

It is everything replicated that is not a document: how far the log was applied, who the
members are, up to where timestamps may have been issued, who draws ids, the state hash. A
snapshot is described by the record inside it, never by a file beside it (SAFETY 17).

Trap: `configuration` is bytes, because the machine does not know consensus.
"""

import msgspec

from faunadb.errors import Malformed
from faunadb.store.ids import WORKERS_MAX
from faunadb.store.keys import META
from faunadb.store.ports import Reader

_KEY = META + b"state"
_FORMAT = 1
LEASES_MAX = 512  # members that hold a worker number; half of the numbers stay free


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """Who draws document ids with `worker` (SAFETY 27)."""

    member: int
    process: bytes
    worker: int


class Bookkeeping(msgspec.Struct, frozen=True, array_like=True):
    """One record. Pairs are (term, index); times are microseconds."""

    applied: tuple[int, int] = (0, 0)
    configuration: bytes = b""  # payload of the last CONFIGURATION entry
    configuration_id: tuple[int, int] = (0, 0)
    last_ts: int = 0
    ceiling: int = 0
    open_for_clients: bool = False
    state_hash: bytes = bytes(16)
    leases: tuple[Lease, ...] = ()
    next_worker: int = 0


def read_bookkeeping(reader: Reader) -> Bookkeeping:
    """Return the record, an empty one for an empty state; raises `Malformed`."""
    raw = reader.get(_KEY)
    if raw is None:
        return Bookkeeping()
    if not raw or raw[0] != _FORMAT:
        raise Malformed("bookkeeping of an unknown format version")
    try:
        return msgspec.msgpack.decode(raw[1:], type=Bookkeeping)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not bookkeeping: {error}") from error


def bookkeeping_pair(record: Bookkeeping) -> tuple[bytes, bytes]:
    """Return the pair that keeps the record."""
    return _KEY, bytes((_FORMAT,)) + msgspec.msgpack.encode(record)


def lease_worker(record: Bookkeeping, member: int, process: bytes) -> tuple[Bookkeeping, int]:
    """Give (member, process) a worker number; the same one if it has one already.

    A new process of a member takes the place of the old one under a fresh number. Beyond
    `LEASES_MAX` members the lowest member, long gone, loses its lease.
    """
    for lease in record.leases:
        if (lease.member, lease.process) == (member, process):
            return record, lease.worker
    others = [lease for lease in record.leases if lease.member != member][-LEASES_MAX + 1 :]
    held = {lease.worker for lease in record.leases}
    worker = record.next_worker
    while worker in held:
        worker = (worker + 1) % WORKERS_MAX
    leases = sorted([*others, Lease(member, process, worker)], key=lambda lease: lease.member)
    return (
        msgspec.structs.replace(
            record, leases=tuple(leases), next_worker=(worker + 1) % WORKERS_MAX
        ),
        worker,
    )
