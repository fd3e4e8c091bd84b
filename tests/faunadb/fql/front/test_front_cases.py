"""The tables in cases/: text -> tree, path or problems. Grammar: FQL.md §3, schema.md §4."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from faunadb.fql import parser
from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.syntax import Literal, Node, ShortLambda
from faunadb.fql.unparse import unparse

CASES = Path(__file__).parent / "cases"
PARSERS: dict[str, Callable[[str], Node]] = {
    "query": lambda text: parser.parse_query(text, placeholders=2),
    "type": parser.parse_type,
    "schema_type": parser.parse_schema_type,
    "lambda": parser.parse_lambda,
}


def cases(table: str) -> list[Any]:
    return [
        pytest.param(table, case, id=f"{table} {case['text']!r} {group['fact']}")
        for group in yaml.safe_load((CASES / f"{table}.yaml").read_text())
        for case in group["cases"]
    ]


@pytest.mark.parametrize(("table", "case"), [case for table in PARSERS for case in cases(table)])
def test_text_has_its_tree_or_problems(
    table: str, case: dict[str, Any], sexpr: Any, problems: Any
) -> None:
    """The table says what each text means."""
    try:
        found: object = sexpr(PARSERS[table](case["text"]))
    except InvalidQuery as error:
        found = problems(case["text"], error)

    assert case.get("tree", case.get("error")) == found


@pytest.mark.parametrize(("table", "case"), cases("path"))
def test_path(table: str, case: dict[str, Any], problems: Any) -> None:
    """A field path is its parts."""
    try:
        found = list(parser.parse_path(case["text"]))
    except InvalidQuery as error:
        found = problems(case["text"], error)

    assert case.get(table, case.get("error")) == found


@pytest.mark.parametrize(
    ("table", "case"),
    [case for table in ("query", "type", "schema_type") for case in cases(table)],
)
def test_written_back_it_parses_to_the_same_tree(
    table: str, case: dict[str, Any], sexpr: Any
) -> None:
    """`unparse` loses nothing but the layout; cursors rely on it."""
    if "error" in case:
        return
    tree = PARSERS[table](case["text"])

    text = unparse(tree)
    again = PARSERS["query" if table == "query" else table](text)

    if table == "query":  # the query itself is written as a block
        again = again.statements[0]  # type: ignore[attr-defined]
    assert sexpr(tree) == sexpr(again)
    assert text == unparse(again)


def test_expression_allows_a_short_lambda_only_when_told() -> None:
    """Index terms and the arguments of a method are read with `short`."""
    assert isinstance(parser.parse_expression(".a == 1", short=True), ShortLambda)
    with pytest.raises(InvalidQuery):
        parser.parse_expression(".a == 1")


@pytest.mark.parametrize("text", ["9" * 400, "0x" + "F" * 400, "-0x" + "F" * 400])
def test_a_number_beyond_all_doubles_is_infinite(text: str) -> None:
    """Digits without end are neither an error nor slow."""
    assert Literal(float("-inf" if text[0] == "-" else "inf"), (0, len(text))) == (
        parser.parse_expression(text)
    )
