"""What does a committed entry do to the state? Exactly the same on every member.

`apply` takes consecutive entries in one write transaction, the applied index inside it. It
gets no clock and no chance, evaluates nothing and skips nothing: bytes that it does not
understand, and a request that was applied before, are a crash (SAFETY 5, 12).

The state hash is the sum, modulo 2^128, of the BLAKE2b of every live pair outside the
bookkeeping; members compare it where a HashPoint stands in the log.

Trap: batches differ between members. Nothing may depend on where one ends.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol, assert_never

import msgspec

from faunadb.codec import (
    CloseForClients,
    HashPoint,
    LeaseWorker,
    OpenForClients,
    RaiseCeiling,
    RemoveVersions,
    RequestId,
    Transaction,
    decode_payload,
)
from faunadb.errors import Malformed
from faunadb.store import keys
from faunadb.store.bookkeeping import (
    Bookkeeping,
    bookkeeping_pair,
    lease_worker,
    read_bookkeeping,
)
from faunadb.store.history import removed_pairs
from faunadb.store.ports import KeyValue, Reader, Writer
from faunadb.store.requests import (
    EVICTION_SLACK_US,
    REQUEST_HORIZON_US,
    Remembered,
    find_request,
    forgotten,
    oldest_birth,
    request_pair,
)

NOOP, DATA, CONFIGURATION = 0, 1, 2  # kinds of entries, as consensus numbers them
_HASH_MODULUS = 2**128
_VERSIONED = b"dis"


class LogEntry(Protocol):
    """What the machine needs of an entry of the log."""

    @property
    def term(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def kind(self) -> int: ...
    @property
    def payload(self) -> memoryview: ...


class Applied(msgspec.Struct, frozen=True):
    """A transaction is in the state."""

    index: int
    transaction: Transaction


class Configured(msgspec.Struct, frozen=True):
    """A configuration is applied; `payload` is its encoding."""

    index: int
    term: int
    payload: bytes


class Hashed(msgspec.Struct, frozen=True):
    """The state at this entry hashes to this."""

    index: int
    state_hash: bytes


class Leased(msgspec.Struct, frozen=True):
    """(member, process) draws ids with `worker`."""

    index: int
    member: int
    process: bytes
    worker: int


class CeilingRaised(msgspec.Struct, frozen=True):
    index: int
    ceiling: int


class VersionsRemoved(msgspec.Struct, frozen=True):
    index: int
    pairs: int


class Opened(msgspec.Struct, frozen=True):
    """Clients may write from here on."""

    index: int


class Closed(msgspec.Struct, frozen=True):
    """Clients may not write until they are let in again."""

    index: int


class Nothing(msgspec.Struct, frozen=True):
    """The first entry of a term."""

    index: int


Outcome = (
    Applied
    | Configured
    | Hashed
    | Leased
    | CeilingRaised
    | VersionsRemoved
    | Opened
    | Closed
    | Nothing
)


class Machine:
    """The replicated state. One at a time per `KeyValue`."""

    def __init__(self, kv: KeyValue) -> None:
        self._kv = kv
        with kv.read() as reader:
            self._record = read_bookkeeping(reader)
            self._oldest_request = oldest_birth(reader)

    @property
    def record(self) -> Bookkeeping:
        """Return the bookkeeping as of the last entry applied."""
        return self._record

    def apply(self, entries: Sequence[LogEntry]) -> tuple[Outcome, ...]:
        """Apply consecutive entries in one write transaction; return an outcome for each.

        Raises `Malformed` for what it does not understand; nothing of the batch is applied
        then, and the caller must crash.
        """
        if not entries:
            return ()
        with self._kv.write() as writer:
            batch = _Batch(writer, self._record, self._oldest_request)
            outcomes = tuple([batch.apply(entry) for entry in entries])
            batch.finish()
        self._record, self._oldest_request = batch.record(), batch.oldest_request
        return outcomes

    def find_request(self, reader: Reader, request: RequestId) -> Remembered | None:
        """Return how a request was answered, as far as it is applied."""
        return find_request(reader, request)


def describe(reader: Reader) -> Bookkeeping:
    """Return what a state says of itself: applied id, configuration, ceiling, state hash."""
    return read_bookkeeping(reader)


def state_hash_of(reader: Reader) -> bytes:
    """Compute the state hash anew from all pairs; a scrub compares it with the record's."""
    found = StateHash()
    found.add(reader.scan(b"", keys.META))
    found.add(reader.scan(keys.REQUESTS, None))
    return found.digest()


class StateHash:
    """The state hash of pairs that come piece by piece, in any order; without the bookkeeping."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._total += sum(_pair_hash(key, raw) for key, raw in pairs)

    def digest(self) -> bytes:
        """Return the hash of all that was added, as the bookkeeping would hold it."""
        return (self._total % _HASH_MODULUS).to_bytes(16, "big")


def _pair_hash(key: bytes, raw: bytes) -> int:
    digest = hashlib.blake2b(len(key).to_bytes(2, "big") + key + raw, digest_size=16).digest()
    return int.from_bytes(digest, "big")


class _Batch:
    """One write transaction. Puts wait until something must read, deletes are at once."""

    def __init__(self, writer: Writer, record: Bookkeeping, oldest_request: int | None) -> None:
        self._writer = writer
        self._record = record
        self.oldest_request = oldest_request
        self._puts: list[tuple[bytes, bytes]] = []
        self._requests: set[RequestId] = set()
        self._hash = int.from_bytes(record.state_hash, "big")
        self._applied = record.applied
        self._last_ts = record.last_ts
        self._ceiling = record.ceiling

    def record(self) -> Bookkeeping:
        """Return the bookkeeping as of the last entry."""
        return msgspec.structs.replace(
            self._record,
            applied=self._applied,
            last_ts=self._last_ts,
            ceiling=self._ceiling,
            state_hash=self._state_hash(),
        )

    def finish(self) -> None:
        self._puts.append(bookkeeping_pair(self.record()))
        self._flush()

    def apply(self, entry: LogEntry) -> Outcome:
        term, index = self._applied
        assert entry.index == index + 1, "entries are applied in order"
        assert entry.term >= term, "terms never fall"
        self._applied = (entry.term, entry.index)
        if entry.kind == DATA:
            return self._data(entry)
        if entry.kind == CONFIGURATION:
            payload = bytes(entry.payload)
            self._record = msgspec.structs.replace(
                self._record, configuration=payload, configuration_id=self._applied
            )
            return Configured(entry.index, entry.term, payload)
        if entry.kind == NOOP:
            return Nothing(entry.index)
        raise Malformed(f"entry {entry.index} is of unknown kind {entry.kind}")

    def _data(self, entry: LogEntry) -> Outcome:
        index, payload = entry.index, decode_payload(entry.payload)
        match payload:
            case Transaction():
                self._transaction(payload)
                return Applied(index, payload)
            case RaiseCeiling(ceiling):
                self._ceiling = max(self._ceiling, ceiling)
                return CeilingRaised(index, self._ceiling)
            case RemoveVersions():
                self._flush()
                pairs = removed_pairs(self._writer, payload)
                self._delete(pairs)
                return VersionsRemoved(index, len(pairs))
            case HashPoint():
                return Hashed(index, self._state_hash())
            case OpenForClients() | CloseForClients():
                opens = isinstance(payload, OpenForClients)
                self._record = msgspec.structs.replace(self._record, open_for_clients=opens)
                return Opened(index) if opens else Closed(index)
            case LeaseWorker(member, process):
                self._record, worker = lease_worker(self._record, member, process)
                return Leased(index, member, process, worker)
            case _:
                assert_never(payload)

    def _transaction(self, transaction: Transaction) -> None:
        assert transaction.ts > self._last_ts, "the order of the log is the order of timestamps"
        self._last_ts = transaction.ts
        self._ceiling = max(self._ceiling, transaction.ceiling, transaction.ts)
        end = keys.suffix(transaction.ts)
        for key, raw in transaction.writes:
            if raw is None:
                self._delete_key(key)
                continue
            if not key.endswith(end) or key[0] not in _VERSIONED:
                raise Malformed("a transaction writes versions of its own time")
            self._put(key, raw)
        if transaction.request is not None:
            self._remember(transaction.request, transaction)
        oldest = self.oldest_request
        if oldest is not None and oldest < transaction.ts - REQUEST_HORIZON_US - EVICTION_SLACK_US:
            self._flush()
            self._delete(forgotten(self._writer, transaction.ts))
            self.oldest_request = oldest_birth(self._writer)

    def _remember(self, request: RequestId, transaction: Transaction) -> None:
        key, raw = request_pair(request, transaction)
        known = request in self._requests or self._writer.get(key) is not None
        assert not known, "a request was applied twice"
        self._requests.add(request)
        self._put(key, raw)
        self.oldest_request = min(request.born_us, self.oldest_request or request.born_us)

    def _put(self, key: bytes, raw: bytes) -> None:
        self._hash += _pair_hash(key, raw)
        self._puts.append((key, raw))

    def _delete_key(self, key: bytes) -> None:
        self._flush()
        raw = self._writer.get(key)
        if raw is not None:
            self._delete([(key, raw)])

    def _delete(self, pairs: Sequence[tuple[bytes, bytes]]) -> None:
        self._hash -= sum([_pair_hash(key, raw) for key, raw in pairs])
        self._writer.delete_many([key for key, _ in pairs])

    def _state_hash(self) -> bytes:
        return (self._hash % _HASH_MODULUS).to_bytes(16, "big")

    def _flush(self) -> None:
        self._writer.put_many(self._puts)
        self._puts = []
