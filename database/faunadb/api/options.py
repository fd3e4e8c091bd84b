"""What a request's headers ask for, checked; the words of refusals are those of Fauna v10.

Unknown headers are nobody's business. `x-linearized`, `x-performance-hints`, `traceparent` and
the drivers' own are accepted and change nothing: every query is linearizable.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from faunadb.codec import RequestId
from faunadb.errors import InvalidRequest
from faunadb.fql.tagged import Format
from faunadb.node.query import ATTEMPTS_DEFAULT

TIMEOUT_MS_DEFAULT = 120_000
TIMEOUT_MS_MAX = 600_000
CONTENTION_RETRIES_MAX = 7
ATTEMPT_MAX = 1_000_000
_TAGS_BYTES_MAX, _TAGS_MAX, _TAG_KEY_MAX, _TAG_VALUE_MAX = 3000, 25, 40, 80
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_REQUEST_ID = re.compile(r"(\d{1,16})-([0-9a-f]{32})", re.ASCII)


_FIXED = (
    "x-linearized",
    "x-performance-hints",
    "x-format",
    "x-typecheck",
    "x-query-timeout-ms",
    "x-max-contention-retries",
    "x-query-tags",
)


class Options(msgspec.Struct, frozen=True):
    """Everything that the headers of one query say, `tags` as they are echoed."""

    format: Format = Format.SIMPLE
    typecheck: bool = False
    last_txn_ts: int = 0
    timeout_ms: int = TIMEOUT_MS_DEFAULT
    attempts_max: int = ATTEMPTS_DEFAULT
    tags: str = ""
    request: RequestId | None = None
    attempt: int = 1


def read_options(headers: Mapping[str, str]) -> Options:
    """Check the headers (names in lower case); raises `InvalidRequest` for the first bad one."""
    fixed = _read_fixed(*map(headers.get, _FIXED))
    last_txn_ts, request = headers.get("x-last-txn-ts"), headers.get("x-fauna-request-id")
    if last_txn_ts is None and request is None:
        return fixed
    return msgspec.structs.replace(
        fixed,
        last_txn_ts=_last_txn_ts(last_txn_ts),
        request=_request_id(request),
        attempt=_attempt(headers),
    )


@lru_cache(1024)
def _read_fixed(*values: str | None) -> Options:
    """Check the headers that one client sends alike with every query."""
    headers = {name: value for name, value in zip(_FIXED, values, strict=True) if value is not None}
    _boolean(headers, "x-linearized")
    _boolean(headers, "x-performance-hints")
    return Options(
        format=_format(headers.get("x-format")),
        typecheck=_boolean(headers, "x-typecheck"),
        timeout_ms=_timeout_ms(headers),
        attempts_max=_attempts_max(headers),
        tags=_tags(headers.get("x-query-tags", "")),
    )


def _refuse(header: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid header '{header}': {reason}")


def _format(value: str | None) -> Format:
    if value is None:
        return Format.SIMPLE
    try:
        return Format(value.lower())
    except ValueError:
        raise _refuse("x-format", f"Invalid format {value}") from None


def _boolean(headers: Mapping[str, str], header: str) -> bool:
    value = headers.get(header, "false").lower()
    if value not in {"true", "false"}:
        raise _refuse(header, "Must be a boolean value.")
    return value == "true"


def _integer(headers: Mapping[str, str], header: str) -> int | None:
    value = headers.get(header)
    if value is None:
        return None
    if not _INTEGER.fullmatch(value):
        raise _refuse(header, f"Invalid number '{value}'.")
    return int(value)


def _last_txn_ts(value: str | None) -> int:
    if value is None:
        return 0
    if not _INTEGER.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        raise _refuse("x-last-txn-ts", f"Invalid timestamp '{value}'.")
    return max(0, int(value))


def _timeout_ms(headers: Mapping[str, str]) -> int:
    value = _integer(headers, "x-query-timeout-ms")
    if value is None:
        return TIMEOUT_MS_DEFAULT
    if value <= 0:
        raise _refuse("x-query-timeout-ms", "Must be greater than 0.")
    if value > TIMEOUT_MS_MAX:
        raise _refuse("x-query-timeout-ms", f"Must be less than or equal to {TIMEOUT_MS_MAX}.")
    return value


def _attempts_max(headers: Mapping[str, str]) -> int:
    value = _integer(headers, "x-max-contention-retries")
    if value is None:
        return ATTEMPTS_DEFAULT
    if not 0 <= value <= CONTENTION_RETRIES_MAX:
        raise _refuse(
            "x-max-contention-retries", f"Must be between 0 and {CONTENTION_RETRIES_MAX}."
        )
    return value + 1


def _attempt(headers: Mapping[str, str]) -> int:
    """Read our own header: 2 and more say that the request was sent before.

    Who names a request and does not say may be sending it again: an answer that needs no entry
    gets one then, so that the earlier sending can do nothing any more (SAFETY 5).
    """
    value = headers.get("x-fauna-request-attempt", "2" if "x-fauna-request-id" in headers else "1")
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= ATTEMPT_MAX:
        raise _refuse("x-fauna-request-attempt", f"Must be between 1 and {ATTEMPT_MAX}.")
    return int(value)


def _tags(value: str) -> str:
    if not value:
        return ""
    reason = _wrong_tags(value)
    if reason:
        raise _refuse("x-query-tags", reason)
    return value


def _wrong_tags(value: str) -> str:
    """Return why the tags are refused, "" when they are not."""
    if len(value) > _TAGS_BYTES_MAX:
        return "header is too long"
    pairs = [pair.partition("=") for pair in value.split(",")]
    if len(pairs) > _TAGS_MAX:
        return "too many tags"
    keys = [key.strip() for key, _, _ in pairs]
    if len(set(keys)) < len(keys):
        return "duplicate key"
    return next(filter(None, map(_wrong_tag, keys, [text.strip() for _, _, text in pairs])), "")


def _wrong_tag(key: str, text: str) -> str:
    if not _WORD.fullmatch(key) or not _WORD.fullmatch(text):
        return "invalid tags"
    if len(key) > _TAG_KEY_MAX:
        return "invalid key (too long)"
    return "invalid value (too long)" if len(text) > _TAG_VALUE_MAX else ""


def _request_id(value: str | None) -> RequestId | None:
    """`<microseconds since 1970>-<32 hex digits>`: when it was drawn, and 16 random bytes."""
    if value is None:
        return None
    found = _REQUEST_ID.fullmatch(value)
    if found is None:
        raise _refuse("x-fauna-request-id", f"Invalid request id '{value}'.")
    return RequestId(int(found[1]), bytes.fromhex(found[2]))
