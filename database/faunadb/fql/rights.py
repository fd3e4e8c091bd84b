"""What may this caller do? Built-in roles, roles of users with their predicates (schema.md §6).

    may_read(rt, doc, document)     the one hook in the path of every document that is seen
    may_list(rt, coll)              whether a caller may read anything of a collection at all
    may_call(rt, function, args)
    require(rt, action, coll)       raise unless somebody could be allowed this
    permit(rt, action, coll, args)  raise unless the predicates allow exactly this

A caller has a built-in role, or (`Context.role` is "") the roles in `Context.roles`; any one that
says yes suffices. The baseline of an identity: read its own credential and token, delete its own
token. Whoever follows a set (streams, feeds) asks `may_list` when the source is made and
`may_read` for the document before and after each event, with a `Runtime` at that event's time.

A predicate reads with the rights of a server and calls functions; identity and token are the
caller's. Whatever it gives but true, any error too, is no.

Trap: what a predicate needs counts as steps of the query: running out of them is not a "no".
"""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from faunadb.definitions import FunctionDefinition, SystemCollection
from faunadb.errors import QueryError
from faunadb.fql.failures import denied
from faunadb.fql.runtime import READ, Context, Doc, Lambda, LambdaCode, Runtime
from faunadb.fql.view import Document

BUILT_IN_ROLES = frozenset({"admin", "server", "server-readonly", "client"})
SERVER_ONLY_DENIED = frozenset(
    {
        SystemCollection.DATABASE,
        SystemCollection.KEY,
        SystemCollection.ROLE,
        SystemCollection.ACCESS_PROVIDER,
    }
)
SYSTEM_NAMES = {
    SystemCollection.COLLECTION: "Collection",
    SystemCollection.FUNCTION: "Function",
    SystemCollection.ROLE: "Role",
    SystemCollection.ACCESS_PROVIDER: "AccessProvider",
    SystemCollection.DATABASE: "Database",
    SystemCollection.KEY: "Key",
    SystemCollection.TOKEN: "Token",
    SystemCollection.CREDENTIAL: "Credential",
}
READ_ACTIONS = frozenset({"read", "history_read"})


class Grant(msgspec.Struct, frozen=True):
    """What the roles of a caller say to one action on one resource."""

    always: bool
    predicates: tuple[LambdaCode, ...]

    @property
    def never(self) -> bool:
        return not self.always and not self.predicates


NOTHING = Grant(always=False, predicates=())
EVERYTHING = Grant(always=True, predicates=())


def may_read(rt: Runtime, doc: Doc, document: Document) -> bool:
    """Return whether the caller may see `document`, a version of `doc`.

    Asked again for the same version by the same caller it costs nothing.
    """
    context = rt.context
    role = context.role
    if role == "admin":
        return True
    if role:
        return _built_in(role, "read", document.coll) or doc.extra is not None
    judged = doc.judged
    if judged is not None and judged[0] is context and judged[1] is document:
        return bool(judged[2])
    allowed = (
        doc.extra is not None  # the secret that this very query has drawn
        or _is_own(context, "read", document)
        or _holds(rt, _of_collection(rt, _reading(rt, doc.at), document.coll), (doc,))
    )
    doc.judged = (context, document, allowed)
    return allowed


def may_list(rt: Runtime, coll: int) -> bool:
    """Return whether an index or event source of a collection is open to the caller at all."""
    return not _of_collection(rt, _reading(rt, rt.at), coll).never


def may_see_some(rt: Runtime, coll: int, at: int | None) -> bool:
    """Return whether a scan of a collection at `at` can give the caller anything."""
    if coll in (SystemCollection.TOKEN, SystemCollection.CREDENTIAL) and rt.context.identity:
        return True
    return not _of_collection(rt, _reading(rt, at), coll).never


def require(rt: Runtime, action: str, coll: int) -> None:
    """Raise `permission_denied` unless some role allows `action`, be it under a condition."""
    if _of_collection(rt, action, coll).never and not (
        action == "delete" and coll == SystemCollection.TOKEN and rt.context.token is not None
    ):
        raise denied()


def permit(rt: Runtime, action: str, coll: int, args: Callable[[], Sequence[Doc]]) -> None:
    """Raise `permission_denied` unless the caller may do exactly this.

    `args` gives what the predicate is shown, with their content: the document; for a write the
    old and the new one.
    """
    grant = _of_collection(rt, action, coll)
    if grant.always:
        return
    shown = args()
    document = shown[0].version
    own = document is not None and _is_own(rt.context, action, document)
    if not own and not _holds(rt, grant, shown):
        raise denied()


def may_call(rt: Runtime, function: FunctionDefinition, args: Sequence[Any]) -> bool:
    """Return whether the caller may call a function of the schema with these arguments."""
    if rt.context.role:
        return rt.context.role in ("admin", "server")
    names = (function.name, function.alias)
    return _holds(rt, _granted(rt, "call", names, -function.id), args)


def shown_as(rt: Runtime, doc: Doc, document: Document) -> Doc:
    """Return a document with content that need not be in the database, for predicates."""
    found = Doc(doc.coll, doc.id, name=doc.name)
    found.version, found.epoch = document, rt.epoch
    return found


# ---------------------------------------------------------------- what roles say


def _reading(rt: Runtime, at: int | None) -> str:
    """Return the action of a read; a page that goes on is no look into the past."""
    return "read" if at is None or at == rt.base_at else "history_read"


def _built_in(role: str, action: str, coll: int) -> bool:
    if role == "admin":
        return True
    if coll in SERVER_ONLY_DENIED:
        return False
    return role == "server" or (role == "server-readonly" and action in READ_ACTIONS)


def _of_collection(rt: Runtime, action: str, coll: int) -> Grant:
    role = rt.context.role
    if role:
        return EVERYTHING if _built_in(role, action, coll) else NOTHING
    system = SYSTEM_NAMES.get(coll)  # type: ignore[call-overload]
    if system is not None:
        return _granted(rt, action, (str(system), None), coll)
    definition = rt.schema.collections.get(coll)
    if definition is None:
        return NOTHING
    return _granted(rt, action, (definition.name, definition.alias), coll)


def _granted(rt: Runtime, action: str, names: tuple[str, str | None], number: int) -> Grant:
    """Return what the caller's roles say together; found once a query."""
    key = (rt.context.roles, action, number)
    found = rt.grants.get(key)
    if found is None:
        found = rt.grants[key] = _find(rt, action, names)
    return found


def _find(rt: Runtime, action: str, names: tuple[str, str | None]) -> Grant:
    always, predicates = False, []
    for role in rt.context.roles:
        rt.tick(1)
        for privilege in listed(rt.schema.roles.get(role, {}).get("privileges")):
            if privilege.get("resource") not in names or privilege.get("resource") is None:
                continue
            actions = privilege.get("actions")
            allowed = actions.get(action) if isinstance(actions, dict) else None
            if allowed is True:
                always = True
            elif isinstance(allowed, str):
                predicates.append(rt.compiler.function(allowed, f"*{action}*"))
    return Grant(always, tuple(predicates))


def listed(value: Any) -> list[dict[str, Any]]:
    """Return what a role's definition has as one object or an array of them."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def _is_own(context: Context, action: str, document: Document) -> bool:
    """Return whether an identity may do this to its own credential or token, roles or not."""
    if context.identity is None:
        return False
    if document.coll == SystemCollection.TOKEN:
        return document.id == context.token and action in ("read", "delete")
    return (
        document.coll == SystemCollection.CREDENTIAL
        and action == "read"
        and document.data.get("document") == context.identity
    )


# ---------------------------------------------------------------- predicates


def _holds(rt: Runtime, grant: Grant, args: Sequence[Any]) -> bool:
    if grant.always:
        return True
    return any(predicate_holds(rt, code, args) for code in grant.predicates)


def predicate_holds(rt: Runtime, code: LambdaCode, args: Sequence[Any]) -> bool:
    """Return whether a predicate gives true, evaluated as schema.md §6 says."""
    if len(args) != code.parameters and (not code.variadic or len(args) < code.parameters):
        return False
    saved = rt.context, rt.limit, rt.place, rt.at, rt.base_at
    rt.context = msgspec.structs.replace(rt.context, role="server", roles=())
    rt.limit, rt.place = min(rt.limit, READ), "predicates"
    rt.at = rt.base_at = None
    logged = len(rt.log)
    try:
        return rt.call(Lambda(code, []), args) is True
    except QueryError:
        return False
    finally:
        rt.context, rt.limit, rt.place, rt.at, rt.base_at = saved
        del rt.log[logged:]
