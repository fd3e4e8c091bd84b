"""What may a query do to the database? The language's `View`, over any reader and a buffer.

Reads see the snapshot and, unless they are of the past (`at`), this query's own writes on top
of it. Nothing leaves before `effects`.

House rules: a document that is written several times makes one version; its index entries are
computed anew from the version before the query each time.

Trap: the TransactionTime of an own version stays a placeholder until the entry is sealed.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from faunadb.definitions import (
    SECRETS_BY_DOCUMENT,
    Bound,
    CollectionDefinition,
    Document,
    IndexDefinition,
    IndexEntry,
    Schema,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.store import keys, mvcc
from faunadb.store.backfill import fill_next
from faunadb.store.buffer import Buffer
from faunadb.store.constraints import check_unique
from faunadb.store.definition_writes import (
    free_definition_id,
    free_index_id,
    mark_schema,
    prepared_collection,
)
from faunadb.store.effects import Effects, ReadSet
from faunadb.store.horizon import check_readable, horizon_of, system_horizon
from faunadb.store.indexes import Compute, Entry, Site, entries_of
from faunadb.store.mvcc import Version
from faunadb.store.order import depth_of, resolved
from faunadb.store.ports import Reader
from faunadb.store.ranges import collection_range, index_range
from faunadb.store.schema import bumps_schema, visible
from faunadb.values import Fields, Time, Value

VERSION_BYTES_MAX = 8 * 1024 * 1024
DEPTH_MAX = 250  # what is stored must be readable from any depth of a program


class _Touched(msgspec.Struct):
    """A document that this query wrote: its version before, and what stands for it now."""

    base: Version | None
    base_entries: dict[bytes, Entry]
    own: list[bytes]  # prefixes in the buffer that belong to it
    deleted: bool = False


class QueryView:
    """One query on one snapshot; implements the language's `View`.

    `snapshot_ts` is in microseconds; `draw_id` takes it and gives a document id; `compute`
    evaluates a computed field for an index.
    """

    def __init__(
        self,
        reader: Reader,
        schema: Schema,
        *,
        snapshot_ts: int,
        draw_id: Callable[[int], int],
        compute: Compute,
    ) -> None:
        self._buffer = Buffer(reader, schema.scope, snapshot_ts)
        self._schema = schema
        self._draw_id = draw_id
        self._compute = compute
        self._touched: dict[bytes, _Touched] = {}
        self._schema_changed = False

    @property
    def snapshot_ts(self) -> int:
        return self._buffer.ts

    @property
    def schema(self) -> Schema:
        return self._schema

    # ------------------------------------------------------------ reading

    def get(self, coll: int, doc_id: int, *, at: int | None = None) -> Document | None:
        """Return the version in force, `None` when missing, deleted, or expired by ttl."""
        prefix = keys.document_prefix(self._schema.scope, coll, doc_id)
        past = self._past(at, coll)
        if past is None:
            found = self._buffer.visible(prefix)
            return None if found is None else _document(found)
        found = mvcc.newest(self._buffer.reader, prefix, past)
        return None if found is None or not found.live_at(past) else _document(found)

    def was_deleted(self, coll: int, doc_id: int) -> bool:
        """Return whether this very query deleted it."""
        touched = self._touched.get(keys.document_prefix(self._schema.scope, coll, doc_id))
        return touched is not None and touched.deleted

    def scan(
        self,
        coll: int,
        *,
        lower: Bound | None = None,
        upper: Bound | None = None,
        reverse: bool = False,
        at: int | None = None,
    ) -> Iterator[Document]:
        """Yield a collection's documents in order of id. Bounds use `id` only."""
        start, end = collection_range(self._schema.scope, coll, lower, upper)
        for found in self._live(start, end, reverse=reverse, past=self._past(at, coll)):
            yield _document(found)

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
        """Yield entries with exactly these terms in index order; `reverse` runs backwards."""
        assert len(terms) == len(index.terms)
        if terms and all(term is None for term in terms):
            return
        now = Time.from_micros(self._buffer.ts)
        known = [resolved(term, now) for term in terms]
        head = keys.terms_prefix(self._schema.scope, index.id, known)
        start, end = index_range(head, index, _known(lower, now), _known(upper, now))
        for found in self._live(start, end, reverse=reverse, past=self._past(at, coll)):
            values = mvcc.values_of(found.raw, found.ts)
            yield IndexEntry(values, coll, keys.entry_doc_id(found.prefix), found.ts)

    def _live(
        self, start: bytes, end: bytes, *, reverse: bool, past: int | None
    ) -> Iterator[Version]:
        if past is None:
            return self._buffer.live(start, end, reverse=reverse)
        found = mvcc.scan_newest(self._buffer.reader, start, end, past, reverse=reverse)
        return (version for version in found if version.live_at(past))

    def _past(self, at: int | None, coll: int) -> int | None:
        now = self._buffer.ts
        if at is None or at == now:
            return None
        assert at < now, "the language refuses the future"
        known = self._schema.collections.get(coll)
        check_readable(at, system_horizon(coll, now) if known is None else horizon_of(known, now))
        return at

    # ------------------------------------------------------------ writing documents

    def put(self, coll: CollectionDefinition, doc_id: int, data: Fields, ttl: Time | None) -> None:
        """Write a new version with its index entries.

        Raises `constraint_failure` for a unique constraint, `invalid_request` beyond 8 MiB.
        """
        raw = _encoded(data, ttl)
        prefix = keys.document_prefix(self._schema.scope, coll.id, doc_id)
        touched = self._touch(coll, prefix)
        touched.deleted = False
        entries: dict[bytes, Entry] = {}
        if coll.indexes:
            document = Document(coll.id, doc_id, None, data, ttl)
            by_index = [(index, self._entries(coll, index, document)) for index in coll.indexes]
            check_unique(doc_id, by_index, self._buffer.live)
            for _, some in by_index:
                entries.update(some)
        self._replace(touched, prefix, Entry(raw, None), entries)

    def delete(self, coll: CollectionDefinition, doc_id: int) -> None:
        """Delete a document that is there."""
        prefix = keys.document_prefix(self._schema.scope, coll.id, doc_id)
        touched = self._touch(coll, prefix)
        touched.deleted = True
        gone = touched.base is None or touched.base.deleted
        self._replace(touched, prefix, None if gone else Entry(mvcc.DELETED, None), {})

    def new_id(self) -> int:
        """Draw a document id that grows with time and that no other worker draws."""
        return self._draw_id(self._buffer.ts)

    def _touch(self, coll: CollectionDefinition, prefix: bytes) -> _Touched:
        touched = self._touched.get(prefix)
        if touched is None:
            base = self._buffer.current(prefix)
            touched = self._touched[prefix] = _Touched(base, {}, [])
            if base is not None and not base.deleted and coll.indexes:
                document = _document(base)
                for index in coll.indexes:
                    touched.base_entries.update(self._entries(coll, index, document))
        return touched

    def _entries(
        self, coll: CollectionDefinition, index: IndexDefinition, document: Document
    ) -> dict[bytes, Entry]:
        site = Site(self._schema.scope, coll, self._compute, self._buffer.ts)
        return entries_of(site, index, document)

    def _replace(
        self,
        touched: _Touched,
        prefix: bytes,
        version: Entry | None,
        entries: dict[bytes, Entry],
    ) -> None:
        self._buffer.take_back(touched.own)
        base = touched.base_entries
        now = [
            (place, entry)
            for place, entry in entries.items()
            if place not in base or base[place].raw != entry.raw
        ]
        now += [(place, Entry(mvcc.DELETED, None)) for place in base if place not in entries]
        if version is not None:
            now.append((prefix, version))
        touched.own = [place for place, _ in now]
        self._buffer.write(now)

    # ------------------------------------------------------------ writing definitions

    def put_definition(self, coll: int, doc_id: int, data: Fields) -> None:
        """Write a definition or secret; a collection's new indexes get numbers and are built.

        Raises `constraint_failure` for a second credential of a document.
        """
        if coll == SystemCollection.COLLECTION:
            data = prepared_collection(self._buffer, self._compute, doc_id, data)
        found = data.get("ttl")
        ttl = found if isinstance(found, Time) else None
        if coll in SECRETS_BY_DOCUMENT:
            self.put(SECRETS_BY_DOCUMENT[coll], doc_id, data, ttl)
        else:
            self._write_definition(coll, doc_id, _encoded(data, ttl))

    def delete_definition(self, coll: int, doc_id: int) -> None:
        """Delete a definition or secret."""
        if coll in SECRETS_BY_DOCUMENT:
            self.delete(SECRETS_BY_DOCUMENT[coll], doc_id)
        else:
            self._write_definition(coll, doc_id, None)

    def next_definition_id(self, coll: int) -> int:
        """Return the lowest number that no definition of that kind has or has had."""
        return free_definition_id(self._buffer, coll)

    def next_index_id(self) -> int:
        """Return the lowest number that no index has and of whose entries nothing is left."""
        return free_index_id(self._buffer, ())

    def _write_definition(self, coll: int, doc_id: int, raw: bytes | None) -> None:
        prefix = keys.document_prefix(self._schema.scope, coll, doc_id)
        touched = self._touched.get(prefix)
        if touched is None:
            touched = self._touched[prefix] = _Touched(self._buffer.current(prefix), {}, [])
        touched.deleted = raw is None
        gone = raw is None and (touched.base is None or touched.base.deleted)
        self._replace(touched, prefix, None if gone else Entry(raw or mvcc.DELETED, None), {})
        self._schema_changed |= bumps_schema(coll)

    def fill_index(self) -> bool:
        """Do one step of building an index; return whether one is building (leader only)."""
        return fill_next(self._buffer, self._schema, self._compute)

    # ------------------------------------------------------------ the end

    def reads(self) -> ReadSet:
        """Return what was read so far, also by scans that are not finished."""
        return self._buffer.reads()

    @property
    def valid_before(self) -> int | None:
        """Return the first expiry among what was seen, in microseconds."""
        return self._buffer.valid_before

    def effects(self, base: tuple[int, int], leader_term: int) -> Effects:
        """Return what the query read and would write, from a view that ended at `base`."""
        if self._schema_changed:
            mark_schema(self._buffer)
        own = self._buffer.own
        return Effects(
            base,
            leader_term,
            self._buffer.ts,
            self._buffer.reads(),
            tuple([(place, entry.raw) for place, entry in own.items() if not entry.late]),
            tuple([(entry.late, entry.raw) for entry in own.values() if entry.late]),
            keys.schema_prefix(self._schema.scope) in own,
            self._buffer.valid_before,
        )


def _encoded(data: Fields, ttl: Time | None) -> bytes:
    try:
        deep = depth_of(data) > DEPTH_MAX
    except RecursionError:
        deep = True
    if deep:
        raise QueryError("invalid_request", f"A document is nested {DEPTH_MAX} deep at most.")
    raw = mvcc.encode_version(data, ttl)
    if len(raw) > VERSION_BYTES_MAX:
        raise QueryError(
            "invalid_request",
            f"Version bytes ({len(raw)}) exceeds threshold ({VERSION_BYTES_MAX})",
        )
    return raw


def _known(bound: Bound | None, now: Time) -> Bound | None:
    """Put own versions where they stand in this query: at the time of its snapshot."""
    if bound is None:
        return None
    return Bound(tuple([resolved(value, now) for value in bound.values]), bound.id, bound.exclusive)


def _document(found: Version) -> Document:
    _, coll, doc_id = keys.document_of(found.prefix)
    data = mvcc.fields_of(found.raw, found.ts)
    return Document(coll, doc_id, found.ts, visible(data), found.ttl)
