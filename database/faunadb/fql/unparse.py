"""How is a tree written back? Text that parses to an equal tree, spans apart, on one line.

Cursors and event tokens carry closures this way. The parentheses of the source are in the
tree, so none are added here: a tree that was put together by hand may need its own `Tuple`s.

Trap: recursion is bounded only by `syntax.DEPTH_MAX`; the stack below is explicit, because a
Python frame per node would not fit beside the caller's.
"""

import re
from collections.abc import Callable, Iterable

from faunadb.fql.lexer import placeholder_text
from faunadb.fql.syntax import (
    Array,
    At,
    Bang,
    Binary,
    Block,
    Call,
    Chain,
    Entry,
    Field,
    If,
    Index,
    Lambda,
    Let,
    Literal,
    Logical,
    Method,
    Node,
    Object,
    Parameter,
    Placeholder,
    Project,
    ShortLambda,
    Template,
    This,
    Tuple,
    Type,
    TypeApplication,
    TypeField,
    TypeFunction,
    TypeIntersection,
    TypeLiteral,
    TypeName,
    TypeNullable,
    TypeObject,
    TypeParameter,
    TypeTuple,
    TypeUnion,
    Unary,
    Variable,
)

_Parts = list["str | Node"]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_']*")
_ESCAPED = re.compile(
    '[\\\\"#\\x00-\\x1f\\x7f\\u2000-\\u200f\\u2028-\\u202f\\u2060-\\u206f\\ufeff\\ufff0-\\uffff]'
)
_SHORT_ESCAPES = {"\\": "\\\\", '"': '\\"', "#": "\\#", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def unparse(node: Node, placeholder: Callable[[int], str] = placeholder_text) -> str:
    """Write any node. `placeholder` gives the text for a template's value by its number."""
    written: list[str] = []
    pending: _Parts = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, str):
            written.append(part)
        elif isinstance(part, Placeholder):
            written.append(placeholder(part.index))
        else:
            pending.extend(reversed(_WRITERS[type(part)](part)))
    return "".join(written)


def quote(text: str) -> str:
    """Write a string literal in double quotes."""
    return f'"{_escape(text)}"'


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: _SHORT_ESCAPES.get(found[0]) or _code(found[0]), text)


def _code(char: str) -> str:
    return f"\\u{{{ord(char):x}}}"


def _joined(nodes: Iterable[Node], separator: str = ", ") -> _Parts:
    parts: _Parts = []
    for node in nodes:
        parts += [separator, node] if parts else [node]
    return parts


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else quote(key)


def _literal(node: Literal | TypeLiteral) -> _Parts:
    value = node.value
    if isinstance(value, str):
        return [quote(value)]
    if value is None or isinstance(value, bool):
        return [{None: "null", True: "true", False: "false"}[value]]
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return ["1e999" if value > 0 else "-1e999"]  # beyond the largest double, as it was written
    return [repr(value)]


def _template(node: Template) -> _Parts:
    parts: _Parts = ['"']
    for part in node.parts:
        parts += [_escape(part)] if isinstance(part, str) else ["#{", part, "}"]
    return [*parts, '"']


def _entry(node: Entry) -> _Parts:
    return [_key(node.key), ": ", node.value]


def _let(node: Let) -> _Parts:
    annotation: _Parts = [": ", node.type] if node.type else []
    return ["let ", node.name, *annotation, " = ", node.value]


def _if(node: If) -> _Parts:
    otherwise: _Parts = [" else ", node.otherwise] if node.otherwise else []
    return ["if (", node.condition, ") ", node.then, *otherwise]


def _lambda(node: Lambda) -> _Parts:
    parameters = _joined(node.parameters)
    if node.variadic:
        parameters += [", ..." if parameters else "...", node.variadic]
    return ["(", *parameters, ") => ", node.body]


def _field(node: Field) -> _Parts:
    return ["?." if node.optional else ".", node.name]


def _method(node: Method) -> _Parts:
    name: _Parts = ["?." if node.optional else ".", node.name, "?." if node.call_optional else ""]
    return [*name, "(", *_joined(node.arguments), ")"]


def _call(node: Call | Index) -> _Parts:
    opening, closing = "()" if isinstance(node, Call) else "[]"
    return ["?." if node.optional else "", opening, *_joined(node.arguments), closing]


def _chain(node: Chain) -> _Parts:
    """A chain on `This` begins with one dot, which a field brings along."""
    dot = isinstance(node.base, This) and isinstance(node.links[0], Call | Index)
    return [node.base, "." if dot else "", *node.links]


def _type_field(node: TypeField) -> _Parts:
    default: _Parts = [" = ", node.default] if node.default else []
    return [_key(node.key), ": ", node.type, *default]


def _type_object(node: TypeObject) -> _Parts:
    parts = _joined(node.fields)
    if node.wildcard:
        parts += [", *: " if parts else "*: ", node.wildcard]
    if node.open:
        parts += [", ..." if parts else "..."]
    return ["{ ", *parts, " }"]


def _type_parameter(node: TypeParameter) -> _Parts:
    return [f"{node.name}: " if node.name else "", node.type]


def _type_function(node: TypeFunction) -> _Parts:
    """The dots stand before the type, not before its name: `(a: A, b: ...B) => C`."""
    parameters = _joined(node.parameters)
    if node.variadic:
        name = f"{node.variadic.name}: " if node.variadic.name else ""
        parameters += [", " if parameters else "", f"{name}...", node.variadic.type]
    return ["(", *parameters, ") => ", node.result]


def _nested_type(node: Type, loose: tuple[type, ...]) -> _Parts:
    """A member that binds looser than its surroundings is in parentheses."""
    return ["(", node, ")"] if isinstance(node, loose) else [node]


def _type_members(node: TypeUnion | TypeIntersection) -> _Parts:
    separator = " | " if isinstance(node, TypeUnion) else " & "
    loose = (TypeFunction, TypeUnion)
    parts: _Parts = []
    for member in node.members:
        parts += [separator if parts else "", *_nested_type(member, loose)]
    return parts


def _type_nullable(node: TypeNullable) -> _Parts:
    return [*_nested_type(node.base, (TypeFunction, TypeUnion, TypeIntersection)), "?"]


_WRITERS: dict[type, Callable[..., _Parts]] = {
    Literal: _literal,
    Template: _template,
    Array: lambda node: ["[", *_joined(node.elements), "]"],
    Entry: _entry,
    Object: lambda node: ["{ ", *_joined(node.entries), " }"] if node.entries else ["{}"],
    Tuple: lambda node: ["(", *_joined(node.elements), ")"],
    Variable: lambda node: [node.name],
    This: lambda _: [],
    Let: _let,
    Block: lambda node: ["{ ", *_joined(node.statements, "; "), " }"],
    If: _if,
    At: lambda node: ["at (", node.time, ") ", node.body],
    Parameter: lambda node: [node.name],
    Lambda: _lambda,
    ShortLambda: lambda node: [node.body],
    Field: _field,
    Method: _method,
    Call: _call,
    Index: _call,
    Bang: lambda _: ["!"],
    Chain: _chain,
    Unary: lambda node: [node.operator, node.operand],
    Binary: lambda node: [node.left, f" {node.operator} ", node.right],
    Logical: lambda node: _joined(node.operands, f" {node.operator} "),
    Project: lambda node: [node.base, " { ", *_joined(node.entries), " }"],
    TypeName: lambda node: [node.name],
    TypeApplication: lambda node: [node.name, "<", *_joined(node.arguments), ">"],
    TypeLiteral: _literal,
    TypeField: _type_field,
    TypeObject: _type_object,
    TypeTuple: lambda node: ["[", *_joined(node.elements), "]"],
    TypeParameter: _type_parameter,
    TypeFunction: _type_function,
    TypeUnion: _type_members,
    TypeIntersection: _type_members,
    TypeNullable: _type_nullable,
}
