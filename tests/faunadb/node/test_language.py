"""One query is decoded once by the member that takes it."""

import msgspec
import pytest

from faunadb.codec import Answer
from faunadb.definitions import EMPTY_SCHEMA
from faunadb.errors import InvalidRequest
from faunadb.node.language import Language, Prepared
from faunadb.node.query import Query

LATER_SCHEMA = msgspec.structs.replace(EMPTY_SCHEMA, version=7)


@pytest.fixture
def language() -> Language:
    return Language(b"k" * 32, b"i" * 24, bytes)


def test_the_second_look_at_a_query_costs_nothing(language: Language) -> None:
    """The gateway adds a request id between the two looks; the body stays the same object."""
    query = Query(b'{"query":"1 + 1"}')
    named = msgspec.structs.replace(query, attempt=2)

    first = language.prepare(query, EMPTY_SCHEMA)

    assert isinstance(first, Prepared)
    assert first is language.prepare(named, EMPTY_SCHEMA)


def test_another_schema_or_format_is_another_look(language: Language) -> None:
    """The proof of reading only stands on one schema version."""
    query = Query(b'{"query":"1 + 1"}')
    first = language.prepare(query, EMPTY_SCHEMA)

    assert first is not language.prepare(query, LATER_SCHEMA)
    simple = language.prepare(msgspec.structs.replace(query, format="simple"), EMPTY_SCHEMA)
    assert isinstance(simple, Prepared)
    assert "simple" == simple.format


def test_equal_bodies_of_two_requests_are_two_looks(language: Language) -> None:
    """Only the same object is the same request."""
    body = '{"query":"1 + 1"}'
    first = language.prepare(Query(body.encode()), EMPTY_SCHEMA)

    assert first is not language.prepare(Query(body.encode()), EMPTY_SCHEMA)


def test_what_does_not_compile_is_an_answer(language: Language) -> None:
    """With the place in its summary; a body that is no request is refused instead."""
    answer = language.prepare(Query(b'{"query":"let x = "}'), EMPTY_SCHEMA)

    assert isinstance(answer, Answer)
    assert 400 == answer.http_status
    assert "at *query*:1:8" in answer.summary
    with pytest.raises(InvalidRequest):
        language.prepare(Query(b"{"), EMPTY_SCHEMA)
