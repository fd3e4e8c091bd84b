"""Who asks, and with which rights: from what a secret claims to a `Context` (schema.md §6, §7).

Keys, tokens, roles and memberships are read from the snapshot that the query itself is evaluated
at: a key authenticates on every member as soon as its creation is answered, and no longer once
its deletion is. What is read here is in the query's read set (SAFETY 3).

    root, admin key    any scope: a built-in role, @role/Name, @doc/Coll/ID
    server key         only @doc/Coll/ID
    other keys         none
    token              its document, with all roles whose membership fits; a scope is ignored

Trap: a membership needs its document to exist; an identity without roles is authenticated and
has the baseline only.
"""

import hmac

import msgspec

from faunadb.definitions import CollectionDefinition, Document, SystemCollection
from faunadb.errors import Unauthorized
from faunadb.fql.credentials import Claim
from faunadb.fql.rights import BUILT_IN_ROLES, listed, predicate_holds, shown_as
from faunadb.fql.runtime import READ, Compiler, Context, Doc, Runtime
from faunadb.fql.view import View
from faunadb.values import Ref

DOCUMENT_SCOPES = ("@doc/", "collections/")


def authenticate(
    view: View, base: Context, compiler: Compiler, claim: Claim | None, scope: str, steps: int
) -> Context:
    """Return `base` with the rights of a claim (None is the root secret) under a scope.

    `scope` is "" for none. Raises `Unauthorized`; `OverBudget` beyond `steps`.
    """
    context = msgspec.structs.replace(base, role="server", roles=())
    rt = Runtime(view, context, compiler, steps=steps)
    rt.limit, rt.place = READ, "authentication"
    if claim is None:
        return _scoped(rt, scope or "admin")
    document = proven(view, claim)
    if document is None:
        raise refused()
    if claim.kind == "token":
        owner = document.data.get("document")
        assert isinstance(owner, Ref), "a token names its document"
        return _identified(rt, owner, document.id)
    role = str(document.data.get("role"))
    if document.data.get("database") is not None:
        raise refused()  # it acts in a child database
    if not scope:
        return _in_role(rt, role)
    if role == "admin" or (role == "server" and scope.startswith(DOCUMENT_SCOPES)):
        return _scoped(rt, scope)
    raise refused()


def proven(view: View, claim: Claim) -> Document | None:
    """Return the key or token that a claim belongs to, None when there is none such."""
    coll = SystemCollection.KEY if claim.kind == "key" else SystemCollection.TOKEN
    if claim.kind == "token" and claim.database != view.schema.scope:
        return None
    document = view.get(coll, claim.id)
    stored = None if document is None else document.data.get("secret_hash")
    if not isinstance(stored, bytes) or not hmac.compare_digest(stored, claim.digest):
        return None
    return document


def refused() -> Unauthorized:
    return Unauthorized("Access token required")


def _scoped(rt: Runtime, scope: str) -> Context:
    kind, _, rest = scope.partition("/")
    if kind == "@role":
        if rest not in rt.schema.roles:
            raise refused()
        return msgspec.structs.replace(rt.context, role="", roles=(rest,))
    if scope.startswith(DOCUMENT_SCOPES):
        return _identified(rt, _named_document(rt, rest), None)
    return _in_role(rt, scope)


def _in_role(rt: Runtime, role: str) -> Context:
    if role in BUILT_IN_ROLES:
        return msgspec.structs.replace(rt.context, role=role)
    if role not in rt.schema.roles:
        raise refused()
    return msgspec.structs.replace(rt.context, role="", roles=(role,))


def _named_document(rt: Runtime, path: str) -> Ref:
    """Return the document of `Coll/ID`, which must exist."""
    name, _, text = path.partition("/")
    definition = rt.schema.names.get(name)
    if not isinstance(definition, CollectionDefinition) or not text.isdecimal() or len(text) > 19:
        raise refused()
    if rt.view.get(definition.id, int(text)) is None:
        raise refused()
    return Ref(definition.id, int(text))


def _identified(rt: Runtime, owner: Ref, token: int | None) -> Context:
    rt.context = msgspec.structs.replace(rt.context, identity=owner, token=token)
    roles = _memberships(rt, owner)
    return msgspec.structs.replace(rt.context, role="", roles=roles)


def _memberships(rt: Runtime, owner: Ref) -> tuple[str, ...]:
    """Return the names of all roles that a document is a member of."""
    definition = rt.schema.collections.get(owner.coll)
    document = None if definition is None else rt.view.get(owner.coll, owner.id)
    if definition is None or document is None:
        return ()
    names = {definition.name, definition.alias} - {None}
    found = []
    for role, fields in sorted(rt.schema.roles.items()):
        rt.tick(1)
        for member in listed(fields.get("membership")):
            if member.get("resource") in names and _fits(rt, member.get("predicate"), document):
                found.append(role)
                break
    return tuple(found)


def _fits(rt: Runtime, predicate: object, document: Document) -> bool:
    if predicate is None:
        return True
    if not isinstance(predicate, str):
        return False
    doc = shown_as(rt, Doc(document.coll, document.id), document)
    return predicate_holds(rt, rt.compiler.function(predicate, "*membership*"), (doc,))
