"""How a refusal travels from the leader to the member that the client asked.

Only errors that a client may see travel; everything else is a crash of the member that met it.
"""

import msgspec

from faunadb.errors import (
    Contended,
    DeadlineExceeded,
    FaunaError,
    InvalidRequest,
    Malformed,
    OutcomeUnknown,
    TooManyPending,
)

_KINDS: dict[str, type[FaunaError]] = {
    "invalid": InvalidRequest,
    "pending": TooManyPending,
    "deadline": DeadlineExceeded,
    "unknown": OutcomeUnknown,
    "contended": Contended,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def encode_fault(fault: FaunaError) -> bytes:
    """Encode a refusal; errors of queries travel as answers, already rendered."""
    name = next((n for kind, n in _NAMES.items() if isinstance(fault, kind)), "unknown")
    return msgspec.msgpack.encode((name, str(fault)))


def decode_fault(data: bytes) -> FaunaError:
    """Undo `encode_fault`; raises `Malformed`."""
    try:
        name, text = msgspec.msgpack.decode(data, type=tuple[str, str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"not a refusal: {error}") from error
    kind = _KINDS.get(name)
    if kind is None:
        raise Malformed(f"unknown refusal {name!r}")
    return kind(text)
