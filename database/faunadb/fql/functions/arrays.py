"""Arrays: eager, in order; callbacks may write, except those of `order` (functions.yaml).

Trap: elements are compared by structural equality (`order.same`), not by `==`.
"""

from typing import Any

from faunadb.fql.calls import call_value, truth
from faunadb.fql.display import debug, type_name
from faunadb.fql.failures import invalid_argument, out_of_bounds, too_large, type_mismatch
from faunadb.fql.order import same
from faunadb.fql.registry import FUNCTION_TYPES, check_function, getter, method
from faunadb.fql.runtime import ELEMENTS_MAX, Runtime
from faunadb.fql.sets import ArraySet, distinct, ordered

A = "Array#"
Items = list[Any]


@getter(A, "length")
def length(rt: Runtime, this: Items) -> int:
    return len(this)


@method("Array", "sequence", "(from: Int, until: Int)")
def sequence(rt: Runtime, this: Any, start: int, until: int) -> Items:
    if until - start > ELEMENTS_MAX:
        raise too_large(f"range size {until - start} exceeds limit {ELEMENTS_MAX}")
    rt.tick(max(0, until - start) >> 4)
    return list(range(start, until))


@method(A, "at", "(index: Int)")
def at(rt: Runtime, this: Items, index: int) -> Any:
    if not 0 <= index < len(this):
        raise out_of_bounds(index, len(this))
    return this[index]


@method(A, "aggregate", "(seed: Any, combiner: F2)")
def aggregate(rt: Runtime, this: Items, seed: Any, combiner: Any) -> Any:
    return seed if not this else call_value(rt, combiner, (tree(rt, this, combiner), seed))


def tree(rt: Runtime, items: Items, combiner: Any) -> Any:
    """Combine neighbours in rounds until one value is left."""
    while len(items) > 1:
        items = [
            call_value(rt, combiner, items[i : i + 2]) if i + 1 < len(items) else items[i]
            for i in range(0, len(items), 2)
        ]
    return items[0]


@method(A, "any", "(predicate/pred: F1)")
def any_(rt: Runtime, this: Items, predicate: Any) -> bool:
    return any(truth(call_value(rt, predicate, (item,))) for item in this)


@method(A, "every", "(predicate/pred: F1)")
def every(rt: Runtime, this: Items, predicate: Any) -> bool:
    return all(truth(call_value(rt, predicate, (item,))) for item in this)


def build(rt: Runtime, items: Items) -> Items:
    """Pay for an array that was made."""
    rt.tick(len(items) >> 4)
    return items


@method(A, "append", "(element: Any)")
def append(rt: Runtime, this: Items, element: Any) -> Items:
    return build(rt, [*this, element])


@method(A, "prepend", "(element: Any)")
def prepend(rt: Runtime, this: Items, element: Any) -> Items:
    return build(rt, [element, *this])


@method(A, "concat", "(other: Array)")
def concat(rt: Runtime, this: Items, other: Items) -> Items:
    return build(rt, [*this, *other])


@method(A, "distinct")
def distinct_(rt: Runtime, this: Items) -> Items:
    return distinct(rt, this)


@method(A, "drop", "(amount: Int)")
def drop(rt: Runtime, this: Items, amount: int) -> Items:
    return build(rt, this[max(0, amount) :])


@method(A, "take", "(limit: Int)")
def take(rt: Runtime, this: Items, limit: int) -> Items:
    return build(rt, this[: max(0, limit)])


@method(A, "entries")
def entries(rt: Runtime, this: Items) -> Items:
    rt.tick(len(this))
    return [[place, item] for place, item in enumerate(this)]


@method(A, "filter", "(predicate/pred: F1)")
def filter_(rt: Runtime, this: Items, predicate: Any) -> Items:
    kept = []
    for item in this:
        chosen = call_value(rt, predicate, (item,))
        if chosen is True:
            kept.append(item)
        elif chosen is not False and chosen is not None:
            raise type_mismatch("Boolean", type_name(item))
    return kept


@method(A, "where", "(predicate/pred: F1)")
def where(rt: Runtime, this: Items, predicate: Any) -> Items:
    return [item for item in this if truth(call_value(rt, predicate, (item,)))]


@method(A, "first")
def first(rt: Runtime, this: Items) -> Any:
    return this[0] if this else None


@method(A, "last")
def last(rt: Runtime, this: Items) -> Any:
    return this[-1] if this else None


@method(A, "firstWhere", "(predicate/pred: F1)")
def first_where(rt: Runtime, this: Items, predicate: Any) -> Any:
    return first(rt, where(rt, this, predicate))


@method(A, "lastWhere", "(predicate/pred: F1)")
def last_where(rt: Runtime, this: Items, predicate: Any) -> Any:
    return last(rt, where(rt, this, predicate))


@method(A, "flatten")
def flatten(rt: Runtime, this: Items) -> Items:
    flat: Items = []
    for item in this:
        if type(item) is not list:
            raise type_mismatch("Array<Any>", type_name(item))
        rt.tick(1 + (len(item) >> 4))
        flat.extend(item)
    return flat


@method(A, "flatMap", "(mapper: F1)")
def flat_map(rt: Runtime, this: Items, mapper: Any) -> Items:
    return flatten(rt, [call_value(rt, mapper, (item,)) for item in this])


@method(A, "fold", "(seed: Any, reducer: F2)")
def fold(rt: Runtime, this: Items, seed: Any, reducer: Any) -> Any:
    for item in this:
        seed = call_value(rt, reducer, (seed, item))
    return seed


@method(A, "foldRight", "(seed: Any, reducer: F2)")
def fold_right(rt: Runtime, this: Items, seed: Any, reducer: Any) -> Any:
    return fold(rt, this[::-1], seed, reducer)


@method(A, "forEach", "(callback/fn: F1)")
def for_each(rt: Runtime, this: Items, callback: Any) -> None:
    for item in this:
        call_value(rt, callback, (item,))


def check_place(place: int | None, items: Items) -> None:
    if place is not None and not 0 <= place < len(items):
        raise out_of_bounds(place, len(items))


@method(A, "indexOf", "(element: Any)", "(element: Any, start: Int)")
def index_of(rt: Runtime, this: Items, element: Any, start: int | None = None) -> int | None:
    check_place(start, this)
    for place in range(start or 0, len(this)):
        rt.tick(1)
        if same(rt, this[place], element):
            return place
    return None


@method(A, "lastIndexOf", "(element: Any)", "(element: Any, end: Int)")
def last_index_of(rt: Runtime, this: Items, element: Any, end: int | None = None) -> int | None:
    check_place(end, this)
    for place in range(len(this) - 1 if end is None else end, -1, -1):
        rt.tick(1)
        if same(rt, this[place], element):
            return place
    return None


@method(A, "indexWhere", "(predicate/pred: F1)", "(predicate/pred: F1, start: Int)")
def index_where(rt: Runtime, this: Items, predicate: Any, start: int | None = None) -> int | None:
    check_place(start, this)
    for place in range(start or 0, len(this)):
        if truth(call_value(rt, predicate, (this[place],))):
            return place
    return None


@method(A, "lastIndexWhere", "(predicate/pred: F1)", "(predicate/pred: F1, end: Int)")
def last_index_where(
    rt: Runtime, this: Items, predicate: Any, end: int | None = None
) -> int | None:
    check_place(end, this)
    for place in range(len(this) - 1 if end is None else end, -1, -1):
        if truth(call_value(rt, predicate, (this[place],))):
            return place
    return None


@method(A, "includes", "(element: Any)")
def includes(rt: Runtime, this: Items, element: Any) -> bool:
    return index_of(rt, this, element) is not None


@method(A, "isEmpty")
def is_empty(rt: Runtime, this: Items) -> bool:
    return not this


@method(A, "nonEmpty")
def non_empty(rt: Runtime, this: Items) -> bool:
    return bool(this)


@method(A, "map", "(mapper: F1)")
def map_(rt: Runtime, this: Items, mapper: Any) -> Items:
    return [call_value(rt, mapper, (item,)) for item in this]


def parse_orderings(rt: Runtime, orderings: tuple[Any, ...]) -> tuple[tuple[Any, bool], ...]:
    """Read functions and `{ asc: f }`, `{ desc: f }` objects; raises `invalid_argument`."""
    parsed = []
    for number, ordering in enumerate(orderings):
        name = f"ordering{number}"
        function, descending = ordering, False
        if type(ordering) is dict and len(ordering) == 1:
            ((key, function),) = ordering.items()
            if key not in ("asc", "desc"):
                function = None
            descending = key == "desc"
        if type(function) not in FUNCTION_TYPES:
            raise invalid_argument(
                name, "expected a function, or an object with a single field `asc` or `desc`"
            )
        check_function(rt, function, name, 1)
        parsed.append((function, descending))
    return tuple(parsed)


@method(A, "order", "(ordering...: Any)")
def order(rt: Runtime, this: Items, *orderings: Any) -> Items:
    return ordered(rt, this, parse_orderings(rt, orderings), rt.at)


@method(A, "reduce", "(reducer: F2)")
def reduce(rt: Runtime, this: Items, reducer: Any) -> Any:
    return fold(rt, this[1:], this[0], reducer) if this else None


@method(A, "reduceRight", "(reducer: F2)")
def reduce_right(rt: Runtime, this: Items, reducer: Any) -> Any:
    return reduce(rt, this[::-1], reducer)


@method(A, "reverse")
def reverse(rt: Runtime, this: Items) -> Items:
    return build(rt, this[::-1])


@method(A, "slice", "(from: Int)", "(from: Int, until: Int)")
def slice_(rt: Runtime, this: Items, start: int, until: int | None = None) -> Items:
    start = max(0, start)
    return build(rt, this[start:] if until is None else this[start : max(start, until)])


@method(A, "toSet")
def to_set(rt: Runtime, this: Items) -> ArraySet:
    return ArraySet(this)


@method(A, "toString")
def to_string(rt: Runtime, this: Items) -> str:
    return debug(rt, this)
