"""How errors are drawn: the table cases/summary.yaml, and what needs the parser."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from faunadb.errors import QueryError
from faunadb.fql.diagnostics import Diagnostic, Hint, InvalidQuery
from faunadb.fql.parser import parse_lambda, parse_query
from faunadb.fql.render import Frame, Source, draw, log_line, summary

TABLE = yaml.safe_load((Path(__file__).parent / "cases" / "summary.yaml").read_text())


@pytest.mark.parametrize("case", TABLE, ids=[case["fact"] for case in TABLE])
def test_summary(case: dict[str, Any]) -> None:
    """The table says what an error looks like."""
    given = case["error"]
    failures = given.get("constraint_failures", [])
    error = QueryError(
        "code",
        given["message"],
        span=tuple(given["span"]),
        constraint_failures=tuple(
            (tuple(tuple(path) for path in paths), text) for paths, text in failures
        ),
    )
    hints = [Hint(text, (start, end)) for text, start, end in given.get("hints", [])]
    frames = [
        Frame(Source(text, name), (start, end)) for name, text, start, end in case.get("frames", [])
    ]

    assert case["summary"] == summary(error, Source(case["text"]), hints, frames)


def test_every_problem_is_drawn() -> None:
    """Problems of one text are joined by an empty line."""
    text = "{ a: .b }\n{ c: .d }"
    with pytest.raises(InvalidQuery) as caught:
        parse_query(text)

    drawn = summary(caught.value, Source(text))

    assert "The query failed 2 validation checks" == caught.value.message
    assert [
        "error: Invalid anonymous field access",
        "at *query*:1:6",
        "  |",
        "1 | { a: .b }",
        "  |      ^^",
        "  |",
        "",
        "error: Invalid anonymous field access",
        "at *query*:2:6",
        "  |",
        "2 | { c: .d }",
        "  |      ^^",
        "  |",
    ] == drawn.split("\n")


def test_a_suggestion_is_shown_as_it_would_be() -> None:
    """An inserted text is marked +, in the source after the edit."""
    with pytest.raises(InvalidQuery) as caught:
        parse_lambda("1 + 1")

    assert [
        "error: Body must be a lambda expression.",
        "at main.fsl:1:1",
        "  |",
        "1 | 1 + 1",
        "  | ^^^^^ Expression is not a lambda.",
        "  |",
        "hint: Declare a lambda.",
        "  |",
        "1 | () => 1 + 1",
        "  | ++++++",
        "  |",
    ] == summary(caught.value, Source("1 + 1", "main.fsl")).split("\n")


@pytest.mark.parametrize(
    ("suggestion", "span", "shown", "marks"),
    [("", (0, 1), "ab", "-"), ("xyz", (0, 1), "xyzb", "~~~")],
)
def test_removals_and_changes_have_their_own_marks(
    suggestion: str, span: tuple[int, int], shown: str, marks: str
) -> None:
    """A minus marks what goes, a tilde what came instead."""
    hint = Hint("H", span, suggestion)

    drawn = draw(Diagnostic("M", (1, 2), hints=(hint,)), Source("ab"), "warning")

    assert ["hint: H", "  |", f"1 | {shown}", f"  | {marks}", "  |"] == drawn.split("\n")[6:]


def test_hints_of_the_error_itself_stand_at_its_place() -> None:
    """Hints without a place of their own are drawn where the error is."""
    error = QueryError("code", "M", span=(0, 1), hints=("H",))

    assert ["hint: H", "  |", "1 | a", "  | ^", "  |"] == summary(error, Source("a")).split("\n")[
        6:
    ]


def test_log_has_a_line_and_no_column() -> None:
    """`log("n", 3)` adds one line."""
    assert "info at *query*:2: n 3" == log_line("n 3", Source('\nlog("n", 3)'), (4, 12))
    assert "info at *udf:f*:0: n" == log_line("n", Source(None, "*udf:f*"), (4, 12))
