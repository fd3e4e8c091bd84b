"""Definitions and secrets as documents: what each may contain, and what writing one means.

Each kind has the type of its fields as text of the language, which the checker of documents
checks too; what a type cannot say (names, bodies, paths, references) is in `_CHECKS`.

Trap: a definition and the documents of its collection cannot change in one query; nothing that
is created here can be used by name before the next one.
"""

from collections.abc import Callable
from typing import Any

from faunadb.definitions import SystemCollection
from faunadb.fql.budget import READ_STEPS
from faunadb.fql.credentials import (
    RANDOM_BYTES,
    SALT_BYTES,
    key_secret,
    password_hash,
    secret_hash,
    token_secret,
)
from faunadb.fql.documents import lookup, missing
from faunadb.fql.failures import Failure, constraint, fail, not_built
from faunadb.fql.fieldtypes import check, parsed_type
from faunadb.fql.modelchecks import (
    check_access_provider,
    check_collection,
    check_database,
    check_function,
    check_key,
    check_role,
    check_secret_owner,
)
from faunadb.fql.rights import SYSTEM_NAMES, permit, shown_as
from faunadb.fql.runtime import NAMED_COLLECTIONS, Doc, Runtime
from faunadb.fql.stored import patched, to_stored
from faunadb.fql.view import Document
from faunadb.fql.writes import allow_write, wrote
from faunadb.values import Ref, Time

Fields = dict[str, Any]
PASSWORD_STEPS = 50_000  # scrypt: ten milliseconds, so never on the event loop
_TYPES = {
    SystemCollection.COLLECTION: """{
        name: String, alias: String | Null,
        fields: { *: { signature: String, default: String | Null } } | Null,
        computed_fields: { *: { body: String, signature: String | Null } } | Null,
        wildcard: String | Null, migrations: Array<{ *: Any }> | Null,
        history_days: Long | Null, ttl_days: Long | Null, document_ttls: Boolean | Null,
        indexes: { *: {
            terms: Array<{ field: String, mva: Boolean | Null }> | Null,
            values: Array<{ field: String, order: "asc" | "desc" | Null,
                            mva: Boolean | Null }> | Null,
            queryable: Boolean | Null, status: String | Null } } | Null,
        constraints: Array<
            { unique: Array<String | { field: String, mva: Boolean | Null }>,
              status: String | Null }
            | { check: { name: String, body: String } }> | Null,
        data: { *: Any } | Null }""",
    SystemCollection.FUNCTION: """{ name: String, alias: String | Null, role: String | Null,
        body: String, signature: String | Null, data: { *: Any } | Null }""",
    SystemCollection.ROLE: """{ name: String, privileges: Any, membership: Any,
        data: { *: Any } | Null }""",
    SystemCollection.ACCESS_PROVIDER: """{ name: String, issuer: String, jwks_uri: String,
        roles: Any, audience: String | Null, data: { *: Any } | Null }""",
    SystemCollection.DATABASE: """{ name: String, typechecked: Boolean | Null,
        protected: Boolean | Null, priority: Long | Null, global_id: String | Null,
        data: { *: Any } | Null }""",
    SystemCollection.KEY: """{ role: String, database: String | Null, ttl: Time | Null,
        data: { *: Any } | Null }""",
    SystemCollection.TOKEN: "{ document: Doc, ttl: Time | Null, data: { *: Any } | Null }",
    SystemCollection.CREDENTIAL: "{ document: Doc, password: String | Null }",
}
_TYPES = {kind: " ".join(text.split()) for kind, text in _TYPES.items()}
_CHECKS: dict[int, Callable[[Runtime, Fields, Document | None], list[Failure]]] = {
    SystemCollection.COLLECTION: check_collection,
    SystemCollection.FUNCTION: check_function,
    SystemCollection.ROLE: check_role,
    SystemCollection.ACCESS_PROVIDER: check_access_provider,
    SystemCollection.DATABASE: check_database,
    SystemCollection.KEY: check_key,
    SystemCollection.TOKEN: check_secret_owner,
    SystemCollection.CREDENTIAL: check_secret_owner,
}
_HASHES = frozenset({"secret_hash", "password_hash"})
_NEVER_SHOWN = frozenset({"coll", "id", "ts"})


def create(rt: Runtime, coll: int, data: Fields) -> Doc:
    """`Collection.create(data)` and its kin."""
    allow_write(rt, "create", "create", coll)
    what = SYSTEM_NAMES[SystemCollection(coll)]
    stored = to_stored(rt, data)
    if coll == SystemCollection.COLLECTION and "history_days" in data:
        stored["history_days"] = data["history_days"]  # null is not "absent": for ever
    stored = checked(rt, coll, stored, None, "create", what)
    if coll in NAMED_COLLECTIONS:
        doc = Doc(coll, rt.view.next_definition_id(coll), name=stored["name"])
        if coll == SystemCollection.DATABASE:
            stored["global_id"] = global_id(doc.id)
        permit(rt, "create", coll, lambda: [future(rt, doc, stored)])
    else:
        doc = Doc(coll, rt.view.new_id())
        permit(rt, "create", coll, lambda: [future(rt, doc, stored)])
        stored = add_secret(rt, doc, stored)
    write(rt, doc, stored)
    return doc


def checked(
    rt: Runtime, coll: int, stored: Fields, old: Document | None, action: str, what: str
) -> Fields:
    """Return the fields as they will be stored; raises `constraint_failure`."""
    failures: list[Failure] = [
        (((key,),), "Is a reserved field and cannot be used")
        for key in stored
        if key in _NEVER_SHOWN
    ]
    failures += [
        ((path[1:],), text)
        for ((path,), text) in check(rt, parsed_type(_TYPES[SystemCollection(coll)]), stored, ("",))
    ]
    if not failures:
        failures += _CHECKS[coll](rt, stored, old)
    if failures:
        raise constraint(action, what, failures)
    return without_status(coll, stored)


def without_status(coll: int, stored: Fields) -> Fields:
    """Drop what is only shown: the status of indexes and constraints."""
    if coll != SystemCollection.COLLECTION:
        return stored
    for index in stored.get("indexes", {}).values():
        index.pop("status", None)
    for item in stored.get("constraints", ()):
        item.pop("status", None)
    return stored


def write(rt: Runtime, doc: Doc, stored: Fields) -> None:
    if doc.coll == SystemCollection.COLLECTION:
        if ("documents", doc.id) in rt.changed:
            raise fail(
                "invalid_write", "Cannot modify a document and its collection in the same query."
            )
        rt.changed.add(("definition", doc.id))
    rt.view.put_definition(doc.coll, doc.id, stored)
    wrote(rt)


def future(rt: Runtime, doc: Doc, stored: Fields) -> Doc:
    """Return what a predicate is shown of a definition that is about to be written."""
    ttl = stored.get("ttl")
    return shown_as(rt, doc, Document(doc.coll, doc.id, None, stored, ttl))


def global_id(number: int) -> str:
    """Return the public name of a database: its number in letters."""
    alphabet = "abcdefghijkmnopqrstuvwxyz1234567"
    text = ""
    while number or len(text) < 12:
        number, digit = divmod(number, 32)
        text = alphabet[digit] + text
    return "y" + text


def random_bytes(rt: Runtime, count: int) -> bytes:
    if rt.context.draw is None:
        raise not_built("Drawing secrets in this context")
    return rt.context.draw(count)


def add_secret(rt: Runtime, doc: Doc, stored: Fields) -> Fields:
    """Give a new key or token its secret, a credential its hash."""
    if doc.coll == SystemCollection.CREDENTIAL:
        return with_password(rt, stored)
    random = random_bytes(rt, RANDOM_BYTES)
    if doc.coll == SystemCollection.KEY:
        secret = key_secret(doc.id, random)
    else:
        secret = token_secret(doc.id, rt.schema.scope, random)
    doc.extra = {"secret": secret}
    return {**stored, "secret_hash": secret_hash(random)}


def with_password(rt: Runtime, stored: Fields) -> Fields:
    """Replace a password by its hash."""
    password = stored.pop("password", None)
    if password is None:
        return stored
    rt.tick(PASSWORD_STEPS)
    return {**stored, "password_hash": password_hash(password, random_bytes(rt, SALT_BYTES))}


def described(rt: Runtime, doc: Doc) -> str:
    """Name a definition in a failure: Coll `name`, Key with id 1."""
    coll = SYSTEM_NAMES[SystemCollection(doc.coll)]
    return f"{coll} with id {doc.id}" if doc.name is None else f"{coll} `{doc.name}`"


def update(rt: Runtime, doc: Doc, data: Fields, *, whole: bool) -> Doc:
    """Change a definition: merge, or with `whole` replace."""
    allow_write(rt, "replace" if whole else "update", "write", doc.coll)
    document = lookup(rt, Doc(doc.coll, doc.id, name=doc.name, cause=doc.cause))
    if document is None:
        raise missing(rt, doc, None)
    hidden = {key: value for key, value in document.data.items() if key in _HASHES}
    base = {key: value for key, value in document.data.items() if key not in _HASHES}
    merged = patched({} if whole else base, to_stored(rt, data, keep_nulls=True))
    if "global_id" in base:
        merged["global_id"] = base["global_id"]
    if "history_days" in data:
        merged["history_days"] = data["history_days"]
    stored = checked(rt, doc.coll, merged, document, "update", described(rt, doc)) | hidden
    fresh = Doc(doc.coll, document.id, name=None if doc.name is None else stored["name"])
    permit(
        rt,
        "write",
        doc.coll,
        lambda: [shown_as(rt, fresh, document), future(rt, fresh, stored)],
    )
    if doc.coll == SystemCollection.CREDENTIAL:
        stored = with_password(rt, stored)
    write(rt, fresh, stored)
    if doc.name is not None and stored["name"] != document.data["name"]:
        rename_references(rt, doc.coll, str(document.data["name"]), stored["name"])
    return fresh


_NAMED_BY: dict[int, tuple[tuple[int, str], ...]] = {
    SystemCollection.ROLE: ((SystemCollection.FUNCTION, "role"), (SystemCollection.KEY, "role")),
    SystemCollection.DATABASE: ((SystemCollection.KEY, "database"),),
    SystemCollection.COLLECTION: (
        (SystemCollection.ROLE, "privileges"),
        (SystemCollection.ROLE, "membership"),
    ),
    SystemCollection.FUNCTION: ((SystemCollection.ROLE, "privileges"),),
}


def rename_references(rt: Runtime, coll: int, old: str, new: str) -> None:
    """Follow a rename where other definitions name this one (schema.md §5)."""
    for where, field in _NAMED_BY.get(coll, ()):
        for other in list(rt.view.scan(where)):
            rt.tick(READ_STEPS)
            before = other.data.get(field)
            after = _renamed(before, old, new)
            if after != before:
                rt.view.put_definition(where, other.id, {**other.data, field: after})
                wrote(rt)


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    if isinstance(value, dict):
        return {**value, "resource": new} if value.get("resource") == old else value
    return new if value == old else value


def delete(rt: Runtime, doc: Doc) -> Doc:
    """Delete a definition or secret; refused while somebody refers to it by name."""
    allow_write(rt, "delete", "delete", doc.coll)
    document = lookup(rt, Doc(doc.coll, doc.id, name=doc.name, cause=doc.cause))
    if document is None:
        raise missing(rt, doc, None)
    permit(rt, "delete", doc.coll, lambda: [shown_as(rt, doc, document)])
    failures = references(rt, doc, str(document.data.get("name", "")))
    if failures:
        raise constraint("delete", described(rt, doc), failures)
    if doc.coll == SystemCollection.COLLECTION:
        if ("documents", document.id) in rt.changed:
            raise fail(
                "invalid_write", "Cannot modify a document and its collection in the same query."
            )
        rt.changed.add(("definition", document.id))
    if doc.coll == SystemCollection.DATABASE:
        delete_keys_of(rt, str(document.data["name"]))
    rt.view.delete_definition(doc.coll, document.id)
    wrote(rt)
    return Doc(doc.coll, document.id, name=doc.name, cause="deleted")


def references(rt: Runtime, doc: Doc, name: str) -> list[Failure]:
    """Say who still names a role."""
    if doc.coll != SystemCollection.ROLE:
        return []
    found: list[Failure] = []
    for coll, kind in ((SystemCollection.FUNCTION, "function"), (SystemCollection.KEY, "key")):
        for other in rt.view.scan(coll):
            rt.tick(1)
            if other.data.get("role") == name:
                called = str(other.data.get("name", other.id))
                text = (
                    f"The {kind} `{called}` refers to this document by its previous "
                    f"identifier `{name}`."
                )
                found.append(((("name",),), text))
    return found


def delete_keys_of(rt: Runtime, database: str) -> None:
    for key in list(rt.view.scan(SystemCollection.KEY)):
        rt.tick(2)
        if key.data.get("database") == database:
            rt.view.delete_definition(SystemCollection.KEY, key.id)


def create_token(rt: Runtime, owner: Ref, ttl: Time | None) -> Doc:
    """Make the token of a login."""
    allow_write(rt, "login", "create", SystemCollection.TOKEN)
    doc = Doc(SystemCollection.TOKEN, rt.view.new_id())
    fields: Fields = {"document": owner}
    if ttl is not None:
        fields["ttl"] = ttl
    permit(rt, "create", SystemCollection.TOKEN, lambda: [future(rt, doc, fields)])
    write(rt, doc, add_secret(rt, doc, fields))
    return doc
