"""From tree to closures: `code(rt, frame) -> value`, one closure for each node.

A frame is a list: captured values, then parameters, then every `let` of the body. Which names a
lambda captures is known before its body is lowered, so that every name is a fixed place.
Names that nothing binds are looked up when they are reached (collections, functions, modules).

House rules: the hot nodes (names, fields, calls, arithmetic of Ints) do their usual case inline
and leave the rest to `members` and `operators`. A node that can fail puts its span on errors
that have none.

Trap: values are never changed in place, so constants, arrays and objects included, are shared.
"""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from faunadb.errors import QueryError
from faunadb.fql.budget import OverBudget
from faunadb.fql.calls import call_value
from faunadb.fql.display import display, sized, type_name
from faunadb.fql.failures import fail, null_access, type_mismatch
from faunadb.fql.members import (
    UNBOUND,
    bang,
    call_member,
    get_index,
    get_member,
    global_value,
    is_null,
    unbound,
)
from faunadb.fql.operators import OPERATORS, at_time, unary, unknown_operator
from faunadb.fql.program import nodes
from faunadb.fql.projection import project
from faunadb.fql.reasons import null_reason
from faunadb.fql.registry import METHODS
from faunadb.fql.runtime import Code, Doc, Frame, Lambda, LambdaCode, Runtime
from faunadb.fql.syntax import (
    Array,
    At,
    Bang,
    Binary,
    Block,
    Call,
    Chain,
    Expr,
    Field,
    If,
    Index,
    Let,
    Link,
    Literal,
    Logical,
    Method,
    Object,
    Parameter,
    Placeholder,
    Project,
    ShortLambda,
    Span,
    Template,
    This,
    Tuple,
    Unary,
    Variable,
)
from faunadb.fql.syntax import Lambda as LambdaNode
from faunadb.fql.unparse import unparse
from faunadb.values import INT_MAX, INT_MIN

NOWHERE = (0, 0)
THIS = "this'"


def placeholder_name(index: int) -> str:
    """Return the name that a template's value has inside of functions."""
    return f"value'{index}"


class Scope:
    """The names of one frame. `slots` only grows; `names` is what is visible now."""

    __slots__ = ("constants", "names", "slots", "source")

    def __init__(self, names: Sequence[str], source: str) -> None:
        self.names: dict[str, int] = {name: place for place, name in enumerate(names)}
        self.slots = len(names)
        self.source = source
        self.constants: dict[Code, Any] = {}

    def add(self, name: str) -> int:
        place = self.slots
        self.slots += 1
        if name != "_":
            self.names[name] = place
        return place


def used_names(root: Any) -> list[str]:
    """Return every name that a tree mentions, in a stable order."""
    found: set[str] = set()
    for node in nodes(root):
        if isinstance(node, Variable):
            found.add(node.name)
        elif isinstance(node, Placeholder):
            found.add(placeholder_name(node.index))
    return sorted(found)


def placed(error: QueryError, span: Span) -> QueryError:
    """Put a place on an error that has none."""
    if error.span == NOWHERE:
        error.span = span
    return error


# ---------------------------------------------------------------- expressions


def lower(node: Expr, scope: Scope) -> Code:
    """Return the code of any expression."""
    return _LOWER[type(node)](node, scope)


def constant(value: Any, scope: Scope) -> Code:
    """Return code for a value that never changes, remembered so that parents can fold it."""

    def code(rt: Runtime, frame: Frame) -> Any:
        return value

    scope.constants[code] = value
    return code


def _literal(node: Literal, scope: Scope) -> Code:
    return constant(node.value, scope)


def _variable(node: Variable, scope: Scope) -> Code:
    place = scope.names.get(node.name)
    if place is not None:
        return lambda rt, frame: frame[place]
    name, span = node.name, node.span

    def look_up(rt: Runtime, frame: Frame) -> Any:
        value = global_value(rt, name)
        if value is UNBOUND:
            raise placed(unbound(name), span)
        return value

    return look_up


def _placeholder(node: Placeholder, scope: Scope) -> Code:
    place = scope.names[placeholder_name(node.index)]
    return lambda rt, frame: frame[place]


def _this(node: This, scope: Scope) -> Code:
    place = scope.names[THIS]
    return lambda rt, frame: frame[place]


def _template(node: Template, scope: Scope) -> Code:
    parts = [part if isinstance(part, str) else lower(part, scope) for part in node.parts]
    span = node.span

    def run(rt: Runtime, frame: Frame) -> str:
        try:
            return sized(
                rt,
                "".join([p if isinstance(p, str) else display(rt, p(rt, frame)) for p in parts]),
            )
        except QueryError as error:
            raise placed(error, span) from None

    return run


def _array(node: Array | Tuple, scope: Scope) -> Code:
    codes = [lower(element, scope) for element in node.elements]
    if isinstance(node, Tuple) and len(codes) == 1:
        return codes[0]
    known = scope.constants
    if all(code in known for code in codes):
        return constant([known[code] for code in codes], scope)
    return lambda rt, frame: [code(rt, frame) for code in codes]


def _object(node: Object, scope: Scope) -> Code:
    pairs = [(entry.key, lower(entry.value, scope)) for entry in node.entries]
    known = scope.constants
    if all(code in known for _, code in pairs):
        return constant({key: known[code] for key, code in pairs}, scope)
    return lambda rt, frame: {key: code(rt, frame) for key, code in pairs}


def _block(node: Block, scope: Scope) -> Code:
    visible = scope.names
    scope.names = dict(visible)
    codes = [
        _let(statement, scope) if isinstance(statement, Let) else lower(statement, scope)
        for statement in node.statements
    ]
    scope.names = visible
    if len(codes) == 1:
        return codes[0]
    *first, last = codes

    def run(rt: Runtime, frame: Frame) -> Any:
        for code in first:
            code(rt, frame)
        return last(rt, frame)

    return run


def _let(node: Let, scope: Scope) -> Code:
    value = node.value
    new = node.name not in scope.names and node.name != "_"
    if new and isinstance(value, LambdaNode) and node.name in used_names(value.body):
        return _recursive(node.name, value, scope)
    code = lower(value, scope)
    place = scope.add(node.name)

    def bind(rt: Runtime, frame: Frame) -> None:
        frame[place] = code(rt, frame)

    return bind


def _recursive(name: str, node: LambdaNode, scope: Scope) -> Code:
    """A lambda that names itself captures itself."""
    place = scope.add(name)
    code = lower(node, scope)

    def bind(rt: Runtime, frame: Frame) -> None:
        function = code(rt, frame)
        captures = function.code.captures
        if name in captures:
            function.captured[captures.index(name)] = function
        frame[place] = function

    return bind


def _if(node: If, scope: Scope) -> Code:
    condition, span = lower(node.condition, scope), node.condition.span
    then = lower(node.then, scope)
    otherwise = constant(None, scope) if node.otherwise is None else lower(node.otherwise, scope)

    def run(rt: Runtime, frame: Frame) -> Any:
        chosen = condition(rt, frame)
        if chosen is True:
            return then(rt, frame)
        if chosen is False:
            return otherwise(rt, frame)
        raise placed(type_mismatch("Boolean", type_name(chosen)), span)

    return run


def _at(node: At, scope: Scope) -> Code:
    time, body, span = lower(node.time, scope), lower(node.body, scope), node.time.span

    def run(rt: Runtime, frame: Frame) -> Any:
        value = time(rt, frame)
        try:
            at = at_time(rt, value)
        except QueryError as error:
            raise placed(error, span) from None
        saved, rt.at = rt.at, at
        try:
            return body(rt, frame)
        finally:
            rt.at = saved

    return run


# ---------------------------------------------------------------- functions


def lambda_code(
    parameters: tuple[Parameter, ...],
    variadic: Parameter | None,
    body: Expr | Callable[[Scope], Code],
    captures: tuple[str, ...],
    text: Callable[[], str],
    source: str,
) -> LambdaCode:
    """Lower a function of its own frame."""
    names = [parameter.name for parameter in parameters]
    scope = Scope(captures, source)
    for name in names:
        scope.add(name)
    if variadic is not None:
        scope.add(variadic.name)
    first = scope.slots
    run = body(scope) if callable(body) else lower(body, scope)
    return LambdaCode(
        parameters=len(names),
        variadic=variadic is not None,
        captures=captures,
        lets=scope.slots - first,
        body=run,
        text=text,
        source=source,
    )


def captured_names(body: Any, own: Sequence[str], scope: Scope) -> tuple[str, ...]:
    """Return which visible names a function keeps; `_` and its own names are not among them."""
    return tuple(n for n in used_names(body) if n in scope.names and n not in own)


def _closure(code: LambdaCode, scope: Scope) -> Code:
    places = [scope.names[name] for name in code.captures]
    if not places:
        function = Lambda(code, [])
        return lambda rt, frame: function
    return lambda rt, frame: Lambda(code, [frame[place] for place in places])


def _lambda(node: LambdaNode, scope: Scope) -> Code:
    own = [parameter.name for parameter in node.parameters]
    if node.variadic is not None:
        own.append(node.variadic.name)
    captures = captured_names(node.body, own, scope)
    code = lambda_code(
        node.parameters, node.variadic, node.body, captures,
        lambda: unparse(node, placeholder_name), scope.source,
    )  # fmt: skip
    return _closure(code, scope)


def _short_lambda(node: ShortLambda, scope: Scope) -> Code:
    captures = captured_names(node.body, (), scope)
    this = (Parameter(THIS, node.span),)
    code = lambda_code(
        this, None, node.body, captures,
        lambda: f"({unparse(node, placeholder_name)})", scope.source,
    )  # fmt: skip
    return _closure(code, scope)


def _project(node: Project, scope: Scope) -> Code:
    base, span = lower(node.base, scope), node.span
    captures = captured_names(node.entries, (), scope)
    this = Parameter(THIS, node.span)

    def entries(inner: Scope) -> Code:
        pairs = [(entry.key, lower(entry.value, inner)) for entry in node.entries]
        return lambda rt, frame: {key: code(rt, frame) for key, code in pairs}

    def text() -> str:
        element = Project(Variable("element'", NOWHERE), node.entries, NOWHERE)
        return f"(element') => {unparse(element, placeholder_name)}"

    code = lambda_code((this,), None, entries, captures, text, scope.source)
    closure = _closure(code, scope)

    def run(rt: Runtime, frame: Frame) -> Any:
        value = base(rt, frame)
        try:
            return project(rt, value, closure(rt, frame))
        except QueryError as error:
            raise placed(error, span) from None

    return run


# ---------------------------------------------------------------- chains


def _chain(node: Chain, scope: Scope) -> Code:
    return _links(lower(node.base, scope), node.base, node.links, scope)


def _links(code: Code, base: Any, links: Sequence[Link], scope: Scope) -> Code:
    """Apply links in order; a null before `?.` skips the rest up to the next `!`."""
    before = base
    for number, link in enumerate(links):
        if not isinstance(link, Bang) and link.optional:
            end = next(
                (n for n in range(number, len(links)) if isinstance(links[n], Bang)), len(links)
            )
            code = _optional(code, before, links[number:end], scope)
            return _links(code, links[end - 1], links[end:], scope)
        code = _LINKS[type(link)](code, before, link, scope)
        before = link
    return code


def _optional(code: Code, before: Any, links: Sequence[Link], scope: Scope) -> Code:
    place = scope.add("_")
    first = links[0]
    made = _LINKS[type(first)](lambda rt, frame: frame[place], before, first, scope)
    rest = _links(made, first, links[1:], scope)

    def run(rt: Runtime, frame: Frame) -> Any:
        value = code(rt, frame)
        if value is None or (type(value) is Doc and is_null(rt, value)):
            return None
        frame[place] = value
        return rest(rt, frame)

    return run


def _field(code: Code, before: Any, link: Field, scope: Scope) -> Code:
    name, span = link.name, link.span

    def run(rt: Runtime, frame: Frame) -> Any:
        this = code(rt, frame)
        if type(this) is dict:
            return this.get(name)
        try:
            return get_member(rt, this, name)
        except QueryError as error:
            raise placed(
                error, before.span if error.code == "document_not_found" else span
            ) from None

    return run


def _method(code: Code, before: Any, link: Method, scope: Scope) -> Code:
    name, name_span, span = link.name, link.name_span, link.span
    codes = [lower(argument, scope) for argument in link.arguments]
    table_of = METHODS.get
    if link.call_optional:
        return _optional_call(code, name, codes, span)

    def run(rt: Runtime, frame: Frame) -> Any:
        this = code(rt, frame)
        kind = type(this)
        if this is None and name != "toString":
            raise placed(null_access(name), name_span)
        args = [argument(rt, frame) for argument in codes]
        try:
            table = table_of(kind)
            if table is not None and kind is not Doc:
                method = table.get(name)
                if method is not None:
                    return method(rt, this, args)
            return call_member(rt, this, name, args)
        except QueryError as error:
            if error.span == NOWHERE:
                error.span = _call_span(error, before, name_span, span)
            raise

    return run


def _call_span(error: QueryError, before: Any, name_span: Span, span: Span) -> Span:
    """Errors about the receiver stand at it, about the name at the name, others at `(..)`."""
    if error.code == "document_not_found":
        return before.span  # type: ignore[no-any-return]
    if error.code == "invalid_null_access" or error.message.startswith("The function `"):
        return name_span
    return span


def _optional_call(code: Code, name: str, codes: list[Code], span: Span) -> Code:
    def run(rt: Runtime, frame: Frame) -> Any:
        try:
            function = get_member(rt, code(rt, frame), name)
            if function is None:
                return None
            return call_value(rt, function, [argument(rt, frame) for argument in codes])
        except QueryError as error:
            raise placed(error, span) from None

    return run


def _call(code: Code, before: Any, link: Call, scope: Scope) -> Code:
    codes = [lower(argument, scope) for argument in link.arguments]
    span, source = link.span, scope.source

    def run(rt: Runtime, frame: Frame) -> Any:
        function = code(rt, frame)
        args = [argument(rt, frame) for argument in codes]
        try:
            value = call_value(rt, function, args)
        except QueryError as error:
            if error.span == NOWHERE:
                error.span = span
            raise
        if rt.log and rt.log[-1].span == NOWHERE:
            rt.log[-1].span, rt.log[-1].source = span, source
        return value

    return run


def _index(code: Code, before: Any, link: Index, scope: Scope) -> Code:
    codes = [lower(argument, scope) for argument in link.arguments]
    span = link.span

    def run(rt: Runtime, frame: Frame) -> Any:
        this = code(rt, frame)
        args = [argument(rt, frame) for argument in codes]
        try:
            return get_index(rt, this, args)
        except QueryError as error:
            raise placed(error, span) from None

    return run


def _bang(code: Code, before: Any, link: Bang, scope: Scope) -> Code:
    reason, span = null_reason(before), link.span

    def run(rt: Runtime, frame: Frame) -> Any:
        value = code(rt, frame)
        if value is not None and type(value) is not Doc:
            return value
        try:
            return bang(rt, value, reason)
        except QueryError as error:
            raise placed(error, span) from None

    return run


_LINKS: dict[type, Callable[[Code, Any, Any, Scope], Code]] = {
    Field: _field,
    Method: _method,
    Call: _call,
    Index: _index,
    Bang: _bang,
}


# ---------------------------------------------------------------- operators


def _unary(node: Unary, scope: Scope) -> Code:
    code, operator, span = lower(node.operand, scope), node.operator, node.operator_span

    def run(rt: Runtime, frame: Frame) -> Any:
        try:
            return unary(rt, operator, code(rt, frame))
        except QueryError as error:
            raise placed(error, span) from None

    return run


def _binary(node: Binary, scope: Scope) -> Code:
    left, right = lower(node.left, scope), lower(node.right, scope)
    name = node.operator
    operate = OPERATORS.get(name) or unknown_operator(name)
    fast = _FAST.get(name)
    if fast is not None:
        return fast(left, right, _guarded(operate, node))
    guarded = _guarded(operate, node)
    return lambda rt, frame: guarded(rt, left(rt, frame), right(rt, frame))


def _guarded(operate: Callable[[Runtime, Any, Any], Any], node: Binary) -> Any:
    operator_span, right_span = node.operator_span, node.right.span

    def run(rt: Runtime, left: Any, right: Any) -> Any:
        rt.left -= 1
        if rt.left < 0:
            raise OverBudget
        try:
            return operate(rt, left, right)
        except QueryError as error:
            missing = error.code == "invalid_function_invocation"
            raise placed(error, operator_span if missing else right_span) from None

    return run


def _add(left: Code, right: Code, slow: Any) -> Code:
    def run(rt: Runtime, frame: Frame) -> Any:
        a, b = left(rt, frame), right(rt, frame)
        if type(a) is int and type(b) is int and INT_MIN <= a + b <= INT_MAX:
            return a + b
        return slow(rt, a, b)

    return run


def _minus(left: Code, right: Code, slow: Any) -> Code:
    def run(rt: Runtime, frame: Frame) -> Any:
        a, b = left(rt, frame), right(rt, frame)
        if type(a) is int and type(b) is int and INT_MIN <= a - b <= INT_MAX:
            return a - b
        return slow(rt, a, b)

    return run


def _equals(left: Code, right: Code, slow: Any) -> Code:
    def run(rt: Runtime, frame: Frame) -> Any:
        a, b = left(rt, frame), right(rt, frame)
        kind = type(a)
        if kind is type(b) and (kind is str or kind is int):
            return a == b
        return slow(rt, a, b)

    return run


def _less(left: Code, right: Code, slow: Any) -> Code:
    def run(rt: Runtime, frame: Frame) -> Any:
        a, b = left(rt, frame), right(rt, frame)
        return a < b if type(a) is int and type(b) is int else slow(rt, a, b)

    return run


def _greater(left: Code, right: Code, slow: Any) -> Code:
    def run(rt: Runtime, frame: Frame) -> Any:
        a, b = left(rt, frame), right(rt, frame)
        return a > b if type(a) is int and type(b) is int else slow(rt, a, b)

    return run


_FAST: dict[str, Callable[[Code, Code, Any], Code]] = {
    "+": _add,
    "-": _minus,
    "==": _equals,
    "<": _less,
    ">": _greater,
}


def _logical(node: Logical, scope: Scope) -> Code:
    codes = [lower(operand, scope) for operand in node.operands]
    if node.operator == "??":
        return _coalesce(codes)
    spans = [operand.span for operand in node.operands]
    pairs = list(zip(codes, spans, strict=True))
    stop = node.operator == "||"

    def run(rt: Runtime, frame: Frame) -> Any:
        value: Any = not stop
        for code, span in pairs:
            value = code(rt, frame)
            if value is stop:
                return stop
            if type(value) is not bool:
                _refuse_boolean(value, span)
        return value

    return run


def _refuse_boolean(value: Any, span: Span) -> NoReturn:
    raise placed(type_mismatch("Boolean", type_name(value)), span)


def _coalesce(codes: list[Code]) -> Code:
    *first, last = codes

    def run(rt: Runtime, frame: Frame) -> Any:
        for code in first:
            value = code(rt, frame)
            if value is not None and (type(value) is not Doc or not is_null(rt, value)):
                return value
        return last(rt, frame)

    return run


def _refused(node: Any, scope: Scope) -> Code:
    raise fail("invalid_query", f"{type(node).__name__} cannot be evaluated")


_LOWER: dict[type, Callable[[Any, Scope], Code]] = {
    Literal: _literal,
    Template: _template,
    Array: _array,
    Object: _object,
    Tuple: _array,
    Variable: _variable,
    Placeholder: _placeholder,
    This: _this,
    Block: _block,
    If: _if,
    At: _at,
    LambdaNode: _lambda,
    ShortLambda: _short_lambda,
    Chain: _chain,
    Unary: _unary,
    Binary: _binary,
    Logical: _logical,
    Project: _project,
}
