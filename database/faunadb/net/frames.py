"""The bytes between members: frames, the hello that begins a connection, and who is refused.

    frame   body bytes u32 | crc32c of the rest u32 | kind u8 | body        (little endian)

Pure. A connection begins with the caller's HELLO; the other side answers WELCOME (its own hello)
or REFUSAL with a reason. Everything later stands on what the hello said, and repeats none of it.

Trap: a hello proves nothing by itself. The certificate proves cluster and name (`tls`), the
configuration says which directory (nonce) an id belongs to (SAFETY 22).
"""

import struct
from enum import IntEnum, StrEnum

import msgspec
from crc32c import crc32c

from faunadb.codec import FEATURE_LEVEL
from faunadb.errors import Malformed
from faunadb.node.ports import Identity
from faunadb.raft.entries import Configuration, MemberId
from faunadb.raft.messages import MESSAGE_BYTES_MAX

WIRE_VERSION = 1
_HEADER = struct.Struct("<IIB")
HELLO_BYTES_MAX = 4096  # what a stranger may send
FRAME_BYTES_MAX = MESSAGE_BYTES_MAX + 64 * 1024  # a forwarded query travels in one, too


class Kind(IntEnum):
    """What a frame's body is."""

    HELLO = 1
    WELCOME = 2
    REFUSAL = 3
    PING = 4
    PONG = 5
    MESSAGE = 6  # consensus: `raft.messages`
    NODE = 7  # one byte of kind, then the node's own message
    SNAPSHOT_BEGIN = 8  # msgpack of (digest, manifest)
    SNAPSHOT_CHUNK = 9  # u64 offset, then data
    SNAPSHOT_END = 10
    SNAPSHOT_WANT = 11  # u64 offset: the receiver's answer to begin and chunk
    SNAPSHOT_DONE = 12  # one byte: 1 when it is durable and whole


_KINDS = {int(kind): kind for kind in Kind}


class Frame(msgspec.Struct, frozen=True, gc=False):
    kind: Kind
    body: bytes


def encode_frame(kind: Kind, body: bytes) -> bytes:
    """Return the bytes of a frame. Refuses (assertion) what the other side would not take."""
    assert len(body) <= FRAME_BYTES_MAX
    return _HEADER.pack(len(body), crc32c(body, kind), kind) + body


class FrameReader:
    """Cuts a stream of bytes into frames; raises `Malformed`, after which it is of no use."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.body_bytes_max = HELLO_BYTES_MAX  # raised once the other side is known

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes."""
        self._held += data
        frames: list[Frame] = []
        at, size = 0, len(self._held)
        while at + _HEADER.size <= size:
            length, crc, kind = _HEADER.unpack_from(self._held, at)
            if length > self.body_bytes_max:
                raise Malformed(f"a frame of {length} bytes")
            end = at + _HEADER.size + length
            if end > size:
                break
            body = bytes(memoryview(self._held)[at + _HEADER.size : end])
            known = _KINDS.get(kind)
            if known is None or crc32c(body, kind) != crc:
                raise Malformed("a frame of unknown kind or with a wrong checksum")
            frames.append(Frame(known, body))
            at = end
        del self._held[:at]
        return frames


class Purpose(StrEnum):
    """What a connection is for."""

    MESSAGES = "messages"
    SNAPSHOT = "snapshot"


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """Who speaks and whom it means to reach (`to`; 0 in a welcome).

    `incarnation_salt` is empty for a member that waits to be added and cannot know it.
    """

    wire_version: int
    cluster_id: bytes
    incarnation: int
    incarnation_salt: bytes
    member_id: MemberId
    name: str
    nonce: bytes
    feature_level: int
    version: str
    to: MemberId = MemberId(0)
    purpose: Purpose = Purpose.MESSAGES


def hello_of(
    identity: Identity, name: str, version: str, to: int = 0, purpose: Purpose = Purpose.MESSAGES
) -> Hello:
    return Hello(
        wire_version=WIRE_VERSION,
        cluster_id=identity.cluster_id,
        incarnation=identity.incarnation,
        incarnation_salt=identity.incarnation_salt,
        member_id=identity.member_id,
        name=name,
        nonce=identity.nonce,
        feature_level=FEATURE_LEVEL,
        version=version,
        to=MemberId(to),
        purpose=purpose,
    )


class Reason(StrEnum):
    """Why a connection is refused; only the first five are for good."""

    WRONG_VERSION = "wrong wire version"
    WRONG_CLUSTER = "wrong cluster id"
    WRONG_INCARNATION = "wrong incarnation"
    WRONG_NONCE = "wrong nonce"
    REMOVED = "removed"
    WRONG_NAME = "wrong name"
    WRONG_MEMBER = "wrong member"
    UNKNOWN = "unknown, try later"
    BUSY = "busy, try later"


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    reason: Reason
    detail: str


def judge(
    hello: Hello, own: Identity, configuration: Configuration | None, *, removed: bool
) -> Refusal | None:
    """Return why `hello` is refused, None when it is welcome.

    `configuration` is the one in force, None while we wait; `removed` comes from an *applied* one
    (SAFETY 24). An id above its `highest_member_id` may be a leader that we have not heard of.
    """
    if hello.wire_version != WIRE_VERSION:
        return Refusal(Reason.WRONG_VERSION, f"{hello.wire_version}, not {WIRE_VERSION}")
    if hello.cluster_id != own.cluster_id:
        return Refusal(Reason.WRONG_CLUSTER, f"we are {own.cluster_id.hex()}")
    if not _same_incarnation(hello.incarnation, hello.incarnation_salt, own):
        return Refusal(Reason.WRONG_INCARNATION, f"we are in {own.incarnation}")
    if hello.to not in {0, own.member_id} or hello.member_id == own.member_id:
        return Refusal(Reason.WRONG_MEMBER, f"this is member {own.member_id}")
    if removed:
        return Refusal(Reason.REMOVED, f"member {hello.member_id} was removed")
    return _judge_membership(hello, configuration)


def _same_incarnation(number: int, salt: bytes, own: Identity) -> bool:
    """A member that waits knows the number only."""
    unknown = not salt or not own.incarnation_salt
    return number == own.incarnation and (unknown or salt == own.incarnation_salt)


def _judge_membership(hello: Hello, configuration: Configuration | None) -> Refusal | None:
    if configuration is None:
        return None
    peer = configuration.peer(hello.member_id)
    if peer is None and hello.member_id <= configuration.highest_member_id:
        return Refusal(Reason.UNKNOWN, f"member {hello.member_id} is not in the configuration")
    if peer is not None and peer.nonce and peer.nonce != hello.nonce:
        text = f"member {hello.member_id} is the directory {peer.nonce.hex()}"
        return Refusal(Reason.WRONG_NONCE, text)
    return None


_encoder = msgspec.msgpack.Encoder()
_hellos: msgspec.msgpack.Decoder[Hello] = msgspec.msgpack.Decoder(Hello)
_refusals: msgspec.msgpack.Decoder[Refusal] = msgspec.msgpack.Decoder(Refusal)
_begins: msgspec.msgpack.Decoder[tuple[bytes, bytes]] = msgspec.msgpack.Decoder(tuple[bytes, bytes])
_OFFSET = struct.Struct("<Q")


def encode_body(body: Hello | Refusal | tuple[bytes, bytes]) -> bytes:
    return _encoder.encode(body)


def decode_hello(body: bytes) -> Hello:
    """Undo `encode_body`; raises `Malformed`."""
    try:
        hello = _hellos.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a hello: {error}") from error
    sizes = (len(hello.cluster_id), len(hello.nonce), len(hello.incarnation_salt))
    if sizes[:2] != (16, 16) or sizes[2] not in {0, 16} or hello.member_id < 1:
        raise Malformed("a hello with ids of the wrong size")
    return hello


def decode_refusal(body: bytes) -> Refusal:
    """Undo `encode_body`; raises `Malformed`."""
    try:
        return _refusals.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a refusal: {error}") from error


def decode_begin(body: bytes) -> tuple[bytes, bytes]:
    """Return (digest, manifest) of a snapshot that is offered; raises `Malformed`."""
    try:
        return _begins.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Malformed(f"not the beginning of a snapshot: {error}") from error


def encode_chunk(offset: int, data: bytes = b"") -> bytes:
    return _OFFSET.pack(offset) + data


def decode_chunk(body: bytes) -> tuple[int, bytes]:
    """Undo `encode_chunk`; raises `Malformed`."""
    if len(body) < _OFFSET.size:
        raise Malformed("a chunk without an offset")
    return _OFFSET.unpack_from(body)[0], body[_OFFSET.size :]
