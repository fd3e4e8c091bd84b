"""What `value { a, b: .c }` gives for each kind of value.

Trap: a set is projected lazily, like a map; null and scalars pass through unchanged.
"""

from typing import Any

from faunadb.fql.documents import read
from faunadb.fql.runtime import (
    Collection,
    Doc,
    EventSource,
    Lambda,
    Module,
    Runtime,
    SetValue,
)
from faunadb.fql.sets import MapSet


def project(rt: Runtime, value: Any, function: Lambda) -> Any:
    """Apply a projection."""
    kind = type(value)
    if kind is dict or kind is Module or kind is Collection:
        return rt.call(function, (value,))
    if kind is Doc:
        return None if read(rt, value) is None else rt.call(function, (value,))
    if kind is list:
        return [project(rt, item, function) for item in value]
    if isinstance(value, SetValue):
        return MapSet(value, function, rt.at, value.size)
    if kind is EventSource:
        return EventSource(MapSet(value.source, function, rt.at, value.source.size), value.fields)
    return value
