"""What the type of a definition cannot say: its names, bodies, paths and references.

Each check returns the failures that a client sees under `constraint_failures`.

Trap: an unchanged name is not checked again, so that later built-ins do not break old schemas.
"""

from collections.abc import Callable, Iterator
from typing import Any

from faunadb.definitions import USER_COLLECTION_MIN, CollectionDefinition, SystemCollection
from faunadb.errors import QueryError
from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.documents import by_name
from faunadb.fql.failures import Failure, not_built
from faunadb.fql.fieldtypes import SCALAR_TYPES
from faunadb.fql.naming import field_failure, global_failure, index_failure, role_failure
from faunadb.fql.naming import identifier_failure as identifier
from faunadb.fql.parser import (
    parse_expression,
    parse_lambda,
    parse_path,
    parse_schema_type,
    parse_type,
)
from faunadb.fql.program import nodes
from faunadb.fql.rights import BUILT_IN_ROLES, listed
from faunadb.fql.runtime import Runtime
from faunadb.fql.syntax import Lambda, TypeApplication, TypeFunction, TypeName
from faunadb.fql.view import Document
from faunadb.values import Ref

Fields = dict[str, Any]
_ARITIES = {"read": (1,), "create": (1,), "delete": (1,), "history_read": (1,),
            "unrestricted_read": (1,), "write": (2, 3), "create_with_id": (1, 2),
            "history_write": (4,)}  # fmt: skip
ACTIONS = frozenset(_ARITIES) | {"call"}
ROLES_MAX = 64  # for the documents of one collection


def parse_failure(
    parse: Callable[[str], Any], text: str, path: tuple[str | int, ...], source: str,
    prefix: str = "Unable to parse FQL source code.",
) -> Failure | None:  # fmt: skip
    """Return the failure of a text that does not parse."""
    try:
        parse(text)
    except InvalidQuery as error:
        shown = "\n\n".join(
            f"error: {problem.message}\nat {source}{_place(text, problem.span[0])}"
            for problem in error.diagnostics
        )
        return ((path,), f"{prefix}\n{shown}")
    except QueryError as error:
        return ((path,), f"{prefix}\nerror: {error.message}")
    return None


def _place(text: str, at: int) -> str:
    before = text[:at]
    return f":{before.count(chr(10)) + 1}:{at - before.rfind(chr(10))}"


def arity_failure(
    text: str, arities: tuple[int, ...], path: tuple[str | int, ...]
) -> Failure | None:
    """Return the failure of a lambda with another number of parameters."""
    node = parse_lambda(text)
    count = len(node.parameters) if isinstance(node, Lambda) else 1
    if count in arities or (isinstance(node, Lambda) and node.variadic is not None):
        return None
    expected = " or ".join(str(arity) for arity in arities)
    noun = f"{expected} arguments" if arities != (1,) else "exactly 1 argument"
    text = f"Invalid function arity. Expected {noun}, but the function was defined with {count} "
    return ((path,), f"{text}arguments")


def lambda_failure(
    text: str, arities: tuple[int, ...], path: tuple[str | int, ...], source: str
) -> Failure | None:
    return parse_failure(parse_lambda, text, path, source) or arity_failure(text, arities, path)


def some(*failures: Failure | None) -> Iterator[Failure]:
    return (failure for failure in failures if failure is not None)


def _names(rt: Runtime, data: Fields, old: Document | None) -> Iterator[Failure]:
    for field in ("name", "alias"):
        name = data.get(field)
        if name is None or (old is not None and old.data.get(field) == name):
            continue
        yield from some(global_failure(rt, name, field, None if old is None else old.id))
    if data.get("alias") == data["name"] and data.get("alias") is not None:
        yield ((("alias",),), f"A Collection already exists with the name `{data['name']}`")


def check_collection(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    found = [*_names(rt, data, old)]
    for name, field in data.get("fields", {}).items():
        path = ("fields", name)
        prefix = "Failed parsing user-provided signature."
        found += some(
            field_failure(name, path),
            parse_failure(
                parse_schema_type, field["signature"], (*path, "signature"), "*signature*", prefix
            ),
        )
        if "default" in field:
            source = "*default*"
            found += some(
                parse_failure(parse_expression, field["default"], (*path, "default"), source)
            )
    for name, field in data.get("computed_fields", {}).items():
        path = ("computed_fields", name)
        found += some(
            field_failure(name, path),
            lambda_failure(field["body"], (1,), (*path, "body"), "*body*"),
        )
        if name in data.get("fields", {}):
            text = f"Computed field '{name}' collides with a defined field"
            found.append(((("computed_fields",),), text))
    if not found:
        check_types(rt, data)
    if old is not None:
        refuse_migration(rt, data, old)
    if "wildcard" in data and data["wildcard"] != "Any":
        found.append(((("wildcard",),), "Top-level wildcard must have type `Any`"))
    found += _indexes(data.get("indexes", {}))
    found += _constraints(data.get("constraints", []))
    for field in ("history_days", "ttl_days"):
        if (data.get(field) or 0) < 0:
            found.append((((field,),), "Non-negative value required."))
    if data.get("migrations"):
        found.append(((("migrations",),), "Migrations are not supported by this server yet."))
    return found


_PERSISTABLE = frozenset(SCALAR_TYPES) - {"Never"}
_APPLICABLE = frozenset({"Array", "Ref"})


def check_types(rt: Runtime, data: Fields) -> None:
    """Raise `invalid_schema` for types that are unknown or cannot be stored."""
    for name, field in data.get("fields", {}).items():
        for node in nodes(parse_schema_type(field["signature"])):
            problem = None
            if isinstance(node, TypeFunction) or (
                isinstance(node, TypeApplication) and node.name not in _APPLICABLE
            ):
                problem = f"Field `{name}` in collection {data['name']} is not persistable"
            elif isinstance(node, TypeName) and not _known_type(rt, node.name, data["name"]):
                problem = f"Unknown type `{node.name}`"
            if problem is not None:
                raise QueryError(
                    "invalid_schema", f"Invalid database schema update.\n    error: {problem}"
                )


def _known_type(rt: Runtime, name: str, own: str) -> bool:
    plain = name.removeprefix("Null") if name not in ("Null", own) else name
    return (
        name in _PERSISTABLE
        or plain == own
        or isinstance(rt.schema.names.get(plain), CollectionDefinition)
        or by_name(rt, SystemCollection.COLLECTION, name) is not None
        or by_name(rt, SystemCollection.COLLECTION, plain) is not None
    )


def refuse_migration(rt: Runtime, data: Fields, old: Document) -> None:
    """Raise unless the fields stay as they are or no document has the old ones."""
    same = data.get("fields", {}) == old.data.get("fields", {})
    if same and data.get("wildcard") == old.data.get("wildcard"):
        return
    if next(iter(rt.view.scan(old.id)), None) is not None:
        raise not_built("Changing the fields of a collection that has documents")


def _indexes(indexes: Fields) -> Iterator[Failure]:
    for name, index in indexes.items():
        path = ("indexes", name)
        yield from some(index_failure(name, path))
        terms, values = index.get("terms", []), index.get("values", [])
        if not terms and not values:
            yield ((path,), "An index needs terms or values")
        for place, term in enumerate(terms):
            yield from some(_term(term["field"], (*path, "terms", place, "field")))
        for place, value in enumerate(values):
            yield from some(_value(value["field"], (*path, "values", place, "field")))


def split_path(text: str) -> tuple[str | int, ...]:
    """Read `.a.b`, and `a` for `.a`; raises `InvalidQuery`."""
    return parse_path(text if text[:1] in (".", "[") else f".{text}")


def _path(text: str, path: tuple[str | int, ...]) -> Failure | tuple[str | int, ...]:
    if not text:
        return ((path,), "Value cannot be empty.")
    try:
        return split_path(text)
    except QueryError:
        return ((path,), f"Value `{text}` is not a valid FQL path expression.")


_TERM_REFUSED = {
    "id": "`id` is not supported as an index term, use the native byId method to look up a "
    "document by its id.",
    "coll": "`coll` is not supported as an index term.",
    "ts": "`ts` may only be used as an index value, not as an index term.",
}


def _is_failure(found: Any) -> bool:
    return len(found) == 2 and isinstance(found[0], tuple)


def _term(text: str, path: tuple[str | int, ...]) -> Failure | None:
    parts = _path(text, path)
    if _is_failure(parts):
        return parts  # type: ignore[return-value]
    if len(parts) == 1 and parts[0] in _TERM_REFUSED:
        return ((path,), _TERM_REFUSED[str(parts[0])])
    return None


def _value(text: str, path: tuple[str | int, ...]) -> Failure | None:
    parts = _path(text, path)
    if _is_failure(parts):
        return parts  # type: ignore[return-value]
    if parts == ("coll",):
        return ((path,), "`coll` is not supported as a specified index value.")
    return None


def _constraints(constraints: list[Fields]) -> Iterator[Failure]:
    checks: set[str] = set()
    uniques: set[frozenset[Any]] = set()
    for place, item in enumerate(constraints):
        if "check" in item:
            name, body = item["check"]["name"], item["check"]["body"]
            path = ("constraints", place, "check")
            yield from some(
                identifier(name, (*path, "name")),
                lambda_failure(body, (1,), (*path, "body"), "*body*"),
            )
            if name in checks:
                yield ((("constraints",),), f"Duplicate check constraint name '{name}'")
            checks.add(name)
            continue
        yield from _unique(item["unique"], ("constraints", place, "unique"), uniques)


def _unique(
    terms: list[Any], path: tuple[str | int, ...], seen: set[frozenset[Any]]
) -> Iterator[Failure]:
    if not terms:
        yield ((path,), "Unique constraints must have at least one term")
    paths = []
    for number, term in enumerate(terms):
        text = term if isinstance(term, str) else term["field"]
        parts = _path(text, (*path, number))
        if _is_failure(parts):
            yield parts  # type: ignore[misc]
        elif len(parts) == 1 and parts[0] in ("id", "coll", "ts"):
            yield (
                ((*path, number),), f"`{parts[0]}` is not supported as a unique constraint value."
            )  # fmt: skip
        else:
            paths.append(parts)
    if paths and frozenset(paths) in seen:
        listed = ", ".join("." + ".".join(map(str, parts)) for parts in paths)
        yield ((("constraints",),), f"Duplicate unique constraint on path [{listed}]")
    seen.add(frozenset(paths))


def check_function(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    found = [*_names(rt, data, old)]
    found += some(parse_failure(parse_lambda, data["body"], ("body",), "*body*"))
    if "signature" in data:
        prefix = "Failed parsing user-provided signature."
        found += some(
            parse_failure(parse_type, data["signature"], ("signature",), "*signature*", prefix)
        )
    role = data.get("role")
    if role is not None:
        found += some(_known_role(rt, role))
        if role == "admin" and rt.context.role != "admin":
            verb = "create a function with admin permissions using the server role"
            if old is not None:
                verb = "grant a function admin permissions using the server role"
            found.append(((("role",),), f"Cannot {verb}."))
    return found


def _known_role(rt: Runtime, role: str) -> Failure | None:
    if role in BUILT_IN_ROLES or by_name(rt, SystemCollection.ROLE, role) is not None:
        return None
    return ((("role",),), f"Field refers to an unknown role name `{role}`.")


def _own_name(rt: Runtime, coll: int, data: Fields, old: Document | None) -> Failure | None:
    other = by_name(rt, coll, data["name"])
    if other is None or (old is not None and other.id == old.id):
        return None
    kind = {SystemCollection.ROLE: "Role", SystemCollection.DATABASE: "Database"}.get(
        SystemCollection(coll), "AccessProvider"
    )
    return ((("name",),), f"A {kind} already exists with the name `{data['name']}`")


def check_role(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    found = [*some(role_failure(data["name"]), _own_name(rt, SystemCollection.ROLE, data, old))]
    found += _too_many_roles(rt, data, old)
    privileges = data.get("privileges")
    for item in privileges if isinstance(privileges, list) else [privileges] * bool(privileges):
        found += _privilege(item)
    membership = data.get("membership")
    for item in membership if isinstance(membership, list) else [membership] * bool(membership):
        if not isinstance(item, dict) or not isinstance(item.get("resource"), str):
            found.append(((("membership",),), "Missing required field of type String"))
        elif isinstance(item.get("predicate"), str):
            found += some(
                lambda_failure(item["predicate"], (1,), ("membership", "predicate"), "*predicate*")
            )
    return found


def _too_many_roles(rt: Runtime, data: Fields, old: Document | None) -> Iterator[Failure]:
    """A request of an identity asks all roles of its collection: their number has a limit."""
    wanted = members_of(data)
    if not wanted:
        return
    counts = dict.fromkeys(wanted, 1)
    for other in rt.view.scan(SystemCollection.ROLE):
        rt.tick(1)
        if old is None or other.id != old.id:
            for resource in members_of(other.data) & wanted:
                counts[resource] += 1
    if max(counts.values()) > ROLES_MAX:
        text = f"The maximum number of roles per resource ({ROLES_MAX}) have been exceeded."
        yield (((),), text)


def members_of(data: Fields) -> set[str]:
    """Return the names of the collections whose documents may be members of a role."""
    names = (item.get("resource") for item in listed(data.get("membership")))
    return {name for name in names if isinstance(name, str)}


def _privilege(item: Any) -> Iterator[Failure]:
    if not isinstance(item, dict) or not isinstance(item.get("resource"), str):
        yield ((("privileges", "resource"),), "Missing required field of type String")
        return
    actions = item.get("actions", {})
    if not isinstance(actions, dict):
        yield ((("privileges", "actions"),), "Expected { *: Any }, provided another type")
        return
    for action, allowed in actions.items():
        path = ("privileges", "actions", action)
        if action not in ACTIONS:
            yield ((path,), "Unexpected field provided")
        elif isinstance(allowed, str):
            source = f"*{action}*"
            if action == "call":
                yield from some(parse_failure(parse_lambda, allowed, path, source))
            else:
                yield from some(lambda_failure(allowed, _ARITIES[action], path, source))
        elif not isinstance(allowed, bool):
            yield ((path,), "Expected Boolean | String | Null, provided another type")


def check_access_provider(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    found = [
        *some(
            identifier(data["name"], ("name",)),
            _own_name(rt, SystemCollection.ACCESS_PROVIDER, data, old),
        )
    ]
    if not data["jwks_uri"].startswith("https://"):
        found.append(((("jwks_uri",),), f"`{data['jwks_uri']}` must be a valid https URI."))
    return found


def check_database(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    return [
        *some(
            identifier(data["name"], ("name",)),
            _own_name(rt, SystemCollection.DATABASE, data, old),
        )
    ]


def check_key(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    found: list[Failure] = []
    database = data.get("database")
    if database is None:
        found += some(_known_role(rt, data["role"]))
    elif by_name(rt, SystemCollection.DATABASE, database) is None:
        text = f"Field refers to an unknown database name `{database}`."
        found.append(((("database",),), text))
    return found


def check_secret_owner(rt: Runtime, data: Fields, old: Document | None) -> list[Failure]:
    owner = data["document"]
    if isinstance(owner, Ref) and owner.coll >= USER_COLLECTION_MIN:
        return []
    return [((("document",),), "Expected document from a user-defined collection.")]
