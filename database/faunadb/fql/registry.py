"""How a built-in function is declared, found and called.

    @method("String#", "slice", "(start: Int)", "(start: Int, end: Int)")
    def slice_(rt, this, start, end=None): ...

An owner that ends in `#` has instances, without it is a module. A signature lists parameters as
`name: Type`; `name/other: F1` is a function of one parameter whose arity error calls it `other`;
`name...: Type` takes all that follow. Types are the keys of `COERCE`.
Arity is checked first, then each argument from left to right (functions.yaml, argument errors).

Trap: an implementation gets arguments already converted (ID as an `int`, whole doubles as Int).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from faunadb.fql.display import type_name
from faunadb.fql.failures import (
    arity_text,
    expected_argument,
    fail,
    wrong_arity,
)
from faunadb.fql.runtime import (
    PURE,
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
from faunadb.values import (
    INT_MAX,
    INT_MIN,
    LONG_MAX,
    LONG_MIN,
    Date,
    Long,
    Time,
    TransactionTime,
    Uuid,
)

Implementation = Callable[..., Any]
Function = TypeVar("Function", bound=Implementation)
MISFIT = object()

# ---------------------------------------------------------------- types of parameters


def coerce_int(value: Any) -> Any:
    kind = type(value)
    if kind is int or kind is Long:
        return int(value) if INT_MIN <= value <= INT_MAX else MISFIT
    if kind is float and value.is_integer() and INT_MIN <= value <= INT_MAX:
        return int(value)
    return MISFIT


def _long(value: Any) -> Any:
    kind = type(value)
    if kind is int or kind is Long:
        return value
    if (
        kind is float
        and math.isfinite(value)
        and value.is_integer()
        and (LONG_MIN <= value <= LONG_MAX)
    ):
        return int(value)
    return MISFIT


def _number(value: Any) -> Any:
    return value if type(value) in (int, Long, float) else MISFIT


def coerce_id(value: Any) -> Any:
    kind = type(value)
    if kind is Id:
        return value.value
    if kind is int or kind is Long:
        return int(value)
    if kind is str:
        number = decimal(value)
        return MISFIT if number is None else number
    return MISFIT


def decimal(text: str) -> int | None:
    """Read a signed 64-bit decimal without blanks, None for anything else."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not digits.isdecimal() or not digits.isascii() or len(digits) > 30:
        return None
    value = int(text)
    return value if LONG_MIN <= value <= LONG_MAX else None


def _exactly(*kinds: type) -> Callable[[Any], Any]:
    if len(kinds) == 1:
        only = kinds[0]
        return lambda value: value if type(value) is only else MISFIT
    return lambda value: value if type(value) in kinds else MISFIT


FUNCTION_TYPES = (Lambda, UserFunction, BoundMethod)
_function = _exactly(*FUNCTION_TYPES)

COERCE: dict[str, Callable[[Any], Any] | None] = {
    "Any": None,
    "Int": coerce_int,
    "Long": _long,
    "Number": _number,
    "ID": coerce_id,
    "String": _exactly(str),
    "Boolean": _exactly(bool),
    "Bytes": _exactly(bytes),
    "Time": _exactly(Time),
    "Date": _exactly(Date),
    "UUID": _exactly(Uuid),
    "Array": _exactly(list),
    "Set": lambda value: value if isinstance(value, SetValue) else MISFIT,
    "SetCursor": _exactly(Cursor),
    "EventSource": _exactly(EventSource),
    "Struct": _exactly(dict),
    "Object": _exactly(dict, Doc, Module, Collection),
    "Doc": _exactly(Doc),
    "Function": _function,
} | {f"F{n}": _function for n in range(4)}
SHOWN = {"Array": "Array<Any>", "Set": "Set<Any>", "EventSource": "EventSource<Any>",
         "Struct": "{ *: Any }", "Object": "{ *: Any }"} | {
    f"F{n}": "Function" for n in range(4)
}  # fmt: skip


class Parameter(msgspec.Struct, frozen=True):
    name: str
    called: str  # in arity errors of functions
    type: str
    variadic: bool = False


class Overload(msgspec.Struct, frozen=True):
    parameters: tuple[Parameter, ...]
    coercers: tuple[Callable[[Any], Any] | None, ...]
    arities: tuple[int | None, ...]  # of functions given as arguments
    variadic: bool
    plain: bool  # nothing to convert or check

    @property
    def least(self) -> int:
        return len(self.parameters) - self.variadic


def parse_signature(text: str) -> Overload:
    """Read `(name: Type, ...)`."""
    inner = text.strip()[1:-1].strip()
    parameters = []
    for part in inner.split(",") if inner else ():
        name, _, kind = part.strip().partition(":")
        kind = kind.strip()
        variadic = name.endswith("...")
        name, _, called = name.removesuffix("...").partition("/")
        assert kind in COERCE, f"unknown type {kind}"
        parameters.append(Parameter(name, called or name, kind, variadic))
    coercers = tuple(COERCE[p.type] for p in parameters)
    arities = tuple(
        int(p.type[1]) if p.type[0] == "F" and p.type[1:].isdigit() else None for p in parameters
    )
    variadic = bool(parameters) and parameters[-1].variadic
    plain = not variadic and all(c is None for c in coercers)
    return Overload(tuple(parameters), coercers, arities, variadic, plain)


# ---------------------------------------------------------------- functions


class Method:
    """A built-in function; called with the receiver and evaluated arguments."""

    __slots__ = ("_only", "effect", "implementation", "name", "overloads")

    def __init__(
        self, name: str, effect: int, overloads: tuple[Overload, ...], run: Implementation
    ) -> None:
        self.name = name
        self.effect = effect
        self.overloads = overloads
        self.implementation = run
        self._only = overloads[0] if len(overloads) == 1 and not overloads[0].variadic else None

    def __call__(self, rt: Runtime, this: Any, args: Sequence[Any]) -> Any:
        rt.left -= 1
        if rt.left < 0:
            rt.tick(0)
        only = self._only
        if only is not None and len(only.coercers) == len(args):
            if self.effect > rt.limit:
                rt.need(self.effect, f"`{self.name}`")
            if only.plain:
                return self.implementation(rt, this, *args)
            return self.implementation(rt, this, *self._convert(rt, only, args))
        overload = self._select(args)
        if self.effect > rt.limit:
            rt.need(self.effect, f"`{self.name}`")
        return self.implementation(rt, this, *self._convert(rt, overload, args))

    def arity(self) -> tuple[tuple[int, ...], bool]:
        return (
            tuple(sorted({overload.least for overload in self.overloads})),
            any(overload.variadic for overload in self.overloads),
        )

    def accepts(self, count: int) -> bool:
        counts, variadic = self.arity()
        return count in counts or (variadic and count >= min(counts))

    def _select(self, args: Sequence[Any]) -> Overload:
        count = len(args)
        fitting = [
            o for o in self.overloads if o.least == count or (o.variadic and count >= o.least)
        ]
        if not fitting:
            counts, variadic = self.arity()
            raise wrong_arity(counts, count, variadic=variadic)
        if len(self.overloads) == 1:
            return fitting[0]
        for overload in fitting:
            if all(
                coerce is None or coerce(value) is not MISFIT
                for coerce, value in zip(overload.coercers, args, strict=False)
            ):
                return overload
        signatures = " | ".join(
            f"({', '.join(SHOWN.get(p.type, p.type) for p in o.parameters)})"
            for o in self.overloads
        )
        received = ", ".join(type_name(value) for value in args)
        raise fail(
            "invalid_argument",
            f"expected arguments to `{self.name}` of type {signatures}, received ({received})",
        )

    def _convert(self, rt: Runtime, overload: Overload, args: Sequence[Any]) -> list[Any]:
        converted = []
        for position, value in enumerate(args):
            nth = min(position, len(overload.parameters) - 1)
            coerce = overload.coercers[nth]
            if coerce is None:
                converted.append(value)
                continue
            result = coerce(value)
            parameter = overload.parameters[nth]
            if result is MISFIT:
                name = parameter.name
                if parameter.variadic:
                    name += str(position - nth)
                shown = SHOWN.get(parameter.type, parameter.type)
                raise expected_argument(name, shown, type_name(value))
            arity = overload.arities[nth]
            if arity is not None:
                check_function(rt, result, parameter.called, arity)
            converted.append(result)
        return converted


def function_arity(rt: Runtime, function: Any) -> tuple[tuple[int, ...], bool]:
    """Return (accepted counts, whether more are taken)."""
    if type(function) is Lambda:
        return (function.code.parameters,), function.code.variadic
    if type(function) is UserFunction:
        code = user_code(rt, function)
        return (code.parameters,), code.variadic
    counts, variadic = function.method.arity()
    return counts, variadic


def user_code(rt: Runtime, function: UserFunction) -> Any:
    definition = function.definition
    code = rt.functions.get(definition.id)
    if code is None:
        code = rt.compiler.function(definition.body, f"*udf:{definition.name}*")
        rt.functions[definition.id] = code
    return code


def check_function(rt: Runtime, function: Any, name: str, arity: int) -> None:
    """Raise `invalid_argument` unless the function takes `arity` arguments."""
    counts, variadic = function_arity(rt, function)
    if arity in counts or (variadic and arity >= min(counts)):
        return
    required = arity_text(counts, "parameter", variadic=variadic)
    noun = "parameter" if arity == 1 else "parameters"
    raise fail(
        "invalid_argument",
        f"`{name}` should accept {arity} {noun}, provided function requires {required}.",
    )


Table = dict[str, Method]
Fields = dict[str, Callable[[Runtime, Any], Any]]

METHODS: dict[type, Table] = {}
FIELDS: dict[type, Fields] = {}
STATICS: dict[str, Table] = {}
STATIC_FIELDS: dict[str, Fields] = {}
CONSTRUCTORS: dict[str, Method] = {}
GLOBALS: dict[str, Any] = {}
SYSTEM_METHODS: dict[int, Table] = {}

INSTANCES: dict[str, tuple[type, ...]] = {
    "String#": (str,),
    "Array#": (list,),
    "Number#": (int, Long, float),
    "Boolean#": (bool,),
    "Null#": (type(None),),
    "ID#": (Id,),
    "UUID#": (Uuid,),
    "Bytes#": (bytes,),
    "Time#": (Time,),
    "TransactionTime#": (TransactionTime,),
    "Date#": (Date,),
    "Document#": (Doc,),
    "Collection#": (Collection,),
    "SetCursor#": (Cursor,),
    "EventSource#": (EventSource,),
    "Function#": FUNCTION_TYPES,
}


def method(
    owner: str, name: str, *signatures: str, effect: int = PURE
) -> Callable[[Function], Function]:
    """Declare a function; see the module's text."""

    def declare(run: Function) -> Function:
        overloads = tuple(parse_signature(text) for text in signatures or ("()",))
        made = Method(name, effect, overloads, run)
        if name == "()":
            CONSTRUCTORS[owner] = made
        elif owner == "":
            GLOBALS[name] = BoundMethod(None, made)
        elif owner.endswith("#"):
            for kind in INSTANCES[owner]:
                METHODS.setdefault(kind, {})[name] = made
        else:
            STATICS.setdefault(owner, {})[name] = made
        return run

    return declare


def register_instance(owner: str, *kinds: type) -> None:
    """Say which Python types an owner's instances have (sets are many)."""
    INSTANCES[owner] = kinds


def getter(owner: str, name: str) -> Callable[[Function], Function]:
    """Declare a field."""

    def declare(run: Function) -> Function:
        if owner.endswith("#"):
            for kind in INSTANCES[owner]:
                FIELDS.setdefault(kind, {})[name] = run
        else:
            STATIC_FIELDS.setdefault(owner, {})[name] = run
        return run

    return declare
