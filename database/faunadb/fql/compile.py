"""From the text of a query to a program: lex, parse, check, lower to closures.

Names are looked up when they are reached, so a program fits any schema; only `read_only` is
proven against the schema that was given, and programs are cached with its version.

Trap: nothing here is Python source; no text of a user ever meets `eval`.
"""

from functools import lru_cache

from faunadb.definitions import Schema
from faunadb.errors import QueryError
from faunadb.fql.library import STANDARD_LIBRARY
from faunadb.fql.lower import (
    THIS,
    Scope,
    lambda_code,
    lower,
    placeholder_name,
)
from faunadb.fql.parser import parse_expression, parse_lambda, parse_query
from faunadb.fql.program import Program, is_read_only, nodes
from faunadb.fql.runtime import Compiler, LambdaCode
from faunadb.fql.syntax import Block, Expr, Lambda, Parameter, Placeholder, ShortLambda

assert STANDARD_LIBRARY
CHARS_ON_LOOP_MAX = 16_384  # compiling costs about 10 µs a word: longer texts go to a worker
STORED_CODES_MAX = 4096  # bodies of functions, computed fields, checks, defaults, cursors


def compile_query(text: str, schema: Schema, arguments: tuple[str, ...] = ()) -> Program:
    """Compile one query; `arguments` are the names that the request binds, in order.

    Raises `QueryError` (`InvalidQuery` for what does not parse).
    """
    placeholders = text.count("\0") // 2
    try:
        tree = parse_query(text, placeholders=placeholders)
        names = [placeholder_name(number) for number in range(placeholders)]
        scope = Scope([*names, *arguments], "*query*")
        body = lower(tree, scope)
        read_only = is_read_only(tree, schema, _parse_body)
    except RecursionError:
        raise _too_deep() from None
    return Program(
        body,
        scope.slots - placeholders - len(arguments),
        _places(tree, placeholders),
        arguments,
        read_only,
        STORED,
    )


def _places(tree: Block, count: int) -> tuple[tuple[int, int], ...]:
    """Return where each placeholder stands."""
    spans = [(0, 0)] * count
    if count:
        for node in nodes(tree):
            if isinstance(node, Placeholder):
                spans[node.index] = node.span
    return tuple(spans)


def _too_deep() -> QueryError:
    return QueryError("stack_overflow", "the query nests too deep")


def _parse_body(text: str) -> Expr:
    return parse_lambda(text)


def _function(node: Lambda | ShortLambda, captures: tuple[str, ...], text: str,
              source: str) -> LambdaCode:  # fmt: skip
    if isinstance(node, ShortLambda):
        this = (Parameter(THIS, node.span),)
        return lambda_code(this, None, node.body, captures, lambda: text, source)
    return lambda_code(node.parameters, node.variadic, node.body, captures, lambda: text, source)


class Stored:
    """Compiles text that is kept in the schema or in a cursor, each once."""

    @staticmethod
    @lru_cache(STORED_CODES_MAX)
    def function(text: str, source: str) -> LambdaCode:
        """Compile the text of a lambda."""
        return _function(parse_lambda(text), (), text, source)

    @staticmethod
    @lru_cache(STORED_CODES_MAX)
    def expression(text: str, source: str) -> LambdaCode:
        """Compile an expression as a function without parameters."""
        return lambda_code((), None, parse_expression(text), (), lambda: text, source)

    @staticmethod
    @lru_cache(STORED_CODES_MAX)
    def closed(text: str, captures: tuple[str, ...], source: str) -> LambdaCode:
        """Compile a function of a cursor, whose free names are `captures`."""
        node = parse_expression(text, short=True)
        while not isinstance(node, Lambda | ShortLambda):
            (node,) = node.elements  # type: ignore[union-attr]
        return _function(node, captures, text, source)


STORED: Compiler = Stored()
