"""Which values may be kept, and how they are converted to be.

References to users' documents become `Ref`; ids, sets, functions, modules and definitions are
refused (`invalid_type`). Null fields of objects are dropped, nulls in arrays stay.

Trap: a patch (`update`) needs its nulls: they remove fields.
"""

from typing import Any

from faunadb.definitions import USER_COLLECTION_MIN
from faunadb.errors import QueryError
from faunadb.fql.display import type_name
from faunadb.fql.failures import fail
from faunadb.fql.runtime import Doc, Lambda, Runtime
from faunadb.values import Date, Long, Ref, Time, TransactionTime, Uuid

_PLAIN = frozenset({type(None), bool, int, float, str, bytes, Time, Date, Uuid, TransactionTime})
Path = tuple[str | int, ...]


def path_text(path: Path) -> str:
    """Spell a path as `a.b[0].c`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def refused(value: Any, path: Path) -> QueryError:
    if type(value) is Lambda:
        return fail(
            "invalid_type",
            "Anonymous functions cannot be stored. Use a string of FQL instead.",
        )
    return fail(
        "invalid_type",
        f"Value at `{path_text(path)}` has type {type_name(value)}, which cannot be persisted.",
    )


def to_stored(rt: Runtime, value: Any, path: Path = (), *, keep_nulls: bool = False) -> Any:
    """Return the storable value; raises `invalid_type`."""
    kind = type(value)
    if kind is str:
        if len(value) > 64:
            rt.tick(len(value) >> 6)
        return value
    if kind in _PLAIN:
        return value
    if kind is Long:
        return int(value)
    rt.tick(1)
    if kind is dict:
        return {
            key: to_stored(rt, item, (*path, key), keep_nulls=keep_nulls)
            for key, item in value.items()
            if keep_nulls or item is not None
        }
    if kind is list:
        return [
            to_stored(rt, item, (*path, place), keep_nulls=keep_nulls)
            for place, item in enumerate(value)
        ]
    if kind is Doc and value.coll >= USER_COLLECTION_MIN:
        return Ref(value.coll, value.id)
    raise refused(value, path)


def without_nulls(value: Any) -> Any:
    """Drop null fields of objects at any depth."""
    if type(value) is dict:
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if type(value) is list:
        return [without_nulls(item) for item in value]
    return value


def patched(old: Any, patch: dict[str, Any]) -> dict[str, Any]:
    """Merge deeply: objects merge, null removes, others replace (nulls in new arrays go)."""
    merged = dict(old) if type(old) is dict else {}
    for key, item in patch.items():
        if item is None:
            merged.pop(key, None)
        elif type(item) is dict:
            merged[key] = patched(merged.get(key), item)
        elif type(item) is list:
            merged[key] = [without_nulls(part) for part in item if part is not None]
        else:
            merged[key] = item
    return merged
