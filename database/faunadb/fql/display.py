"""How values read as text: for people (`display`) and for programmers (`debug`).

`display` is what `toString`, `+`, templates and `log` use; inside arrays and objects it is the
debug text (functions.yaml, display string and debug string).

Trap: the text of a big value is work: both count steps, and a document costs a read.
"""

import base64
from collections.abc import Callable
from typing import Any

from faunadb.fql.arithmetic import display_double
from faunadb.fql.decorated import java_double
from faunadb.fql.documents import as_object, collection_name, read
from faunadb.fql.failures import too_large
from faunadb.fql.runtime import (
    STRING_UNITS_MAX,
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
from faunadb.fql.times import format_date, format_time
from faunadb.values import Date, Long, Time, TransactionTime, Uuid

_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "\0": "\\0",
        '"': '\\"',
        "'": "\\'",
        "`": "\\`",
        "\n": "\\n",
        "\r": "\\r",
        "\v": "\\v",
        "\t": "\\t",
        "\b": "\\b",
        "\f": "\\f",
        "#": "\\#",
    }
)


def quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'


def uuid_text(value: Uuid) -> str:
    text = value.raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def units(text: str) -> int:
    """Return the length in UTF-16 units."""
    if text.isascii():
        return len(text)
    return len(text) + sum(char > "\uffff" for char in text)


def sized(rt: Runtime, text: str) -> str:
    """Return the text, paid for; raises `value_too_large` beyond 16 Mi units."""
    length = len(text)
    if length > 64:
        rt.tick(length >> 6)
        if length > STRING_UNITS_MAX // 2 and units(text) > STRING_UNITS_MAX:
            raise too_large(f"string size {units(text)} exceeds limit {STRING_UNITS_MAX}")
    return text


def display(rt: Runtime, value: Any) -> str:
    """Return the text that people see."""
    kind = type(value)
    if kind is str:
        return str(value)
    write = _DISPLAY.get(kind)
    if write is not None:
        return write(value)
    return debug(rt, value)


def debug(rt: Runtime, value: Any, *, nested: bool = False) -> str:
    """Return the text that shows the type; `nested` documents are named, not read."""
    rt.tick(1)
    write = _DEBUG.get(type(value))
    if write is not None:
        return write(value)
    match value:
        case list():
            text = f"[{', '.join(debug(rt, item, nested=nested) for item in value)}]"
        case dict():
            text = _object(rt, value, nested=nested)
        case Doc():
            text = _document(rt, value, nested=nested)
        case SetValue():
            return "[set]"
        case _:
            raise AssertionError(f"no text for {type(value).__name__}")
    return sized(rt, text)


def _object(rt: Runtime, value: dict[str, Any], *, nested: bool) -> str:
    if not value:
        return "{}"
    parts = [f"{_key(key)}: {debug(rt, item, nested=nested)}" for key, item in value.items()]
    return f"{{ {', '.join(parts)} }}"


def _key(key: str) -> str:
    plain = key[:1].isalpha() and key.isascii() and key.replace("_", "a").isalnum()
    return key if plain else quoted(key)


def _document(rt: Runtime, doc: Doc, *, nested: bool) -> str:
    if nested:
        return f"[doc {doc.name or doc.id} in {collection_name(rt, doc.coll)}]"
    document = read(rt, doc)
    if document is None:
        return "null"
    return _object(rt, as_object(rt, doc, document), nested=True)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_DISPLAY: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    int: str,
    Long: lambda value: str(int(value)),
    float: display_double,
    Id: lambda value: str(value.value),
    Time: format_time,
    Date: format_date,
    Uuid: uuid_text,
    bytes: _base64,
    TransactionTime: lambda _: "[transaction time]",
    Cursor: lambda value: value.text,
}

_DEBUG: dict[type, Callable[[Any], str]] = _DISPLAY | {
    str: quoted,
    float: java_double,
    Id: lambda value: f'ID("{value.value}")',
    Time: lambda value: f'Time("{format_time(value)}")',
    Date: lambda value: f'Date("{format_date(value)}")',
    Uuid: lambda value: f'UUID("{uuid_text(value)}")',
    bytes: lambda value: f'Bytes("{_base64(value)}")',
    TransactionTime: lambda _: "TransactionTime()",
    Module: lambda value: value.name,
    Collection: lambda value: value.name,
    EventSource: lambda _: "[event source]",
    Lambda: lambda _: "[function <lambda>]",
    UserFunction: lambda value: f"[function {value.definition.name}()]",
    BoundMethod: lambda value: f"[function {value.method.name}()]",
}


def type_name(value: Any) -> str:
    """Return how errors call the type of a value."""
    kind = type(value)
    if kind is int:
        return "Int" if -(2**31) <= value < 2**31 else "Long"
    name = _TYPE_NAMES.get(kind)
    if name is not None:
        return name
    if kind is Module or kind is Collection:
        return str(value.name)
    if isinstance(value, SetValue):
        return "Set<Any>"
    raise AssertionError(f"no type for {kind.__name__}")


_TYPE_NAMES: dict[type, str] = {
    type(None): "Null",
    bool: "Boolean",
    Long: "Long",
    float: "Double",
    str: "String",
    bytes: "Bytes",
    list: "Array<Any>",
    dict: "{ *: Any }",
    Time: "Time",
    TransactionTime: "TransactionTime",
    Date: "Date",
    Uuid: "UUID",
    Id: "ID",
    Doc: "Doc",
    Cursor: "SetCursor",
    EventSource: "EventSource<Any>",
    Lambda: "Lambda",
    UserFunction: "Function",
    BoundMethod: "Function",
}
