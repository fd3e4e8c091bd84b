"""No query holds the event loop, eats the memory or breaks the process (issue of hostile input)."""

from typing import Any

import pytest

from faunadb.errors import QueryError
from faunadb.fql.budget import STEPS_ON_LOOP, Budget, OverBudget
from faunadb.fql.compile import compile_query
from faunadb.fql.evaluate import Evaluated, run
from faunadb.fql.runtime import Context
from fql_test_helpers.memory_view import MemoryDatabase


def evaluate(text: str, steps: int = STEPS_ON_LOOP) -> Evaluated:
    view: Any = MemoryDatabase().view()
    return run(compile_query(text, view.schema), [], view, Context(), Budget(steps))


ENDLESS = [
    "Set.sequence(0, 2147483647).count()",
    "Set.sequence(0, 2147483647).fold(0, (a, b) => a + b)",
    "Set.sequence(0, 2147483647).where(x => x < 0).first()",
    "Set.sequence(0, 2147483647).drop(2000000000).first()",
    "Set.sequence(0, 2147483647).any(x => false)",
    "Set.sequence(0, 2147483647).includes(-1)",
    "Set.sequence(0, 16000).order(desc(x => x)).first()",
    "Set.sequence(0, 16000).distinct().first()",
    "Array.sequence(0, 16000).order()",
    "Array.sequence(0, 16000).map(x => x)",
    "Array.sequence(0, 16000).indexOf(-1)",
    'let f = (s, n) => if (n == 0) s else f(s + s, n - 1)\nf("0123456789abcdef", 18)',
    "let f = (s, n) => if (n == 0) s else f(s.concat(s), n - 1)\nf([1, 2, 3, 4], 18).length",
    (
        'let s = "0123456789abcdef"\nlet f = (s, n) => if (n == 0) s else f(s + s, n - 1)\n'
        'f(s, 12).replaceAll("0", s + s + s)'
    ),
    "let f = (n) => if (n > 0) { f(n - 1); f(n - 1) } else 0\nf(40)",
    '"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!".matches("(a+)+$")',
    "Array.sequence(0, 15000).forEach(x => log(x))",
    "Array.sequence(0, 3000).distinct().toString()",
    "Object.fromEntries(Array.sequence(0, 15000).map(x => [x.toString(), x]))",
    "Array.sequence(0, 3000).flatMap(x => [x, [x]]) == Array.sequence(0, 3000)",
]


@pytest.mark.parametrize("text", ENDLESS)
def test_long_work_is_over_budget(text: str) -> None:
    """What takes longer than a turn of the event loop is abandoned."""
    with pytest.raises(OverBudget):
        evaluate(text)


def test_deep_recursion_asks_for_a_deep_stack() -> None:
    """Recursion that Python's usual stack cannot hold is over budget, not an error."""
    with pytest.raises(OverBudget) as caught:
        evaluate("let f = (n) => 1 + f(n + 1)\nf(0)", 1_000_000)
    assert "stack" == caught.value.what


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000 + "]" * 5000,
        "(" * 5000 + "1" + ")" * 5000,
        "1" + " + 1" * 5000,
        "!" * 5000 + "true",
        "{ a: " * 3000 + "1" + " }" * 3000,
        "x => " * 3000 + "1",
        "if (true) " * 3000 + "1",
        "a" + ".b" * 100_000,
        "a" + "?.b" * 5000,
        '"#{' * 2000 + "1" + '}"' * 2000,
    ],
    ids=lambda text: text[:12],
)
def test_deep_text_is_an_error(text: str) -> None:
    """However deep a query nests, its author is told; nothing is raised that is not an answer."""
    with pytest.raises((QueryError, OverBudget)):
        evaluate(text, 1_000_000)


def test_deep_data_does_not_break_python() -> None:
    """Values that nest deeper than the stack are over budget wherever they are walked."""
    build = "let deep = Array.sequence(0, 5000).fold([], (a, x) => [a])\n"
    for use in ("deep == [deep]", "deep", '"" + deep', "deep.toString()", "[deep, deep].order()",
                "[deep, deep].distinct()", "[[deep]].includes(deep)"):  # fmt: skip
        with pytest.raises(OverBudget):
            evaluate(build + use, 1_000_000)


def test_what_was_spent_is_known() -> None:
    """The budget says afterwards what was used, also by a query that failed."""
    view: Any = MemoryDatabase().view()
    budget = Budget(1000)
    with pytest.raises(QueryError):
        run(compile_query("[1, 2].map(x => abort(x))", view.schema), [], view, Context(), budget)
    assert 0 < budget.spent < 100
