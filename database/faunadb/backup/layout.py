"""What lies where in the object store, and what the manifest says (docs/formats.md).

    {clusterID}/{backupID}/data-00001.zst …     parts, each on its own a zstd frame
    {clusterID}/{backupID}/manifest.json        last: it makes the backup complete

House rules: nothing here talks to a store. A format that is not known is refused.
Trap: names of parts come from the manifest, and a manifest comes from outside: they are checked.
"""

import hashlib
import re
from collections.abc import Iterator

import msgspec

from faunadb.errors import Corrupt

FORMAT = 1
MIB = 1024 * 1024
PART_BYTES = 64 * MIB  # a part ends with the slice of pairs that fills it
PART_BYTES_MAX = 256 * MIB  # no part that we read is larger: a pair has at most a request's size
STORED_BYTES_MAX = PART_BYTES_MAX
MANIFEST_BYTES_MAX = 64 * MIB  # 100,000 parts, 6 TiB
MANIFEST = "manifest.json"
LOG = "log"  # the archive of a cluster's log lies beside its backups
_ZEROS = "0" * 64
_CLUSTER_ID = re.compile(r"[0-9a-f]{32}")
_BACKUP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}")
_PART = re.compile(r"data-[0-9]{5,}\.zst")


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One object of pairs. `sha256` is of the object as it is stored; keys are hex."""

    name: str
    pairs: int
    bytes: int
    stored_bytes: int
    sha256: str
    first_key: str
    last_key: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is. Ids and hashes are lower-case hex, times microseconds since 1970."""

    format: int = FORMAT
    cluster_id: str
    incarnation: int
    incarnation_salt: str
    backup_id: str
    member: str
    created: str  # RFC 3339
    term: int
    index: int
    last_ts: int
    ceiling: int
    open_for_clients: bool
    feature_level: int
    state_hash: str
    pairs: int
    documents: dict[str, int]  # by name of the collection, in the root database
    parts: tuple[Part, ...]
    digest: str = ""  # of this very object, see `encode_manifest`

    def size_bytes(self) -> int:
        """Return the bytes of all pairs with their lengths."""
        return sum(part.bytes for part in self.parts)

    def stored_bytes(self) -> int:
        return sum(part.stored_bytes for part in self.parts)


class _Head(msgspec.Struct):
    format: int
    digest: str = ""


def check_cluster_id(text: str) -> str:
    """Return 32 lower-case hex digits. Raises ValueError with a sentence."""
    plain = text.replace("-", "").lower()
    if not _CLUSTER_ID.fullmatch(plain):
        raise ValueError(f"{text!r} is not 32 hex digits")
    return plain


def check_backup_id(text: str) -> str:
    """Return `text` if it may name a backup. Raises ValueError with a sentence."""
    if not _BACKUP_ID.fullmatch(text) or text == LOG:
        raise ValueError(
            f"{text!r} is no backup id: letters, digits, '.', '_' and '-', at most 127, not 'log'"
        )
    return text


def folder_of(cluster_id: str, backup_id: str) -> str:
    """Return where a backup lies in its store."""
    return f"{cluster_id}/{backup_id}"


def part_name(number: int) -> str:
    """Return the name of a part; they are numbered from 1."""
    return f"data-{number:05d}.zst"


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the object, indented for people.

    `digest` is the SHA-256 of the object with 64 zeros in the digest's place.
    """
    plain = msgspec.structs.replace(manifest, digest=_ZEROS)
    return seal_manifest(msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")


def seal_manifest(block: bytes) -> bytes:
    """Put the digest in the place of its zeros."""
    assert block.count(_said(_ZEROS)) == 1
    return block.replace(_said(_ZEROS), _said(hashlib.sha256(block).hexdigest()))


def decode_manifest(block: bytes | memoryview, place: str) -> Manifest:
    """Read a manifest that was found at `place`. Raises `Corrupt`.

    A format of a later version is `unknown_format`, everything else `manifest`.
    """
    block = bytes(block)
    try:
        head = msgspec.json.decode(block, type=_Head)
        if head.format != FORMAT:
            raise Corrupt(
                "unknown_format",
                f"{place} has format {head.format}; this version knows format {FORMAT}",
            )
        found = hashlib.sha256(block.replace(_said(head.digest), _said(_ZEROS))).hexdigest()
        if found != head.digest:
            raise Corrupt("manifest", f"{place}: expected SHA-256 {head.digest}, found {found}")
        manifest = msgspec.json.decode(block, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Corrupt("manifest", f"{place} cannot be read: {problem}") from problem
    if contradiction := next(_contradictions(manifest), None):
        raise Corrupt("manifest", f"{place}: {contradiction}")
    return manifest


def _said(digest: str) -> bytes:
    return b'"digest": "%s"' % digest.encode()


def _contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield a sentence about each thing that cannot be."""
    if manifest.index < 1 or manifest.term < 1:
        yield "a state of no entry"
    if not re.fullmatch(r"[0-9a-f]{32}", manifest.state_hash):
        yield "the state hash is not 32 hex digits"
    if sum(part.pairs for part in manifest.parts) != manifest.pairs:
        yield "the parts do not hold as many pairs as the whole"
    last = ""
    for part in manifest.parts:
        if not _PART.fullmatch(part.name):
            yield f"{part.name!r} is no name of a part"
        if not 0 < part.bytes <= PART_BYTES_MAX or not 0 < part.stored_bytes <= STORED_BYTES_MAX:
            yield f"{part.name} has {part.bytes} bytes"
        if not last < part.first_key <= part.last_key:
            yield f"{part.name} does not follow the part before it"
        last = part.last_key
