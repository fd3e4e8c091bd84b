"""From a runtime value to the tree that an encoder writes (`result.py`).

Documents are expanded once: inside of a document they stay references. Sets become their first
page; inside documents, or more than `SETS_DEEP_MAX` deep, a token (FQL.md §2).

Trap: this reads (pages, computed fields, documents), so it belongs to the evaluation and its
budget, and its errors are the query's.
"""

from typing import Any

from faunadb.fql.cursors import encode_cursor, encode_event_source
from faunadb.fql.display import debug
from faunadb.fql.documents import all_fields, collection_name, missing_cause, read
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
from faunadb.fql.runtime import (
    Collection,
    Cursor,
    Doc,
    EventSource,
    Id,
    Module,
    Runtime,
    SetValue,
)
from faunadb.fql.sets import page
from faunadb.values import Date, Long, Time, TransactionTime, Uuid

SETS_DEEP_MAX = 10
_PLAIN = frozenset(
    {type(None), bool, int, Long, float, str, bytes, Time, Date, Uuid, TransactionTime}
)


def materialize(rt: Runtime, value: Any, sets: int = 0, *, inside: bool = False) -> Result:
    """Return the result tree; `inside` is true within a document."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    rt.tick(1)
    if kind is dict:
        return {key: materialize(rt, item, sets, inside=inside) for key, item in value.items()}
    if kind is list:
        return [materialize(rt, item, sets, inside=inside) for item in value]
    if kind is Doc:
        return _reference(rt, value) if inside else _document(rt, value, sets)
    if isinstance(value, SetValue):
        return _set(rt, value, sets, inside=inside)
    match value:
        case Id():
            return IdResult(value.value)
        case Module() | Collection():
            return ModuleResult(value.name)
        case Cursor():
            return value.text
        case EventSource():
            return EventSourceResult(encode_event_source(rt, value), begins_now=bool(rt.writes))
    return OpaqueResult(debug(rt, value))


def _document(rt: Runtime, doc: Doc, sets: int) -> Result:
    document = read(rt, doc)
    coll = collection_name(rt, doc.coll)
    if document is None:
        return _named(doc, coll, missing_cause(rt, doc))
    fields = {
        key: materialize(rt, value, sets, inside=True)
        for key, value in all_fields(rt, doc, document).items()
    }
    name = None
    if doc.name is not None:
        name = str(document.data.get("name", doc.name))
    return DocumentResult(
        coll, None if name is not None else doc.id, name, document.ts, document.ttl, fields
    )


def _reference(rt: Runtime, doc: Doc) -> Result:
    return _named(doc, collection_name(rt, doc.coll), "")


def _named(doc: Doc, coll: str, cause: str) -> ReferenceResult:
    return ReferenceResult(coll, None if doc.name is not None else doc.id, doc.name, cause)


def _set(rt: Runtime, source: SetValue, sets: int, *, inside: bool) -> Result:
    if inside or sets >= SETS_DEEP_MAX:
        return SetTokenResult(encode_cursor(rt, source, None, source.size))
    items, place = page(rt, source, source.size, None)
    after = None if place is None else encode_cursor(rt, source, place, source.size)
    return PageResult([materialize(rt, item, sets + 1) for item in items], after)
