"""What `value.name`, `value.name(..)`, `value[key]` and `f(..)` mean for each kind of value.

Order for a name: built-in methods and fields of the type, then what the value itself holds
(fields of objects and documents, indexes of collections). A missing field is null, a missing
method is an error (functions.yaml, missing members).

Trap: objects have no methods at all, so that any key can be used.
"""

from collections.abc import Sequence
from typing import Any

from faunadb.definitions import CollectionDefinition
from faunadb.errors import QueryError
from faunadb.fql.calls import call_value
from faunadb.fql.display import type_name
from faunadb.fql.documents import MODULES, existing, field, read
from faunadb.fql.failures import (
    fail,
    no_function,
    null_access,
    out_of_bounds,
    wrong_arity,
)
from faunadb.fql.indexes import index_call
from faunadb.fql.registry import (
    FIELDS,
    FUNCTION_TYPES,
    GLOBALS,
    METHODS,
    MISFIT,
    STATIC_FIELDS,
    STATICS,
    SYSTEM_METHODS,
    Method,
    coerce_int,
)
from faunadb.fql.runtime import (
    BoundMethod,
    Collection,
    Doc,
    Module,
    Runtime,
    SetValue,
    UserFunction,
)

UNBOUND = object()
TYPE_MODULES = (
    "Null", "Boolean", "Number", "Int", "Long", "Double", "Float", "String", "Bytes", "Time",
    "TransactionTime", "Date", "UUID", "ID", "Array", "Set", "SetCursor", "EventSource",
    "Object", "Struct", "Doc", "Function", "Math", "Query", "FQL",
)  # fmt: skip
MODULES.update({name: Module(name) for name in TYPE_MODULES if name not in MODULES})
SCHEMA_MODULE = Module("FQL.Schema")


def global_value(rt: Runtime, name: str) -> Any:
    """Look a name up that no binding has: built-ins, collections, functions; or `UNBOUND`."""
    module = MODULES.get("Credential" if name == "Credentials" else name)
    if module is not None:
        return module
    found = GLOBALS.get(name)
    if found is not None:
        return found
    definition = rt.schema.names.get(name)
    if definition is None:
        return UNBOUND
    if isinstance(definition, CollectionDefinition):
        return Collection(definition.id, name)
    return UserFunction(definition)


def unbound(name: str) -> QueryError:
    return fail("unbound_variable", f"Unbound variable `{name}`")


# ---------------------------------------------------------------- access


def find_method(this: Any, name: str) -> Method | None:
    """Return the built-in method of a value, None when it has none of that name."""
    kind = type(this)
    if kind is Module:
        table = STATICS.get(this.name)
    elif kind is Doc:
        found = METHODS[Doc].get(name)
        if this.coll < 1024:
            own = SYSTEM_METHODS.get(this.coll)
            return (
                own[name]
                if own is not None and name in own
                else (None if name in ("updateData", "replaceData") else found)
            )
        return found
    else:
        table = METHODS.get(kind)
    return None if table is None else table.get(name)


def get_member(rt: Runtime, this: Any, name: str) -> Any:
    """Return `this.name`; null when there is nothing."""
    kind = type(this)
    if kind is dict:
        return this.get(name)
    if this is None:
        raise null_access(name)
    if kind is Doc:
        method = find_method(this, name)
        return field(rt, this, name) if method is None else BoundMethod(this, method)
    fields = STATIC_FIELDS.get(this.name) if kind is Module else FIELDS.get(kind)
    if fields is not None:
        getter = fields.get(name)
        if getter is not None:
            return getter(rt, this)
    method = find_method(this, name)
    if method is not None:
        return BoundMethod(this, method)
    if kind is Module and this.name == "FQL":
        found = fql_member(name)
        return None if found is UNBOUND else found
    return None


def fql_member(name: str) -> Any:
    """Return a static global by its full name, `FQL.Math`."""
    if name == "Schema":
        return SCHEMA_MODULE
    if name == "FQL":
        return UNBOUND
    module = MODULES.get(name)
    return module if module is not None else GLOBALS.get(name, UNBOUND)


def call_member(rt: Runtime, this: Any, name: str, args: Sequence[Any]) -> Any:
    """Return `this.name(args)`; the fast way of built-in types is `compile`'s own."""
    method = find_method(this, name)
    if method is not None:
        return method(rt, this, args)
    kind = type(this)
    if this is None:
        raise null_access(name)
    if kind is Collection:
        return call_index(rt, this, name, args)
    if kind is dict:
        if name not in this:
            raise no_function(name, type_name(this))
        value = this[name]
    elif kind is Doc:
        value = field(rt, this, name)
        if value is None:
            raise no_function(name, "Doc")
    else:
        value = get_member(rt, this, name)
        if value is None:
            raise no_function(name, type_name(this))
    if type(value) in FUNCTION_TYPES or type(value) in (Module, Collection):
        return call_value(rt, value, args)
    raise fail(
        "invalid_function_invocation",
        f"`{name}`: Expected a function, found `{type_name(value)}`",
    )


def call_index(rt: Runtime, coll: Collection, name: str, args: Sequence[Any]) -> SetValue:
    definition = rt.schema.collections.get(coll.id)
    index = definition.index(name) if definition is not None else None
    if definition is None or index is None:
        raise no_function(name, coll.name)
    rt.tick(1)
    return index_call(rt, definition, index, args)


def get_index(rt: Runtime, this: Any, args: Sequence[Any]) -> Any:
    """Return `this[key]`."""
    if this is None:
        raise null_access("[]")
    kind = type(this)
    if kind not in (list, str, dict, Doc):
        raise no_function("[]", type_name(this))
    if len(args) != 1:
        raise wrong_arity((1,), len(args))
    key = args[0]
    if kind is dict or kind is Doc:
        if type(key) is not str:
            raise fail(
                "invalid_argument",
                f"expected value for `key` of type String, received {type_name(key)}",
            )
        return get_member(rt, this, key)
    index = coerce_int(key)
    if index is MISFIT:
        raise fail(
            "invalid_argument",
            f"expected value for `index` of type Int, received {type_name(key)}",
        )
    if not 0 <= index < len(this):
        raise out_of_bounds(index, len(this))
    return this[index]


def bang(rt: Runtime, value: Any, reason: str) -> Any:
    """Return `value!`: unchanged unless it is null or a document that is not there."""
    if value is None:
        raise fail("null_value", reason)
    if type(value) is Doc:
        existing(rt, value, None)
    return value


def is_null(rt: Runtime, value: Any) -> bool:
    """Return whether `??` and `?.` look past a value."""
    return value is None or (type(value) is Doc and read(rt, value) is None)


def project_base(rt: Runtime, value: Doc) -> bool:
    """Return whether a projection of a document gives an object (else null)."""
    return read(rt, value) is not None
