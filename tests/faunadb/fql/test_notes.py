"""What `log` and `dbg` say stands in the summary, with its place."""

from typing import Any

from faunadb.fql.budget import Budget
from faunadb.fql.compile import compile_query
from faunadb.fql.evaluate import run
from faunadb.fql.notes import notes
from faunadb.fql.runtime import Context
from fql_test_helpers.memory_view import MemoryDatabase


def logged(database: MemoryDatabase, text: str, *, everything: bool = True) -> str:
    view: Any = database.view()
    found = run(compile_query(text, view.schema), [], view, Context(), Budget(100_000))
    view.commit()
    return notes(found.log, text, view.schema, everything=everything)


def test_log_and_dbg_are_drawn() -> None:
    """`log` is one line with its line number, `dbg` shows the source."""
    summary = logged(MemoryDatabase(), 'log("n", 3)\ndbg({ a: 1 })')
    assert summary == (
        "info at *query*:1: n 3\n\n"
        "info: { a: 1 }\nat *query*:2:4\n  |\n2 | dbg({ a: 1 })\n  |    ^^^^^^^^^^\n  |"
    )


def test_logs_of_functions_are_for_those_who_may_see_them() -> None:
    """A line of a schema function names it, and is left out for callers of other roles."""
    database = MemoryDatabase()
    logged(database, 'Function.create({ name: "F", body: "x => log(x)" })')
    assert "info at *udf:F*:1: 5" == logged(database, "F(5)")
    assert "" == logged(database, "F(5)", everything=False)
