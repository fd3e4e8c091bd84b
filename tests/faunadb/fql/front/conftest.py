"""What the tests of the front end share: trees as text without places, errors as one line each."""

from collections.abc import Callable
from typing import Any

import pytest

from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.syntax import Block, Literal, Node, This, TypeLiteral, Variable

NOT_SHOWN = frozenset(("span", "name_span", "operator_span", "dot"))


def write(part: Any) -> str:
    """Write a tree as an s-expression; what is absent or false is left out."""
    match part:
        case Literal(value=value) | TypeLiteral(value=value):
            return repr(value)
        case Variable(name=name):
            return name
        case This():
            return "this"
        case Node():
            names = [name for name in part.__struct_fields__ if name not in NOT_SHOWN]
            values = [(name, getattr(part, name)) for name in names]
            shown = [
                name if value is True else write(value)
                for name, value in values
                if value is not None and value is not False
            ]
            return f"({' '.join([type(part).__name__, *shown])})"
        case tuple():
            return (
                f"[{' '.join(repr(one) if isinstance(one, str) else write(one) for one in part)}]"
            )
        case _:
            return str(part) if isinstance(part, str) and part.isidentifier() else repr(part)


def lines(text: str, error: InvalidQuery) -> list[str]:
    """Write each problem as `line:column-length message; annotation`."""
    return [
        f"{text.count(chr(10), 0, start) + 1}:{start - text.rfind(chr(10), 0, start)}"
        f"-{end - start} {problem.message}"
        + (f"; {problem.annotation}" if problem.annotation else "")
        for problem in error.diagnostics
        for start, end in [problem.span]
    ]


@pytest.fixture(scope="session")
def sexpr() -> Callable[[Node], str]:
    """Return the writer of trees; the statements of a query are written side by side."""

    def written(tree: Node) -> str:
        whole = tree.statements if isinstance(tree, Block) else (tree,)
        return " ".join(write(one) for one in whole)

    return written


@pytest.fixture(scope="session")
def problems() -> Callable[[str, InvalidQuery], list[str]]:
    return lines
