"""Sets: what each consists of, and how its elements are read from a position on.

A set is a small frozen tree (`WhereSet(AllSet(1024), f)`), which a cursor can carry; reading
never changes it. `elements(rt, after)` begins behind a position that an earlier run gave:

    all()              document id                 array, sequence, order, distinct   offset
    index              [values, id]                where, map                         their source's
    flatMap            [outer, inner]              concat                             [side, inner]
    take               [taken, inner]              drop                               inner

`at` is the snapshot that a set was made under (`at(t) C.all()`), None for "when it is read".

Trap: `reverse()` of `all()` and of index sets is not undone by a second one (as the original).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from faunadb.definitions import Bound, IndexDefinition
from faunadb.fql.budget import READ_STEPS, ROW_STEPS
from faunadb.fql.calls import apply, truth
from faunadb.fql.display import type_name
from faunadb.fql.documents import document_value, read
from faunadb.fql.failures import fail, invalid_effect, too_large, type_mismatch
from faunadb.fql.order import hash_key, same, sort_key
from faunadb.fql.rights import may_read, may_see_some
from faunadb.fql.runtime import ELEMENTS_MAX, PAGE_SIZE, READ, Doc, Runtime, SetValue

Elements = Iterator[tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class AllSet(SetValue):
    """Documents of one collection by id, `lower` to `upper` inclusive."""

    tag = "all"
    coll: int
    lower: int | None
    upper: int | None
    backward: bool
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        if rt.limit < READ:
            raise invalid_effect("Reading a set", READ, rt.place)
        if self.coll >= 1024 and self.coll not in rt.schema.collections:
            return
        at = self.at if self.at is not None else rt.base_at
        everything = rt.context.role == "admin"
        if not everything and not may_see_some(rt, self.coll, at):
            return
        lower = None if self.lower is None else Bound((), self.lower)
        upper = None if self.upper is None else Bound((), self.upper)
        if after is not None:
            here = Bound((), after, exclusive=True)
            lower, upper = (lower, here) if self.backward else (here, upper)
        view = rt.view.scan(self.coll, lower=lower, upper=upper, reverse=self.backward, at=at)
        for document in view:
            rt.tick(ROW_STEPS)
            doc = document_value(rt, document, at)
            if everything or may_read(rt, doc, document):
                yield doc, document.id

    def reverse(self) -> SetValue:
        return replace(self, backward=True)


@dataclass(frozen=True, slots=True)
class IndexSet(SetValue):
    """Documents of one index with equal terms, in the index's order."""

    tag = "index"
    coll: int
    index: str
    terms: tuple[Any, ...]
    lower: Bound | None
    upper: Bound | None
    backward: bool
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        if rt.limit < READ:
            raise invalid_effect("Reading a set", READ, rt.place)
        definition = self.definition(rt)
        if definition is None:
            raise fail("invalid_cursor", "Cursor cursor is invalid or expired.")
        at = self.at if self.at is not None else rt.base_at
        lower, upper = self.lower, self.upper
        if after is not None:
            here = Bound(tuple(after[0]), after[1], exclusive=True)
            lower, upper = (lower, here) if self.backward else (here, upper)
        entries = rt.view.scan_index(
            definition, self.coll, self.terms,
            lower=lower, upper=upper, reverse=self.backward, at=at,
        )  # fmt: skip
        for entry in entries:
            rt.tick(READ_STEPS)
            doc = Doc(entry.coll, entry.id, at)
            if read(rt, doc) is not None:
                yield doc, [list(entry.values), entry.id]

    def definition(self, rt: Runtime) -> IndexDefinition | None:
        coll = rt.schema.collections.get(self.coll)
        return None if coll is None else coll.index(self.index)

    def reverse(self) -> SetValue:
        return replace(self, backward=True)


@dataclass(frozen=True, slots=True)
class ArraySet(SetValue):
    tag = "array"
    items: list[Any]
    size: int = PAGE_SIZE
    at: int | None = None

    def elements(self, rt: Runtime, after: Any) -> Elements:
        for offset in range(after or 0, len(self.items)):
            rt.tick(1)
            yield self.items[offset], offset + 1

    def reverse(self) -> SetValue:
        return replace(self, items=self.items[::-1])


@dataclass(frozen=True, slots=True)
class SingleSet(SetValue):
    """`Set.single(value)`: unlike an array it can be followed."""

    tag = "single"
    value: Any
    size: int = PAGE_SIZE
    at: int | None = None

    def elements(self, rt: Runtime, after: Any) -> Elements:
        if after is None:
            rt.tick(1)
            yield self.value, 1

    def reverse(self) -> SetValue:
        return self


@dataclass(frozen=True, slots=True)
class SequenceSet(SetValue):
    tag = "sequence"
    start: int
    until: int
    backward: bool = False
    size: int = PAGE_SIZE
    at: int | None = None

    def elements(self, rt: Runtime, after: Any) -> Elements:
        for offset in range(after or 0, max(0, self.until - self.start)):
            rt.tick(1)
            value = self.until - 1 - offset if self.backward else self.start + offset
            yield value, offset + 1

    def reverse(self) -> SetValue:
        return replace(self, backward=not self.backward)


@dataclass(frozen=True, slots=True)
class WhereSet(SetValue):
    tag = "where"
    source: SetValue
    function: Any
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        for value, position in self.source.elements(rt, after):
            if truth(apply(rt, self.function, (value,), self.at)):
                yield value, position

    def reverse(self) -> SetValue:
        return replace(self, source=self.source.reverse())


@dataclass(frozen=True, slots=True)
class MapSet(SetValue):
    tag = "map"
    source: SetValue
    function: Any
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        for value, position in self.source.elements(rt, after):
            yield apply(rt, self.function, (value,), self.at), position

    def reverse(self) -> SetValue:
        return replace(self, source=self.source.reverse())


@dataclass(frozen=True, slots=True)
class FlatMapSet(SetValue):
    tag = "flatMap"
    source: SetValue
    function: Any
    backward: bool
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        outer, inner = (None, None) if after is None else after
        for value, position in self.source.elements(rt, outer):
            part = apply(rt, self.function, (value,), self.at)
            if not isinstance(part, SetValue):
                raise type_mismatch("Set<Any>", type_name(part))
            for item, place in (part.reverse() if self.backward else part).elements(rt, inner):
                yield item, [outer, place]
            outer, inner = position, None

    def reverse(self) -> SetValue:
        return replace(self, source=self.source.reverse(), backward=not self.backward)


@dataclass(frozen=True, slots=True)
class ConcatSet(SetValue):
    tag = "concat"
    first: SetValue
    second: SetValue
    at: int | None = None
    size: int = PAGE_SIZE

    def elements(self, rt: Runtime, after: Any) -> Elements:
        side, inner = (0, None) if after is None else after
        for number, part in enumerate((self.first, self.second)):
            if number < side:
                continue
            for item, position in part.elements(rt, inner):
                yield item, [number, position]
            inner = None

    def reverse(self) -> SetValue:
        return replace(self, first=self.second.reverse(), second=self.first.reverse())


@dataclass(frozen=True, slots=True)
class TakeSet(SetValue):
    tag = "take"
    source: SetValue
    limit: int
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        taken, inner = (0, None) if after is None else after
        if taken >= self.limit:
            return
        for item, position in self.source.elements(rt, inner):
            taken += 1
            yield item, [taken, position]
            if taken >= self.limit:
                return

    def reverse(self) -> SetValue:
        return ReverseSet(self, self.at, self.size)


@dataclass(frozen=True, slots=True)
class DropSet(SetValue):
    tag = "drop"
    source: SetValue
    amount: int
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        left = self.amount if after is None else 0
        for item, position in self.source.elements(rt, after):
            if left > 0:
                left -= 1
            else:
                yield item, position

    def reverse(self) -> SetValue:
        return ReverseSet(self, self.at, self.size)


@dataclass(frozen=True, slots=True)
class ReverseSet(SetValue):
    """A set that can only be turned by reading all of it (at most 16,000 elements)."""

    tag = "reverse"
    source: SetValue
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        items = read_all(rt, self.source)[::-1]
        for offset in range(after or 0, len(items)):
            yield items[offset], offset + 1

    def reverse(self) -> SetValue:
        return self.source


@dataclass(frozen=True, slots=True)
class DistinctSet(SetValue):
    """Sorted by the total order, duplicates gone; not turned by `reverse`."""

    tag = "distinct"
    source: SetValue
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        items = read_all(rt, self.source)
        rt.tick(len(items) * 8)
        items = distinct(rt, sorted(items, key=lambda item: sort_key(rt, item)))
        for offset in range(after or 0, len(items)):
            yield items[offset], offset + 1

    def reverse(self) -> SetValue:
        return self


@dataclass(frozen=True, slots=True)
class OrderSet(SetValue):
    """Sorted when read; `orderings` are (function or None, descending)."""

    tag = "order"
    source: SetValue
    orderings: tuple[tuple[Any, bool], ...]
    at: int | None
    size: int

    def elements(self, rt: Runtime, after: Any) -> Elements:
        items = ordered(rt, read_all(rt, self.source), self.orderings, self.at)
        for offset in range(after or 0, len(items)):
            yield items[offset], offset + 1

    def reverse(self) -> SetValue:
        flipped = tuple((function, not descending) for function, descending in self.orderings)
        return replace(self, orderings=flipped)


SETS: dict[str, type[SetValue]] = {
    kind.tag: kind
    for kind in (
        AllSet, IndexSet, ArraySet, SingleSet, SequenceSet, WhereSet, MapSet, FlatMapSet,
        ConcatSet, TakeSet, DropSet, ReverseSet, DistinctSet, OrderSet,
    )
}  # fmt: skip

# ---------------------------------------------------------------- reading


def read_all(rt: Runtime, source: SetValue, limit: int = ELEMENTS_MAX) -> list[Any]:
    """Return all elements; raises `value_too_large` beyond `limit`."""
    items = []
    for item, _ in source.elements(rt, None):
        items.append(item)
        if len(items) > limit:
            raise too_large(f"exceeded maximum number of elements (limit={limit})")
    return items


def iterate(rt: Runtime, source: SetValue) -> Iterator[Any]:
    """Yield all elements, however many."""
    for item, _ in source.elements(rt, None):
        rt.tick(1)
        yield item


def page(rt: Runtime, source: SetValue, size: int, after: Any) -> tuple[list[Any], Any]:
    """Return up to `size` elements and the position behind them, None when none follow."""
    items: list[Any] = []
    place = None
    for item, position in source.elements(rt, after):
        if len(items) == size:
            return items, place
        items.append(item)
        place = position
    return items, None


def ordered(
    rt: Runtime, items: list[Any], orderings: tuple[tuple[Any, bool], ...], at: int | None
) -> list[Any]:
    """Sort stably; a bare order() sorts by the value itself."""
    rt.tick(len(items) * 8 * (len(orderings) or 1))
    items = list(items)
    for function, descending in reversed(orderings or ((None, False),)):
        keys = [
            sort_key(rt, item if function is None else apply(rt, function, (item,), at))
            for item in items
        ]
        places = sorted(range(len(items)), key=keys.__getitem__, reverse=descending)
        items = [items[place] for place in places]
    return items


def distinct(rt: Runtime, items: list[Any]) -> list[Any]:
    """Keep the first of equal values, by hash and structural equality."""
    seen: dict[Any, list[Any]] = {}
    kept = []
    for item in items:
        rt.tick(1)
        bucket = seen.setdefault(hash_key(item), [])
        if not any(same(rt, item, other) for other in bucket):
            bucket.append(item)
            kept.append(item)
    return kept
