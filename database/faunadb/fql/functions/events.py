"""Event sources: sets that are followed (functions.yaml, Set#eventSource).

Only sources can be followed whose changes the store can tell: `all()`, an index without range,
a single document, and `where`, `map`, `pageSize` on them.

Trap: the same source is refused for different reasons in a fixed order; the texts are those of
the original, also where they name another method.
"""

from typing import Any

from faunadb.errors import QueryError
from faunadb.fql.documents import collection_name, read
from faunadb.fql.failures import denied, invalid_argument
from faunadb.fql.functions.setops import S
from faunadb.fql.parser import parse_expression
from faunadb.fql.registry import method
from faunadb.fql.rights import may_list
from faunadb.fql.runtime import READ, Doc, EventSource, Lambda, Runtime, SetValue
from faunadb.fql.sets import (
    AllSet,
    ArraySet,
    ConcatSet,
    DistinctSet,
    DropSet,
    FlatMapSet,
    IndexSet,
    MapSet,
    OrderSet,
    ReverseSet,
    SequenceSet,
    SingleSet,
    TakeSet,
    WhereSet,
)
from faunadb.fql.syntax import Tuple, field_path

_PLAIN_REASONS: dict[type[SetValue], str] = {
    DistinctSet: "streaming is not supported on distinct sets.",
    DropSet: "streaming is not supported on sets returned from `.drop()`.",
    TakeSet: "streaming is not supported on sets returned from `.take()`.",
    OrderSet: "streaming is not supported on sets returned from `.order()`.",
    ArraySet: "streaming is not supported on array sets.",
    SequenceSet: "streaming is not supported on sets created from `Set.sequence()`.",
    ConcatSet: "streaming is not supported on concatenated sets.",
    FlatMapSet: "streaming is not supported on `.flatMap()` sets.",
    ReverseSet: "streaming is not supported on sets that have been reversed.",
}


def refused(name: str, reason: str) -> QueryError:
    return QueryError("invalid_receiver", f"can't call `.{name}()` because {reason}")


def check_source(rt: Runtime, source: SetValue, name: str) -> None:
    """Raise `invalid_receiver` or `permission_denied` for what cannot be followed."""
    if source.at is not None:
        raise refused(
            name, "streaming is not supported for sets created within an `at()` expression."
        )
    reason = _PLAIN_REASONS.get(type(source))
    if reason is not None:
        raise refused(name, reason)
    match source:
        case WhereSet() | MapSet():
            check_source(rt, source.source, name)
        case AllSet() | IndexSet():
            _check_indexed(rt, source, name)
        case SingleSet(value=Doc() as doc):
            if doc.coll < 1024:
                raise refused(name, "only collections and user defined indexes are streamable.")
            if read(rt, doc) is None:
                raise QueryError(
                    "permission_denied",
                    "Insufficient privileges to create a stream on the source document.",
                )
        case _:
            raise refused(
                name, "streaming on `Set.single()` is only supported if its element is a document."
            )


def _check_indexed(rt: Runtime, source: AllSet | IndexSet, name: str) -> None:
    if source.backward:
        raise refused(name, "streaming is not supported on sets that have been reversed.")
    if source.lower is not None or source.upper is not None:
        raise refused(name, "range queries are not supported yet, use `.where()` method instead.")
    if source.coll < 1024:
        raise refused(name, "only collections and user defined indexes are streamable.")
    if not may_list(rt, source.coll):
        raise denied(collection_name(rt, source.coll))


def _source(name: str) -> None:
    def make(rt: Runtime, this: SetValue) -> EventSource:
        check_source(rt, this, name)
        return EventSource(this)

    method(S, name, effect=READ)(make)


def path_of(function: Lambda) -> tuple[str | int, ...] | None:
    """Return the path that a short lambda spells, None when it is something else."""
    text = function.code.text()
    node = parse_expression(text, short=True)
    while isinstance(node, Tuple):
        (node,) = node.elements
    return field_path(node)


def _on(name: str) -> None:
    def make(rt: Runtime, this: SetValue, *fields: Any) -> EventSource:
        if isinstance(this, WhereSet | MapSet):
            raise refused("changesOn", "it was not called on the source set.")
        check_source(rt, this, name)
        paths = []
        for place, field in enumerate(fields):
            path = path_of(field) if type(field) is Lambda else None
            if path is None:
                raise invalid_argument(str(place), "invalid field path given")
            paths.append(path)
        if isinstance(this, IndexSet):
            _check_covered(rt, this, paths)
        return EventSource(this, tuple(paths))

    method(S, name, "(fields...: Any)", effect=READ)(make)


def _check_covered(rt: Runtime, source: IndexSet, paths: list[tuple[str | int, ...]]) -> None:
    index = source.definition(rt)
    assert index is not None
    covered = {path.parts for path in index.terms} | {v.path.parts for v in index.values}
    if ("ts",) in covered:
        return
    missing = [path for path in paths if path not in covered and path != ("id",)]
    if missing:
        listed = ", ".join("`." + ".".join(map(str, path)) + "`" for path in missing)
        raise invalid_argument("fields", f"{listed} not covered by the `{source.index}` index.")


_source("eventSource")
_source("toStream")
_on("eventsOn")
_on("changesOn")


@method("EventSource#", "where", "(predicate/pred: F1)")
def where(rt: Runtime, this: EventSource, predicate: Any) -> EventSource:
    source = this.source
    return EventSource(WhereSet(source, predicate, rt.at, source.size), this.fields)


@method("EventSource#", "map", "(mapper: F1)")
def map_(rt: Runtime, this: EventSource, mapper: Any) -> EventSource:
    source = this.source
    return EventSource(MapSet(source, mapper, rt.at, source.size), this.fields)
