"""Values as the wire has them, and back: the tagged format of Fauna v10.

Trap: whole numbers and doubles are different types in the language, so 1 and 1.0 are sent
differently; a whole number beyond 64 bits is refused rather than rounded.
"""

import base64
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from fauna_client.template import Template
from fauna_client.values import Document, EventSource, Module, Moment, Page, Reference, SetCursor

_INT_BITS, _LONG_BITS = 31, 63


def encode_query(query: str | Template) -> Any:
    """Return what stands under "query" in the body."""
    if isinstance(query, str):
        return query
    if isinstance(query, Template):
        return {"fql": [_piece(piece) for piece in query.pieces]}
    raise TypeError(f"a query is text or made by fql(), not {type(query).__name__}")


def encode_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands under "arguments" in the body."""
    return {name: encode(value) for name, value in arguments.items()}


def encode(value: Any) -> Any:  # noqa: C901, PLR0911 - one case for each type
    """Return the tagged form of a value. Raises `ValueError` for what cannot be sent."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return _encode_whole(value)
        case float():
            return {"@double": _encode_double(value)}
        case datetime():
            return {"@time": _encode_time(value)}
        case date():
            return {"@date": value.isoformat()}
        case bytes() | bytearray():
            return {"@bytes": base64.b64encode(value).decode()}
        case Mapping():
            return _encode_fields(value)
        case list() | tuple():
            return [encode(element) for element in value]
        case Document():
            return _encode_reference(value.reference)
        case Reference():
            return _encode_reference(value)
        case Module():
            return {"@mod": value.name}
        case Moment():
            return {value.tag: value.text}
    raise ValueError(f"a value of type {type(value).__name__} cannot be sent")


def decode(value: Any) -> Any:
    """Return the value that a tagged form stands for. Raises `ValueError` for an unknown tag."""
    if isinstance(value, list):
        return [decode(element) for element in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag.startswith("@"):
            decoder = _DECODERS.get(tag)
            if decoder is None:
                raise ValueError(f"the answer has a tag that this client does not know: {tag}")
            return decoder(content)
    return _decode_fields(value)


def _piece(piece: Any) -> Any:
    if isinstance(piece, str):
        return piece
    return _hole(piece[0]) if isinstance(piece, tuple) else encode_query(piece)


def _hole(value: Any) -> Any:
    """Values in which a template hides are built by the query; all others are one value."""
    if isinstance(value, Template):
        return encode_query(value)
    if not _has_template(value):
        return {"value": encode(value)}
    if isinstance(value, Mapping):
        return {"object": {key: _hole(element) for key, element in value.items()}}
    return {"array": [_hole(element) for element in value]}


def _has_template(value: Any) -> bool:
    match value:
        case Template():
            return True
        case Mapping():
            return any(map(_has_template, value.values()))
        case list() | tuple():
            return any(map(_has_template, value))
    return False


def _encode_whole(value: int) -> dict[str, str]:
    bits = (value if value >= 0 else ~value).bit_length()
    if bits > _LONG_BITS:
        raise ValueError(f"{value} has more than 64 bits")
    return {"@int" if bits <= _INT_BITS else "@long": str(int(value))}


def _encode_double(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _encode_time(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a datetime needs a time zone to be sent")
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _encode_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in value):
        raise ValueError("the keys of an object are strings")
    encoded = {key: encode(element) for key, element in value.items()}
    return {"@object": encoded} if any(key.startswith("@") for key in encoded) else encoded


def _encode_reference(value: Reference) -> dict[str, Any]:
    key, text = ("name", value.name) if value.id is None else ("id", value.id)
    return {"@ref": {key: text, "coll": {"@mod": value.coll}}}


def _decode_fields(value: dict[str, Any]) -> dict[str, Any]:
    return {key: decode(element) for key, element in value.items()}


def _decode_time(text: str) -> datetime | Moment:
    fraction = text.partition(".")[2].rstrip("Z")
    try:
        if len(fraction) <= 6:
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    return Moment("@time", text)


def _decode_date(text: str) -> date | Moment:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return Moment("@date", text)


def _decode_document(content: dict[str, Any]) -> Document:
    fields = _decode_fields(content)
    coll = fields.pop("coll")
    ttl = fields.get("ttl")
    if isinstance(ttl, datetime | Moment):
        del fields["ttl"]
    else:
        ttl = None
    key = "id" if "id" in fields else "name"
    named = {key: fields.pop(key)}
    return Document(coll=coll.name, ts=fields.pop("ts"), ttl=ttl, fields=fields, **named)


def _decode_reference(content: dict[str, Any]) -> Reference:
    return Reference(
        coll=decode(content["coll"]).name,
        id=content.get("id"),
        name=content.get("name"),
        exists=content.get("exists", True),
        cause=content.get("cause", ""),
    )


def _decode_set(content: Any) -> Page | SetCursor:
    if isinstance(content, str):
        return SetCursor(content)
    return Page(decode(content["data"]), content.get("after"))


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "@int": int,
    "@long": int,
    "@double": float,
    "@time": _decode_time,
    "@date": _decode_date,
    "@bytes": base64.b64decode,
    "@uuid": uuid.UUID,
    "@mod": Module,
    "@object": _decode_fields,
    "@doc": _decode_document,
    "@ref": _decode_reference,
    "@set": _decode_set,
    "@stream": EventSource,
}
