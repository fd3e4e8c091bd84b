"""`Object`, ids, bytes, functions and the global functions (functions.yaml).

Trap: `Object.select` walks plain objects only; a document inside ends it in null.
"""

import base64
import binascii
from typing import Any

from faunadb.errors import QueryError
from faunadb.fql.budget import OverBudget
from faunadb.fql.display import debug, display, sized, type_name
from faunadb.fql.documents import MODULES, as_object, missing, read
from faunadb.fql.failures import expected_argument, invalid_argument
from faunadb.fql.materialize import materialize
from faunadb.fql.registry import (
    MISFIT,
    STATICS,
    coerce_id,
    getter,
    method,
)
from faunadb.fql.runtime import (
    OBSERVATION,
    READ,
    Collection,
    Doc,
    Id,
    LogLine,
    Module,
    Runtime,
)

O = "Object"  # noqa: E741
Fields = dict[str, Any]


def fields_of(rt: Runtime, value: Any, name: str = "object") -> Fields:
    """Return the fields of an object or document; raises `invalid_argument` for modules."""
    if type(value) is dict:
        rt.tick(len(value) >> 4)
        return value
    if type(value) in (Module, Collection):
        raise invalid_argument(name, "expected either an object or a document")
    document = read(rt, value)
    if document is None:
        text = missing(rt, value, "").message.rstrip(".")
        raise invalid_argument(name, text[:1].lower() + text[1:])
    return as_object(rt, value, document)


@method(O, "keys", "(object: Object)", effect=READ)
def keys(rt: Runtime, this: Any, value: Any) -> list[str]:
    return list(fields_of(rt, value))


@method(O, "values", "(object: Object)", effect=READ)
def values(rt: Runtime, this: Any, value: Any) -> list[Any]:
    return list(fields_of(rt, value).values())


@method(O, "entries", "(object: Object)", effect=READ)
def entries(rt: Runtime, this: Any, value: Any) -> list[Any]:
    return [[key, item] for key, item in fields_of(rt, value).items()]


@method(O, "fromEntries", "(entries: Array)")
def from_entries(rt: Runtime, this: Any, pairs: list[Any]) -> Fields:
    made: Fields = {}
    for place, pair in enumerate(pairs):
        rt.tick(1)
        if type(pair) is not list:
            raise invalid_argument(
                "entries",
                "expected an array for each element of the outer array, but saw type "
                f"{type_name(pair)} at index {place}",
            )
        if len(pair) != 2:
            raise invalid_argument(
                "entries",
                f"expected inner array of length 2 but saw length {len(pair)} at index {place}",
            )
        if type(pair[0]) is not str:
            raise invalid_argument(
                "entries",
                "expected a string for the first element of each inner array, but saw type "
                f"{type_name(pair[0])} at index {place}",
            )
        made[pair[0]] = pair[1]
    return made


@method(O, "assign", "(destination: Object, source: Object)", effect=READ)
def assign(rt: Runtime, this: Any, destination: Any, source: Any) -> Fields:
    return fields_of(rt, destination, "destination") | fields_of(rt, source, "source")


_ABSENT = object()


def _walk(value: Any, path: list[Any]) -> Any:
    for part in path:
        if type(part) is not str:
            raise invalid_argument("path", "expected an array of strings")
        if type(value) is not dict or part not in value:
            return _ABSENT
        value = value[part]
    return value


@method(O, "select", "(object: Struct, path: Array)")
def select(rt: Runtime, this: Any, value: Fields, path: list[Any]) -> Any:
    found = _walk(value, path)
    return None if found is _ABSENT else found


@method(O, "hasPath", "(object: Struct, path: Array)")
def has_path(rt: Runtime, this: Any, value: Fields, path: list[Any]) -> bool:
    return _walk(value, path) is not _ABSENT


@method(O, "toString", "(object: Any)")
def to_string(rt: Runtime, this: Any, value: Any) -> str:
    return display(rt, value)


# ---------------------------------------------------------------- ids, bytes, functions


@method("ID", "()", "(id: Any)")
def make_id(rt: Runtime, this: Any, value: Any) -> Id:
    if type(value) not in (str, int, Id) and not isinstance(value, int | float):
        raise expected_argument("id", "String | Number", type_name(value))
    if isinstance(value, bool):
        raise expected_argument("id", "String | Number", "Boolean")
    found = coerce_id(value)
    if found is MISFIT:
        raise QueryError("invalid_id", f"`{debug(rt, value)}` is not a valid ID.")
    return Id(found)


@method("Bytes", "()", "(encoded: String)")
@method("Bytes", "fromBase64", "(encoded: String)")
def make_bytes(rt: Runtime, this: Any, encoded: str) -> bytes:
    rt.tick(len(encoded) >> 6)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("encoded", "expected standard base64") from None


@method("Bytes#", "toBase64")
def to_base64(rt: Runtime, this: bytes) -> str:
    return base64.b64encode(this).decode()


@method("Function#", "toString")
@method("Collection#", "toString")
@method("EventSource#", "toString")
def debug_string(rt: Runtime, this: Any) -> str:
    return debug(rt, this)


@getter("Function#", "definition")
def function_definition(rt: Runtime, this: Any) -> Any:
    definition = getattr(this, "definition", None)
    return None if definition is None else Doc(2, definition.id, rt.at, name=definition.name)


# ---------------------------------------------------------------- global functions


@method("", "abort", "(return: Any)")
def abort(rt: Runtime, this: Any, value: Any) -> Any:
    raise QueryError("abort", "Query aborted.", abort=materialize(rt, value))


@method("", "dbg", "(value: Any)")
def dbg(rt: Runtime, this: Any, value: Any) -> Any:
    note(rt, debug(rt, value), long=True)
    return value


@method("", "log", "(args...: Any)")
def log(rt: Runtime, this: Any, *args: Any) -> None:
    note(rt, sized(rt, " ".join([display(rt, value) for value in args])), long=False)


LOG_LINES_MAX = 10_000


def note(rt: Runtime, text: str, *, long: bool) -> None:
    """Add to the summary; the calling node fills in the place."""
    rt.tick(4)
    if len(rt.log) >= LOG_LINES_MAX:
        raise OverBudget
    rt.log.append(LogLine(text, (0, 0), long))


@method("", "newId", effect=OBSERVATION)
def new_id(rt: Runtime, this: Any) -> Id:
    return Id(rt.view.new_id())


def _direction(name: str) -> None:
    method("", name, "(accessor: F1)")(lambda rt, this, accessor: {name: accessor})


_direction("asc")
_direction("desc")


def _module_string(rt: Runtime, this: Module) -> str:
    return this.name


for _name in MODULES:
    if "toString" not in STATICS.get(_name, {}):
        method(_name, "toString")(_module_string)
