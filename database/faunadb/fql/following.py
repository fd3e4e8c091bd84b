"""What did a transaction do to a set that is followed? One event a document, or none.

The document is looked at before and after the transaction, each with a `Runtime` at that time:
is it in the set, may the caller read it, does it pass every `where`?

    before  after
    no      yes     add       with what it is now
    yes     yes     update    with what it is now
    yes     no      remove    with what it was just before

A source is a base (all, an index, a document) under layers of `where` and `map`. Fields that are
watched (`eventsOn`) are asked of the base: one is there (add), all were (remove), one differs.

Trap: losing the right to read is leaving the set; what was readable before is shown once more.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from faunadb.fql.calls import apply, truth
from faunadb.fql.documents import document_value, read
from faunadb.fql.documents import field as field_of
from faunadb.fql.materialize import materialize
from faunadb.fql.order import same
from faunadb.fql.result import Result
from faunadb.fql.runtime import Doc, EventSource, Runtime, SetValue
from faunadb.fql.sets import AllSet, IndexSet, MapSet, SingleSet, WhereSet
from faunadb.fql.view import Document

Kind = Literal["add", "update", "remove"]
Layer = WhereSet | MapSet


class Happened(NamedTuple):
    """An event: what it did to the set, and what the client is shown."""

    kind: Kind
    data: Result


class Parts(NamedTuple):
    """A source taken apart. `guard` are the layers up to the last `where`, `shape` those above."""

    base: SetValue
    coll: int
    guard: tuple[Layer, ...]
    shape: tuple[Layer, ...]
    fields: tuple[tuple[str | int, ...], ...]


def parts_of(source: EventSource) -> Parts:
    """Take apart a source that `check_source` let through."""
    layers: list[Layer] = []
    base = source.source
    while isinstance(base, WhereSet | MapSet):
        layers.insert(0, base)
        base = base.source
    guards = 1 + max([n for n, layer in enumerate(layers) if type(layer) is WhereSet], default=-1)
    return Parts(base, _coll(base), tuple(layers[:guards]), tuple(layers[guards:]), source.fields)


def _coll(base: SetValue) -> int:
    match base:
        case AllSet() | IndexSet():
            return base.coll
        case SingleSet(value=Doc() as doc):
            return doc.coll
    raise AssertionError(f"{base.tag} cannot be followed")


def happened(
    parts: Parts,
    doc_id: int,
    before: Runtime,
    after: Runtime,
    inside: Callable[[Document], bool],
) -> Happened | None:
    """Return what the transaction at `after`'s time did to the set by writing this document.

    `inside` says whether a version is in the base. Raises `QueryError`, `OverBudget`.
    """
    written = after.view.get(parts.coll, doc_id)
    if written is not None and written.ts != after.view.snapshot_ts:
        return None  # only an index was filled
    known = before.view.get(parts.coll, doc_id)
    old = _readable(before, known if known is not None and inside(known) else None)
    new = _readable(after, written if written is not None and inside(written) else None)
    if not _watched(parts.fields, before, old, after, new):
        return None
    was, old_value = _passes(before, old, parts.guard)
    is_now, new_value = _passes(after, new, parts.guard)
    if is_now:
        kind: Kind = "update" if was else "add"
        return Happened(kind, _shown(after, new_value, parts.shape))
    if was:
        return Happened("remove", _shown(before, old_value, parts.shape))
    return None


def _readable(rt: Runtime, document: Document | None) -> Doc | None:
    if document is None:
        return None
    doc = document_value(rt, document, None)
    return doc if read(rt, doc) is not None else None


def _passes(rt: Runtime, value: Any, guard: tuple[Layer, ...]) -> tuple[bool, Any]:
    """Return whether a document of the base is in the set, and its value so far."""
    if value is None:
        return False, None
    for layer in guard:
        given = apply(rt, layer.function, (value,), None)
        if type(layer) is MapSet:
            value = given
        elif not truth(given):
            return False, None
    return True, value


def _shown(rt: Runtime, value: Any, shape: tuple[Layer, ...]) -> Result:
    for layer in shape:
        value = apply(rt, layer.function, (value,), None)
    return materialize(rt, value)


def _watched(
    fields: tuple[tuple[str | int, ...], ...],
    before: Runtime,
    old: Doc | None,
    after: Runtime,
    new: Doc | None,
) -> bool:
    if not fields:
        return True
    were = [_at(before, old, path) for path in fields]
    are = [_at(after, new, path) for path in fields]
    if old is None:
        return any(value is not None for value in are)
    if new is None:
        return all(value is not None for value in were)
    return any(not same(after, one, other) for one, other in zip(were, are, strict=True))


def _at(rt: Runtime, doc: Doc | None, path: tuple[str | int, ...]) -> Any:
    """Return the value at a path, None when there is none."""
    if doc is None:
        return None
    value = field_of(rt, doc, str(path[0]))
    for part in path[1:]:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part] if 0 <= part < len(value) else None
        else:
            return None
    return value
