"""How a result reads as text of the language: what the command line shows.

    {
      id: "101",
      coll: Person,
      ts: Time("2023-02-10T00:00:00Z"),
      name: "Ada"
    }

Text comes in pieces; a `None` piece stands for the time of the transaction, not known yet.

Trap: doubles are written as Java writes them (`1.0E10`), here and in the tagged format.
"""

import base64
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

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
from faunadb.fql.times import format_date, format_time
from faunadb.values import Date, Long, Time, TransactionTime, Uuid

DOUBLE_WORDS = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
}
_INDENT = "  "
_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        '"': '\\"',
        "\0": "\\0",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\b": "\\b",
        "\f": "\\f",
        "#": "\\#",
    }
)


def java_double(value: float) -> str:
    """Write a double as Java's `Double.toString`, with the shortest digits that read back.

    >>> java_double(2.0), java_double(1e10), java_double(1.5e-5), java_double(1234567.5)
    ('2.0', '1.0E10', '1.5E-5', '1234567.5')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    magnitude = abs(value)
    if value == 0 or 1e-3 <= magnitude < 1e7:
        return repr(value)  # Python changes to exponents only outside of this range
    mantissa, _, exponent = repr(magnitude).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + ("" if fraction == "0" else fraction)
    power = len(whole) - 1 + int(exponent or 0)
    stripped = digits.lstrip("0")
    power -= len(digits) - len(stripped)
    digits = stripped.rstrip("0") or "0"
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{power}"


def quote(text: str) -> str:
    """Write a string literal with double quotes."""
    return f'"{text.translate(_ESCAPES)}"'


def decorate(value: Result, indent: str = "") -> Iterator[str | None]:
    """Yield the text of a result in pieces; raises RecursionError when it nests too deep."""
    match value:
        case list():
            yield from _block("[", [("", element) for element in value], "]", indent)
        case dict():
            yield from _block("{", [(_key(k), v) for k, v in value.items()], "}", indent)
        case DocumentResult():
            yield from _block("{", _document(value), "}", indent)
        case PageResult():
            parts: list[tuple[str, Any]] = [("data: ", value.data)]
            if value.after is not None:
                parts.append(("after: ", value.after))
            yield from _block("{", parts, "}", indent)
        case TransactionTime():
            yield 'Time("'
            yield None
            yield '")'
        case _:
            yield _scalar(value)


def _block(begin: str, parts: list[tuple[str, Any]], end: str, indent: str) -> Iterator[str | None]:
    if not parts:
        yield begin + end
        return
    inner = indent + _INDENT
    yield begin
    for nth, (label, value) in enumerate(parts):
        yield f"{',' if nth else ''}\n{inner}{label}"
        yield from decorate(value, inner)
    yield f"\n{indent}{end}"


def _key(name: str) -> str:
    return f"{name if _PLAIN_KEY.fullmatch(name) else quote(name)}: "


def _document(doc: DocumentResult) -> list[tuple[str, Any]]:
    ts: Any = TransactionTime() if doc.ts is None else Time.from_micros(doc.ts)
    parts: list[tuple[str, Any]] = [
        ("name: ", doc.name) if doc.id is None else ("id: ", str(doc.id)),
        ("coll: ", ModuleResult(doc.coll)),
        ("ts: ", ts),
    ]
    if doc.ttl is not None:
        parts.append(("ttl: ", doc.ttl))
    return parts + [(_key(key), value) for key, value in doc.fields.items()]


def _scalar(value: Any) -> str:
    write = _SCALARS.get(type(value))
    assert write is not None, f"{type(value).__name__} is no result"
    return write(value)


def _uuid(value: Uuid) -> str:
    text = value.raw.hex()
    return f'UUID("{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}")'


def _reference(ref: ReferenceResult) -> str:
    if ref.id is None:
        text = f"{ref.coll}.byName({quote(ref.name or '')})"
    else:
        text = f'{ref.coll}("{ref.id}")'
    return f"{text} /* {ref.cause} */" if ref.cause else text


_SCALARS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: str,
    Long: lambda value: str(int(value)),
    float: java_double,
    str: quote,
    bytes: lambda value: f'Bytes("{base64.b64encode(value).decode()}")',
    Time: lambda value: f'Time("{format_time(value)}")',
    Date: lambda value: f'Date("{format_date(value)}")',
    Uuid: _uuid,
    IdResult: lambda value: f'ID("{value.id}")',
    ModuleResult: lambda value: value.name,
    ReferenceResult: _reference,
    SetTokenResult: lambda value: quote(value.cursor),
    EventSourceResult: lambda value: quote(value.token),
    OpaqueResult: lambda value: value.text,
}
