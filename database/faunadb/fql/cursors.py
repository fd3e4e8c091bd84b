"""How a set and a place in it travel through a client: stateless, signed, on any member.

A token is base64 of a MessagePack body and a truncated HMAC-SHA-256 of it. The body holds the
set as it is built (`sets.py`), its functions as text with the values that they captured, the
position, the snapshot and the incarnation. What does not verify is `invalid_cursor`.

    [version, kind, scope, incarnation, snapshot or null, page size, position, set]

House rules: nothing is decoded before its signature is right.
Trap: captured IDs come back as strings (as the original does); a function that captured itself
is written as its distance up the chain of functions being written.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Any

from faunadb.codec import decode_value, encode_value
from faunadb.definitions import Bound
from faunadb.errors import Malformed, QueryError
from faunadb.fql.documents import MODULES
from faunadb.fql.members import find_method
from faunadb.fql.registry import GLOBALS
from faunadb.fql.runtime import (
    PAGE_SIZE_MAX,
    BoundMethod,
    Collection,
    Cursor,
    Doc,
    EventSource,
    Id,
    Lambda,
    Module,
    Runtime,
    SetValue,
    UserFunction,
)
from faunadb.fql.sets import SETS, IndexSet
from faunadb.fql.times import parse_time
from faunadb.values import Date, Long, Ref, Time, TransactionTime, Uuid

VERSION = 1
MAC_BYTES = 12
TOKEN_CHARS_MAX = 8 * 1024 * 1024
_PLAIN = frozenset(
    {type(None), bool, int, float, str, bytes, Time, Date, Uuid, Ref, TransactionTime}
)


def encode_cursor(rt: Runtime, source: SetValue, position: Any, size: int) -> str:
    """Return the text of a cursor behind `position` (None: at the start).

    A query that wrote sees its own writes; they have no time yet, so its cursors have no
    snapshot and the next page fixes one.
    """
    snapshot = (
        rt.base_at if rt.base_at is not None else (None if rt.writes else rt.view.snapshot_ts)
    )
    return _seal(rt, "page", snapshot, size, position, source)


def encode_event_source(rt: Runtime, source: EventSource) -> str:
    """Return the token of an event source; that of a query that wrote has no start in it."""
    snapshot = None if rt.writes else rt.view.snapshot_ts
    return _seal(rt, "events", snapshot, 0, [list(path) for path in source.fields], source.source)


def decode_event_source(rt: Runtime, token: str) -> tuple[EventSource, int | None]:
    """Return a source and its start in microseconds; raises `invalid_cursor`.

    The time behind a dot is that of a transaction that wrote (`tagged`); None is "from now on".
    """
    text, _, written = token.partition(".")
    source, fields, _, start = decode_cursor(rt, text, "events")
    if written:
        time = parse_time(written)
        if time is None or time.micros < 0:
            raise invalid_cursor()
        start = time.micros
    return EventSource(source, tuple(tuple(path) for path in fields)), start


def _seal(
    rt: Runtime, kind: str, snapshot: int | None, size: int, position: Any, source: SetValue
) -> str:
    context = rt.context
    body = encode_value(
        [VERSION, kind, rt.schema.scope, context.incarnation, snapshot, size,
         _encode(rt, position, []), _encode(rt, source, [])]
    )  # fmt: skip
    rt.tick(len(body) >> 5)
    return base64.b64encode(body + _mac(context.cursor_key, body)).decode()


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)[:MAC_BYTES]


def invalid_cursor() -> QueryError:
    return QueryError("invalid_cursor", "Cursor cursor is invalid or expired.")


def decode_cursor(
    rt: Runtime, text: str, kind: str = "page"
) -> tuple[SetValue, Any, int, int | None]:
    """Return (set, position, page size, snapshot); raises `invalid_cursor`."""
    if len(text) > TOKEN_CHARS_MAX:
        raise invalid_cursor()
    rt.tick(len(text) >> 5)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid_cursor() from None
    body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(rt.context.cursor_key, body)):
        raise invalid_cursor()
    try:
        decoded: Any = decode_value(body)
        version, what, scope, incarnation, snapshot, size, position, tree = decoded
    except (Malformed, ValueError, TypeError):
        raise invalid_cursor() from None
    if (version, what, scope, incarnation) != (
        VERSION, kind, rt.schema.scope, rt.context.incarnation,
    ):  # fmt: skip
        raise invalid_cursor()
    source = _decode(rt, tree, [])
    assert isinstance(source, SetValue)
    assert isinstance(size, int)
    assert size <= PAGE_SIZE_MAX
    assert snapshot is None or isinstance(snapshot, int)
    return source, _decode(rt, position, []), size, snapshot


# ---------------------------------------------------------------- values


def _encode(rt: Runtime, value: Any, above: list[Any]) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    rt.tick(1)
    match value:
        case Long():
            return ["L", int(value)]
        case list() | tuple():
            return ["[", *(_encode(rt, item, above) for item in value)]
        case dict():
            return ["{", {key: _encode(rt, item, above) for key, item in value.items()}]
        case Id():
            return str(value.value)
        case Doc():
            return ["d", value.coll, value.id, value.name, value.at]
        case Module():
            return ["m", value.name]
        case Collection():
            return ["c", value.id, value.name]
        case Cursor():
            return ["k", value.text]
        case UserFunction():
            return ["u", value.definition.name]
        case BoundMethod():
            return ["b", _encode(rt, value.this, above), value.method.name]
        case Bound():
            return ["r", list(value.values), value.id, value.exclusive]
        case Lambda():
            return _encode_lambda(rt, value, above)
        case SetValue():
            fields = [_encode(rt, getattr(value, name), above) for name in _fields(type(value))]
            return ["s", value.tag, *fields]
    raise AssertionError(f"{kind.__name__} cannot be in a cursor")


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def _encode_lambda(rt: Runtime, value: Lambda, above: list[Any]) -> Any:
    for distance, outer in enumerate(reversed(above)):
        if outer is value:
            return ["^", distance]
    above.append(value)
    captured = [_encode(rt, item, above) for item in value.captured]
    above.pop()
    return ["f", value.code.text(), list(value.code.captures), captured]


def _decode(rt: Runtime, value: Any, above: list[Any]) -> Any:
    if type(value) is not list:
        return value
    rt.tick(1)
    match value:
        case ["L", number]:
            return Long(number)
        case ["[", *items]:
            return [_decode(rt, item, above) for item in items]
        case ["{", fields]:
            return {key: _decode(rt, item, above) for key, item in fields.items()}
        case ["d", coll, doc_id, name, at]:
            return Doc(coll, doc_id, at, name=name)
        case ["m", name]:
            return MODULES[name]
        case ["c", coll, name]:
            return Collection(coll, name)
        case ["k", text]:
            return Cursor(text)
        case ["u", name]:
            return _decode_function(rt, name)
        case ["b", this, name]:
            return _decode_method(rt, _decode(rt, this, above), name)
        case ["r", values, doc_id, exclusive]:
            return Bound(tuple(values), doc_id, exclusive)
        case ["^", distance]:
            return above[-1 - distance]
        case ["f", text, captures, captured]:
            code = rt.compiler.closed(text, tuple(captures), "*decoded_set*")
            function = Lambda(code, [])
            above.append(function)
            function.captured.extend(_decode(rt, item, above) for item in captured)
            above.pop()
            return function
        case ["s", tag, *fields]:
            return _decode_set(rt, tag, fields, above)
    raise invalid_cursor()


def _decode_function(rt: Runtime, name: str) -> UserFunction:
    for definition in rt.schema.functions.values():
        if definition.name == name:
            return UserFunction(definition)
    raise invalid_cursor()


def _decode_method(rt: Runtime, this: Any, name: str) -> Any:
    method = GLOBALS.get(name) if this is None else find_method(this, name)
    if method is None:
        raise invalid_cursor()
    return method if this is None else BoundMethod(this, method)


def _decode_set(rt: Runtime, tag: str, fields: list[Any], above: list[Any]) -> SetValue:
    kind = SETS[tag]
    decoded = [_decode(rt, item, above) for item in fields]
    if tag == "order":
        decoded[1] = tuple((function, descending) for function, descending in decoded[1])
    made = kind(*decoded)
    if isinstance(made, IndexSet):
        made = IndexSet(
            made.coll, made.index, tuple(made.terms), made.lower, made.upper,
            made.backward, made.at, made.size,
        )  # fmt: skip
        if made.definition(rt) is None:
            raise invalid_cursor()
    return made
