"""Bad input: every text is a tree or `InvalidQuery`, in linear time, whatever it is."""

from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.fql.diagnostics import InvalidQuery
from faunadb.fql.parser import parse_query, parse_schema_type
from faunadb.fql.parser_base import NESTING_MAX
from faunadb.fql.render import Source, summary
from faunadb.fql.syntax import DEPTH_MAX, Node
from faunadb.fql.unparse import unparse

TEXTS = [
    case["text"]
    for table in ("query", "type")
    for group in yaml.safe_load((Path(__file__).parent / "cases" / f"{table}.yaml").read_text())
    for case in group["cases"]
]
WORDS = [
    *"()[]{}.,:;!?=<>+-*/%&|^~@#'\"\\ \n\t",
    *("=>", "->", "?.", "??", "&&", "||", "==", "**", "...", "<<-A\n", "<<+A\n", "\nA", "#{"),
    *("//", "/*", "*/", "\x000\x00", "\x00", "a", "b'", "1", "0x1", "1.5", '"s"', "é"),
    *("let ", "if ", "else ", "at ", "match ", "case ", "isa ", "null ", "true "),
]
NESTED = [
    "(",
    "[",
    "{",
    "{a:",
    "f(",
    "a[",
    "x=>",
    "(x)=>",
    "if(",
    "at(",
    '"#{',
    "a{b:",
]
RUNS = [
    *("-", "!", "~", "1+", "1**", "a<", "a&b|", "if (a) b else ", "a??-", "let x: A|A&", "a."),
    *("a||", "a.b", "a!", "a;", "a\n", "'a'", "//\n", "/**/", "/*", "\\", '"', "'", "#{", "<<-A\n"),
    *("let x: A<B>= 1\n", "let x: A?", "0x_", "1_", "1e", "\x000\x00", "{a:1,", "match ", "}", ")"),
]


def parse(text: str) -> Node | InvalidQuery:
    try:
        return parse_query(text, placeholders=1)
    except InvalidQuery as error:
        summary(error, Source(text))
        return error


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
def test_words_in_any_order(text: str) -> None:
    """A heap of words is parsed, written back and parsed to the same, or refused."""
    found = parse(text)
    if isinstance(found, Node):
        again = parse(unparse(found))
        assert isinstance(again, Node)
        assert unparse(found) == unparse(again).removeprefix("{ ").removesuffix(" }")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_characters(text: str) -> None:
    """No text raises anything but `InvalidQuery`."""
    parse(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TEXTS), st.data())
def test_programs_cut_short_or_joined(text: str, data: st.DataObject) -> None:
    """A program that breaks off, lost a piece or got another is refused or means something."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    middle = data.draw(st.sampled_from(["", *TEXTS, *WORDS]))
    parse(text[:start] + middle + text[end:])
    parse(text[:end])


@pytest.mark.parametrize("opening", NESTED)
def test_nesting_is_refused(opening: str) -> None:
    """A hundred thousand levels are an error, not the end of the stack."""
    found = parse(opening * 100_000)

    assert isinstance(found, InvalidQuery)
    assert f"Nested too deep, more than {NESTING_MAX} levels" == found.diagnostics[0].message


@pytest.mark.parametrize("text", ["1" + "+1" * DEPTH_MAX, "-" * DEPTH_MAX + "a"])
def test_runs_that_make_deep_trees_are_refused(text: str) -> None:
    """Operators count as depth, so that a tree can be walked."""
    found = parse(text)

    assert isinstance(found, InvalidQuery)
    assert f"Nested too deep, more than {DEPTH_MAX} levels" == found.diagnostics[0].message


def test_depth_is_measured_over_all_kinds_of_nodes() -> None:
    """Runs in runs are refused although each alone is short enough."""
    found = parse("(" * 50 + "1" + ("+1" * 20 + ")") * 50)

    assert isinstance(found, InvalidQuery)
    assert f"Nested too deep, more than {DEPTH_MAX} levels" == found.diagnostics[0].message


@pytest.mark.parametrize("text", ["a" + "||a" * 5000, "a" + ".b" * 5000, "a\n" * 5000])
def test_long_is_not_deep(text: str) -> None:
    """Alternatives, links and statements may be many."""
    assert isinstance(parse(text), Node)


@pytest.mark.parametrize("piece", [*NESTED, *RUNS])
def test_time_is_linear(piece: str) -> None:
    """Sixteen times the text takes nowhere near 256 times the time."""
    assert 100 * best_s(parse, piece * 1_000) + 0.5 > best_s(parse, piece * 16_000)


def best_s(work: Callable[[str], Any], text: str) -> float:
    times = []
    for _ in range(2):
        start = process_time()
        work(text)
        times.append(process_time() - start)
    return min(times)


@pytest.mark.parametrize("text", ["(", "{a:", "A<", "[", "A=>", "A|", "A?", "(a:"])
def test_types_are_bounded_too(text: str) -> None:
    """Types nest no deeper than expressions."""
    with pytest.raises(InvalidQuery):
        parse_schema_type(text * 10_000)
