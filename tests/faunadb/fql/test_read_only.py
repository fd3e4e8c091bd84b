"""What is proven to write nothing is answered by any member; the proof must never be wrong."""

from typing import Any

import pytest

from faunadb.errors import QueryError
from faunadb.fql.budget import Budget
from faunadb.fql.compile import compile_query
from faunadb.fql.evaluate import run
from faunadb.fql.runtime import Context
from fql_test_helpers.memory_view import MemoryDatabase

SETUP = (
    'Collection.create({ name: "C" })',
    'Function.create({ name: "Pure", body: "x => x + 1" })',
    'Function.create({ name: "Write", body: "x => C.create({ n: x })" })',
    'Function.create({ name: "Through", body: "x => Write(x)" })',
    'Function.create({ name: "Loop", body: "x => if (x == 0) 0 else Loop(x - 1)" })',
)


@pytest.fixture(name="schema", scope="module")
def _schema() -> Any:
    database = MemoryDatabase()
    for text in SETUP:
        view: Any = database.view()
        run(compile_query(text, view.schema), [], view, Context(), Budget(100_000))
        view.commit()
    return database.view().schema


@pytest.mark.parametrize(
    "text",
    ["1", "C.all()", "C(1)", "C.byId(1)?.n", "Pure(1)", "Loop(3)", "[1].map(Pure)", 'C(1)["n"]',
     "[1][0]", "C.where(.n > 1) { n }", "Function.all()", 'Function.byName("Pure")', "Nope(1)"],
)  # fmt: skip
def test_reads_are_proven(schema: Any, text: str) -> None:
    """Ordinary reads need no leader."""
    assert compile_query(text, schema).read_only


@pytest.mark.parametrize(
    "text",
    ["C.create({})", "C(1)!.update({})", "let f = C(1)!.delete\nf()", 'C(1)!["delete"]()',
     'let k = "delete"\nC(1)![k]()', 'C(1)!["del" + "ete"]()', "Write(1)", "Through(1)",
     "[1].map(Write)", "let w = Through\nw(1)", 'Function("Write")(1)',
     'let F = Function\nF("Write")(1)', 'FQL.Function("Write")(1)', "{ f: Write }.f(1)",
     "(C { create }).create({})", "x => Write(x)", "newId()", '"#{Write(1)}"'],
)  # fmt: skip
def test_writes_are_never_proven_to_be_reads(schema: Any, text: str) -> None:
    """Every way to reach a write is seen."""
    assert not compile_query(text, schema).read_only


def test_a_wrong_proof_would_not_write(schema: Any) -> None:
    """A program that is called read-only may not write, whatever it does."""
    database = MemoryDatabase()
    view: Any = database.view()
    program = compile_query('Collection.create({ name: "C" })', view.schema)
    lying = type(program)(
        program.body, program.slots, program.places, program.names, True, program.compiler
    )
    with pytest.raises(QueryError) as caught:
        run(lying, [], view, Context(), Budget())
    assert "invalid_effect" == caught.value.code
