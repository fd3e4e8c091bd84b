"""Names: what is free, what is bound, what is refused."""

import pytest

from faunadb.fql.check import check_names, free_variables
from faunadb.fql.diagnostics import Diagnostic, InvalidQuery
from faunadb.fql.parser import parse_query


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("a + b.c(d)", "a b d"),
        ("let a = b; a", "b"),
        ("let a = a; a", "a"),
        ("let f = (n) => f(n); f", "f"),
        ("let a = 1; { let b = a; b }; b", "b"),
        ("x => x + y", "y"),
        ("(x, ...y) => [x, y, z]", "z"),
        ("(x => x)(x)", "x"),
        ("_ => _", ""),
        ('"#{a} b"', "a"),
        ("x { a, b: c, d: .e }", "x c"),
        ("f(.a == b)", "f b"),
        ("{ a: b }", "b"),
        ("if (a) b else c", "a b c"),
        ("at (a) b", "a b"),
        ("let x: T = 1; x", ""),
        ("-a && !b || c ?? d", "a b c d"),
        ("a[b]?.(c)!", "a b c"),
    ],
)
def test_free_variables(text: str, free: str) -> None:
    """A name is bound behind its `let`, in the body of its lambda, and nowhere else."""
    assert set(free.split()) - {"_"} == free_variables(parse_query(text)) - {"_"}


def test_all_unbound_names_are_reported() -> None:
    """Every place counts, in the order of the text; globals are not unbound."""
    with pytest.raises(InvalidQuery) as caught:
        check_names(parse_query("b + User.all() + [a, b]"), {"User"}.__contains__)

    assert (
        Diagnostic("Unbound variable `b`", (0, 1)),
        Diagnostic("Unbound variable `a`", (18, 19)),
        Diagnostic("Unbound variable `b`", (21, 22)),
    ) == caught.value.diagnostics
    assert "invalid_query" == caught.value.code


def test_known_names_pass() -> None:
    """Nothing is said about a query whose names are all known."""
    check_names(parse_query("let a = User; a"), {"User"}.__contains__)
