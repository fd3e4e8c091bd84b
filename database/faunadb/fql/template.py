"""What did the client ask: the body of `/query/1`, as one text, its values and its arguments.

    body    := {"query": Q, "arguments": {name: value, ...}}
    Q       := text | {"fql": [Q, ...]} | {"value": tagged} | {"array": [Q, ...]}
             | {"object": {key: Q, ...}}

Fragments are concatenated *as text*, as users rely on (`${base}.map(...)`, `"n #{${v}}"`);
directly inside an array or object they stand in parentheses. A value becomes a placeholder
(`lexer.placeholder_text`); an array or object of nothing but values is one value.

Values of the query are always tagged, `arguments` follow the header x-format.
Trap: msgspec keeps the last of two equal keys; where `{"object": ...}` may hold some, the body
is parsed again by the standard library, which shows them all.
"""

import json
from collections import Counter
from typing import Any, NoReturn

import msgspec

from faunadb.errors import InvalidRequest
from faunadb.fql.decorated import quote
from faunadb.fql.diagnostics import Diagnostic, InvalidQuery
from faunadb.fql.lexer import placeholder_text
from faunadb.fql.tagged import (
    NESTING_LEVELS_MAX,
    Format,
    RequestValue,
    ValueRefused,
    decode_simple,
    decode_tagged,
)

_KINDS = ("fql", "value", "array", "object")
_LABELS: dict[type, str] = {
    int: "Integer",
    bool: "Boolean",
    type(None): "Null",
    float: "Double",
    str: "String",
    list: "Array Start",
}


class Program(msgspec.Struct, frozen=True):
    """A request, decoded: placeholder n of `text` stands for `values[n]`."""

    text: str
    values: tuple[RequestValue, ...]
    arguments: dict[str, RequestValue]


class ValueInQueryRefused(InvalidQuery):
    """A value of the template cannot be decoded; `text` is what the spans count in."""

    def __init__(self, text: str, *diagnostics: Diagnostic) -> None:
        super().__init__(*diagnostics)
        self.text = text


def decode_request(body: bytes | memoryview, form: Format) -> Program:
    """Decode the body of `/query/1`.

    Raises `InvalidRequest` when it is no request, `ValueInQueryRefused` when a value is wrong.
    """
    document = _parse(body)
    if not isinstance(document, dict):
        _unexpected(document, "Object")
    if "query" not in document:
        raise InvalidRequest("Invalid request body")
    template = _Template()
    template.add(_fold(document["query"], 0))
    arguments = _decode_arguments(document.get("arguments"), form)
    return template.finish(arguments)


def bad_body(detail: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid request body: {detail}")


# ---------------------------------------------------------------- JSON


class _Object(dict[str, Any]):
    """A JSON object that remembers a key that stood in it twice."""

    duplicate: str | None = None


def _parse(body: bytes | memoryview) -> Any:
    if not body:
        raise InvalidRequest("No request body provided")
    try:
        document = msgspec.json.decode(body)
        if b'"object"' in bytes(body):
            document = json.loads(bytes(body), object_pairs_hook=_keep_duplicate)
    except RecursionError:
        raise bad_body("JSON exceeds nesting limit") from None
    except (msgspec.MsgspecError, ValueError):
        raise InvalidRequest("Invalid request body") from None
    return document


def _keep_duplicate(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = _Object(pairs)
    if len(fields) < len(pairs):
        fields.duplicate = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return fields


def _unexpected(found: object, expected: str) -> NoReturn:
    label = _LABELS.get(type(found), "Object Start")
    raise bad_body(f"Unexpected JSON {label}. Expected {expected}.")


# ---------------------------------------------------------------- folding


class _Constant(msgspec.Struct, frozen=True):
    """A value, or why it is none: that is told with its place, once the text is known."""

    value: RequestValue
    refused: str = ""


_Folded = _Constant | list["str | _Constant"]
"""One value, or pieces of text with values between them."""


def _fold(query: Any, depth: int) -> _Folded:
    """Decode one Q; what nests deeper than JSON may is refused here, before Python's stack ends."""
    if isinstance(query, str):
        if "\0" in query:
            raise bad_body("FQL strings cannot contain NUL characters")
        return [query]
    if not isinstance(query, dict):
        _unexpected(query, "query template")
    if depth > NESTING_LEVELS_MAX:
        raise bad_body("JSON exceeds nesting limit")
    kind = next(iter(query), None)
    if len(query) != 1 or kind not in _KINDS:
        expected = "an object with a single key 'fql', 'value', 'array', or 'object'"
        raise bad_body(f"Unexpected JSON Object Field Name. Expected {expected}.")
    content = query[kind]
    if kind == "value":
        return _constant(content)
    if kind == "object":
        return _fold_object(content, depth)
    if not isinstance(content, list):
        _unexpected(content, "Array Start")
    parts = [_fold(part, depth + 1) for part in content]
    return _join(parts) if kind == "fql" else _collapse(parts)


def _constant(content: Any) -> _Constant:
    try:
        return _Constant(decode_tagged(content))
    except ValueRefused as refused:
        return _Constant(None, str(refused))


def _join(parts: list[_Folded]) -> _Folded:
    pieces: list[str | _Constant] = []
    for part in parts:
        if isinstance(part, list):
            pieces.extend(part)
        else:
            pieces.append(part)
    return pieces


def _collapse(parts: list[_Folded]) -> _Folded:
    constants = [part for part in parts if isinstance(part, _Constant)]
    if len(constants) == len(parts):
        return _together([part.value for part in constants], constants)
    pieces: list[str | _Constant] = ["["]
    for nth, part in enumerate(parts):
        pieces.append(", " if nth else "")
        pieces.extend(_parenthesised(part))
    return [*pieces, "]"]


def _fold_object(content: Any, depth: int) -> _Folded:
    if not isinstance(content, dict):
        _unexpected(content, "Object Start")
    if isinstance(content, _Object) and content.duplicate is not None:
        raise bad_body(f"Duplicate object field `{content.duplicate}`")
    parts = {key: _fold(part, depth + 1) for key, part in content.items()}
    constants = [part for part in parts.values() if isinstance(part, _Constant)]
    if len(constants) == len(parts):
        values = zip(parts, constants, strict=True)
        return _together({key: part.value for key, part in values}, constants)
    pieces: list[str | _Constant] = ["{"]
    for nth, (key, part) in enumerate(parts.items()):
        pieces.append(f"{', ' if nth else ''}{quote(key)}: ")
        pieces.extend(_parenthesised(part))
    return [*pieces, "}"]


def _together(value: RequestValue, parts: list[_Constant]) -> _Constant:
    return _Constant(value, next((part.refused for part in parts if part.refused), ""))


def _parenthesised(part: _Folded) -> list[str | _Constant]:
    return [part] if isinstance(part, _Constant) else ["(", *part, ")"]


class _Template:
    """The text as it grows, with its values."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._values: list[RequestValue] = []
        self._length = 0
        self._problems: list[Diagnostic] = []

    def add(self, folded: _Folded) -> None:
        for piece in folded if isinstance(folded, list) else [folded]:
            if isinstance(piece, str):
                self._append(piece)
                continue
            text = placeholder_text(len(self._values))
            if piece.refused:
                span = (self._length, self._length + len(text))
                self._problems.append(Diagnostic(piece.refused, span))
            self._append(text)
            self._values.append(piece.value)

    def finish(self, arguments: dict[str, RequestValue]) -> Program:
        text = "".join(self._pieces)
        if self._problems:
            raise ValueInQueryRefused(text, *self._problems)
        return Program(text, tuple(self._values), arguments)

    def _append(self, text: str) -> None:
        self._pieces.append(text)
        self._length += len(text)


# ---------------------------------------------------------------- arguments


def _decode_arguments(arguments: Any, form: Format) -> dict[str, RequestValue]:
    if arguments is None:
        return {}
    if not isinstance(arguments, dict):
        _unexpected(arguments, "Object")
    decode = decode_tagged if form is Format.TAGGED else decode_simple
    decoded: dict[str, RequestValue] = {}
    for name, value in arguments.items():
        try:
            decoded[name] = decode(value)
        except ValueRefused as refused:
            raise InvalidRequest(f"Invalid argument '{name}': {refused}") from None
    return decoded
