"""What `Coll.byName(terms.., {from, to})` asks for: terms and a range in the index's order.

Trap: with exactly one value an array as bound is one value that is an array; with several it is
a prefix of the values (schema.md §3).
"""

from collections.abc import Sequence
from typing import Any

from faunadb.definitions import Bound, CollectionDefinition, IndexDefinition, IndexStatus
from faunadb.errors import QueryError
from faunadb.fql.failures import denied, fail, invalid_argument, wrong_arity
from faunadb.fql.registry import MISFIT, coerce_id
from faunadb.fql.rights import may_list
from faunadb.fql.runtime import PAGE_SIZE, READ, Doc, Runtime
from faunadb.fql.sets import AllSet, IndexSet
from faunadb.fql.stored import to_stored


def index_call(
    rt: Runtime, coll: CollectionDefinition, index: IndexDefinition, args: Sequence[Any]
) -> IndexSet:
    """Return the set of documents with these terms; nothing is read yet."""
    wanted = len(index.terms)
    if len(args) not in (wanted, wanted + 1):
        raise wrong_arity((wanted, wanted + 1), len(args))
    rt.need(READ, f"`{index.name}`")
    if not may_list(rt, coll.id):
        raise denied(coll.name)
    if not index.queryable or index.status is not IndexStatus.COMPLETE:
        raise fail(
            "invalid_index_invocation",
            f"The index `{coll.name}.{index.name}` is not queryable.",
        )
    terms = []
    for number, value in enumerate(args[:wanted], 1):
        try:
            terms.append(to_stored(rt, value))
        except QueryError as error:
            if error.code != "invalid_type":
                raise
            raise invalid_argument(
                f"term{number}", "Argument cannot be used as lookup term"
            ) from None
    lower = upper = None
    if len(args) > wanted:
        start, end = range_of(args[wanted])
        lower = None if start is _OPEN else index_bound(rt, index, "from", start)
        upper = None if end is _OPEN else index_bound(rt, index, "to", end)
    return IndexSet(
        coll.id, index.name, tuple(terms), lower, upper, backward=False, at=rt.at, size=PAGE_SIZE
    )


_OPEN = object()


def range_of(value: Any) -> tuple[Any, Any]:
    """Take `{from, to}` apart; a missing end is `_OPEN`."""
    if type(value) is not dict or not value.keys() & {"from", "to"}:
        raise invalid_argument(
            "range",
            "should be an object contining `{ from }`, `{ to }`, or `{ from, to }` fields",
        )
    return value.get("from", _OPEN), value.get("to", _OPEN)


def index_bound(rt: Runtime, index: IndexDefinition, end: str, value: Any) -> Bound | None:
    """Return one end of an index range; raises `invalid_argument`."""
    if not index.values:
        doc_id = document_bound(end, value)
        return None if doc_id is None else Bound((), doc_id)
    items = value if type(value) is list and len(index.values) > 1 else [value]
    if len(items) > len(index.values):
        raise invalid_argument(
            "range", f"The field `{end}` can have at most {len(index.values)} values"
        )
    converted = []
    for item, covered in zip(items, index.values, strict=False):
        if covered.path.parts == ("id",):
            converted.append(None if item is None else document_bound(end, item))
            continue
        try:
            converted.append(to_stored(rt, item))
        except QueryError as error:
            if error.code != "invalid_type":
                raise
            raise invalid_argument(
                "range",
                f"The `{end}` field should be either an indexable value or an array of values",
            ) from None
    return Bound(tuple(converted))


def document_bound(end: str, value: Any) -> int | None:
    """Return the id that bounds a range over documents."""
    if type(value) is Doc:
        return value.id
    doc_id = coerce_id(value)
    if doc_id is MISFIT:
        raise invalid_argument("range", f"The `{end}` field must be a document id.")
    assert isinstance(doc_id, int)
    return doc_id


def all_documents(rt: Runtime, coll: int, bounds: Any = _OPEN) -> AllSet:
    """Return `Coll.all()` or `Coll.all({from, to})`."""
    lower = upper = None
    if bounds is not _OPEN:
        start, end = range_of(bounds)
        lower = None if start is _OPEN else document_bound("from", start)
        upper = None if end is _OPEN else document_bound("to", end)
    return AllSet(coll, lower, upper, backward=False, at=rt.at, size=PAGE_SIZE)
