"""Writing documents of users, in the order of schema.md §2 ("Writing a document: order").

    effect → computed fields → id → stored form → defaults, ttl → rights → id is free
    → reserved names → types → unique (the view) → checks

House rules: nothing is written before everything but unique constraints was checked.
Trap: check constraints come after unique ones and see the new document; all are evaluated.
"""

from typing import Any

from faunadb.definitions import CollectionDefinition
from faunadb.errors import QueryError
from faunadb.fql.budget import WRITE_STEPS
from faunadb.fql.display import type_name
from faunadb.fql.documents import RESERVED, lookup, missing, read
from faunadb.fql.failures import Failure, constraint, fail
from faunadb.fql.fieldtypes import check_fields, with_defaults
from faunadb.fql.registry import MISFIT, coerce_id
from faunadb.fql.rights import permit, require, shown_as
from faunadb.fql.runtime import READ, WRITE, Doc, Lambda, Runtime
from faunadb.fql.stored import patched, to_stored
from faunadb.fql.view import Document
from faunadb.values import Time

Fields = dict[str, Any]


def allow_write(rt: Runtime, name: str, action: str, coll: int) -> None:
    """Raise unless this query may write here and now, and its caller perhaps this."""
    rt.need(WRITE, f"`{name}`")
    if rt.at is not None:
        raise fail("invalid_write", "Cannot write at a snapshot time in the past.")
    require(rt, action, coll)


def definition_of(rt: Runtime, coll: int) -> CollectionDefinition:
    found = rt.schema.collections.get(coll)
    if found is None:
        raise fail("invalid_write", "Cannot modify a document of a deleted collection.")
    if ("definition", coll) in rt.changed:
        raise fail(
            "invalid_write", "Cannot modify a document and its collection in the same query."
        )
    rt.changed.add(("documents", coll))
    return found


def wrote(rt: Runtime) -> None:
    """Forget what documents were read: they may look different now."""
    rt.epoch += 1
    rt.writes += 1
    rt.tick(WRITE_STEPS)


def create(rt: Runtime, coll: int, data: Fields, *, raw: bool = False) -> Doc:
    """`Coll.create(data)`; with `raw` (`createData`) every key is the user's."""
    action = "create_with_id" if not raw and "id" in data else "create"
    allow_write(rt, "createData" if raw else "create", action, coll)
    definition = definition_of(rt, coll)
    what = f"document in collection `{definition.name}`"
    failures: list[Failure] = []
    ttl: Any = None
    doc_id: int | None = None
    given = not raw and "ttl" in data
    if not raw:
        refuse_computed(definition, data, "create", what)
        doc_id = given_id(data, what)
        ttl = given_ttl(data, failures)
        failures += reserved(data, RESERVED - {"id"})
        data = {key: value for key, value in data.items() if key not in ("id", "ttl")}
    stored = to_stored(rt, data)
    explicit_nulls = frozenset(key for key, value in data.items() if value is None)
    stored = with_defaults(rt, definition, stored, explicit_nulls)
    ttl = ttl_of(rt, definition, ttl, given=given)
    doc = Doc(coll, rt.view.new_id() if doc_id is None else doc_id)
    permit(rt, action, coll, lambda: [future(rt, doc, stored, ttl)])
    if doc_id is not None and rt.view.get(coll, doc_id) is not None:
        raise fail(
            "document_id_exists",
            f"Collection `{definition.name}` already contains document with id {doc_id}.",
        )
    failures += check_fields(rt, definition, stored)
    if failures:
        raise constraint("create", what, failures)
    put(rt, definition, doc, stored, ttl, "create")
    return doc


def future(rt: Runtime, doc: Doc, stored: Fields, ttl: Time | None) -> Doc:
    """Return what a predicate is shown of a document that is about to be written."""
    return shown_as(rt, doc, Document(doc.coll, doc.id, None, stored, ttl))


def given_id(data: Fields, what: str) -> int | None:
    """Return the id that `create` was given."""
    if "id" not in data:
        return None
    value = data["id"]
    path: Failure
    if value is None:
        path = ((("id",),), "Missing required field of type ID")
        raise constraint("create", what, [path])
    found = coerce_id(value)
    if found is MISFIT:
        path = ((("id",),), f"Expected ID, provided {type_name(value)}")
        raise constraint("create", what, [path])
    if found < 0:
        raise constraint("create", what, [((("id",),), "id must be nonnegative")])
    return int(found)


def given_ttl(data: Fields, failures: list[Failure]) -> Time | None:
    value = data.get("ttl")
    if value is None or type(value) is Time:
        return value
    failures.append(((("ttl",),), f"Expected Time | Null, provided {type_name(value)}"))
    return None


def ttl_of(
    rt: Runtime, definition: CollectionDefinition, ttl: Time | None, *, given: bool
) -> Time | None:
    """Return the expiry of a new version: `ttl_days` counts from every write that gives none."""
    if ttl is None and not given and definition.ttl_days is not None:
        return Time.from_micros(rt.view.snapshot_ts + definition.ttl_days * 86_400_000_000)
    return ttl


def reserved(data: Fields, names: frozenset[str]) -> list[Failure]:
    return [(((key,),), "Is a reserved field and cannot be used") for key in data if key in names]


def refuse_computed(definition: CollectionDefinition, data: Fields, action: str, what: str) -> None:
    failures: list[Failure] = [
        (((field.name,),), "Cannot write to a computed field")
        for field in definition.computed_fields
        if field.name in data
    ]
    if failures:
        raise constraint(action, what, failures)


def update(rt: Runtime, doc: Doc, data: Fields, *, raw: bool = False) -> Doc:
    """`doc.update(data)`: deep merge, null removes."""
    allow_write(rt, "updateData" if raw else "update", "write", doc.coll)
    definition, document, what = target(rt, doc, "update")
    failures: list[Failure] = []
    ttl, given = document.ttl, False
    if not raw:
        refuse_computed(definition, data, "update", what)
        failures += reserved(data, RESERVED)
        given = "ttl" in data
        if given:
            ttl = given_ttl(data, failures)
        data = {key: value for key, value in data.items() if key != "ttl"}
    stored = patched(document.data, to_stored(rt, data, keep_nulls=True))
    if not given and definition.ttl_days is not None:
        ttl = ttl_of(rt, definition, None, given=False)
    return finished(rt, definition, document, stored, ttl, failures, what)


def replace(rt: Runtime, doc: Doc, data: Fields, *, raw: bool = False) -> Doc:
    """`doc.replace(data)`: everything new, defaults apply again."""
    allow_write(rt, "replaceData" if raw else "replace", "write", doc.coll)
    definition, document, what = target(rt, doc, "update")
    failures: list[Failure] = []
    ttl, given = None, False
    if not raw:
        refuse_computed(definition, data, "update", what)
        failures += reserved(data, RESERVED)
        given = "ttl" in data
        ttl = given_ttl(data, failures)
        data = {key: value for key, value in data.items() if key != "ttl"}
    explicit_nulls = frozenset(key for key, value in data.items() if value is None)
    stored = with_defaults(rt, definition, to_stored(rt, data), explicit_nulls)
    ttl = ttl_of(rt, definition, ttl, given=given)
    return finished(rt, definition, document, stored, ttl, failures, what)


def target(rt: Runtime, doc: Doc, action: str) -> tuple[CollectionDefinition, Document, str]:
    """Return what a write to an existing document needs; raises `document_not_found`.

    The right to write does not ask for the right to read.
    """
    document = lookup(rt, Doc(doc.coll, doc.id, cause=doc.cause))
    if document is None:
        raise missing(rt, Doc(doc.coll, doc.id), None)
    definition = definition_of(rt, doc.coll)
    return definition, document, f"document with id {doc.id} in collection `{definition.name}`"


def finished(
    rt: Runtime,
    definition: CollectionDefinition,
    old: Document,
    stored: Fields,
    ttl: Time | None,
    failures: list[Failure],
    what: str,
) -> Doc:
    fresh = Doc(old.coll, old.id)
    permit(
        rt,
        "write",
        old.coll,
        lambda: [shown_as(rt, fresh, old), future(rt, fresh, stored, ttl)],
    )
    failures += check_fields(rt, definition, stored)
    if failures:
        raise constraint("update", what, failures)
    put(rt, definition, fresh, stored, ttl, "update")
    return fresh


def put(
    rt: Runtime,
    definition: CollectionDefinition,
    doc: Doc,
    stored: Fields,
    ttl: Time | None,
    action: str,
) -> None:
    """Write a version: unique constraints in the view, then all check constraints."""
    rt.view.put(definition, doc.id, stored, ttl)
    wrote(rt)
    doc.version = Document(definition.id, doc.id, None, stored, ttl)
    doc.epoch = rt.epoch
    if definition.checks:
        check_constraints(rt, definition, doc, action)


def check_constraints(rt: Runtime, definition: CollectionDefinition, doc: Doc, action: str) -> None:
    failures: list[Failure] = []
    limit, place = rt.limit, rt.place
    rt.limit, rt.place = READ, "check constraints"
    try:
        for check in definition.checks:
            code = rt.compiler.function(check.body, f"*check_constraint:{check.name}*")
            result = rt.call(Lambda(code, []), [doc])
            if result is False or result is None:
                text = f"Document failed check constraint `{check.name}`"
                failures.append(((), text))
            elif result is not True:
                text = (
                    f"Error evaluating check constraint `{check.name}`: "
                    "function returned a non-boolean value"
                )
                failures.append(((), text))
    except QueryError as error:
        error.span = (0, 0)
        raise
    finally:
        rt.limit, rt.place = limit, place
    if failures:
        what = (
            f"document in collection `{definition.name}`"
            if action == "create"
            else f"document with id {doc.id} in collection `{definition.name}`"
        )
        raise constraint(action, what, failures)


def delete(rt: Runtime, doc: Doc) -> Doc:
    """`doc.delete()`: the very value that it returns knows that it was deleted."""
    allow_write(rt, "delete", "delete", doc.coll)
    definition, document, _ = target(rt, doc, "delete")
    permit(rt, "delete", doc.coll, lambda: [shown_as(rt, doc, document)])
    rt.view.delete(definition, doc.id)
    wrote(rt)
    return Doc(doc.coll, doc.id, cause="deleted")


def exists(rt: Runtime, doc: Doc) -> bool:
    return read(rt, doc) is not None
