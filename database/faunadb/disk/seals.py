"""Small files written once: IDENTITY, VALID, CLEAN, MANIFEST. One shape for all of them.

    file = magic (8 bytes), format version u16, reserved u16, length u32, crc32c u32, MessagePack

Trap: the checksum covers the magic too, so that one kind never passes for another.
"""

import struct
from typing import TypeVar

import msgspec
from crc32c import crc32c

from faunadb.errors import Malformed
from faunadb.node.ports import Files

_HEAD = struct.Struct("<8sHHI")
_CRC = struct.Struct("<I")
FORMAT_VERSION = 1
SEALED_BYTES_MAX = 64 * 1024 * 1024  # a manifest holds 4 bytes for each MiB of state

T = TypeVar("T", bound=msgspec.Struct)


def seal(magic: bytes, value: msgspec.Struct) -> bytes:
    """Return the bytes of a file that holds `value`."""
    body = msgspec.msgpack.encode(value)
    head = _HEAD.pack(magic, FORMAT_VERSION, 0, len(body))
    return head + _CRC.pack(crc32c(body, crc32c(head))) + body


def unseal(magic: bytes, type_: type[T], block: bytes) -> T:
    """Undo `seal`. Raises `Malformed` for anything else, trailing bytes included."""
    start = _HEAD.size + _CRC.size
    if len(block) < start:
        raise Malformed("file is cut off")
    found, version, reserved, length = _HEAD.unpack_from(block)
    if found != magic:
        raise Malformed(f"not a file of kind {magic.decode()}")
    if version != FORMAT_VERSION or reserved:
        raise Malformed(f"format {version} is not known to this version")
    (crc,) = _CRC.unpack_from(block, _HEAD.size)
    body = block[start:]
    if length != len(body) or crc != crc32c(body, crc32c(block[: _HEAD.size])):
        raise Malformed("file does not match its checksum")
    try:
        return msgspec.msgpack.decode(body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError, AssertionError, RecursionError) as problem:
        raise Malformed(f"not what a {magic.decode()} holds: {problem}") from problem


def read_whole(files: Files, path: str) -> bytes:
    """Return a small file's bytes. Raises FileNotFoundError; `Malformed` beyond 64 MiB."""
    file = files.open(path)
    try:
        size = file.size()
        if size > SEALED_BYTES_MAX:
            raise Malformed(f"{path} is too large to be a mark")
        return file.pread(size, 0)
    finally:
        file.close()


def write_new(files: Files, path: str, block: bytes) -> None:
    """Write and sync a file. The caller syncs its directory."""
    file = files.open(path, create=True)
    try:
        file.truncate(0)
        file.pwrite(block, 0)
        file.fdatasync()
    finally:
        file.close()


def replace(files: Files, directory: str, name: str, block: bytes) -> None:
    """Put a file in place at once: sync it under another name, rename, sync the directory."""
    prefix = f"{directory}/" if directory else ""
    write_new(files, f"{prefix}{name}.tmp", block)
    files.rename(f"{prefix}{name}.tmp", f"{prefix}{name}")
    files.fsync_directory(directory)
