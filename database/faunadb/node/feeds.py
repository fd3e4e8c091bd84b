"""Which events does a source give behind a place, up to a time? One page, as JSON.

The store says which documents were written (`store.changes`), the language what that did to the
set (`fql.following`), and here both are put together, event by event, each with one view just
before its transaction and one at it. A feed and the beginning of a stream look into history; a
stream that follows brings the changes of the commits that it was told of.

A page ends with what it was asked for, with its bytes, with its time or with an error; the place
in its cursor is behind the last change that was looked at, never behind the one that failed.

Trap: the page of a time that is over has no events and yet moves on: filtered changes are work.
"""

from collections.abc import Callable

import msgspec

from faunadb.definitions import CollectionDefinition, Document, IndexDefinition, Schema
from faunadb.errors import InvalidRequest, QueryError
from faunadb.fql.budget import Budget, OverBudget
from faunadb.fql.compile import STORED
from faunadb.fql.cursors import decode_event_source
from faunadb.fql.evaluate import STEPS_PER_COMPUTE_OP
from faunadb.fql.following import Happened, Parts, happened, parts_of
from faunadb.fql.indexed import computer
from faunadb.fql.positions import encode_position
from faunadb.fql.runtime import READ, Context, Doc, Runtime
from faunadb.fql.sets import IndexSet, SingleSet
from faunadb.fql.tagged import Format, encode_error, encode_result
from faunadb.fql.times import format_time
from faunadb.node.asked import FeedAsked, Opened
from faunadb.store import keys
from faunadb.store.changes import (
    ORDINAL_MAX,
    Change,
    Place,
    Stretch,
    changes_since,
    stretch_of_collection,
    stretch_of_document,
    stretch_of_terms,
)
from faunadb.store.horizon import horizon_of
from faunadb.store.indexes import Site, entries_of
from faunadb.store.order import resolved
from faunadb.store.ports import Reader
from faunadb.store.transaction import QueryView
from faunadb.values import Time

PAGE_BYTES_MAX = 8 * 1024 * 1024  # a page that has as much is full; one event may have that alone
STREAM_PAGE_BYTES_MAX = 256 * 1024  # of what a stream sends before it looks whether it was taken
DEADLINE_SHARE = 0.95  # of its time after which a page ends with what it has (schema.md §9)

CHANGE_STEPS = 150  # two looks at a document and the encoding of an event

_encode = msgspec.json.Encoder().encode
ViewAt = Callable[[int], QueryView]
Latest = Callable[[Stretch, Place, int, Callable[[int], None]], list[Change] | None]


class Reading(msgspec.Struct, frozen=True):
    """Under which circumstances a page is made; `is_late` says when to end it."""

    reader: Reader
    schema: Schema
    context: Context
    view_at: ViewAt
    ts: int  # the snapshot: everything up to here is in the reader
    budget: Budget
    is_late: Callable[[], bool]
    latest: Latest | None


class _Source(msgspec.Struct, frozen=True):
    parts: Parts
    stretch: Stretch
    place: Place
    index: IndexDefinition | None
    head: bytes  # of the index's entries


def answer_feed(asked: FeedAsked, reading: Reading) -> bytes:
    """Return a page of events, or for `page_size` 0 an `Opened` in MessagePack.

    Raises `InvalidRequest` for a source that cannot be followed (any more), and `OverBudget`.
    """
    try:
        source = _open(asked, reading)
    except RecursionError:
        if not reading.budget.deep:
            raise OverBudget("stack") from None
        raise InvalidRequest("The source of events nests too deep.") from None
    if not asked.page_size:
        stretch = source.stretch
        return msgspec.msgpack.encode(Opened(stretch.start, stretch.end, source.place))
    page = _Page(asked, reading, source)
    page.fill()
    return page.encoded()


# ---------------------------------------------------------------- the source


def _open(asked: FeedAsked, reading: Reading) -> _Source:
    rt = Runtime(
        reading.view_at(reading.ts), reading.context, STORED, steps=reading.budget.steps_max
    )
    try:
        source, start = decode_event_source(rt, asked.token)
    except QueryError:
        dot = "" if asked.stream else "."
        raise InvalidRequest(f"Invalid request body: invalid event source provided{dot}") from None
    begins = Place(reading.ts if start is None else start, ORDINAL_MAX)
    place = begins if asked.start is None else Place(*asked.start)
    if asked.stream and place.ts < begins.ts:
        raise InvalidRequest(
            "Invalid stream start time: Stream start time can not be before the stream create time."
        )
    parts = parts_of(source)
    if parts.coll not in reading.schema.collections:
        what = "stream" if asked.stream else "event source"
        raise InvalidRequest(f"Error evaluating provided {what}, the collection does not exist.")
    reading.budget.spent = reading.budget.steps_max - rt.left
    return _placed(rt, parts, place)


def _placed(rt: Runtime, parts: Parts, place: Place) -> _Source:
    """Find the keys that the source's base stands for."""
    scope, base = rt.schema.scope, parts.base
    match base:
        case IndexSet():
            index = base.definition(rt)
            assert index is not None, "decoding looked for it"
            terms = [resolved(term, Time.from_micros(rt.view.snapshot_ts)) for term in base.terms]
            head = keys.terms_prefix(scope, index.id, terms)
            return _Source(parts, stretch_of_terms(head), place, index, head)
        case SingleSet(value=Doc() as doc):
            return _Source(parts, stretch_of_document(scope, doc.coll, doc.id), place, None, b"")
    return _Source(parts, stretch_of_collection(scope, parts.coll), place, None, b"")


# ---------------------------------------------------------------- the page


class _Page:
    """The page that is being made."""

    def __init__(self, asked: FeedAsked, reading: Reading, source: _Source) -> None:
        self._asked, self._reading, self._source = asked, reading, source
        self._place = source.place
        self._events: list[bytes] = []
        self._bytes = self._reads = 0
        self._has_next = False
        self._compute = computer(reading.schema, STORED)

    def fill(self) -> None:
        """Look at one change after the other until the page is full or nothing is left."""
        horizon = horizon_of(self._collection(), self._reading.ts)
        if self._asked.changes is None and self._place.ts < horizon:
            text = (
                f"Stream start time {_time(self._place.ts)} is too far in the past. "
                "Recreate the stream and try again."
            )
            self._failed(QueryError("invalid_stream_start_time", text), 0)
            return
        complete = False
        while not complete:
            changes, complete = self._changes()
            for change in changes:
                if self._is_full():
                    self._has_next = True
                    return
                try:
                    self._look_at(change)
                except QueryError as error:
                    self._failed(error, 0)
                    return
        if self._asked.changes is None:
            self._place = max(self._place, Place(self._reading.ts, ORDINAL_MAX))

    def encoded(self) -> bytes:
        """Return the answer of `/feed/1`."""
        return b'{"events":[%s],"cursor":%s,"has_next":%s,"stats":%s}' % (
            b",".join(self._events),
            _encode(encode_position(*self._place)),
            b"true" if self._has_next else b"false",
            _stats(self._reading.budget.spent, self._reads),
        )

    def _is_full(self) -> bool:
        return (
            len(self._events) >= self._asked.page_size
            or self._bytes >= (STREAM_PAGE_BYTES_MAX if self._asked.stream else PAGE_BYTES_MAX)
            or self._reading.is_late()
            or self._is_enough()
        )

    def _is_enough(self) -> bool:
        """Return whether it is better to be asked again.

        A stream does rather than wait for a worker; and in a worker there is no more to be had.
        """
        budget = self._reading.budget
        moved = self._place > self._source.place
        return moved and (self._asked.stream or budget.deep) and 2 * budget.spent > budget.steps_max

    def _changes(self) -> tuple[list[Change], bool]:
        """Return changes behind the place, and whether those are all."""
        told = self._asked.changes
        if told is not None:
            found = [Change(*change) for change in told]
            return [change for change in found if change.place > self._place], True
        reading = self._reading
        if reading.latest is not None:
            known = reading.latest(self._source.stretch, self._place, reading.ts, self._spend)
            if known is not None:
                return known, True
        return changes_since(
            reading.reader, self._source.stretch, self._place, reading.ts, self._spend
        )

    def _look_at(self, change: Change) -> None:
        """Add the event of a change, if it is one. Raises `QueryError`, `OverBudget`."""
        self._spend(CHANGE_STEPS)
        reading, before_spent = self._reading, self._reading.budget.spent
        before = self._runtime(change.ts - 1)
        after = self._runtime(change.ts)
        try:
            found = happened(self._source.parts, change.doc_id, before, after, self._inside)
            data = None if found is None else encode_result(found.data, Format.TAGGED)
        except RecursionError:
            if not reading.budget.deep:
                raise OverBudget("stack") from None
            raise QueryError("stack_overflow", "A document is too deep.") from None
        finally:
            steps = reading.budget.steps_max - before_spent
            self._spend(2 * steps - before.left - after.left)
        self._reads += before.reads + after.reads
        self._place = change.place
        if found is not None and data is not None:
            steps = reading.budget.spent - before_spent
            self._add(found, data, _stats(steps, before.reads + after.reads))

    def _add(self, found: Happened, data: bytes, stats: bytes) -> None:
        event = b'{"type":"%s","data":%s,"txn_ts":%d,"cursor":%s,"stats":%s}' % (
            found.kind.encode(),
            data,
            self._place.ts,
            _encode(encode_position(*self._place)),
            stats,
        )
        self._events.append(event)
        self._bytes += len(event)

    def _failed(self, error: QueryError, reads: int) -> None:
        """End the page with an error; its cursor stays before it."""
        said = encode_error(error, Format.TAGGED)
        self._events.append(b'{"type":"error","error":%s,"stats":%s}' % (said, _stats(0, reads)))

    def _runtime(self, ts: int) -> Runtime:
        reading = self._reading
        left = reading.budget.steps_max - reading.budget.spent
        rt = Runtime(reading.view_at(ts), reading.context, STORED, steps=left)
        rt.limit, rt.place = READ, "set functions"
        return rt

    def _inside(self, document: Document) -> bool:
        """Return whether a version is in the set that the source is built on."""
        source, reading = self._source, self._reading
        if source.index is None:
            return True
        site = Site(reading.schema.scope, self._collection(), self._compute, reading.ts)
        entries = entries_of(site, source.index, document)
        return any(prefix.startswith(source.head) for prefix in entries)

    def _collection(self) -> CollectionDefinition:
        return self._reading.schema.collections[self._source.parts.coll]

    def _spend(self, steps: int) -> None:
        budget = self._reading.budget
        budget.spent += steps
        if budget.spent > budget.steps_max:
            raise OverBudget


def _stats(steps: int, reads: int) -> bytes:
    return (
        b'{"read_ops":%d,"storage_bytes_read":0,"compute_ops":%d,"processing_time_ms":0,'
        b'"rate_limits_hit":[]}' % (reads, 1 + steps // STEPS_PER_COMPUTE_OP)
    )


def _time(ts: int) -> str:
    return format_time(Time.from_micros(ts))
