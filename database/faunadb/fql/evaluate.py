"""Run a compiled program against a view: the result, and what it cost, as one value.

Everything that a program does to the database is in the view's buffer when this returns; when
it raises, the view is thrown away.

Trap: a `RecursionError` without the deep stack means "run it where there is one" (OverBudget).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from faunadb.errors import QueryError
from faunadb.fql.budget import FRAMES_MAX, Budget, OverBudget
from faunadb.fql.diagnostics import Diagnostic, InvalidQuery
from faunadb.fql.documents import MODULES, SYSTEM_BY_NAME
from faunadb.fql.materialize import materialize
from faunadb.fql.members import UNBOUND, global_value
from faunadb.fql.program import Program
from faunadb.fql.result import IdResult, Result
from faunadb.fql.runtime import (
    NAMED_COLLECTIONS,
    READ,
    Collection,
    Context,
    Doc,
    Id,
    LogLine,
    Module,
    Runtime,
)
from faunadb.fql.tagged import DocumentArgument, ModuleArgument, ValueRefused
from faunadb.fql.view import View
from faunadb.values import Ref

STEPS_PER_COMPUTE_OP = 50


class Stats(msgspec.Struct, frozen=True):
    """What a query is charged for; the node adds times and bytes."""

    compute_ops: int
    read_ops: int
    write_ops: int
    steps: int


class Evaluated(msgspec.Struct, frozen=True):
    """A result with its log. `valid_before` (microseconds): the earliest ttl that was seen."""

    result: Result
    log: tuple[LogLine, ...]
    stats: Stats
    valid_before: int | None


def run(
    program: Program,
    arguments: Sequence[Any],
    view: View,
    context: Context,
    budget: Budget,
    variables: Mapping[str, Any] | None = None,
) -> Evaluated:
    """Evaluate; `arguments` are the template's values, `variables` the request's arguments.

    Raises `QueryError`, whose `log` attribute holds what was logged, and `OverBudget`.
    """
    rt = Runtime(view, context, program.compiler, steps=budget.steps_max)
    if program.read_only:
        rt.limit, rt.place = READ, "a query that is proven to be read-only"
    try:
        given = _values(rt, program, arguments)
        bound = _variables(rt, program, variables or {})
        value = program.body(rt, [*given, *bound, *([None] * program.slots)])
        result = materialize(rt, value)
    except QueryError as error:
        error.log = tuple(rt.log)
        raise
    except RecursionError:
        if not budget.deep:
            raise OverBudget("stack") from None
        raise QueryError(
            "stack_overflow", f"number of stack frames exceeded limit of {FRAMES_MAX}"
        ) from None
    finally:
        budget.spent = budget.steps_max - rt.left
    stats = Stats(1 + budget.spent // STEPS_PER_COMPUTE_OP, rt.reads, rt.writes, budget.spent)
    return Evaluated(result, tuple(rt.log), stats, rt.valid_before)


def _values(rt: Runtime, program: Program, arguments: Sequence[Any]) -> list[Any]:
    """Return what the placeholders stand for; raises `InvalidQuery` at the placeholder."""
    assert len(arguments) == len(program.places)
    values = []
    for value, place in zip(arguments, program.places, strict=True):
        try:
            values.append(decode_argument(rt, value))
        except ValueRefused as refusal:
            raise InvalidQuery(Diagnostic(str(refusal), place)) from None
    return values


def _variables(rt: Runtime, program: Program, given: Mapping[str, Any]) -> list[Any]:
    values = []
    for name in program.names:
        try:
            values.append(decode_argument(rt, given[name]))
        except ValueRefused as refusal:
            raise QueryError("invalid_request", f"Invalid argument '{name}': {refusal}") from None
    return values


def decode_argument(rt: Runtime, value: Any) -> Any:
    """Turn a decoded value of the request into one of the language.

    Raises `ValueRefused` for modules and documents that the schema does not have.
    """
    match value:
        case list():
            return [decode_argument(rt, item) for item in value]
        case dict():
            return {key: decode_argument(rt, item) for key, item in value.items()}
        case ModuleArgument(name=name):
            return module_argument(rt, name)
        case DocumentArgument():
            return document_argument(rt, value)
        case Ref():
            return Doc(value.coll, value.id)
        case IdResult():
            return Id(value.id)
    return value


def module_argument(rt: Runtime, name: str) -> Any:
    if name.startswith("FQL."):
        name = name.removeprefix("FQL.")
    found = global_value(rt, name)
    if isinstance(found, Module | Collection):
        return found
    raise ValueRefused(f"no such module '{name}'")


def document_argument(rt: Runtime, argument: DocumentArgument) -> Doc:
    system = SYSTEM_BY_NAME.get(argument.coll)
    if system is not None:
        if argument.id is not None:
            if system in NAMED_COLLECTIONS:
                raise ValueRefused(f"{argument.tag} field 'name' is required")
            return Doc(system, argument.id)
        assert argument.name is not None
        return Doc(system, 0, name=argument.name)
    found = global_value(rt, argument.coll)
    if found is UNBOUND or not isinstance(found, Collection):
        if argument.tag == "@doc" and argument.coll in MODULES:
            raise ValueRefused(f"{argument.tag} field 'coll' requires a module value")
        raise ValueRefused(f"no such module '{argument.coll}'")
    if argument.id is None:
        raise ValueRefused(f"{argument.tag} field 'id' is required")
    return Doc(found.id, argument.id)
