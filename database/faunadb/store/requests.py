"""Was this write made before? The table of requests, oldest first (SAFETY 5).

A client's request id carries its birth time, and the table forgets by birth time alone, so all
replicas forget alike and an id that is too old to be found is recognised as too old.

Trap: a request that is found at apply is a crash; only the leader asks beforehand.
"""

import hashlib
from itertools import islice

import msgspec

from faunadb.codec import Answer, RequestId, Transaction
from faunadb.definitions import SystemCollection
from faunadb.errors import Malformed
from faunadb.store import keys
from faunadb.store.effects import Effects
from faunadb.store.mvcc import DELETED
from faunadb.store.ports import Reader

REQUEST_HORIZON_US = 120_000_000  # the default query timeout; 1.4 million at 12,000 writes/s
REQUEST_AHEAD_MAX_US = 60_000_000  # ids born later than that are of a clock that is wrong
EVICTION_SLACK_US = 1_000_000  # forget in swarms, not one at a time
EVICTED_AT_ONCE_MAX = 1024
ANSWER_BYTES_MAX = 4096
_WITH_SECRET = frozenset({SystemCollection.KEY, SystemCollection.TOKEN})


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """How a request was answered; `answer` is None when it was too long to keep."""

    ts: int
    answer: Answer | None
    answer_digest: bytes


def answer_to_keep(answer: Answer, effects: Effects) -> tuple[Answer | None, bytes]:
    """Return what an entry carries of an answer: all of it up to 4 KiB, else its SHA-256.

    The answer to who made a key or token shows its secret, which is kept nowhere, not even here.
    """
    encoded = msgspec.msgpack.encode(answer)
    if len(encoded) <= ANSWER_BYTES_MAX and not _shows_secret(effects):
        return answer, b""
    return None, hashlib.sha256(encoded).digest()


def _shows_secret(effects: Effects) -> bool:
    return any(
        place[:1] == keys.DOCUMENTS and keys.document_of(place)[1] in _WITH_SECRET
        for place, raw in effects.writes
        if raw != DELETED
    )


def may_be_known(request: RequestId, now_us: int, latest_us: int) -> bool:
    """Return whether the table can tell; ids too old or from the future are refused.

    It is `now_us` at least, and may be as late as `latest_us`.
    """
    return now_us - REQUEST_HORIZON_US <= request.born_us <= latest_us + REQUEST_AHEAD_MAX_US


def remembered(transaction: Transaction) -> Remembered:
    return Remembered(transaction.ts, transaction.answer, transaction.answer_digest)


def request_pair(request: RequestId, transaction: Transaction) -> tuple[bytes, bytes]:
    """Return the pair that keeps the outcome of a request."""
    return request_key(request), msgspec.msgpack.encode(remembered(transaction))


def request_key(request: RequestId) -> bytes:
    assert len(request.nonce) == 16, "refused at the front"
    assert 0 <= request.born_us < 2**64, "refused at the front"
    return keys.REQUESTS + request.born_us.to_bytes(8, "big") + request.nonce


def find_request(reader: Reader, request: RequestId) -> Remembered | None:
    """Return how the request was answered, `None` when it is not known; raises `Malformed`."""
    raw = reader.get(request_key(request))
    if raw is None:
        return None
    try:
        return msgspec.msgpack.decode(raw, type=Remembered)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not an outcome: {error}") from error


def oldest_birth(reader: Reader) -> int | None:
    """Return the birth time of the oldest request in the table."""
    for key, _ in reader.scan(keys.REQUESTS, keys.REQUESTS_END):
        return int.from_bytes(key[1:9], "big")
    return None


def forgotten(reader: Reader, ts: int) -> list[tuple[bytes, bytes]]:
    """Return the pairs that a transaction at `ts` makes the table forget, oldest first."""
    end = keys.REQUESTS + max(ts - REQUEST_HORIZON_US, 0).to_bytes(8, "big")
    return list(islice(reader.scan(keys.REQUESTS, end), EVICTED_AT_ONCE_MAX))
