"""A leader without consensus: views at the tip, sealed effects, entries applied when asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from faunadb.codec import Payload, RequestId, Transaction, encode_payload
from faunadb.definitions import (
    CollectionDefinition,
    Document,
    IndexDefinition,
    IndexStatus,
    IndexValue,
    Path,
    SystemCollection,
)
from faunadb.machine import DATA, Machine, Outcome
from faunadb.store.effects import Effects, seal
from faunadb.store.ids import IdSource
from faunadb.store.indexes import Compute
from faunadb.store.overlay import Overlay
from faunadb.store.schema import SchemaCache
from faunadb.store.transaction import QueryView
from faunadb.values import Fields, Time, Value
from store_test_helpers.memory import MemoryKeyValue

LEADER_TERM = 1


@dataclass(frozen=True)
class LogEntry:
    term: int
    index: int
    kind: int
    payload: memoryview


def no_computed_fields(coll: CollectionDefinition, name: str, document: Document) -> Value:
    raise AssertionError(f"{coll.name} has no computed field {name} for {document.id}")


def collection(
    *indexes: tuple[str, Sequence[str], Sequence[str]], unique: Sequence[str] = ()
) -> CollectionDefinition:
    """A collection 1024 with indexes (name, terms, values); "-x" descends, "*x" is mva."""
    found = [
        IndexDefinition(
            32768 + number,
            name,
            tuple(_path(term) for term in terms),
            tuple(IndexValue(_path(value.lstrip("-")), value[0] == "-") for value in values),
            IndexStatus.COMPLETE,
            queryable=True,
            collation=1,
        )
        for number, (name, terms, values) in enumerate(indexes)
    ]
    if unique:
        found.append(
            IndexDefinition(
                33000,
                "",
                tuple(_path(term) for term in unique),
                (),
                IndexStatus.COMPLETE,
                queryable=False,
                collation=1,
                unique=True,
            )
        )
    return CollectionDefinition(1024, "Thing", indexes=tuple(found))


Program = Callable[[QueryView], object]


def putting(
    coll: CollectionDefinition, doc_id: int, data: Fields, ttl: Time | None = None
) -> Program:
    """A program that writes one document."""
    return lambda view: view.put(coll, doc_id, data, ttl)


def deleting(coll: CollectionDefinition, doc_id: int) -> Program:
    """A program that deletes one document."""
    return lambda view: view.delete(coll, doc_id)


def _path(text: str) -> Path:
    return Path(tuple(text.lstrip("*").split(".")), mva=text.startswith("*"))


@dataclass
class World:
    """Time goes by one microsecond a transaction unless `now_us` is set."""

    kv: MemoryKeyValue = field(default_factory=MemoryKeyValue)
    now_us: int = 2_000_000_000_000_000
    scope: int = 0
    compute: Compute = no_computed_fields
    log: list[LogEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Machine(self.kv)
        self.overlay = Overlay(self.machine.record)
        self.schemas = SchemaCache()
        self.ids = IdSource(7)

    def view(self, *, scope: int | None = None) -> QueryView:
        """A view of the tip, a microsecond later than everything."""
        self.now_us = max(self.now_us, self.overlay.last_ts) + 1
        with self.kv.read() as reader:
            tip = self.overlay.over(reader)
            schema = self.schemas.at(tip, self.scope if scope is None else scope, self.now_us)
            return QueryView(
                tip,
                schema,
                snapshot_ts=self.now_us,
                draw_id=self.ids.draw,
                compute=self.compute,
            )

    def run(self, program: Program, *, apply: bool = True) -> Effects:
        """Evaluate at the tip and append; apply at once unless told not to."""
        view = self.view()
        program(view)
        effects = view.effects(self.overlay.last, LEADER_TERM)
        self.commit(effects, apply=apply)
        return effects

    def commit(
        self, effects: Effects, *, request: RequestId | None = None, apply: bool = True
    ) -> int:
        """Seal with the next timestamp, append, apply; return the timestamp."""
        self.now_us = max(self.now_us, self.overlay.last_ts) + 1
        writes = seal(effects, self.now_us)
        self.append(Transaction(self.now_us, self.now_us + 1_000_000, writes, request))
        if apply:
            self.apply()
        return self.now_us

    def append(self, payload: Payload) -> None:
        index = self.overlay.last[1] + 1
        raw = memoryview(encode_payload(payload))
        self.log.append(LogEntry(LEADER_TERM, index, DATA, raw))
        self.overlay.append((LEADER_TERM, index), payload)

    def apply(self, count: int | None = None) -> tuple[Outcome, ...]:
        """Apply what is appended, `count` entries at most, and prune the overlay."""
        done = self.machine.record.applied[1]
        last = None if count is None else done + count
        outcomes = self.machine.apply(self.log[done:last])
        self.overlay.prune(self.machine.record.applied[1])
        return outcomes

    def define(self, doc_id: int, data: Fields) -> CollectionDefinition:
        """Write a collection's definition and return it as the schema has it."""
        self.run(lambda view: view.put_definition(SystemCollection.COLLECTION, doc_id, data))
        return self.view().schema.collections[doc_id]
