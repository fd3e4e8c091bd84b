"""The tagged format, both ways, and templates."""

import datetime as dt
import math
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fauna_client import (
    Document,
    EventSource,
    Module,
    Moment,
    Page,
    Reference,
    SetCursor,
    fql,
)
from fauna_client.tagged import decode, encode, encode_query

NOON = dt.datetime(2026, 11, 23, 12, 0, 0, 5, tzinfo=dt.UTC)
BOTH_WAYS: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    ("@text", "@text"),
    (0, {"@int": "0"}),
    (2**31 - 1, {"@int": "2147483647"}),
    (-(2**31), {"@int": "-2147483648"}),
    (2**31, {"@long": "2147483648"}),
    (-(2**63), {"@long": "-9223372036854775808"}),
    (1.0, {"@double": "1.0"}),
    (math.inf, {"@double": "Infinity"}),
    (-math.inf, {"@double": "-Infinity"}),
    (NOON, {"@time": "2026-11-23T12:00:00.000005Z"}),
    (dt.date(2026, 11, 23), {"@date": "2026-11-23"}),
    (b"\x00\xff", {"@bytes": "AP8="}),
    ([1, []], [{"@int": "1"}, []]),
    ({"a": {}}, {"a": {}}),
    ({"@int": "x"}, {"@object": {"@int": "x"}}),
    ({"@a": {"@b": 1}}, {"@object": {"@a": {"@object": {"@b": {"@int": "1"}}}}}),
    (Module("User"), {"@mod": "User"}),
    (Reference(coll="User", id="7"), {"@ref": {"id": "7", "coll": {"@mod": "User"}}}),
    (Reference(coll="Role", name="r"), {"@ref": {"name": "r", "coll": {"@mod": "Role"}}}),
    (Moment("@time", "+12026-01-01T00:00:00Z"), {"@time": "+12026-01-01T00:00:00Z"}),
    (Moment("@date", "-0001-01-01"), {"@date": "-0001-01-01"}),
]
ONLY_BACK: list[tuple[Any, Any]] = [
    (
        {"@uuid": "12345678-1234-5678-1234-567812345678"},
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
    ),
    (
        {"@time": "2026-01-01T00:00:00.000000001Z"},
        Moment("@time", "2026-01-01T00:00:00.000000001Z"),
    ),
    ({"@set": "cursor"}, SetCursor("cursor")),
    ({"@set": {"data": [{"@int": "1"}], "after": "x"}}, Page([1], "x")),
    ({"@set": {"data": []}}, Page([])),
    ({"@stream": "token"}, EventSource("token")),
    (
        {"@ref": {"id": "7", "coll": {"@mod": "U"}, "exists": False, "cause": "not found"}},
        Reference(coll="U", id="7", exists=False, cause="not found"),
    ),
]


@pytest.mark.parametrize(("value", "wire"), BOTH_WAYS)
def test_a_value_goes_and_comes_back(value: Any, wire: Any) -> None:
    """What is sent is what the wire says, and comes back equal."""
    assert wire == encode(value)
    assert value == decode(wire)


@pytest.mark.parametrize(("wire", "value"), ONLY_BACK)
def test_what_only_answers_hold_is_read(wire: Any, value: Any) -> None:
    """Sets, streams, UUIDs and times that datetime cannot hold."""
    assert value == decode(wire)


def test_nan_goes_and_comes_back() -> None:
    """It equals nothing, so it has a test of its own."""
    assert {"@double": "NaN"} == encode(math.nan)
    assert math.isnan(decode({"@double": "NaN"}))


@given(st.floats(allow_nan=False))
def test_every_double_comes_back(value: float) -> None:
    """To the last bit."""
    assert value == decode(encode(value))


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, NOON.replace(tzinfo=None), object(), {1: 2}, uuid.uuid4()]
)
def test_what_cannot_be_sent_is_refused(value: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ValueError, match=r"bits|time zone|cannot be sent|keys"):
        encode(value)


def test_an_unknown_tag_is_not_guessed_at() -> None:
    """A newer server may send one; it is not shown as an object."""
    with pytest.raises(ValueError, match="@new"):
        decode({"@new": "x"})


def test_a_document_shows_its_fields() -> None:
    """And is sent back as a reference to itself."""
    wire = {
        "@doc": {
            "id": "7",
            "coll": {"@mod": "User"},
            "ts": {"@time": "2026-11-23T12:00:00.000005Z"},
            "ttl": {"@time": "2026-11-23T12:00:00.000005Z"},
            "name": "Ada",
        }
    }
    document = decode(wire)

    assert Document(coll="User", id="7", ts=NOON, ttl=NOON, fields={"name": "Ada"}) == document
    assert ("Ada", None, True) == (document["name"], document.get("age"), "name" in document)
    assert {"@ref": {"id": "7", "coll": {"@mod": "User"}}} == encode(document)


def test_a_definition_has_a_name_instead() -> None:
    """Documents of the schema are named."""
    shown = {
        "name": "User",
        "coll": {"@mod": "Collection"},
        "ts": {"@time": "2026-01-01T00:00:00Z"},
    }
    document = decode({"@doc": shown})

    assert ("User", None, "Collection") == (document.name, document.id, document.coll)


def test_templates_are_inlined_and_values_are_not() -> None:
    """Templates may stand in templates, lists and objects."""
    user = fql("User.byId(${id})", id="7")
    query = fql("let x = ${user}\n[${user}, ${list}, ${n}]", user=user, list=[user, 1], n=[1])

    inlined = {"fql": ["User.byId(", {"value": "7"}, ")"]}
    assert {
        "fql": [
            "let x = ",
            inlined,
            "\n[",
            inlined,
            ", ",
            {"array": [inlined, {"value": {"@int": "1"}}]},
            ", ",
            {"value": [{"@int": "1"}]},
            "]",
        ]
    } == encode_query(query)


def test_an_object_of_templates_is_built_by_the_query() -> None:
    """Values beside them stay values."""
    query = fql("${o}", o={"a": fql("1 + 1"), "b": None})

    assert {"fql": [{"object": {"a": {"fql": ["1 + 1"]}, "b": {"value": None}}}]} == encode_query(
        query
    )


def test_a_hole_can_be_meant_as_text() -> None:
    """`$${` is `${`; other dollars are themselves."""
    assert {"fql": ['"${x} $1 $y"']} == encode_query(fql('"$${x} $1 $y"'))


@pytest.mark.parametrize(("text", "values"), [("${a}", {}), ("1", {"a": 1}), ("${a}", {"b": 1})])
def test_holes_and_values_belong_together(text: str, values: dict[str, Any]) -> None:
    """A value without its hole is as wrong as a hole without its value."""
    with pytest.raises(ValueError, match="hole"):
        fql(text, **values)


def test_only_text_and_templates_are_queries() -> None:
    """A TypeError for anything else."""
    with pytest.raises(TypeError, match="a query is text"):
        encode_query(7)  # type: ignore[arg-type]
