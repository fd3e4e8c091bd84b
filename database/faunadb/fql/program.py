"""A query that is ready to run, and how it was proven to write nothing.

Proven read-only means: no member of it has the name of something that writes, no function of
the schema is reachable whose body is not read-only itself, and no name is computed (`doc[x]`
finds methods too). Everything else counts as a write, wrongly or not (SAFETY 1).

Trap: the proof holds for one schema version: names become functions when they are created.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from faunadb.definitions import FunctionDefinition, Schema
from faunadb.fql.runtime import Code, Compiler
from faunadb.fql.syntax import (
    Chain,
    Field,
    Index,
    Literal,
    Method,
    Node,
    Variable,
)

WRITE_NAMES = frozenset(
    {"create", "createData", "update", "updateData", "replace", "replaceData", "delete",
     "login", "evalV4", "eventSource", "toStream", "eventsOn", "changesOn"}
)  # fmt: skip
_TAINTED = frozenset({"Function", "newId", "FQL"})


class Program(msgspec.Struct, frozen=True):
    """Compiled code of one text. `names` are the request's arguments, in the frame's order.

    `places` are the spans of the placeholders, by number.
    """

    body: Code
    slots: int
    places: tuple[tuple[int, int], ...]
    names: tuple[str, ...]
    read_only: bool
    compiler: Compiler


def nodes(root: Any) -> Iterator[Node]:
    """Yield every node of a tree, in no particular order."""
    pending: list[Any] = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Node):
            yield node
            pending.extend(getattr(node, name) for name in node.__struct_fields__)
        elif isinstance(node, tuple):
            pending.extend(node)


def is_read_only(root: Any, schema: Schema, parse: Any, seen: frozenset[int] = frozenset()) -> bool:
    """Prove that a tree writes nothing; `parse` reads the bodies of functions."""
    plain: set[int] = set()
    for node in nodes(root):
        match node:
            case Chain(base=Variable(name="Function") as base, links=(Field() | Method(), *_)):
                plain.add(id(base))
            case Field(name=name) | Method(name=name):
                if name in WRITE_NAMES or name == "Function":
                    return False
            case Index(arguments=arguments):
                if not all(_safe_key(key) for key in arguments):
                    return False
    for node in nodes(root):
        if isinstance(node, Variable):
            if node.name in _TAINTED and id(node) not in plain:
                return False
            if not _safe_name(node.name, schema.names, schema, parse, seen):
                return False
    return True


def _safe_key(key: Any) -> bool:
    if not isinstance(key, Literal):
        return False
    return not isinstance(key.value, str) or key.value not in WRITE_NAMES


def _safe_name(
    name: str, names: Mapping[str, Any], schema: Schema, parse: Any, seen: frozenset[int]
) -> bool:
    definition = names.get(name)
    if not isinstance(definition, FunctionDefinition) or definition.id in seen:
        return True
    return is_read_only(parse(definition.body), schema, parse, seen | {definition.id})
