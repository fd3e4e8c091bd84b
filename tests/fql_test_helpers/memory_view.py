"""A View over dictionaries: what the language needs of a store, without one.

Versions are kept by time, so `at` works; a transaction's writes are applied by `commit`. Index
entries are computed at every scan, in the order that schema.md §3 gives (by code point).
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from faunadb.definitions import (
    SECRETS_BY_DOCUMENT,
    Bound,
    CollectionDefinition,
    Document,
    IndexDefinition,
    IndexEntry,
    Path,
    Schema,
)
from faunadb.fql.failures import unique_failure
from faunadb.store.schema import BACKING, collection_definition, function_definition, shapes
from faunadb.values import Date, Fields, Long, Ref, Time, TransactionTime, Uuid, Value

_RANKS = {
    int: 0, Long: 0, float: 0, bytes: 1, str: 2, list: 3, dict: 4, Ref: 5, Time: 6,
    TransactionTime: 6, Date: 7, Uuid: 8, bool: 9, type(None): 10,
}  # fmt: skip


def order_key(value: Any) -> Any:
    """Return a key in index order: null is last."""
    key: Any = value
    match value:
        case None:
            key = 0
        case list():
            key = [order_key(item) for item in value]
        case dict():
            key = [(name, order_key(item)) for name, item in value.items()]
        case TransactionTime():
            key = 2**80
        case Time():
            key = value.nanos
        case Ref():
            key = (value.coll, value.id)
        case Date():
            key = value.days
        case Uuid():
            key = value.raw
    return (_RANKS[type(value)], key)


class _Down:
    """Turns an order around."""

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: "_Down") -> bool:
        return bool(other.key < self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and bool(self.key == other.key)

    __hash__ = None  # type: ignore[assignment]


class MemoryDatabase:
    """Committed versions by (collection, id): [(ts, document or None)], oldest first."""

    def __init__(self) -> None:
        self.versions: dict[tuple[int, int], list[tuple[int, Document | None]]] = {}
        self.clock = 1_700_000_000_000_000
        self.ids = itertools.count(1001)
        self.indexes = itertools.count(32768)
        self.schema_version = 0

    def schema(self) -> Schema:
        collections: dict[int, CollectionDefinition] = {}
        functions = {}
        names: dict[str, Any] = {}
        roles = {}
        for (coll, number), versions in sorted(self.versions.items()):
            document = versions[-1][1]
            if document is None:
                continue
            if coll == 1:
                collections[number] = collection_definition(number, document.data)
            elif coll == 2:
                functions[number] = function_definition(number, document.data)
            elif coll == 3:
                roles[str(document.data["name"])] = document.data
        definitions: list[Any] = [*functions.values(), *collections.values()]
        for definition in definitions:
            names |= {name: definition for name in (definition.alias, definition.name) if name}
        return Schema(0, self.schema_version, collections, functions, names, roles)

    def view(self) -> "MemoryView":
        self.clock += 1_000_000
        return MemoryView(self, self.clock, self.schema())


class MemoryView:
    def __init__(self, database: MemoryDatabase, ts: int, schema: Schema) -> None:
        self._database = database
        self._ts = ts
        self._schema = schema
        self.own: dict[tuple[int, int], Document | None] = {}

    @property
    def snapshot_ts(self) -> int:
        return self._ts

    @property
    def schema(self) -> Schema:
        return self._schema

    def get(self, coll: int, doc_id: int, *, at: int | None = None) -> Document | None:
        found = self._find((coll, doc_id), at)
        now = self._ts if at is None else at
        if found is None or (found.ttl is not None and found.ttl.micros <= now):
            return None
        if coll == 1:
            return msgspec.structs.replace(found, data=_visible(found.data))
        return found

    def _find(self, key: tuple[int, int], at: int | None) -> Document | None:
        if at is None and key in self.own:
            return self.own[key]
        limit = self._ts if at is None else at
        for ts, document in reversed(self._database.versions.get(key, [])):
            if ts <= limit:
                return document
        return None

    def was_deleted(self, coll: int, doc_id: int) -> bool:
        return self.own.get((coll, doc_id), 0) is None

    def _documents(self, coll: int, at: int | None) -> Iterator[Document]:
        keys = {key for key in (*self._database.versions, *self.own) if key[0] == coll}
        for key in sorted(keys):
            found = self.get(*key, at=at)
            if found is not None:
                yield found

    def scan(
        self,
        coll: int,
        *,
        lower: Bound | None = None,
        upper: Bound | None = None,
        reverse: bool = False,
        at: int | None = None,
    ) -> Iterator[Document]:
        documents = [d for d in self._documents(coll, at) if _within(d.id, lower, upper)]
        yield from reversed(documents) if reverse else documents

    def scan_index(
        self,
        index: IndexDefinition,
        coll: int,
        terms: Sequence[Value],
        *,
        lower: Bound | None = None,
        upper: Bound | None = None,
        reverse: bool = False,
        at: int | None = None,
    ) -> Iterator[IndexEntry]:
        entries = [
            (self._key(index, values, doc.id), IndexEntry(values, coll, doc.id, doc.ts))
            for doc in self._documents(coll, at)
            for found, values in _entries(index, doc)
            if list(map(order_key, found)) == list(map(order_key, terms))
        ]
        kept = [e for e in entries if self._inside(index, e, lower, upper)]
        for _, entry in sorted(kept, key=lambda pair: pair[0], reverse=reverse):
            yield entry

    def _key(self, index: IndexDefinition, values: Sequence[Value], doc_id: int) -> Any:
        return [*_directed(index, values), doc_id]

    def _inside(self, index: Any, found: Any, lower: Bound | None, upper: Bound | None) -> bool:
        key = found[0]
        for bound, low in ((lower, True), (upper, False)):
            if bound is None:
                continue
            limit = _directed(index, bound.values)
            if bound.id is not None:
                limit = [*limit, bound.id]
            here = key[: len(limit)] if bound.id is None or index.values else key
            if here == limit:
                if bound.exclusive:
                    return False
                continue
            if (here < limit) == low:
                return False
        return True

    def put(self, coll: CollectionDefinition, doc_id: int, data: Fields, ttl: Time | None) -> None:
        new = Document(coll.id, doc_id, None, data, ttl)
        self._refuse_twins(coll, new)
        self.own[coll.id, doc_id] = new

    def _refuse_twins(self, coll: CollectionDefinition, new: Document) -> None:
        for index in coll.indexes:
            if not index.unique:
                continue
            mine = [found for found, _ in _entries(index, new)]
            for other in self._documents(coll.id, None):
                if other.id != new.id and any(found in mine for found, _ in _entries(index, other)):
                    raise unique_failure([term.parts for term in index.terms])

    def delete(self, coll: CollectionDefinition, doc_id: int) -> None:
        self.own[coll.id, doc_id] = None

    def put_definition(self, coll: int, doc_id: int, data: Fields) -> None:
        if coll == 1:
            backing: list[Value] = [
                {"id": next(self._database.indexes), "shape": shape.key, "status": "complete",
                 "collation": 1}
                for shape in shapes(data)
            ]  # fmt: skip
            data = {**data, BACKING: backing}
        if coll in SECRETS_BY_DOCUMENT:
            self._refuse_twins(SECRETS_BY_DOCUMENT[coll], Document(coll, doc_id, None, data))
        ttl = data.get("ttl")
        document = Document(coll, doc_id, None, data, ttl if isinstance(ttl, Time) else None)
        self.own[coll, doc_id] = document

    def delete_definition(self, coll: int, doc_id: int) -> None:
        self.own[coll, doc_id] = None

    def next_definition_id(self, coll: int) -> int:
        keys = (*self._database.versions, *self.own)
        used = [number for kind, number in keys if kind == coll]
        return max(used, default=1023 if coll == 1 else 0) + 1

    def next_index_id(self) -> int:
        return next(self._database.indexes)

    def new_id(self) -> int:
        return next(self._database.ids)

    def commit(self) -> int:
        """Apply the writes; return their time."""
        ts = self._ts + 1
        for key, own in self.own.items():
            sealed = None
            if own is not None:
                data = {k: _sealed(v, ts) for k, v in own.data.items()}
                sealed = msgspec.structs.replace(own, ts=ts, data=data)
            self._database.versions.setdefault(key, []).append((ts, sealed))
            if key[0] < 6:
                self._database.schema_version = ts
        self._database.clock = ts
        return ts


def _sealed(value: Value, ts: int) -> Value:
    return Time.from_micros(ts) if isinstance(value, TransactionTime) else value


def _visible(data: Fields) -> Fields:
    return {key: value for key, value in data.items() if not key.startswith("$")}


def _within(doc_id: int, lower: Bound | None, upper: Bound | None) -> bool:
    below = lower is not None and lower.id is not None and doc_id < lower.id
    if below or (lower is not None and lower.exclusive and doc_id == lower.id):
        return False
    if upper is not None and upper.id is not None:
        return doc_id < upper.id or (doc_id == upper.id and not upper.exclusive)
    return True


def _directed(index: IndexDefinition, values: Sequence[Value]) -> list[Any]:
    keys = [order_key(value) for value in values]
    return [
        _Down(key) if covered.descending else key
        for key, covered in zip(keys, index.values, strict=False)
    ]


def _column(document: Document, path: Path) -> list[Value]:
    if path.parts == ("id",):
        return [document.id]
    if path.parts == ("ts",):
        return [None if document.ts is None else Time.from_micros(document.ts)]
    value: Any = document.data
    for part in path.parts:
        if isinstance(value, dict):
            value = value.get(str(part))
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            value = None
    if path.mva and isinstance(value, list):
        return value or [None]
    return [value]


def _entries(index: IndexDefinition, document: Document) -> list[tuple[Any, Any]]:
    terms = [_column(document, path) for path in index.terms]
    values = [_column(document, item.path) for item in index.values]
    found: list[tuple[Any, Any]] = []
    for term in itertools.product(*terms):
        if term and all(item is None for item in term):
            continue
        for value in itertools.product(*values):
            if (term, value) not in found:
                found.append((term, value))
    return found
