"""What the operators do for every pair of types (functions.yaml, operators).

The compiled nodes handle two Ints themselves and ask here for the rest.

Trap: a right side of the wrong type is an error for arithmetic and false for comparisons.
"""

from collections.abc import Callable
from typing import Any

from faunadb.definitions import SystemCollection
from faunadb.errors import QueryError
from faunadb.fql.arithmetic import (
    NUMBERS,
    divide,
    narrow,
    negate,
    power,
    remainder,
    to_double,
    to_long,
)
from faunadb.fql.display import display, sized, type_name
from faunadb.fql.failures import expected_argument, fail, invalid_argument, no_function, too_large
from faunadb.fql.order import compare, equal
from faunadb.fql.runtime import (
    STRING_UNITS_MAX,
    BoundMethod,
    Collection,
    Cursor,
    Doc,
    EventSource,
    Id,
    Lambda,
    Module,
    Runtime,
    SetValue,
    UserFunction,
)
from faunadb.values import Date, Long, Time, TransactionTime, Uuid

Operator = Callable[[Runtime, Any, Any], Any]


def concatenated(rt: Runtime, left: str, right: str) -> str:
    """Join two strings; raises `value_too_large`."""
    if len(left) + len(right) > STRING_UNITS_MAX:
        raise too_large(f"string size {len(left) + len(right)} exceeds limit {STRING_UNITS_MAX}")
    return sized(rt, left + right)


def add(rt: Runtime, left: Any, right: Any) -> Any:
    if type(left) is str:
        return concatenated(rt, left, right if type(right) is str else display(rt, right))
    if type(left) not in NUMBERS:
        raise no_function("+", type_name(left))
    if type(right) not in NUMBERS:
        raise expected_argument("other", "Number", type_name(right))
    if type(left) is float or type(right) is float:
        return to_double(left) + to_double(right)
    return narrow(left + right)


def _arithmetic(name: str, run: Callable[[Any, Any], Any]) -> Operator:
    def operate(rt: Runtime, left: Any, right: Any) -> Any:
        if type(left) not in NUMBERS:
            raise no_function(name, type_name(left))
        if type(right) not in NUMBERS:
            raise expected_argument("other", "Number", type_name(right))
        return run(left, right)

    return operate


def _subtract(left: Any, right: Any) -> Any:
    if type(left) is float or type(right) is float:
        return to_double(left) - to_double(right)
    return narrow(left - right)


def _multiply(left: Any, right: Any) -> Any:
    if type(left) is float or type(right) is float:
        return to_double(left) * to_double(right)
    return narrow(left * right)


def _compared(name: str, accept: Callable[[int], bool]) -> Operator:
    def operate(rt: Runtime, left: Any, right: Any) -> bool:
        order = compare(rt, left, right)
        return order is not None and accept(order)

    return operate


_KINDS: dict[str, frozenset[type]] = {
    "Null": frozenset({type(None)}),
    "Boolean": frozenset({bool}),
    "Number": NUMBERS,
    "Double": frozenset({float}),
    "Float": frozenset({float}),
    "String": frozenset({str}),
    "Bytes": frozenset({bytes}),
    "Time": frozenset({Time}),
    "TransactionTime": frozenset({TransactionTime}),
    "Date": frozenset({Date}),
    "UUID": frozenset({Uuid}),
    "ID": frozenset({Id}),
    "Array": frozenset({list}),
    "SetCursor": frozenset({Cursor}),
    "EventSource": frozenset({EventSource}),
    "Object": frozenset({dict, Doc, Module, Collection}),
    "Struct": frozenset({dict}),
    "Doc": frozenset({Doc}),
}
_SYSTEM = {
    "Collection": SystemCollection.COLLECTION,
    "Role": SystemCollection.ROLE,
    "AccessProvider": SystemCollection.ACCESS_PROVIDER,
    "Database": SystemCollection.DATABASE,
    "Key": SystemCollection.KEY,
    "Token": SystemCollection.TOKEN,
    "Credential": SystemCollection.CREDENTIAL,
}


def isa(rt: Runtime, value: Any, module: Any) -> bool:
    """`value isa Module`."""
    kind = type(value)
    if type(module) is Collection:
        return kind is Doc and value.coll == module.id
    if type(module) is not Module:
        raise invalid_argument("type_object", "expected a module object")
    name = module.name
    kinds = _KINDS.get(name)
    if kinds is not None:
        return kind in kinds
    if name in ("Int", "Long"):
        return kind in (int, Long) and type_name(value) == name
    if name == "Set":
        return isinstance(value, SetValue)
    if name == "Function":
        is_definition = kind is Doc and value.coll == SystemCollection.FUNCTION
        return kind in (Lambda, UserFunction, BoundMethod) or is_definition
    if name in _SYSTEM:
        return kind is Doc and value.coll == _SYSTEM[name]
    return kind is Module and value.name == name


OPERATORS: dict[str, Operator] = {
    "+": add,
    "-": _arithmetic("-", _subtract),
    "*": _arithmetic("*", _multiply),
    "/": _arithmetic("/", divide),
    "%": _arithmetic("%", remainder),
    "**": _arithmetic("**", power),
    "&": _arithmetic("&", lambda a, b: narrow(to_long(a) & to_long(b))),
    "|": _arithmetic("|", lambda a, b: narrow(to_long(a) | to_long(b))),
    "^": _arithmetic("^", lambda a, b: narrow(to_long(a) ^ to_long(b))),
    "==": equal,
    "!=": lambda rt, a, b: not equal(rt, a, b),
    "<": _compared("<", lambda order: order < 0),
    "<=": _compared("<=", lambda order: order <= 0),
    ">": _compared(">", lambda order: order > 0),
    ">=": _compared(">=", lambda order: order >= 0),
    "isa": isa,
}


def unknown_operator(name: str) -> Operator:
    """Return what `=~` and `!~` do: they parse and nobody has them."""

    def operate(rt: Runtime, left: Any, right: Any) -> Any:
        raise no_function(name, type_name(left))

    return operate


def unary(rt: Runtime, operator: str, value: Any) -> Any:
    """`-`, `~` and `!`."""
    kind = type(value)
    if operator == "!":
        if kind is bool:
            return not value
    elif kind in NUMBERS:
        return negate(value) if operator == "-" else narrow(~to_long(value))
    raise no_function(operator, type_name(value))


def at_time(rt: Runtime, value: Any) -> int | None:
    """Return the snapshot of `at(value)`, None for now; raises for the future."""
    if type(value) is TransactionTime:
        return rt.base_at
    if type(value) is not Time:
        raise QueryError("type_mismatch", f"expected type: Time, received {type_name(value)}")
    if value.micros > rt.view.snapshot_ts:
        raise fail(
            "invalid_argument", "invalid argument `at_time`: cannot evaluate `at` in the future"
        )
    return rt.base_at if value.micros == rt.view.snapshot_ts else value.micros
