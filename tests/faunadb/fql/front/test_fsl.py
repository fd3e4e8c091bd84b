"""Schema files: the table cases/schema.yaml, and the places of items and comments."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.fsl import parse_schema

GROUPS = yaml.safe_load((Path(__file__).parent / "cases" / "schema.yaml").read_text())
CASES = [
    pytest.param(case, id=f"{case['text']!r} {group['fact']}")
    for group in GROUPS
    for case in group["cases"]
]
TEXTS = [case["text"] for group in GROUPS for case in group["cases"]]


@pytest.mark.parametrize("case", CASES)
def test_schema(case: dict[str, Any], sexpr: Any, problems: Any) -> None:
    """The table says what each file defines."""
    try:
        found: object = " ".join(sexpr(item) for item in parse_schema(case["text"]))
    except InvalidQuery as error:
        found = problems(case["text"], error)

    assert case.get("tree", case.get("error")) == found


@pytest.mark.parametrize(
    ("above", "belongs"),
    [
        ("// a\n", "// a\n"),
        ("// a\n// b\n", "// a\n// b\n"),
        ("// a\n\n// b\n", "// b\n"),
        ("// a\n\n", ""),
        ("/* a /* b */\n*/ \n", "/* a /* b */\n*/ \n"),
        ("/* a */", "/* a */"),
        ("/* a */\n// b\n", "/* a */\n// b\n"),
        ("/* a */ \n \n", ""),
        ("role A { }\n// b\n", "// b\n"),
    ],
)
def test_a_comment_directly_above_belongs_to_its_item(above: str, belongs: str) -> None:
    """An empty line between them parts comment and item."""
    text = f"{above}@alias(E) collection C {{ }}"

    start, end = parse_schema(text)[-1].span

    assert f"{belongs}@alias(E) collection C {{ }}" == text[start:end]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_files_cut_short_are_refused_or_mean_something(text: str, data: st.DataObject) -> None:
    """Nothing but `InvalidQuery` is raised, whatever is missing or too much."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    middle = data.draw(st.sampled_from(["", *TEXTS, "{", "}", ";", "@", "mva(", "asc(", "->"]))
    for broken in (text[:end], text[:start] + middle + text[end:]):
        with suppress(InvalidQuery):
            parse_schema(broken)
