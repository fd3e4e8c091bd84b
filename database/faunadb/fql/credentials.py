"""Secrets of keys and tokens, and the hashes that are kept instead (schema.md §7).

    key     url-safe base64 of 126 112, key id (8 bytes), 20 random bytes
    token   126 113, token id (8), database number (8), 20 random bytes

The random part has 160 bits, so one SHA-256 hides it; passwords of people go through scrypt.

Trap: names of the standard library's `secrets` are not ours; nothing here draws anything.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Literal

import msgspec

_KEY, _TOKEN = bytes((126, 112)), bytes((126, 113))
RANDOM_BYTES = 20
SALT_BYTES = 16
_SCRYPT_N, _SCRYPT_R, _SCRYPT_P = 4096, 8, 1  # about 10 ms and 4 MiB


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """What a presented secret says of itself; nothing of it is proven (`identity`).

    It travels between members instead of the secret.
    """

    kind: Literal["key", "token"]
    id: int
    digest: bytes  # what is stored for the random part
    database: int = 0  # a token's


def key_secret(key_id: int, random: bytes) -> str:
    assert len(random) == RANDOM_BYTES
    return _text(_KEY + key_id.to_bytes(8, "big") + random)


def token_secret(token_id: int, database: int, random: bytes) -> str:
    assert len(random) == RANDOM_BYTES
    return _text(_TOKEN + token_id.to_bytes(8, "big") + database.to_bytes(8, "big") + random)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def claim_of(text: str) -> Claim | None:
    """Take a secret apart, None when it is none of ours."""
    if len(text) > 128 or not text.isascii():
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if raw.startswith(_KEY) and len(raw) == 10 + RANDOM_BYTES:
        return Claim("key", int.from_bytes(raw[2:10], "big"), secret_hash(raw[10:]))
    if raw.startswith(_TOKEN) and len(raw) == 18 + RANDOM_BYTES:
        database = int.from_bytes(raw[10:18], "big")
        return Claim("token", int.from_bytes(raw[2:10], "big"), secret_hash(raw[18:]), database)
    return None


def secret_hash(random: bytes) -> bytes:
    """Return what is stored for the random part of a secret."""
    return hashlib.sha256(random).digest()


def password_hash(password: str, salt: bytes) -> bytes:
    """Return salt and hash of a password, about 10 ms of work."""
    assert len(salt) == SALT_BYTES
    raw = password.encode("utf-8", "surrogatepass")
    return salt + hashlib.scrypt(raw, salt=salt, n=_SCRYPT_N, r=_SCRYPT_R, p=_SCRYPT_P, dklen=32)


def password_matches(password: str, stored: object) -> bool:
    if not isinstance(stored, bytes) or len(stored) <= SALT_BYTES:
        return False
    return hmac.compare_digest(password_hash(password, stored[:SALT_BYTES]), stored)
