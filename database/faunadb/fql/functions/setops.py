"""Sets and what makes them: `Set.sequence`, `map`, `where`, `paginate` (functions.yaml, Set#).

Lazy functions give a new set; the others read. Callbacks of the lazy ones may not write, those
of `forEach`, `fold`, `any` and their kin may.

Trap: the page size survives everything but `concat`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from faunadb.errors import QueryError
from faunadb.fql.calls import apply, call_value, truth
from faunadb.fql.cursors import decode_cursor, encode_cursor
from faunadb.fql.display import type_name
from faunadb.fql.failures import expected_argument, fail
from faunadb.fql.functions.arrays import parse_orderings, tree
from faunadb.fql.order import same
from faunadb.fql.registry import method, register_instance
from faunadb.fql.runtime import PAGE_SIZE_MAX, READ, Cursor, Runtime, SetValue
from faunadb.fql.sets import (
    SETS,
    ConcatSet,
    DistinctSet,
    DropSet,
    FlatMapSet,
    MapSet,
    OrderSet,
    SequenceSet,
    SingleSet,
    TakeSet,
    WhereSet,
    iterate,
    page,
    read_all,
)

register_instance("Set#", *SETS.values())
S = "Set#"


@method("Set", "single", "(element: Any)")
def single(rt: Runtime, this: Any, element: Any) -> SetValue:
    return SingleSet(element)


@method("Set", "sequence", "(from: Int, until: Int)")
def sequence(rt: Runtime, this: Any, start: int, until: int) -> SetValue:
    return SequenceSet(start, until)


@method("Set", "paginate", "(cursor: Any)", "(cursor: Any, size: Int)", effect=READ)
def paginate_cursor(rt: Runtime, this: Any, cursor: Any, size: int | None = None) -> Any:
    if type(cursor) is Cursor:
        cursor = cursor.text
    if type(cursor) is not str:
        raise expected_argument("cursor", "String | SetCursor", type_name(cursor))
    source, position, default, snapshot = decode_cursor(rt, cursor)
    wanted = default if size is None else check_size(size)
    saved = rt.at, rt.base_at
    if snapshot is not None and snapshot != rt.view.snapshot_ts:
        rt.at = rt.base_at = snapshot
    try:
        return page_object(rt, source, wanted, position)
    finally:
        rt.at, rt.base_at = saved


def check_size(size: int) -> int:
    """Return a page size; raises `invalid_bounds`."""
    if not 1 <= size <= PAGE_SIZE_MAX:
        raise QueryError(
            "invalid_bounds",
            f"expected `size` to be between 1 and {PAGE_SIZE_MAX} (inclusive), received {size}",
        )
    return size


def page_object(rt: Runtime, source: SetValue, size: int, position: Any) -> dict[str, Any]:
    """Read one page as a plain object; `after` is absent on the last."""
    items, place = page(rt, source, size, position)
    found: dict[str, Any] = {"data": items}
    if place is not None:
        found["after"] = Cursor(encode_cursor(rt, source, place, size))
    return found


@method(S, "paginate", "()", "(size: Int)", effect=READ)
def paginate(rt: Runtime, this: SetValue, size: int | None = None) -> dict[str, Any]:
    return page_object(rt, this, this.size if size is None else check_size(size), None)


@method(S, "pageSize", "(size: Int)")
def page_size(rt: Runtime, this: SetValue, size: int) -> SetValue:
    return replace(this, size=check_size(size))  # type: ignore[type-var]


@method(S, "where", "(predicate/pred: F1)")
def where(rt: Runtime, this: SetValue, predicate: Any) -> SetValue:
    return WhereSet(this, predicate, rt.at, this.size)


@method(S, "map", "(mapper: F1)")
def map_(rt: Runtime, this: SetValue, mapper: Any) -> SetValue:
    return MapSet(this, mapper, rt.at, this.size)


@method(S, "flatMap", "(mapper: F1)")
def flat_map(rt: Runtime, this: SetValue, mapper: Any) -> SetValue:
    return FlatMapSet(this, mapper, backward=False, at=rt.at, size=this.size)


@method(S, "distinct")
def distinct(rt: Runtime, this: SetValue) -> SetValue:
    return DistinctSet(this, rt.at, this.size)


@method(S, "drop", "(amount: Int)")
def drop(rt: Runtime, this: SetValue, amount: int) -> SetValue:
    return DropSet(this, amount, rt.at, this.size)


@method(S, "take", "(limit: Int)")
def take(rt: Runtime, this: SetValue, limit: int) -> SetValue:
    if limit < 0:
        raise fail("invalid_bounds", f"expected `limit` to be greater than 0, received {limit}")
    return TakeSet(this, limit, rt.at, this.size)


@method(S, "order", "(ordering...: Any)")
def order(rt: Runtime, this: SetValue, *orderings: Any) -> SetValue:
    return OrderSet(this, parse_orderings(rt, orderings), rt.at, this.size)


@method(S, "reverse")
def reverse(rt: Runtime, this: SetValue) -> SetValue:
    return this.reverse()


@method(S, "concat", "(other: Set)")
def concat(rt: Runtime, this: SetValue, other: SetValue) -> SetValue:
    return ConcatSet(this, other)


@method(S, "toSet")
def to_set(rt: Runtime, this: SetValue) -> SetValue:
    return this


@method(S, "toArray", effect=READ)
def to_array(rt: Runtime, this: SetValue) -> list[Any]:
    return read_all(rt, this)


@method(S, "toString")
def to_string(rt: Runtime, this: SetValue) -> str:
    return "[set]"


@method(S, "first", effect=READ)
def first(rt: Runtime, this: SetValue) -> Any:
    return next(iterate(rt, this), None)


@method(S, "last", effect=READ)
def last(rt: Runtime, this: SetValue) -> Any:
    return next(iterate(rt, this.reverse()), None)


@method(S, "isEmpty", effect=READ)
def is_empty(rt: Runtime, this: SetValue) -> bool:
    return next(this.elements(rt, None), None) is None


@method(S, "nonEmpty", effect=READ)
def non_empty(rt: Runtime, this: SetValue) -> bool:
    return not is_empty(rt, this)


@method(S, "count", effect=READ)
def count(rt: Runtime, this: SetValue) -> int:
    return sum(1 for _ in iterate(rt, this))


@method(S, "includes", "(element: Any)", effect=READ)
def includes(rt: Runtime, this: SetValue, element: Any) -> bool:
    return any(same(rt, item, element) for item in iterate(rt, this))


@method(S, "firstWhere", "(predicate/pred: F1)", effect=READ)
def first_where(rt: Runtime, this: SetValue, predicate: Any) -> Any:
    for item in iterate(rt, this):
        if truth(apply(rt, predicate, (item,), rt.at)):
            return item
    return None


@method(S, "lastWhere", "(predicate/pred: F1)", effect=READ)
def last_where(rt: Runtime, this: SetValue, predicate: Any) -> Any:
    for item in reversed(read_all(rt, this)):
        if truth(apply(rt, predicate, (item,), rt.at)):
            return item
    return None


@method(S, "any", "(predicate/pred: F1)", effect=READ)
def any_(rt: Runtime, this: SetValue, predicate: Any) -> bool:
    return any(
        truth(call_value(rt, predicate, (item,)))
        for items in pages(rt, this, 256)
        for item in items
    )


@method(S, "every", "(predicate/pred: F1)", effect=READ)
def every(rt: Runtime, this: SetValue, predicate: Any) -> bool:
    return all(
        truth(call_value(rt, predicate, (item,)))
        for items in pages(rt, this, 256)
        for item in items
    )


@method(S, "fold", "(seed: Any, reducer: F2)", effect=READ)
def fold(rt: Runtime, this: SetValue, seed: Any, reducer: Any) -> Any:
    for items in pages(rt, this):
        for item in items:
            seed = call_value(rt, reducer, (seed, item))
    return seed


def pages(rt: Runtime, source: SetValue, size: int = PAGE_SIZE_MAX) -> Iterator[list[Any]]:
    """Yield the whole set in pages, so that a callback's writes do not disturb the reading."""
    place = None
    while True:
        items, place = page(rt, source, size, place)
        yield items
        if place is None:
            return


@method(S, "foldRight", "(seed: Any, reducer: F2)", effect=READ)
def fold_right(rt: Runtime, this: SetValue, seed: Any, reducer: Any) -> Any:
    return fold(rt, this.reverse(), seed, reducer)


@method(S, "reduce", "(reducer: F2)", effect=READ)
def reduce(rt: Runtime, this: SetValue, reducer: Any) -> Any:
    accumulated: Any = None
    begun = False
    for items in pages(rt, this):
        for item in items:
            accumulated = call_value(rt, reducer, (accumulated, item)) if begun else item
            begun = True
    return accumulated


@method(S, "reduceRight", "(reducer: F2)", effect=READ)
def reduce_right(rt: Runtime, this: SetValue, reducer: Any) -> Any:
    return reduce(rt, this.reverse(), reducer)


@method(S, "aggregate", "(seed: Any, combiner: F2)", effect=READ)
def aggregate(rt: Runtime, this: SetValue, seed: Any, combiner: Any) -> Any:
    for items in pages(rt, this):
        if items:
            seed = call_value(rt, combiner, (tree(rt, items, combiner), seed))
    return seed


@method(S, "forEach", "(callback/func: F1)", effect=READ)
def for_each(rt: Runtime, this: SetValue, callback: Any) -> None:
    for items in pages(rt, this):
        for item in items:
            call_value(rt, callback, (item,))
