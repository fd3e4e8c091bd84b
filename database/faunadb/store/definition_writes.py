"""What hangs on a definition when it changes? Numbers, indexes, history, the schema version.

A collection that is written gives every new shape of index a number, and builds it at once
when it has at most `BUILT_AT_ONCE_MAX` documents; else the index is `building` and the leader
fills it later (`backfill`). A number is free only when nothing of its former owner is left.

Trap: every definition but keys, tokens and credentials makes a new schema version, and whoever
read under the old one conflicts (SAFETY 13).
"""

from collections.abc import Collection, Iterator
from itertools import count, islice
from typing import Any

from faunadb.definitions import (
    INDEX_MIN,
    USER_COLLECTION_MAX,
    USER_COLLECTION_MIN,
    CollectionDefinition,
    Document,
    IndexDefinition,
    IndexStatus,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.store import keys, mvcc
from faunadb.store.buffer import Buffer
from faunadb.store.horizon import INTERNAL, floor_of
from faunadb.store.indexes import Compute, Entry, Site, entries_of
from faunadb.store.schema import (
    BACKING,
    FLOOR,
    bumps_schema,
    collection_definition,
    new_backing,
    shapes,
)
from faunadb.values import Fields

BUILT_AT_ONCE_MAX = 128
_DATABASES = 0  # its document with the highest number of a database; in the root only


def mark_schema(buffer: Buffer) -> None:
    """Make a new schema version: its marker is what every query has read."""
    marker = Entry(mvcc.encode_version(None, None), None)
    buffer.write([(keys.schema_prefix(buffer.scope), marker)])


def prepared_collection(buffer: Buffer, compute: Compute, doc_id: int, data: Fields) -> Fields:
    """Return a collection's fields with those of the store; builds small new indexes."""
    before = stored_collection(buffer, doc_id)
    old = {bytes(item["shape"]): item for item in _backing(before)}
    few = _count(buffer, doc_id) <= BUILT_AT_ONCE_MAX
    kept: dict[bytes, dict[str, Any]] = {}
    new: set[int] = set()
    for shape in shapes(data):
        if shape.key in kept:
            continue
        if shape.key in old:
            kept[shape.key] = old[shape.key]
            continue
        number = free_index_id(buffer, new)
        new.add(number)
        status = IndexStatus.COMPLETE if few else IndexStatus.BUILDING
        kept[shape.key] = new_backing(shape, number, status)
        if not few:
            remember_place(buffer, number, 0)
    prepared: Fields = {**data, BACKING: list(kept.values())}
    floor = _new_floor(doc_id, before, prepared, buffer.ts)
    if floor:
        prepared[FLOOR] = floor
    if few and new:
        _build(buffer, compute, collection_definition(doc_id, prepared), new)
    return prepared


def free_definition_id(buffer: Buffer, coll: int) -> int:
    """Return the lowest number that no definition of that kind has or has had."""
    if coll == SystemCollection.DATABASE:
        return _next_database(buffer)
    if not bumps_schema(coll):
        raise AssertionError("secrets have drawn ids")
    first = USER_COLLECTION_MIN if coll == SystemCollection.COLLECTION else 1
    for number in count(first):
        if number > USER_COLLECTION_MAX:
            raise QueryError("invalid_request", "No collection number is left.")
        own = keys.document_prefix(buffer.scope, coll, number)
        if not buffer.is_untouched(own, keys.after(own)):
            continue
        documents = keys.collection_prefix(buffer.scope, number)
        if coll != SystemCollection.COLLECTION or buffer.is_untouched(
            documents, keys.successor(documents)
        ):
            return number
    raise AssertionError("numbers do not end")


def free_index_id(buffer: Buffer, taken: Collection[int]) -> int:
    """Return the lowest number that no index has and of whose entries nothing is left."""
    used = {item["id"] for _, data in collections_of(buffer) for item in _backing(data)}
    for number in count(INDEX_MIN):
        if number in used or number in taken:
            continue
        entries = keys.index_prefix(buffer.scope, number)
        if buffer.is_untouched(entries, keys.successor(entries)):
            return number
    raise AssertionError("numbers do not end")


def collections_of(buffer: Buffer) -> Iterator[tuple[int, Fields]]:
    """Yield number and fields, the store's own included, of the database's collections."""
    start = keys.collection_prefix(buffer.scope, SystemCollection.COLLECTION)
    for found in buffer.live(start, keys.successor(start)):
        yield keys.entry_doc_id(found.prefix), mvcc.fields_of(found.raw, found.ts)


def build_entries(
    buffer: Buffer,
    compute: Compute,
    coll: CollectionDefinition,
    index: IndexDefinition,
    document: Document,
) -> None:
    """Write the entries of one document that the index has not got yet."""
    entries = entries_of(Site(buffer.scope, coll, compute, buffer.ts), index, document)
    missing = []
    for place, entry in entries.items():
        present = buffer.current(place)
        if present is None or present.raw != entry.raw:
            missing.append((place, entry))
    buffer.write(missing)


def remember_place(buffer: Buffer, index: int, doc_id: int) -> None:
    """Note with which document the next step of an index's build begins."""
    raw = mvcc.encode_version({"place": doc_id}, None)
    buffer.write([(keys.document_prefix(buffer.scope, INTERNAL, index), Entry(raw, None))])


def _build(buffer: Buffer, compute: Compute, coll: CollectionDefinition, new: set[int]) -> None:
    wanted = {index.id: index for index in coll.indexes if index.id in new}
    start = keys.collection_prefix(buffer.scope, coll.id)
    for found in list(buffer.live(start, keys.successor(start))):
        doc_id = keys.entry_doc_id(found.prefix)
        data = mvcc.fields_of(found.raw, found.ts)
        document = Document(coll.id, doc_id, found.ts, data, found.ttl)
        for index in wanted.values():
            build_entries(buffer, compute, coll, index, document)


def stored_collection(buffer: Buffer, doc_id: int) -> Fields:
    """Return a collection's fields, the store's own included; {} when there is none."""
    prefix = keys.document_prefix(buffer.scope, SystemCollection.COLLECTION, doc_id)
    found = buffer.visible(prefix)
    return {} if found is None else mvcc.fields_of(found.raw, found.ts)


def _backing(data: Fields) -> list[dict[str, Any]]:
    items = data.get(BACKING)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _count(buffer: Buffer, coll: int) -> int:
    start = keys.collection_prefix(buffer.scope, coll)
    some = islice(buffer.live(start, keys.successor(start)), BUILT_AT_ONCE_MAX + 1)
    return sum(1 for _ in some)


def _new_floor(doc_id: int, before: Fields, after: Fields, now_us: int) -> int:
    if not before:
        return 0
    old, new = collection_definition(doc_id, before), collection_definition(doc_id, after)
    return old.history_floor_us if old.history_days == new.history_days else floor_of(old, now_us)


def _next_database(buffer: Buffer) -> int:
    prefix = keys.document_prefix(0, INTERNAL, _DATABASES)
    found = buffer.visible(prefix)
    highest = 0 if found is None else mvcc.fields_of(found.raw, found.ts).get("highest", 0)
    assert isinstance(highest, int)
    raw = mvcc.encode_version({"highest": highest + 1}, None)
    buffer.write([(prefix, Entry(raw, None))])
    return highest + 1
