"""Do a document's fields have the types of their collection, and what are they by default?

`check_fields` says every place that does not fit, with its path (schema.md §2, types).

Trap: a missing field is null to its type; nulls in stored objects do not exist.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from faunadb.definitions import USER_COLLECTION_MIN, CollectionDefinition
from faunadb.errors import QueryError
from faunadb.fql.display import type_name
from faunadb.fql.failures import Failure, constraint
from faunadb.fql.parser import parse_schema_type
from faunadb.fql.runtime import OBSERVATION, Lambda, Runtime
from faunadb.fql.stored import Path, to_stored
from faunadb.fql.syntax import (
    Type,
    TypeApplication,
    TypeIntersection,
    TypeLiteral,
    TypeName,
    TypeNullable,
    TypeObject,
    TypeTuple,
    TypeUnion,
)
from faunadb.fql.unparse import unparse
from faunadb.values import INT_MAX, INT_MIN, Date, Long, Ref, Time, TransactionTime, Uuid

Fields = dict[str, Any]
TYPES_CACHED_MAX = 4096


@lru_cache(TYPES_CACHED_MAX)
def parsed_type(text: str) -> Type:
    """Parse the type of a field; it was checked when the definition was written."""
    return parse_schema_type(text)


_SCALARS: dict[str, Callable[[Any], bool]] = {
    "Any": lambda _: True,
    "Null": lambda value: value is None,
    "Boolean": lambda value: type(value) is bool,
    "Int": lambda value: type(value) in (int, Long) and INT_MIN <= value <= INT_MAX,
    "Long": lambda value: type(value) in (int, Long),
    "Double": lambda value: type(value) is float,
    "Float": lambda value: type(value) is float,
    "Number": lambda value: type(value) in (int, Long, float),
    "String": lambda value: type(value) is str,
    "Bytes": lambda value: type(value) is bytes,
    "Time": lambda value: type(value) in (Time, TransactionTime),
    "TransactionTime": lambda value: type(value) is TransactionTime,
    "Date": lambda value: type(value) is Date,
    "UUID": lambda value: type(value) is Uuid,
    "Doc": lambda value: type(value) is Ref,
    "Never": lambda _: False,
}


SCALAR_TYPES = tuple(_SCALARS)


def check_fields(rt: Runtime, definition: CollectionDefinition, stored: Fields) -> list[Failure]:
    """Return what is wrong with the fields; nothing for a collection without a schema."""
    if not definition.fields:
        return []
    found: list[Failure] = []
    known = set()
    for field in definition.fields:
        known.add(field.name)
        found += check(rt, parsed_type(field.signature), stored.get(field.name), (field.name,))
    if definition.wildcard is None:
        found += [(((key,),), "Unexpected field provided") for key in stored if key not in known]
    return found


def check(rt: Runtime, kind: Type, value: Any, path: Path) -> list[Failure]:
    """Return the places below `path` that do not fit."""
    rt.tick(1)
    match kind:
        case TypeObject():
            if type(value) is dict:
                return _check_object(rt, kind, value, path)
        case TypeNullable(base=base):
            return [] if value is None else check(rt, base, value, path)
        case TypeUnion(members=members):
            return _check_union(rt, kind, members, value, path)
        case TypeIntersection(members=members):
            return [found for member in members for found in check(rt, member, value, path)]
        case TypeTuple(elements=elements):
            if type(value) is list:
                if len(value) != len(elements):
                    return [((path,), "Invalid tuple arity")]
                return [
                    found
                    for place, (element, item) in enumerate(zip(elements, value, strict=True))
                    for found in check(rt, element, item, (*path, place))
                ]
        case TypeApplication(name="Array", arguments=(element,)):
            if type(value) is list:
                return [
                    found
                    for place, item in enumerate(value)
                    for found in check(rt, element, item, (*path, place))
                ]
        case TypeName(name=name) if name in _SCALARS:
            if _SCALARS[name](value):
                return []
        case TypeLiteral(value=literal):
            if type(literal) is type(value) and literal == value:
                return []
        case TypeName(name=name) | TypeApplication(name="Ref", arguments=(TypeName(name=name),)):
            if type(value) is Ref:
                return _check_reference(rt, name, value, path)
    return [((path,), _mismatch(kind, value))]


def _mismatch(kind: Type, value: Any) -> str:
    text = type_text(kind)
    if value is None:
        return f"Missing required field of type {text}"
    return f"Expected {text}, provided {stored_type(value)}"


def type_text(kind: Type) -> str:
    """Write a type as errors show it."""
    match kind:
        case TypeNullable(base=base):
            return f"{type_text(base)} | Null"
        case TypeUnion(members=members):
            return " | ".join(type_text(member) for member in members)
        case TypeObject(fields=fields, wildcard=wildcard):
            parts = [f"{field.key}: {type_text(field.type)}" for field in fields]
            if wildcard is not None:
                parts.append(f"*: {type_text(wildcard)}")
            return f"{{ {', '.join(parts)} }}" if parts else "{}"
    return unparse(kind)


def stored_type(value: Any) -> str:
    return "Doc" if type(value) is Ref else type_name(value)


def _check_object(rt: Runtime, kind: TypeObject, value: Fields, path: Path) -> list[Failure]:
    found: list[Failure] = []
    known = set()
    for field in kind.fields:
        known.add(field.key)
        found += check(rt, field.type, value.get(field.key), (*path, field.key))
    for key, item in value.items():
        if key in known:
            continue
        if kind.wildcard is not None:
            found += check(rt, kind.wildcard, item, (*path, key))
        elif not kind.open:
            found.append((((*path, key),), "Unexpected field provided"))
    return found


def _check_union(
    rt: Runtime, kind: TypeUnion, members: tuple[Type, ...], value: Any, path: Path
) -> list[Failure]:
    for member in members:
        if not check(rt, member, value, path):
            return []
    objects = [member for member in members if isinstance(member, TypeObject)]
    if type(value) is dict and len(objects) > 1:
        listed = [f"[{', '.join(field.key for field in member.fields)}]" for member in objects]
        text = (
            f"{listed[0]} or {listed[1]}"
            if len(listed) == 2
            else (f"{', '.join(listed[:-1])}, or {listed[-1]}")
        )
        return [((path,), f"Union requires fields {text}")]
    return [((path,), _mismatch(kind, value))]


def _check_reference(rt: Runtime, name: str, value: Ref, path: Path) -> list[Failure]:
    wanted = rt.schema.names.get(name.removeprefix("Null") if name.startswith("Null") else name)
    if wanted is None:
        wanted = rt.schema.names.get(name)
    if isinstance(wanted, CollectionDefinition) and wanted.id == value.coll:
        return []
    assert value.coll >= USER_COLLECTION_MIN
    text = f"Expected {name} document, provided document from another collection"
    return [((path,), text)]


# ---------------------------------------------------------------- defaults


def with_defaults(
    rt: Runtime, definition: CollectionDefinition, stored: Fields, nulls: frozenset[str]
) -> Fields:
    """Fill in absent fields; those that were given as null stay absent."""
    missing = [
        field for field in definition.fields if field.name not in stored and field.name not in nulls
    ]
    nested = [field for field in definition.fields if "=" in field.signature]
    if not nested and not any(field.default is not None for field in missing):
        return stored
    filled = dict(stored)
    for field in missing:
        if field.default is not None:
            source = f"*field:{definition.name}:{field.name}*"
            filled[field.name] = default_value(rt, field.default, source, (field.name,))
    for field in nested:
        kind = parsed_type(field.signature)
        if isinstance(kind, TypeObject) and field.name not in nulls:
            value = _nested(rt, kind, filled.get(field.name), (field.name,))
            if value is not None:
                filled[field.name] = value
    return filled


def _nested(rt: Runtime, kind: TypeObject, value: Any, path: Path) -> Any:
    """Fill in the defaults of an object type; an absent object with defaults comes to be."""
    if value is not None and type(value) is not dict:
        return value
    filled = dict(value) if value is not None else {}
    for field in kind.fields:
        place = (*path, field.key)
        if field.default is not None and field.key not in filled:
            text = unparse(field.default)
            filled[field.key] = default_value(rt, text, f"*field:{field.key}*", place)
        elif isinstance(field.type, TypeObject):
            inner = _nested(rt, field.type, filled.get(field.key), place)
            if inner is not None:
                filled[field.key] = inner
    return filled if filled or value is not None else None


def default_value(rt: Runtime, text: str, source: str, path: Path) -> Any:
    """Evaluate a default: it may observe (`Time.now()`), not read."""
    limit, place = rt.limit, rt.place
    rt.limit, rt.place = min(rt.limit, OBSERVATION), "default values"
    try:
        value = rt.call(Lambda(rt.compiler.expression(text, source), []), [])
        return to_stored(rt, value, path)
    except QueryError as error:
        if error.code == "invalid_type":
            message = f"Value has type {type_name(value)}, which cannot be persisted"
        else:
            message = f"Default field evaluation failed.\n{error.message}"
        raise constraint("create", "document", [((path,), message)]) from None
    finally:
        rt.limit, rt.place = limit, place
