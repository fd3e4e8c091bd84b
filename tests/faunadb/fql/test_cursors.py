"""Cursors come back from clients: only ours are believed, and they give no rights."""

import base64
from typing import Any

import pytest

from faunadb.errors import QueryError
from faunadb.fql.budget import Budget
from faunadb.fql.compile import compile_query
from faunadb.fql.evaluate import run
from faunadb.fql.result import PageResult
from faunadb.fql.runtime import Context
from fql_test_helpers.memory_view import MemoryDatabase

KEY = b"k" * 32
OURS = Context(cursor_key=KEY, incarnation=b"one")


@pytest.fixture(name="database")
def _database() -> MemoryDatabase:
    database = MemoryDatabase()
    for text in (
        'Collection.create({ name: "N" })',
        "Array.sequence(0, 5).forEach(i => N.create({ id: i, n: i }))",
    ):
        ask(database, text)
    return database


def ask(database: MemoryDatabase, text: str, context: Context = OURS) -> Any:
    view: Any = database.view()
    found = run(compile_query(text, view.schema), [], view, context, Budget(1_000_000))
    view.commit()
    return found.result


def first_cursor(database: MemoryDatabase) -> str:
    page = ask(database, "N.all().pageSize(2).map(.n)")
    assert isinstance(page, PageResult)
    assert page.after is not None
    return page.after


def resume(database: MemoryDatabase, cursor: str, context: Context = OURS) -> Any:
    return ask(database, f'Set.paginate("{cursor}")', context)["data"]


def test_the_next_page_is_of_the_first_pages_time(database: MemoryDatabase) -> None:
    """What is written between two pages is not seen by the second."""
    cursor = first_cursor(database)
    ask(database, "N(2)!.update({ n: 100 })")
    assert [2, 3] == resume(database, cursor)


def test_pages_of_a_writing_query_see_its_writes(database: MemoryDatabase) -> None:
    """A cursor that was made before its transaction had a time is fixed by its first use."""
    page = ask(database, "N.create({ id: 7, n: 7 })\nN.all().pageSize(5).map(.n)")
    assert [7] == resume(database, page.after)


@pytest.mark.parametrize("at", range(0, 90, 7))
def test_a_changed_cursor_is_refused(database: MemoryDatabase, at: int) -> None:
    """One other bit anywhere makes it somebody else's."""
    raw = bytearray(base64.b64decode(first_cursor(database)))
    raw[at % len(raw)] ^= 1
    with pytest.raises(QueryError) as caught:
        resume(database, base64.b64encode(bytes(raw)).decode())
    assert "invalid_cursor" == caught.value.code


@pytest.mark.parametrize(
    "context",
    [
        Context(cursor_key=b"other" * 7, incarnation=b"one"),
        Context(cursor_key=KEY, incarnation=b"two"),
    ],
)
def test_another_cluster_refuses_it(database: MemoryDatabase, context: Context) -> None:
    """Another key or another incarnation does not know the cursor (SAFETY 25)."""
    with pytest.raises(QueryError) as caught:
        resume(database, first_cursor(database), context)
    assert "invalid_cursor" == caught.value.code


def test_a_cursor_gives_no_rights(database: MemoryDatabase) -> None:
    """The next page is read with the rights of who asks for it."""
    client = Context(role="client", cursor_key=KEY, incarnation=b"one")
    assert [] == resume(database, first_cursor(database), client)


def test_an_event_source_is_no_cursor(database: MemoryDatabase) -> None:
    """Tokens of one kind are not taken for the other."""
    token = ask(database, "N.all().eventSource()").token
    with pytest.raises(QueryError) as caught:
        resume(database, token)
    assert "invalid_cursor" == caught.value.code
