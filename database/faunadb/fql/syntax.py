"""What a text of FQL means before anything is looked up: the tree, with its places in the text.

Every node ends in `span`, (start, end) in characters of the concatenated query text, end
exclusive. Parentheses stay visible as a `Tuple` of one element, because they mean something:
they end a chain (`(a?.b).c`), and they make a short lambda a value (`(.a)`). For the same
reason a tree can be written back (`unparse`) without inventing parentheses.

`&&`, `||` and `??` hold all operands of a run in one node; every other operator has two.
A tree is at most `DEPTH_MAX` nodes deep (the parser refuses more), operators included.

Trap: `This` is what the nearest enclosing `ShortLambda` or `Project` is applied to. A value of
a projection is *not* wrapped in a `ShortLambda`: `x { a: .b }` holds the bare body of `.b`.
"""

import msgspec

Span = tuple[int, int]

DEPTH_MAX = 400  # nodes; deeper than any written query, shallower than Python's own stack


class Node(msgspec.Struct, frozen=True, gc=False):
    """Base of all; only there to be caught by name."""


# ------------------------------------------------------------------------- values and names


class Literal(Node, frozen=True, gc=False):
    """`null`, a Boolean, a number or a string. An integer beyond 64 bits is already a float."""

    value: bool | int | float | str | None
    span: Span


class Template(Node, frozen=True, gc=False):
    """A string with `#{}` in it; texts are never empty and never side by side."""

    parts: "tuple[str | Expr, ...]"
    span: Span


class Array(Node, frozen=True, gc=False):
    elements: "tuple[Expr, ...]"
    span: Span


class Entry(Node, frozen=True, gc=False):
    """One `key: value` of an object or projection; `span` is the key's."""

    key: str
    value: "Expr"
    span: Span


class Object(Node, frozen=True, gc=False):
    entries: tuple[Entry, ...]
    span: Span


class Tuple(Node, frozen=True, gc=False):
    """`(a)` is `a`; none or several elements make an array."""

    elements: "tuple[Expr, ...]"
    span: Span


class Variable(Node, frozen=True, gc=False):
    """A name: a binding of the query, else a global (collection, function, module)."""

    name: str
    span: Span


class Placeholder(Node, frozen=True, gc=False):
    """The value number `index` (from 0) that the request's template brought."""

    index: int
    span: Span


class This(Node, frozen=True, gc=False):
    """What stands before the first dot of `.a`; only ever the base of a `Chain`."""

    span: Span


# ------------------------------------------------------------------------- control and binding


class Let(Node, frozen=True, gc=False):
    name: str
    name_span: Span
    type: "Type | None"
    value: "Expr"
    span: Span


class Block(Node, frozen=True, gc=False):
    """Statements, at least one, the last an expression. A whole query is one."""

    statements: "tuple[Let | Expr, ...]"
    span: Span


class If(Node, frozen=True, gc=False):
    condition: "Expr"
    then: "Expr"
    otherwise: "Expr | None"
    span: Span


class At(Node, frozen=True, gc=False):
    time: "Expr"
    body: "Expr"
    span: Span


class Parameter(Node, frozen=True, gc=False):
    """`_` binds nothing."""

    name: str
    span: Span


class Lambda(Node, frozen=True, gc=False):
    """`(a, b, ...rest) => body`."""

    parameters: tuple[Parameter, ...]
    variadic: Parameter | None
    body: "Expr"
    span: Span


class ShortLambda(Node, frozen=True, gc=False):
    """`.a == 1`: a function of one argument, which `body` names `This`."""

    body: "Expr"
    span: Span


# ------------------------------------------------------------------------- chains


class Field(Node, frozen=True, gc=False):
    """`.name` or `?.name`, not followed by a call. `span` is the name, `dot` its start."""

    name: str
    dot: int
    optional: bool
    span: Span


class Method(Node, frozen=True, gc=False):
    """`.name(arguments)`. `span` is the parentheses, `name_span` the name, `dot` its start."""

    name: str
    arguments: "tuple[Expr, ...]"
    dot: int
    name_span: Span
    optional: bool  # ?.name(..)
    call_optional: bool  # .name?.(..)
    span: Span


class Call(Node, frozen=True, gc=False):
    """`(arguments)` or `?.(arguments)`. `span` is the parentheses."""

    arguments: "tuple[Expr, ...]"
    optional: bool
    span: Span


class Index(Node, frozen=True, gc=False):
    """`[arguments]` or `?.[arguments]`, any number of them. `span` is the brackets."""

    arguments: "tuple[Expr, ...]"
    optional: bool
    span: Span


class Bang(Node, frozen=True, gc=False):
    """`!` behind something. `span` runs from the start of the previous component to the `!`."""

    span: Span


Link = Field | Method | Call | Index | Bang


class Chain(Node, frozen=True, gc=False):
    """`base` and at least one link. A null before a `?.` skips all links up to the next `!`."""

    base: "Expr"
    links: tuple[Link, ...]
    span: Span


# ------------------------------------------------------------------------- operators


class Unary(Node, frozen=True, gc=False):
    operator: str  # - ~ !
    operator_span: Span
    operand: "Expr"
    span: Span


class Binary(Node, frozen=True, gc=False):
    """All operators of two sides but the lazy ones; `isa` is one of them."""

    operator: str
    operator_span: Span
    left: "Expr"
    right: "Expr"
    span: Span


class Logical(Node, frozen=True, gc=False):
    """A run of one of `&&`, `||`, `??` over two or more operands, lazy from left to right."""

    operator: str
    operands: "tuple[Expr, ...]"
    span: Span


class Project(Node, frozen=True, gc=False):
    """`base { a, b: expr }`; in the values `This` is the element that is projected."""

    base: "Expr"
    entries: tuple[Entry, ...]
    span: Span


Expr = (
    Literal
    | Template
    | Array
    | Object
    | Tuple
    | Variable
    | Placeholder
    | This
    | Block
    | If
    | At
    | Lambda
    | ShortLambda
    | Chain
    | Unary
    | Binary
    | Logical
    | Project
)


# ------------------------------------------------------------------------- types


class TypeName(Node, frozen=True, gc=False):
    """`Int`, `Any`, `Never`, a collection's name."""

    name: str
    span: Span


class TypeApplication(Node, frozen=True, gc=False):
    """`Array<Int>`; `span` covers the whole."""

    name: str
    arguments: "tuple[Type, ...]"
    span: Span


class TypeLiteral(Node, frozen=True, gc=False):
    """The type of one value: a string, an integer, `true`, `false`."""

    value: bool | int | str
    span: Span


class TypeField(Node, frozen=True, gc=False):
    """`key: type [= default]`; `span` is the key's. Only the schema may give a default."""

    key: str
    type: "Type"
    default: Expr | None
    span: Span


class TypeObject(Node, frozen=True, gc=False):
    """`{ a: T, *: U }`; `open` for `{ a: T, ... }`, which allows other fields unseen."""

    fields: tuple[TypeField, ...]
    wildcard: "Type | None"
    open: bool
    span: Span


class TypeTuple(Node, frozen=True, gc=False):
    """`[A, B]`, also written `(A, B)`."""

    elements: "tuple[Type, ...]"
    span: Span


class TypeParameter(Node, frozen=True, gc=False):
    name: str | None
    type: "Type"
    span: Span


class TypeFunction(Node, frozen=True, gc=False):
    parameters: tuple[TypeParameter, ...]
    variadic: TypeParameter | None
    result: "Type"
    span: Span


class TypeUnion(Node, frozen=True, gc=False):
    members: "tuple[Type, ...]"
    span: Span


class TypeIntersection(Node, frozen=True, gc=False):
    members: "tuple[Type, ...]"
    span: Span


class TypeNullable(Node, frozen=True, gc=False):
    """`T?`."""

    base: "Type"
    span: Span


Type = (
    TypeName
    | TypeApplication
    | TypeLiteral
    | TypeObject
    | TypeTuple
    | TypeFunction
    | TypeUnion
    | TypeIntersection
    | TypeNullable
)


def field_path(expr: Expr) -> tuple[str | int, ...] | None:
    """Return the path that a short lambda such as `.a["b"][0]` spells, `None` if it is none."""
    if not isinstance(expr, ShortLambda) or not isinstance(expr.body, Chain):
        return None
    if not isinstance(expr.body.base, This):
        return None
    path: list[str | int] = []
    for link in expr.body.links:
        match link:
            case Field(name=name, optional=False):
                path.append(name)
            case Index(arguments=(Literal(value=str(key)),), optional=False):
                path.append(key)
            case Index(arguments=(Literal(value=bool()),)):
                return None
            case Index(arguments=(Literal(value=int(key)),), optional=False) if key >= 0:
                path.append(key)
            case _:
                return None
    return tuple(path)
