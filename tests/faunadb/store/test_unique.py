"""One live document per tuple of terms, whatever else is going on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.errors import QueryError
from faunadb.store.effects import conflicts
from faunadb.store.transaction import QueryView
from faunadb.values import Fields, Time, Value
from store_test_helpers import LEADER_TERM, World, collection

EMAIL = collection(unique=["email", "*tags"])
rows = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "email": st.sampled_from(["a", "b", None]),
                    "tags": st.lists(st.sampled_from(["s", "t"]), max_size=2),
                },
            ),
        ),
    ),
    max_size=12,
)


def tuples(data: Fields) -> set[tuple[Value, Value]]:
    tags = data.get("tags")
    assert tags is None or isinstance(tags, list)
    return {(data.get("email"), tag) for tag in tags or [None]} - {(None, None)}


@settings(max_examples=150, deadline=None)
@given(rows, st.sets(st.integers(0, 12)))
def test_a_tuple_is_taken_exactly_while_another_document_has_it(
    operations: list[tuple[int, Fields | None]], applied: set[int]
) -> None:
    """Across state, tail and deletions, a write is refused if and only if a tuple is taken."""
    world, documents = World(), dict[int, Fields]()
    for number, (doc_id, data) in enumerate(operations):
        view = world.view()
        others = [tuples(other) for known, other in documents.items() if known != doc_id]
        taken = data is not None and any(tuples(data) & other for other in others)
        if data is None:
            view.delete(EMAIL, doc_id)
        elif taken:
            with pytest.raises(QueryError) as failed:
                view.put(EMAIL, doc_id, data, None)
            wanted = ((("email",), ("tags",)), "Failed unique constraint")
            assert ("constraint_failure", (wanted,)) == (
                failed.value.code,
                failed.value.constraint_failures,
            )
            continue
        else:
            view.put(EMAIL, doc_id, data, None)
        world.commit(view.effects(world.overlay.last, LEADER_TERM), apply=number in applied)
        documents.pop(doc_id, None)
        if data is not None:
            documents[doc_id] = data


def test_the_own_writes_of_a_query_count() -> None:
    """A tuple written or given up earlier in the query is taken or free."""
    world = World()
    world.run(lambda view: view.put(EMAIL, 1, {"email": "a"}, None))
    view = world.view()
    view.put(EMAIL, 1, {"email": "b"}, None)
    view.put(EMAIL, 2, {"email": "a"}, None)
    with pytest.raises(QueryError, match="unique"):
        view.put(EMAIL, 3, {"email": "b"}, None)


def test_an_expired_document_holds_nothing() -> None:
    """A tuple is free from the ttl on."""
    world = World()
    until = Time.from_micros(world.now_us + 100)
    world.run(lambda view: view.put(EMAIL, 1, {"email": "a"}, until))
    world.now_us += 100
    world.run(lambda view: view.put(EMAIL, 2, {"email": "a"}, None))


def test_two_that_take_one_tuple_at_once_conflict() -> None:
    """The read set holds the absence of others, so the second is found out (phantoms)."""
    world = World()

    def effects_of(doc_id: int) -> tuple[QueryView, list[bytes]]:
        view = world.view()
        view.put(EMAIL, doc_id, {"email": "a"}, None)
        return view, [prefix for prefix, _ in view.effects((1, 1), LEADER_TERM).writes]

    (one, _), (_, written) = effects_of(1), effects_of(2)
    assert conflicts(one.reads(), written)
