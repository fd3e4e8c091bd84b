"""Which names may be given to what (schema.md §1).

Trap: collections and functions share one namespace, aliases included.
"""

import re

from faunadb.definitions import SystemCollection
from faunadb.fql.documents import MODULES, RESERVED
from faunadb.fql.failures import Failure
from faunadb.fql.lexer import KEYWORDS
from faunadb.fql.registry import FIELDS, GLOBALS, METHODS
from faunadb.fql.runtime import Collection, Runtime

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TYPE_WORDS = frozenset({"Any", "Never", "struct", "interface", "type", "function", "collection"})
_BUILT_IN_ROLES = frozenset({"admin", "server"})
_MORE_MODULES = frozenset({"Credentials"})


def is_identifier(name: str) -> bool:
    """Return whether a name needs no quotes."""
    return _IDENTIFIER.fullmatch(name) is not None and name not in KEYWORDS


def identifier_failure(name: str, path: tuple[str | int, ...]) -> Failure | None:
    if _IDENTIFIER.fullmatch(name) and name != "_" and name not in KEYWORDS:
        return None
    if name in KEYWORDS or name == "FQL":
        return ((path,), f"The identifier `{name}` is reserved.")
    return ((path,), "Invalid identifier.")


def global_failure(rt: Runtime, name: str, field: str, own: int | None) -> Failure | None:
    """Check the name or alias of a collection or function; `own` is the definition's number."""
    path = (field,)
    failure = identifier_failure(name, path)
    if failure is not None:
        return failure
    if name in _TYPE_WORDS or name in MODULES or name in GLOBALS or name in _MORE_MODULES:
        return ((path,), f"The identifier `{name}` is reserved.")
    return taken(rt, name, field, own)


def taken(rt: Runtime, name: str, field: str, own: int | None) -> Failure | None:
    """Say who has the name already, own writes of this query included."""
    for coll, kind in (
        (SystemCollection.COLLECTION, "Collection"),
        (SystemCollection.FUNCTION, "Function"),
    ):
        for document in rt.view.scan(coll):
            rt.tick(1)
            if document.id == own:
                continue
            for has in ("name", "alias"):
                if document.data.get(has) == name:
                    return (((field,),), f"A {kind} already exists with the {has} `{name}`")
    return None


def role_failure(name: str) -> Failure | None:
    if name in _BUILT_IN_ROLES:
        return ((("name",),), f"The identifier `{name}` is reserved.")
    return identifier_failure(name, ("name",))


def field_failure(name: str, path: tuple[str | int, ...]) -> Failure | None:
    """Check the name of a defined or computed field."""
    if name in RESERVED or name == "ttl":
        return ((path,), f"The name '{name}' is reserved.")
    return identifier_failure(name, path)


def index_failure(name: str, path: tuple[str | int, ...]) -> Failure | None:
    """Check the name of an index: it becomes a member of the collection."""
    if name in METHODS[Collection] or name in FIELDS[Collection] or name == "createAll":
        return ((path,), f"The name '{name}' is reserved.")
    return identifier_failure(name, path)
