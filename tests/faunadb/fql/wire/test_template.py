"""Bodies of /query/1."""

import json
import os
from typing import Any

import pytest
from fauna import fql
from fauna.encoding import FaunaEncoder
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.errors import InvalidRequest
from faunadb.fql.tagged import Format
from faunadb.fql.template import Program, ValueInQueryRefused, decode_request
from faunadb.values import Long

FUZZ = int(os.environ.get("FAUNA_FUZZ", "300"))


def decode(query: Any, arguments: Any = None, form: Format = Format.TAGGED) -> Program:
    return decode_request(json.dumps({"query": query, "arguments": arguments}).encode(), form)


ONE = {"value": {"@int": "1"}}


@pytest.mark.parametrize(
    ("query", "text", "values"),
    [
        ("1 + 1", "1 + 1", ()),
        ({"fql": ["1 + ", "1"]}, "1 + 1", ()),
        ({"fql": ["1 + ", ONE]}, "1 + \0" + "0\0", (1,)),
        ({"fql": [{"fql": ["a"]}, ".b"]}, "a.b", ()),
        ({"fql": ['"n #{', ONE, '}!"']}, '"n #{\0' + '0\0}!"', (1,)),
        (ONE, "\0" + "0\0", (1,)),
        ({"array": [ONE, {"value": "x"}]}, "\0" + "0\0", ([1, "x"],)),
        ({"array": []}, "\0" + "0\0", ([],)),
        ({"array": [{"array": [ONE]}]}, "\0" + "0\0", ([[1]],)),
        ({"object": {"a": ONE}}, "\0" + "0\0", ({"a": 1},)),
        ({"array": [ONE, {"fql": ["a", ONE]}]}, "[\0" + "0\0, (a\0" + "1\0)]", (1, 1)),
        ({"object": {"a b": {"fql": ["x"]}, "c": ONE}}, '{"a b": (x), "c": \0' + "0\0}", (1,)),
        ({"object": {'#{"': "x"}}, '{"\\#{\\"": (x)}', ()),
        ({"fql": []}, "", ()),
    ],
)
def test_a_template_becomes_text_and_values(query: Any, text: str, values: tuple[Any, ...]) -> None:
    """Fragments are text; values are placeholders; pure containers are values."""
    program = decode(query)

    assert (text, values) == (program.text, program.values)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "No request body provided"),
        ("{", "Invalid request body"),
        ("\xff", "Invalid request body"),
        ("{}", "Invalid request body"),
        ('{"query": 1e400}', "Invalid request body"),
        ('{"query": "\\ud800"}', "Invalid request body"),
        ("[]", "Invalid request body: Unexpected JSON Array Start. Expected Object."),
        ("null", "Invalid request body: Unexpected JSON Null. Expected Object."),
        (
            '{"query": 1}',
            "Invalid request body: Unexpected JSON Integer. Expected query template.",
        ),
        (
            '{"query": {"fql": {}}}',
            "Invalid request body: Unexpected JSON Object Start. Expected Array Start.",
        ),
        (
            '{"query": {"fql": [], "value": 1}}',
            (
                "Invalid request body: Unexpected JSON Object Field Name. Expected an object "
                "with a single key 'fql', 'value', 'array', or 'object'."
            ),
        ),
        (
            '{"query": {"x": []}}',
            (
                "Invalid request body: Unexpected JSON Object Field Name. Expected an object "
                "with a single key 'fql', 'value', 'array', or 'object'."
            ),
        ),
        (
            '{"query": {"fql": ["a\\u0000b"]}}',
            "Invalid request body: FQL strings cannot contain NUL characters",
        ),
        (
            '{"query": {"object": {"a": "1", "a": "2"}}}',
            "Invalid request body: Duplicate object field `a`",
        ),
        (
            '{"query": "1", "arguments": []}',
            "Invalid request body: Unexpected JSON Array Start. Expected Object.",
        ),
        ('{"query": "x", "arguments": {"x": 1}}', "Invalid argument 'x': numbers must be tagged"),
        ("[" * 100_000, "Invalid request body: JSON exceeds nesting limit"),
        (
            '{"query": ' + '{"fql": [' * 260 + "]}" * 260 + "}",
            "Invalid request body: JSON exceeds nesting limit",
        ),
        (
            '{"query": ' + '{"object": {"a": ' * 100_000,
            "Invalid request body: JSON exceeds nesting limit",
        ),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: str, message: str) -> None:
    """Each refusal is 400 invalid_request with the words of the original."""
    with pytest.raises(InvalidRequest) as refused:
        decode_request(body.encode("latin-1"), Format.TAGGED)
    assert message == str(refused.value)


def test_a_wrong_value_is_shown_where_it_stands() -> None:
    """A refused value is a validation failure at its placeholder."""
    with pytest.raises(ValueInQueryRefused) as refused:
        decode({"fql": ["ab + ", {"value": 1}, " + ", {"value": {"@int": ""}}]})

    assert "The query failed 2 validation checks" == refused.value.message
    assert [("numbers must be tagged", (5, 8)), ("invalid integer", (11, 14))] == [
        (problem.message, problem.span) for problem in refused.value.diagnostics
    ]
    assert "ab + \0" + "0\0 + \0" + "1\0" == refused.value.text


def test_arguments_follow_the_format() -> None:
    """Arguments are plain in simple format, values of the template always tagged."""
    program = decode({"fql": ["x + ", ONE]}, {"x": 2**40}, Format.SIMPLE)

    assert ({"x": 2**40}, (1,)) == (program.arguments, program.values)


def test_what_the_official_driver_composes_is_understood() -> None:
    """A query made of queries and values by Python's driver keeps its meaning."""
    inner = fql("C.byId(${id})", id="7")
    query = fql("let d = ${q}\n{ a: ${v}, d: d }", q=inner, v={"n": [1, 2.5, 2**40]})
    program = decode(FaunaEncoder.encode(query))

    assert "let d = C.byId(\0" + "0\0)\n{ a: \0" + "1\0, d: d }" == program.text
    assert ("7", {"n": [1, 2.5, 2**40]}) == program.values
    assert not isinstance(program.values[1], Long)


TEMPLATES = st.recursive(
    st.none() | st.integers() | st.text() | st.just({"value": {"@int": "1"}}),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["fql", "value", "array", "object", "@int", "x"]), inner, max_size=2
        )
    ),
    max_leaves=12,
)


@settings(max_examples=FUZZ)
@given(TEMPLATES, TEMPLATES)
def test_any_json_is_a_request_or_refused(query: Any, arguments: Any) -> None:
    """Nothing but the two refusals comes out of a body."""
    for form in Format:
        try:
            decode(query, arguments, form)
        except (InvalidRequest, ValueInQueryRefused):
            continue


@settings(max_examples=FUZZ)
@given(st.binary())
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    """Random bytes are refused like wrong JSON."""
    try:
        decode_request(body, Format.TAGGED)
    except (InvalidRequest, ValueInQueryRefused):
        return
