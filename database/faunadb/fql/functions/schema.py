"""Definitions and secrets: `Collection`, `Function`, `Role`, `Database`, `Key`, `Token`,
`Credential`, `AccessProvider`, `Query` and `FQL.Schema` (functions.yaml).

Trap: what is created here is not visible by name before the next query.
"""

from collections.abc import Iterator
from typing import Any

from faunadb.definitions import (
    CREDENTIALS,
    TOKENS,
    CollectionDefinition,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.fql import models
from faunadb.fql.budget import READ_STEPS
from faunadb.fql.calls import apply, truth
from faunadb.fql.credentials import password_matches
from faunadb.fql.documents import (
    DELETED_COLLECTION,
    SYSTEM_BY_NAME,
    by_name,
    existing,
    read,
)
from faunadb.fql.failures import denied, invalid_argument
from faunadb.fql.indexes import all_documents
from faunadb.fql.members import global_value
from faunadb.fql.registry import SYSTEM_METHODS, Method, getter, method, parse_signature
from faunadb.fql.runtime import (
    NAMED_COLLECTIONS,
    READ,
    WRITE,
    Collection,
    Doc,
    Module,
    Runtime,
    SetValue,
    UserFunction,
)
from faunadb.fql.sets import ArraySet, WhereSet, iterate
from faunadb.values import Ref, Time


def _create(rt: Runtime, this: Module, data: dict[str, Any]) -> Doc:
    return models.create(rt, SYSTEM_BY_NAME[this.name], data)


def _by_name(rt: Runtime, this: Module, name: str) -> Doc:
    return Doc(SYSTEM_BY_NAME[this.name], 0, rt.at, name=name)


def _by_id(rt: Runtime, this: Module, doc_id: int) -> Doc:
    return Doc(SYSTEM_BY_NAME[this.name], doc_id, rt.at)


def _all(rt: Runtime, this: Module, *bounds: Any) -> SetValue:
    return all_documents(rt, SYSTEM_BY_NAME[this.name], *bounds)


def _where(rt: Runtime, this: Module, predicate: Any) -> SetValue:
    source = _all(rt, this)
    return WhereSet(source, predicate, rt.at, source.size)


def _first_where(rt: Runtime, this: Module, predicate: Any) -> Any:
    for item in iterate(rt, _all(rt, this)):
        if truth(apply(rt, predicate, (item,), rt.at)):
            return item
    return None


for _name, _number in SYSTEM_BY_NAME.items():
    if _name == "Credentials":
        continue
    method(_name, "create", "(data: Struct)", effect=WRITE)(_create)
    method(_name, "all", "()", "(range: Any)", effect=READ)(_all)
    method(_name, "where", "(pred: F1)", effect=READ)(_where)
    method(_name, "firstWhere", "(pred: F1)", effect=READ)(_first_where)
    if _number in NAMED_COLLECTIONS:
        method(_name, "byName", "(name: String)", effect=READ)(_by_name)
    else:
        method(_name, "byId", "(id: ID)", effect=READ)(_by_id)
        method(_name, "()", "(id: ID)")(_by_id)


@method("Collection", "()", "(collection: String)")
def collection(rt: Runtime, this: Module, name: str) -> Any:
    found = rt.schema.names.get(name)
    value = None if found is None else global_value(rt, name)
    if isinstance(value, Collection):
        return value
    for definition in rt.schema.collections.values():  # named like a built-in
        if name in (definition.name, definition.alias):
            return Collection(definition.id, name)
    hints: tuple[str, ...] = ()
    if by_name(rt, SystemCollection.COLLECTION, name) is not None:
        hints = ("A collection cannot be created and used in the same query.",)
    error = invalid_argument("collection", f"No such user collection `{name}`.")
    error.hints = hints
    raise error


@method("Function", "()", "(function: String)")
def function(rt: Runtime, this: Module, name: str) -> Any:
    for definition in rt.schema.functions.values():
        if name in (definition.name, definition.alias):
            return UserFunction(definition)
    error = invalid_argument("function", f"No such user function `{name}`.")
    if by_name(rt, SystemCollection.FUNCTION, name) is not None:
        error.hints = ("A function cannot be created and used in the same query.",)
    raise error


@getter("Collection", "Deleted")
def deleted(rt: Runtime, this: Module) -> Module:
    return DELETED_COLLECTION


@method("FQL.Schema", "defForIdentifier", "(ident: String)", effect=READ)
def def_for_identifier(rt: Runtime, this: Module, ident: str) -> Any:
    for coll in (SystemCollection.COLLECTION, SystemCollection.FUNCTION):
        for document in rt.view.scan(coll):
            rt.tick(1)
            if ident in (document.data.get("name"), document.data.get("alias")):
                return Doc(coll, document.id, name=str(document.data["name"]))
    return None


# ---------------------------------------------------------------- tokens and credentials


def of_document(rt: Runtime, secrets: CollectionDefinition, document: Doc) -> Iterator[Doc]:
    """Yield the tokens or credentials of a document, readable or not."""
    (index,) = secrets.indexes
    owner = Ref(document.coll, document.id)
    for entry in rt.view.scan_index(index, secrets.id, [owner], at=rt.at):
        rt.tick(READ_STEPS)
        yield Doc(secrets.id, entry.id, rt.at)


@method("Token", "byDocument", "(document: Doc)", effect=READ)
def tokens_of(rt: Runtime, this: Module, document: Doc) -> SetValue:
    found = of_document(rt, TOKENS, document)
    return ArraySet([doc for doc in found if read(rt, doc) is not None])


@method("Credential", "byDocument", "(document: Doc)", effect=READ)
def credential_of(rt: Runtime, this: Module, document: Doc) -> Doc:
    found = of_document(rt, CREDENTIALS, document)
    return next(found, Doc(SystemCollection.CREDENTIAL, -1, rt.at))


def verify(rt: Runtime, this: Doc, secret: str) -> bool:
    document = existing(rt, this, "verify")
    rt.tick(models.PASSWORD_STEPS)
    return password_matches(secret, document.data.get("password_hash"))


def login(rt: Runtime, this: Doc, secret: str, ttl: Time | None = None) -> Doc:
    if not verify(rt, this, secret):
        raise QueryError("invalid_secret", "Provided secret did not match.")
    owner = existing(rt, this, "login").data["document"]
    assert isinstance(owner, Ref)
    return models.create_token(rt, owner, ttl)


_VERIFY = parse_signature("(secret: String)")
_LOGIN = (_VERIFY, parse_signature("(secret: String, ttl: Time)"))
SYSTEM_METHODS[SystemCollection.CREDENTIAL] = {
    "verify": Method("verify", READ, (_VERIFY,), verify),
    "login": Method("login", WRITE, _LOGIN, login),
}


@method("Query", "identity")
def identity(rt: Runtime, this: Module) -> Any:
    found = rt.context.identity
    return None if found is None else Doc(found.coll, found.id)


@method("Query", "token")
def token(rt: Runtime, this: Module) -> Any:
    found = rt.context.token
    return None if found is None else Doc(SystemCollection.TOKEN, found)


@method("Query", "isEnvTypechecked")
def is_env_typechecked(rt: Runtime, this: Module) -> bool:
    return rt.context.typechecked


@method("Query", "isEnvProtected")
def is_env_protected(rt: Runtime, this: Module) -> bool:
    if rt.context.role != "admin":
        raise denied()
    return rt.context.protected
