"""What a document looks like to a running query.

Fields of the user stand at the top, except those whose names mean something else (`SPECIAL`
and computed fields): these are reached through `data` (schema.md §2). Definitions show what
`models` wrote, internal parts hidden.

Trap: reads go through `read`, nowhere else: there the rights of the caller are asked, expiry is
remembered and the effect is checked.
"""

from typing import Any

from faunadb.definitions import (
    CollectionDefinition,
    FunctionDefinition,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.fql.budget import READ_STEPS
from faunadb.fql.failures import fail, null_access
from faunadb.fql.rights import SYSTEM_NAMES, may_read
from faunadb.fql.runtime import (
    NAMED_COLLECTIONS,
    READ,
    Collection,
    Doc,
    Id,
    Lambda,
    Module,
    Runtime,
)
from faunadb.fql.view import Document
from faunadb.values import TRANSACTION_TIME, Ref, Time, TransactionTime

RESERVED = frozenset(
    {
        "id",
        "coll",
        "ts",
        "data",
        "update",
        "replace",
        "delete",
        "exists",
        "updateData",
        "replaceData",
    }
)
SPECIAL = RESERVED | {"ttl"}
SYSTEM_BY_NAME = {name: int(number) for number, name in SYSTEM_NAMES.items()} | {
    "Credentials": int(SystemCollection.CREDENTIAL)
}
MODULES = {name: Module(name) for name in SYSTEM_NAMES.values()}
DELETED_COLLECTION = Module("Collection.Deleted")
HIDDEN = frozenset({"secret_hash", "password_hash", "ttl"})  # ttl stands beside the fields


def from_stored(value: Any, rt: Runtime, at: int | None) -> Any:
    """Turn a stored value into one of the language: references become documents."""
    kind = type(value)
    if kind is Ref:
        return Doc(value.coll, value.id, at)
    if kind is dict:
        return {key: from_stored(item, rt, at) for key, item in value.items()}
    if kind is list:
        return [from_stored(item, rt, at) for item in value]
    return value


def collection_name(rt: Runtime, coll: int) -> str:
    system = SYSTEM_NAMES.get(coll)  # type: ignore[call-overload]
    if system is not None:
        return str(system)
    found = rt.schema.collections.get(coll)
    return found.name if found is not None else "Collection.Deleted"


def collection_value(rt: Runtime, coll: int) -> Any:
    """Return what `doc.coll` is."""
    name = collection_name(rt, coll)
    if coll in rt.schema.collections:
        return Collection(coll, name)
    return MODULES.get(name, DELETED_COLLECTION)


def resolve(rt: Runtime, doc: Doc) -> int | None:
    """Return the number of a definition that is known by name, None when there is none."""
    if doc.name is None:
        return doc.id
    if doc.epoch == rt.epoch and doc.id:
        return doc.id
    found = by_name(rt, doc.coll, doc.name, doc.at)
    return None if found is None else found.id


def by_name(rt: Runtime, coll: int, name: str, at: int | None = None) -> Document | None:
    """Find a definition by name or alias, as of now with this query's own writes."""
    for document in rt.view.scan(coll, at=at):
        rt.tick(READ_STEPS)
        if document.data.get("name") == name:
            return document
    return None


def lookup(rt: Runtime, doc: Doc) -> Document | None:
    """Return the version, unseen by rights: None when missing. Use `read`."""
    if doc.epoch == rt.epoch:
        return doc.version
    rt.tick(READ_STEPS)
    rt.reads += 1
    document: Document | None
    if doc.cause == "deleted":
        document = None
    elif doc.name is not None:
        document = by_name(rt, doc.coll, doc.name, doc.at)
        if document is not None:
            doc.id = document.id
    elif doc.id < 0 or (doc.coll not in SYSTEM_NAMES and doc.coll not in rt.schema.collections):
        document = None
    else:
        document = rt.view.get(doc.coll, doc.id, at=doc.at)
    doc.version = document
    doc.epoch = rt.epoch
    if document is not None and document.ttl is not None:
        rt.saw_expiry(document.ttl)
    return document


def read(rt: Runtime, doc: Doc) -> Document | None:
    """Return the version that the caller may see; None when missing or not readable."""
    if rt.limit < READ:
        rt.need(READ, "Reading a document")
    document = lookup(rt, doc)
    if document is None or not may_read(rt, doc, document):
        return None
    return document


def missing_cause(rt: Runtime, doc: Doc) -> str:
    """Say why `read` gave nothing."""
    if doc.cause:
        return doc.cause
    if doc.coll not in SYSTEM_NAMES and doc.coll not in rt.schema.collections:
        return "collection deleted"
    return "permission denied" if lookup(rt, doc) is not None else "not found"


def missing(rt: Runtime, doc: Doc, field: str | None = None) -> QueryError:
    """Return the error of using a document that is not there; `field` is None for `!`."""
    cause = missing_cause(rt, doc)
    coll = collection_name(rt, doc.coll)
    if cause == "deleted" and field is not None:
        return null_access(field)
    if cause == "permission denied":
        if field is None:
            return fail("null_value", "Null value, due to permission denied")
        return fail("permission_denied", "Insufficient privileges to perform the action.")
    if cause == "collection deleted":
        return fail(
            "document_not_found",
            f"Document with id {doc.id} does not exist because the collection was deleted.",
        )
    if doc.name is not None:
        return fail("document_not_found", f"{coll} `{doc.name}` not found.")
    return fail(
        "document_not_found", f"Collection `{coll}` does not contain document with id {doc.id}."
    )


def existing(rt: Runtime, doc: Doc, field: str | None) -> Document:
    """Return the version; raises the error that fits when there is none."""
    document = read(rt, doc)
    if document is None:
        raise missing(rt, doc, field)
    return document


def time_of(document: Document) -> Time | TransactionTime:
    """Return `ts` as a value."""
    return TRANSACTION_TIME if document.ts is None else Time.from_micros(document.ts)


def stamped(document: Document, value: Any) -> Any:
    """Show a stored TransactionTime as the time of the version that holds it."""
    if type(value) is TransactionTime and document.ts is not None:
        return Time.from_micros(document.ts)
    if type(value) is dict:
        return {key: stamped(document, item) for key, item in value.items()}
    if type(value) is list:
        return [stamped(document, item) for item in value]
    return value


def computed(rt: Runtime, coll: int) -> tuple[str, ...]:
    definition = rt.schema.collections.get(coll)
    if definition is None:
        return ()
    return tuple(field.name for field in definition.computed_fields)


def compute(rt: Runtime, doc: Doc, definition: CollectionDefinition, name: str) -> Any:
    """Evaluate a computed field: at most reads, with the caller's rights."""
    field = next(field for field in definition.computed_fields if field.name == name)
    if rt.computing:
        raise fail("invalid_computed_field_access", "invalid access of computed field")
    source = f"*computed_field:{definition.name}:{name}*"
    code = rt.compiler.function(field.body, source)
    limit, place = rt.limit, rt.place
    if rt.limit > READ:
        rt.limit, rt.place = READ, "computed fields"
    at, rt.at = rt.at, doc.at
    try:
        return rt.call(Lambda(code, []), [doc])
    except QueryError as error:
        error.span = (0, 0)
        raise
    finally:
        rt.limit, rt.place, rt.at = limit, place, at


def field(rt: Runtime, doc: Doc, name: str) -> Any:
    """Return `doc.name`; methods were looked for before."""
    if name == "id" and doc.name is None:
        return Id(doc.id)
    if name == "name" and doc.name is not None:
        document = lookup(rt, doc) if doc.epoch != rt.epoch else doc.version
        return document.data["name"] if document is not None else doc.name
    if name == "coll":
        return collection_value(rt, doc.coll)
    if rt.limit < READ:
        rt.need(READ, "Reading a field")
    document = existing(rt, doc, name)
    if doc.extra is not None and name in doc.extra:
        return doc.extra[name]
    match name:
        case "ts":
            if rt.computing:
                raise fail("invalid_timestamp_field_access", "invalid access of timestamp field")
            return time_of(document)
        case "ttl":
            return document.ttl
    if doc.coll in SYSTEM_NAMES:
        return system_field(rt, doc, document, name)
    definition = rt.schema.collections.get(doc.coll)
    if definition is not None and definition.computed_fields:
        for computed_field in definition.computed_fields:
            if computed_field.name == name:
                return compute(rt, doc, definition, name)
    if name == "data":
        return stamped(document, from_stored(document.data, rt, doc.at))
    if name in SPECIAL:
        return None
    value = document.data.get(name)
    kind = type(value)
    if kind is str or kind is int:
        return value
    return stamped(document, from_stored(value, rt, doc.at))


def system_field(rt: Runtime, doc: Doc, document: Document, name: str) -> Any:
    """Return a field of a definition or secret."""
    if name in HIDDEN:
        return None
    if name == "data":
        return from_stored(document.data.get("data"), rt, doc.at)
    return shown(rt, document).get(name)


def shown(rt: Runtime, document: Document) -> dict[str, Any]:
    """Return the fields of a definition as people see them."""
    fields = {
        key: from_stored(value, rt, None)
        for key, value in document.data.items()
        if key not in HIDDEN and (value is not None or key == "history_days")
    }
    if document.coll == SystemCollection.COLLECTION:
        _with_status(rt.schema.collections.get(document.id), fields)
    return fields


def _with_status(definition: CollectionDefinition | None, fields: dict[str, Any]) -> None:
    """Add what a collection's definition shows beside what was written."""
    fields.setdefault("history_days", 0)
    indexes = {}
    for name, index in fields.get("indexes", {}).items():
        known = None if definition is None else definition.index(name)
        status = "complete" if known is None else known.status.value
        queryable = index.get("queryable", status == "complete")
        indexes[name] = {**index, "queryable": queryable, "status": status}
    fields["indexes"] = indexes
    fields["constraints"] = [
        {**item, "status": "active"} if "unique" in item else item
        for item in fields.get("constraints", [])
    ]


def all_fields(rt: Runtime, doc: Doc, document: Document) -> dict[str, Any]:
    """Return the fields behind id, coll, ts, ttl: computed ones first, clashing ones in `data`."""
    if doc.coll in SYSTEM_NAMES:
        fields = shown(rt, document)
        fields.pop("name", None)
        if doc.extra:
            fields.update(doc.extra)
        return fields
    definition = rt.schema.collections.get(doc.coll)
    fields = {}
    if definition is not None:
        for computed_field in definition.computed_fields:
            fields[computed_field.name] = compute(rt, doc, definition, computed_field.name)
    names = frozenset(fields)
    clashing = {}
    for key, stored in document.data.items():
        value = stored
        if type(value) is not str and type(value) is not int:
            value = stamped(document, from_stored(value, rt, doc.at))
        if key in SPECIAL or key in names:
            clashing[key] = value
        else:
            fields[key] = value
    if clashing:
        fields["data"] = clashing
    return fields


def as_object(rt: Runtime, doc: Doc, document: Document) -> dict[str, Any]:
    """Return the whole document as `Object.entries` and `dbg` see it."""
    top: dict[str, Any] = {}
    if doc.name is None:
        top["id"] = Id(doc.id)
    else:
        top["name"] = document.data.get("name", doc.name)
    top["coll"] = collection_value(rt, doc.coll)
    top["ts"] = time_of(document)
    if document.ttl is not None:
        top["ttl"] = document.ttl
    return top | all_fields(rt, doc, document)


def function_definition(rt: Runtime, name: str) -> FunctionDefinition | None:
    found = rt.schema.names.get(name)
    return found if isinstance(found, FunctionDefinition) else None


def document_value(rt: Runtime, document: Document, at: int | None) -> Doc:
    """Return the handle of a version that was just read."""
    name = None
    if document.coll in NAMED_COLLECTIONS:
        name = str(document.data.get("name", ""))
    doc = Doc(document.coll, document.id, at, name=name)
    doc.version = document
    doc.epoch = rt.epoch
    rt.reads += 1
    if document.ttl is not None:
        rt.saw_expiry(document.ttl)
    return doc
