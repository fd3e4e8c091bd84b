"""What the event loop hands to a worker process, and what comes back: frames on a pipe.

    frame    length u32 little endian, then MessagePack of a `Job` or a `JobDone`

Both ends are the same program; still a cut frame is `Malformed`, because a worker may be killed
at any byte.
"""

import struct

import msgspec

from faunadb.codec import Answer
from faunadb.errors import Malformed
from faunadb.node.query import Query
from faunadb.store.effects import Effects

JOB_BYTES_MAX = 64 * 1024 * 1024
LENGTH = struct.Struct("<I")


class Job(msgspec.Struct, frozen=True, array_like=True):
    """Evaluate `query` at `ts`; `term` 0 is a read, else effects for the leader of `term`.

    `state` is the directory of the LMDB state, which a snapshot may have replaced; `worker` the
    number that document ids carry.
    """

    query: Query
    ts: int
    term: int
    state: str
    worker: int


class JobDone(msgspec.Struct, frozen=True, array_like=True):
    """The answer and, for a write, the effects. `refused` is why there is none (`faults`)."""

    answer: Answer | None = None
    effects: Effects | None = None
    refused: bytes = b""


def encode_frame(message: Job | JobDone) -> bytes:
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


def decode_job(body: bytes) -> Job:
    """Raises `Malformed`."""
    try:
        return msgspec.msgpack.decode(body, type=Job)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a job: {error}") from error


def decode_done(body: bytes) -> JobDone:
    """Raises `Malformed`."""
    try:
        return msgspec.msgpack.decode(body, type=JobDone)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not an outcome: {error}") from error
