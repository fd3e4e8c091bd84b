"""How does an index over many documents come to be? In steps, each an ordinary transaction.

The leader calls `fill_next` on a view of the tip until nothing is `building`. A step reads
`DOCUMENTS_A_STEP` documents in order of id, writes the entries that are missing, and remembers
in the state where the next one begins, so that another leader continues (SAFETY 13). Queries
that write meanwhile maintain the index as if it were complete; the last step says that it is.

Trap: the step reads a range. Computed away from the tip it is validated like any query.
"""

from itertools import islice

from faunadb.definitions import (
    CollectionDefinition,
    Document,
    IndexDefinition,
    IndexStatus,
    Schema,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.store import keys, mvcc
from faunadb.store.buffer import Buffer
from faunadb.store.definition_writes import (
    build_entries,
    mark_schema,
    remember_place,
    stored_collection,
)
from faunadb.store.horizon import INTERNAL
from faunadb.store.indexes import Compute, Entry
from faunadb.store.schema import BACKING
from faunadb.values import Fields

DOCUMENTS_A_STEP = 100


def fill_next(buffer: Buffer, schema: Schema, compute: Compute) -> bool:
    """Do one step for the first index that is building; return whether there was one."""
    for coll in schema.collections.values():
        for index in coll.indexes:
            if index.status is IndexStatus.BUILDING:
                _step(buffer, compute, coll, index)
                return True
    return False


def _step(
    buffer: Buffer, compute: Compute, coll: CollectionDefinition, index: IndexDefinition
) -> None:
    first = keys.document_prefix(buffer.scope, coll.id, _place(buffer, index))
    end = keys.successor(keys.collection_prefix(buffer.scope, coll.id))
    found = list(islice(buffer.live(first, end), DOCUMENTS_A_STEP))
    try:
        for version in found:
            doc_id = keys.entry_doc_id(version.prefix)
            data = mvcc.fields_of(version.raw, version.ts)
            document = Document(coll.id, doc_id, version.ts, data, version.ttl)
            build_entries(buffer, compute, coll, index, document)
    except QueryError:  # a document that cannot be in it: too many or too long entries
        _finish(buffer, coll.id, index.id, IndexStatus.FAILED)
        return
    if len(found) == DOCUMENTS_A_STEP:
        remember_place(buffer, index.id, keys.entry_doc_id(found[-1].prefix) + 1)
    else:
        _finish(buffer, coll.id, index.id, IndexStatus.COMPLETE)


def _place(buffer: Buffer, index: IndexDefinition) -> int:
    found = buffer.visible(keys.document_prefix(buffer.scope, INTERNAL, index.id))
    place = 0 if found is None else mvcc.fields_of(found.raw, found.ts).get("place", 0)
    assert isinstance(place, int)
    return place


def _finish(buffer: Buffer, coll: int, index: int, status: IndexStatus) -> None:
    data = stored_collection(buffer, coll)
    items = data[BACKING]
    assert isinstance(items, list)
    changed: Fields = {
        **data,
        BACKING: [
            {**item, "status": status.value}
            if isinstance(item, dict) and item["id"] == index
            else item
            for item in items
        ],
    }
    definition = keys.document_prefix(buffer.scope, SystemCollection.COLLECTION, coll)
    place = keys.document_prefix(buffer.scope, INTERNAL, index)
    buffer.write(
        [
            (definition, Entry(mvcc.encode_version(changed, None), None)),
            (place, Entry(mvcc.DELETED, None)),
        ]
    )
    mark_schema(buffer)
