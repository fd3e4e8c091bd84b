"""How a function value is applied, whatever kind of function it is.

Trap: an error inside a function of the schema points into another text; its span is dropped, so
that the calling node puts its own.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from faunadb.definitions import FunctionDefinition
from faunadb.errors import QueryError
from faunadb.fql.display import type_name
from faunadb.fql.failures import denied, expected_argument, type_mismatch, wrong_arity
from faunadb.fql.registry import CONSTRUCTORS, MISFIT, coerce_id, user_code
from faunadb.fql.rights import BUILT_IN_ROLES, may_call
from faunadb.fql.runtime import (
    READ,
    BoundMethod,
    Collection,
    Context,
    Doc,
    Lambda,
    Module,
    Runtime,
    UserFunction,
)


def call_value(rt: Runtime, function: Any, args: Sequence[Any]) -> Any:
    """Return `function(args)`."""
    kind = type(function)
    if kind is Lambda:
        code = function.code
        if len(args) != code.parameters and (not code.variadic or len(args) < code.parameters):
            raise wrong_arity((code.parameters,), len(args), variadic=code.variadic)
        return rt.call(function, args)
    if kind is BoundMethod:
        return function.method(rt, function.this, args)
    if kind is UserFunction:
        return call_user(rt, function, args)
    if kind is Collection:
        if len(args) != 1:
            raise wrong_arity((1,), len(args))
        doc_id = coerce_id(args[0])
        if doc_id is MISFIT:
            raise expected_argument("id", "ID", type_name(args[0]))
        return Doc(function.id, doc_id, rt.at)
    if kind is Module and function.name in CONSTRUCTORS:
        return CONSTRUCTORS[function.name](rt, function, args)
    raise type_mismatch("Function", type_name(function))


def call_user(rt: Runtime, function: UserFunction, args: Sequence[Any]) -> Any:
    """Call a function of the schema; it runs with its own role when it has one."""
    definition = function.definition
    if rt.computing or not may_call(rt, definition, args):
        raise denied()
    code = user_code(rt, function)
    if len(args) != code.parameters and (not code.variadic or len(args) < code.parameters):
        raise wrong_arity((code.parameters,), len(args), variadic=code.variadic)
    context = rt.context
    if definition.role is not None:
        rt.context = _as_role(context, definition)
    try:
        return rt.call(Lambda(code, []), args)
    except QueryError as error:
        error.span = (0, 0)
        raise
    finally:
        rt.context = context


def _as_role(context: Context, definition: FunctionDefinition) -> Context:
    """Return the context with the rights of a function's role."""
    assert definition.role is not None
    if definition.role in BUILT_IN_ROLES:
        return msgspec.structs.replace(context, role=definition.role, roles=())
    return msgspec.structs.replace(context, role="", roles=(definition.role,))


def apply(rt: Runtime, function: Any, args: Sequence[Any], at: int | None) -> Any:
    """Call a callback of a set: it may read, as of the time that the set keeps."""
    limit, place, saved = rt.limit, rt.place, rt.at
    if limit > READ:
        rt.limit, rt.place = READ, "set functions"
    rt.at = at if at is not None else rt.base_at
    try:
        return call_value(rt, function, args)
    finally:
        rt.limit, rt.place, rt.at = limit, place, saved


def truth(value: Any) -> bool:
    """Return what a predicate says: null is false, others than Booleans are refused."""
    if value is True:
        return True
    if value is False or value is None:
        return False
    raise type_mismatch("Boolean", type_name(value))
