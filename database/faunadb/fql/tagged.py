"""How values look on the wire: decode what a request brings, encode what a query returns.

    tagged      {"@int": "42"}: every type has its tag; what all drivers speak
    simple      plain JSON, types are lost
    decorated   one JSON string that holds the value as text of the language

Decoding gives values of `faunadb.values` and, for what only the schema can judge (modules,
documents), the structs `ModuleArgument` and `DocumentArgument`: the evaluator looks them up.
The texts of refusals are those of Fauna v10 (group value_error of its errors).

Trap: the time of the transaction is not known yet when an answer is encoded. It stands in the
bytes as `TIME_SENTINEL`, raw NULs that no JSON string of a user can contain, because those are
always escaped; `fill_transaction_time` puts the text in when the entry is appended.
"""

import base64
import binascii
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from faunadb.errors import QueryError
from faunadb.fql.decorated import DOUBLE_WORDS, decorate, java_double
from faunadb.fql.result import (
    DocumentResult,
    EventSourceResult,
    IdResult,
    ModuleResult,
    OpaqueResult,
    PageResult,
    ReferenceResult,
    Result,
    SetTokenResult,
)
from faunadb.fql.times import format_date, format_time, parse_date, parse_time
from faunadb.values import (
    INT_MAX,
    INT_MIN,
    LONG_MAX,
    LONG_MIN,
    Date,
    Long,
    Time,
    TransactionTime,
    Uuid,
)

NESTING_LEVELS_MAX = 250  # of JSON; below Python's own stack, and Fauna's drivers send < 20
TIME_SENTINEL = b"\x00ts\x00"
_RAW_TIME = msgspec.Raw(b'"' + TIME_SENTINEL + b'"')
_DIGITS = re.compile(r"[+-]?\d{1,20}", re.ASCII)
_DOUBLE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


class Format(StrEnum):
    """The header x-format."""

    SIMPLE = "simple"
    TAGGED = "tagged"
    DECORATED = "decorated"


class ModuleArgument(msgspec.Struct, frozen=True):
    """A module or collection by name; unknown ones are "no such module '{name}'"."""

    name: str


class DocumentArgument(msgspec.Struct, frozen=True):
    """A document by collection and id, or a definition by collection and name."""

    coll: str
    id: int | None
    name: str | None
    tag: str = "@ref"  # for refusals: "{tag} field 'coll' requires a module value"


class ValueRefused(Exception):
    """A value of a request cannot be decoded; the text is the value_error of Fauna v10."""


RequestValue = object
"""A value of `faunadb.values`, an argument struct, or a list or dict of request values."""


# ---------------------------------------------------------------- decoding


def decode_tagged(json: object) -> RequestValue:
    """Turn parsed JSON in tagged format into a value; raises `ValueRefused`."""
    return _decode_tagged(json, 0)


def decode_simple(json: object) -> RequestValue:
    """Turn parsed plain JSON into a value; integers beyond 64 bits become doubles."""
    return _decode_simple(json, 0)


def _decode_tagged(json: object, depth: int) -> RequestValue:
    if json is None or isinstance(json, str | bool):
        return json
    if isinstance(json, int | float):
        raise ValueRefused("numbers must be tagged")
    _check_depth(depth)
    if isinstance(json, list):
        return [_decode_tagged(element, depth + 1) for element in json]
    assert isinstance(json, dict)
    tag = next((key for key in json if key[:1] == "@"), None)
    if tag is None:
        return _decode_fields(json, depth)
    if len(json) > 1:
        raise ValueRefused("too many keys in tagged value")
    return _decode_tag(tag, json[tag], depth)


def _decode_fields(json: dict[str, Any], depth: int) -> dict[str, RequestValue]:
    return {key: _decode_tagged(value, depth + 1) for key, value in json.items()}


def _decode_simple(json: object, depth: int) -> RequestValue:
    if isinstance(json, int) and not LONG_MIN <= json <= LONG_MAX:
        return float(json)
    if not isinstance(json, list | dict):
        return json
    _check_depth(depth)
    if isinstance(json, list):
        return [_decode_simple(element, depth + 1) for element in json]
    return {key: _decode_simple(value, depth + 1) for key, value in json.items()}


def _check_depth(depth: int) -> None:
    if depth > NESTING_LEVELS_MAX:
        raise ValueRefused("JSON exceeds nesting limit")


def _decode_tag(tag: str, content: object, depth: int) -> RequestValue:
    scalar = _SCALARS.get(tag)
    if scalar is not None:
        if not isinstance(content, str):
            raise ValueRefused(f"{tag} requires a string value")
        return scalar(content)
    if tag == "@object":
        if not isinstance(content, dict):
            raise ValueRefused("@object requires an object value")
        return _decode_fields(content, depth + 1)
    if tag in {"@doc", "@ref"}:
        return _decode_document(tag, content)
    raise ValueRefused(f"invalid tag '{tag}'")


def _decode_int(text: str) -> int:
    value = _decode_integer(text)
    if value is None or not INT_MIN <= value <= INT_MAX:
        raise ValueRefused("invalid integer")
    return value


def _decode_long(text: str) -> int:
    value = _decode_integer(text)
    if value is None or not LONG_MIN <= value <= LONG_MAX:
        raise ValueRefused("invalid long")
    return Long(value) if INT_MIN <= value <= INT_MAX else value


def _decode_integer(text: str) -> int | None:
    return int(text) if _DIGITS.fullmatch(text) else None


def _decode_double(text: str) -> float:
    word = DOUBLE_WORDS.get(text)
    if word is not None:
        return word
    if _DOUBLE.fullmatch(text) is None:  # no underscores, blanks, "inf": unlike Python's float
        raise ValueRefused("invalid double")
    return float(text)


def _decode_time(text: str) -> Time:
    value = parse_time(text)
    if value is None:
        raise ValueRefused("invalid time")
    return value


def _decode_date(text: str) -> Date:
    value = parse_date(text)
    if value is None:
        raise ValueRefused("invalid date")
    return value


def _decode_bytes(text: str) -> bytes:
    """Padding is optional, the URL alphabet and blanks are not accepted."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueRefused("invalid bytes") from None


_SCALARS: dict[str, Callable[[str], RequestValue]] = {
    "@int": _decode_int,
    "@long": _decode_long,
    "@double": _decode_double,
    "@time": _decode_time,
    "@date": _decode_date,
    "@bytes": _decode_bytes,
    "@mod": ModuleArgument,
}


def _decode_document(tag: str, content: object) -> DocumentArgument:
    """A document as drivers send it back; fields beside coll, id and name are not looked at."""
    if isinstance(content, str) and tag == "@doc":
        coll, colon, text = content.partition(":")
        if not colon:
            raise ValueRefused("doc id must be in the format <coll>:<id>")
        doc_id = _decode_integer(text)
        if doc_id is None or not LONG_MIN <= doc_id <= LONG_MAX:
            raise ValueRefused(f"invalid document id '{text}'")
        return DocumentArgument(coll, doc_id, None, tag)
    if not isinstance(content, dict):
        raise ValueRefused(f"{tag} requires an object value")
    coll = _decode_collection(tag, content)
    for field in ("id", "name"):
        if field in content:
            text = content[field]
            if not isinstance(text, str):
                raise ValueRefused(f"{tag} field '{field}' requires a string value")
            if field == "name":
                return DocumentArgument(coll, None, text, tag)
            doc_id = _decode_integer(text)
            if doc_id is None or not LONG_MIN <= doc_id <= LONG_MAX:
                raise ValueRefused(f"{tag} field 'id' must be an integer")
            return DocumentArgument(coll, doc_id, None, tag)
    raise ValueRefused(f"{tag} field 'id' is required")


def _decode_collection(tag: str, content: dict[str, Any]) -> str:
    if "coll" not in content:
        raise ValueRefused(f"{tag} field 'coll' is required")
    match content["coll"]:
        case {"@mod": str(name), **others} if not others:
            return name
    raise ValueRefused(f"{tag} field 'coll' requires a module value")


# ---------------------------------------------------------------- encoding

_encoder = msgspec.json.Encoder()


def encode_result(result: Result, form: Format) -> bytes:
    """Return the JSON of a result tree; `QueryError` value_too_large when it nests too deep.

    Holds `TIME_SENTINEL` for every time of the transaction that is running.
    """
    try:
        match form:
            case Format.TAGGED:
                return _encoder.encode(_tagged(result))
            case Format.SIMPLE:
                return _encoder.encode(_simple(result))
            case Format.DECORATED:
                return _encode_decorated(result)
    except RecursionError:
        raise QueryError("value_too_large", "Value too large: the result nests too deep.") from None


def encode_error(error: QueryError, form: Format) -> bytes:
    """Return the object that stands under "error" in the answer, `abort` encoded like results."""
    body: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.constraint_failures:
        body["constraint_failures"] = [
            {"paths": [list(path) for path in paths], "message": message}
            for paths, message in error.constraint_failures
        ]
    if error.code == "abort":
        body["abort"] = msgspec.Raw(encode_result(error.abort, form))
    return _encoder.encode(body)


def fill_transaction_time(answer: bytes, ts: int) -> bytes:
    """Replace each `TIME_SENTINEL` by the text of `ts` (microseconds)."""
    if TIME_SENTINEL not in answer:
        return answer
    return answer.replace(TIME_SENTINEL, format_time(Time.from_micros(ts)).encode())


def _tagged(value: Any) -> Any:
    """Build the JSON tree; scalars first, because most values are."""
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        tag = "@int" if INT_MIN <= value <= INT_MAX else "@long"
        return {tag: str(value)}
    if kind is dict:
        return _tagged_fields(value)
    if kind is list:
        return [_tagged(element) for element in value]
    encode = _TAGGED.get(kind)
    assert encode is not None, f"{kind.__name__} is no result"
    return encode(value)


def _tagged_fields(fields: dict[str, Any]) -> dict[str, Any]:
    encoded = {key: _tagged(value) for key, value in fields.items()}
    if any(key[:1] == "@" for key in encoded):
        return {"@object": encoded}
    return encoded


def _ts(ts: int | None) -> Any:
    return _RAW_TIME if ts is None else format_time(Time.from_micros(ts))


def _tagged_document(doc: DocumentResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": doc.name} if doc.id is None else {"id": str(doc.id)}
    shown["coll"] = {"@mod": doc.coll}
    shown["ts"] = {"@time": _ts(doc.ts)}
    if doc.ttl is not None:
        shown["ttl"] = {"@time": format_time(doc.ttl)}
    for key, value in doc.fields.items():
        shown[key] = _tagged(value)
    return {"@doc": shown}


def _tagged_reference(ref: ReferenceResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": ref.name} if ref.id is None else {"id": str(ref.id)}
    shown["coll"] = {"@mod": ref.coll}
    if ref.cause:
        shown |= {"exists": False, "cause": ref.cause}
    return {"@ref": shown}


def _token(source: EventSourceResult) -> Any:
    if not source.begins_now:
        return source.token
    return msgspec.Raw(b'"' + source.token.encode() + b"." + TIME_SENTINEL + b'"')


def _page(page: PageResult, encode: Callable[[Any], Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {"data": [encode(value) for value in page.data]}
    if page.after is not None:
        shown["after"] = page.after
    return shown


def _uuid(value: Uuid) -> str:
    text = value.raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_TAGGED: dict[type, Callable[[Any], Any]] = {
    Long: lambda value: {"@long": str(int(value))},
    float: lambda value: {"@double": java_double(value)},
    bytes: lambda value: {"@bytes": _base64(value)},
    Time: lambda value: {"@time": format_time(value)},
    TransactionTime: lambda _: {"@time": _RAW_TIME},
    Date: lambda value: {"@date": format_date(value)},
    Uuid: lambda value: {"@uuid": _uuid(value)},
    DocumentResult: _tagged_document,
    ReferenceResult: _tagged_reference,
    ModuleResult: lambda value: {"@mod": value.name},
    IdResult: lambda value: str(value.id),
    PageResult: lambda value: {"@set": _page(value, _tagged)},
    SetTokenResult: lambda value: {"@set": value.cursor},
    EventSourceResult: lambda value: {"@stream": _token(value)},
    OpaqueResult: lambda value: value.text,
}


def _simple(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in {str, bool, int}:
        return value
    if kind is dict:
        return {key: _simple(element) for key, element in value.items()}
    if kind is list:
        return [_simple(element) for element in value]
    encode = _SIMPLE.get(kind)
    assert encode is not None, f"{kind.__name__} is no result"
    return encode(value)


def _simple_document(doc: DocumentResult) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": doc.name} if doc.id is None else {"id": str(doc.id)}
    shown |= {"coll": doc.coll, "ts": _ts(doc.ts)}
    if doc.ttl is not None:
        shown["ttl"] = format_time(doc.ttl)
    for key, value in doc.fields.items():
        shown[key] = _simple(value)
    return shown


def _simple_reference(ref: ReferenceResult) -> dict[str, Any] | None:
    if ref.cause:
        return None
    return ({"name": ref.name} if ref.id is None else {"id": str(ref.id)}) | {"coll": ref.coll}


def _simple_double(value: float) -> Any:
    """JSON has no NaN and no infinity: these stay words."""
    text = java_double(value)
    return text if text in DOUBLE_WORDS else value


_SIMPLE: dict[type, Callable[[Any], Any]] = {
    Long: int,
    float: _simple_double,
    bytes: _base64,
    Time: format_time,
    TransactionTime: lambda _: _RAW_TIME,
    Date: format_date,
    Uuid: _uuid,
    DocumentResult: _simple_document,
    ReferenceResult: _simple_reference,
    ModuleResult: lambda value: value.name,
    IdResult: lambda value: str(value.id),
    PageResult: lambda value: _page(value, _simple),
    SetTokenResult: lambda value: value.cursor,
    EventSourceResult: _token,
    OpaqueResult: lambda value: value.text,
}


def _encode_decorated(result: Result) -> bytes:
    """Join the pieces; a None among them is the time of the transaction."""
    pieces = [
        TIME_SENTINEL if piece is None else _encoder.encode(piece)[1:-1]
        for piece in decorate(result)
    ]
    return b'"' + b"".join(pieces) + b'"'
