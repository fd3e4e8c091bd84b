"""What a query sees is the snapshot with its own writes on top, in the order of the index."""

import sys
from collections.abc import Callable
from functools import cmp_to_key
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.definitions import Bound, Document, IndexDefinition
from faunadb.errors import QueryError
from faunadb.store.effects import conflicts, seal
from faunadb.store.horizon import DAY_US, HISTORY_MIN_US
from faunadb.store.keys import after, document_prefix
from faunadb.store.transaction import QueryView
from faunadb.values import TRANSACTION_TIME, Date, Fields, Ref, Time, Value
from store_test_helpers import LEADER_TERM, World, collection, putting
from store_test_helpers.values import compare

THING = collection(
    ("by_kind", ["kind"], ["-size", "name"]),
    ("by_tag", ["*tags"], []),
    ("sorted", [], ["name", "-size"]),
    ("by_two", ["kind", "size"], ["*tags"]),
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["a", "b"]),
        "size": st.one_of(st.integers(0, 3), st.sampled_from([1.0, 2.5])),
        "name": st.sampled_from(["x", "X", "é", "y", ["x", "y"]]),
        "tags": st.lists(st.sampled_from(["s", "t", None]), max_size=3),
    },
)
operations = st.lists(
    st.tuples(st.integers(1, 4), st.one_of(st.none(), fields)), min_size=1, max_size=3
)
histories = st.lists(operations, min_size=1, max_size=6)
Entry = tuple[tuple[Value, ...], int]


def put(doc_id: int, data: Fields | None) -> Callable[[QueryView], None]:
    def program(view: QueryView) -> None:
        if data is None:
            view.delete(THING, doc_id)
        else:
            view.put(THING, doc_id, data, None)

    return program


def model_entries(
    documents: dict[int, Fields], index: IndexDefinition
) -> dict[tuple[Value, ...], list[Entry]]:
    """Every combination of every document, sorted by comparing values."""
    found: dict[str, tuple[tuple[Value, ...], list[Entry]]] = {}
    for doc_id, data in documents.items():
        columns = [
            model_column(data, str(path.parts[0]), path.mva)
            for path in (*index.terms, *(value.path for value in index.values))
        ]
        for combination in product(*columns):
            terms, shown = combination[: len(index.terms)], combination[len(index.terms) :]
            if terms and all(term is None for term in terms):
                continue
            entries = found.setdefault(repr(terms), (terms, []))[1]
            if (shown, doc_id) not in entries:
                entries.append((shown, doc_id))
    descending = [value.descending for value in index.values]

    def order(one: Entry, other: Entry) -> int:
        for mine, yours, down in zip(one[0], other[0], descending, strict=True):
            if found_order := compare(mine, yours):
                return -found_order if down else found_order
        return one[1] - other[1]

    return {
        terms_of: sorted(entries, key=cmp_to_key(order))
        for terms_of, entries in ((hashable(terms), entries) for terms, entries in found.values())
    }


def hashable(terms: tuple[Value, ...]) -> tuple[Value, ...]:
    return tuple((type(term).__name__, repr(term)) for term in terms)  # type: ignore[misc]


def model_column(data: Fields, name: str, mva: bool) -> list[Value]:
    value = data.get(name)
    if mva and isinstance(value, list):
        return list(dict.fromkeys(value)) or [None]
    return [value]


def scan(view: QueryView, index: IndexDefinition, terms: list[Value], **how: bool) -> list[Entry]:
    return [(entry.values, entry.id) for entry in view.scan_index(index, 1024, terms, **how)]  # type: ignore[arg-type]


def check(view: QueryView, documents: dict[int, Fields]) -> None:
    """Compare everything that a view shows with the model."""
    assert documents == {found.id: found.data for found in view.scan(1024)}
    assert sorted(documents, reverse=True) == [found.id for found in view.scan(1024, reverse=True)]
    for doc_id in range(1, 5):
        found = view.get(1024, doc_id)
        assert documents.get(doc_id) == (None if found is None else found.data)
    for index in THING.indexes:
        entries = model_entries(documents, index)
        choices: dict[str, list[Value]] = {"kind": ["a", "b", None], "tags": ["s", "t", None]}
        choices["size"] = [0, 1, 1.0, 2.5, None]
        for terms in product(*(choices[str(path.parts[0])] for path in index.terms)):
            wanted = entries.get(hashable(terms), [])
            assert wanted == scan(view, index, list(terms))
            assert wanted[::-1] == scan(view, index, list(terms), reverse=True)
            check_pages(view, index, list(terms), wanted)


def check_pages(
    view: QueryView, index: IndexDefinition, terms: list[Value], wanted: list[Entry]
) -> None:
    """Each position is a cursor: what follows it is the rest, in both directions."""
    for place, (values, doc_id) in enumerate(wanted):
        here = Bound(values, doc_id, exclusive=True)
        rest = view.scan_index(index, 1024, terms, lower=here)
        assert wanted[place + 1 :] == [(entry.values, entry.id) for entry in rest]
        before = view.scan_index(index, 1024, terms, upper=here, reverse=True)
        assert wanted[:place][::-1] == [(entry.values, entry.id) for entry in before]
        same = Bound(values, doc_id)
        only = view.scan_index(index, 1024, terms, lower=same, upper=same)
        assert [wanted[place]] == [(entry.values, entry.id) for entry in only]


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(0, 5), operations)
def test_a_view_is_what_a_dictionary_says(
    history: list[list[tuple[int, Fields | None]]],
    applied: int,
    own: list[tuple[int, Fields | None]],
) -> None:
    """State, tail and own writes together are one map: points, scans, indexes, pages, the past."""
    world, documents = World(), dict[int, Fields]()
    past: list[tuple[int, dict[int, Fields]]] = []
    for number, transaction in enumerate(history):

        def program(
            view: QueryView, transaction: list[tuple[int, Fields | None]] = transaction
        ) -> None:
            for doc_id, data in transaction:
                put(doc_id, data)(view)

        world.run(program, apply=number < applied)
        for doc_id, data in transaction:
            documents.pop(doc_id, None)
            if data is not None:
                documents[doc_id] = data
        past.append((world.now_us, dict(documents)))
    view = world.view()
    check(view, documents)
    for at, then in past:
        assert then == {found.id: found.data for found in view.scan(1024, at=at)}
        for index in THING.indexes[2:3]:
            entries = view.scan_index(index, 1024, [], at=at)
            assert model_entries(then, index).get((), []) == [(e.values, e.id) for e in entries]
    for doc_id, data in own:
        put(doc_id, data)(view)
        documents.pop(doc_id, None)
        if data is not None:
            documents[doc_id] = data
        check(view, documents)


def test_a_range_is_inclusive_and_a_prefix_of_the_values_is_enough() -> None:
    """Missing positions are open; descending values run from large to small."""
    world = World()
    index = collection(("sorted", [], ["-size", "name"])).indexes[0]
    coll = collection(("sorted", [], ["-size", "name"]))

    def fill(view: QueryView) -> None:
        for number, (size, name) in enumerate(product((1, 2, 3), "ab")):
            view.put(coll, number, {"size": size, "name": name}, None)

    world.run(fill)

    def between(lower: Bound | None, upper: Bound | None) -> list[tuple[Value, ...]]:
        found = world.view().scan_index(index, 1024, [], lower=lower, upper=upper)
        return [entry.values for entry in found]

    assert [(2, "a"), (2, "b"), (1, "a"), (1, "b")] == between(Bound((2,)), None)
    assert [(3, "a"), (3, "b"), (2, "a")] == between(None, Bound((2, "a")))
    assert [(1, "a"), (1, "b")] == between(Bound((2,), exclusive=True), None)
    assert [(3, "a"), (3, "b")] == between(None, Bound((2,), exclusive=True))
    assert [] == between(Bound((1,)), Bound((2,)))


def test_an_array_as_upper_end_of_one_value_is_a_prefix() -> None:
    """`{to: [1]}` includes [1, 2] where the value is an array."""
    world, coll = World(), collection(("sorted", [], ["name"]))
    arrays: list[Value] = [[1], [1, 2], [2]]

    def fill(view: QueryView) -> None:
        for number, array in enumerate(arrays):
            view.put(coll, number, {"name": array}, None)

    world.run(fill)
    found = world.view().scan_index(coll.indexes[0], 1024, [], upper=Bound(([1],)))
    assert [([1],), ([1, 2],)] == [entry.values for entry in found]


def test_a_collection_is_bounded_by_ids() -> None:
    """Ranges of `all()` are ids, inclusive, or right behind one."""
    world = World()
    for doc_id in (1, 2, 3):
        world.run(put(doc_id, {}))
    view = world.view()
    inclusive = view.scan(1024, lower=Bound(id=2), upper=Bound(id=3))
    exclusive = view.scan(
        1024, lower=Bound(id=1, exclusive=True), upper=Bound(id=3, exclusive=True)
    )
    assert [2, 3] == [found.id for found in inclusive]
    assert [2] == [found.id for found in exclusive]
    assert [] == list(view.scan(1024, lower=Bound(id=3), upper=Bound(id=1)))


def test_a_loop_over_a_set_may_write_what_it_runs_over() -> None:
    """A scan does not meet what its own loop writes ahead of it."""
    world = World()
    for doc_id in (1, 2, 3):
        world.run(put(doc_id, {"name": "a"}))
    view, visited = world.view(), []
    for found in view.scan_index(THING.indexes[2], 1024, []):
        visited.append(found.id)
        view.put(THING, found.id, {"name": "z"}, None)
        view.put(THING, found.id + 10, {"name": "z"}, None)
    assert [1, 2, 3] == visited
    assert 6 == len(list(view.scan(1024)))


def test_several_writes_of_a_document_make_one_version() -> None:
    """The last one wins; create and delete in one query leave nothing."""
    world = World()

    def program(view: QueryView) -> None:
        view.put(THING, 1, {"kind": "a"}, None)
        view.put(THING, 1, {"kind": "b"}, None)
        view.put(THING, 2, {"kind": "a"}, None)
        view.delete(THING, 2)
        view.delete(THING, 3)
        assert view.was_deleted(1024, 2)
        assert not view.was_deleted(1024, 1)

    effects = world.run(program)
    assert {document_prefix(0, 1024, 1)} == {
        prefix for prefix, _ in effects.writes if prefix.startswith(b"d")
    }
    assert 4 == len(effects.writes)  # by_kind, by_two, sorted and the document
    assert not effects.read_only
    assert world.run(lambda view: view.get(1024, 1)).read_only


def test_an_update_that_changes_nothing_covered_leaves_the_index_alone() -> None:
    """Only entries that come, go or change are written."""
    world, coll = World(), collection(("by_kind", ["kind"], ["name"]))
    world.run(lambda view: view.put(coll, 1, {"kind": "a", "name": "x"}, None))
    effects = world.run(lambda view: view.put(coll, 1, {"kind": "a", "name": "x", "n": 1}, None))
    assert [document_prefix(0, 1024, 1)] == [prefix for prefix, _ in effects.writes]
    (entry,) = world.view().scan_index(coll.indexes[0], 1024, ["a"])
    assert entry.ts is not None
    assert entry.ts < world.overlay.last_ts


# ---------------------------------------------------------------- time


def test_the_time_of_the_transaction_is_filled_in_when_it_is_known() -> None:
    """In documents, in values and in terms, also when a term is the time itself."""
    world = World()
    coll = collection(("by_made", ["made"], ["ts"]), ("sorted", [], ["-ts", "made"]))
    world.run(lambda view: view.put(coll, 1, {"made": TRANSACTION_TIME}, None))
    ts = world.overlay.last_ts
    made = Time.from_micros(ts)
    view = world.view()
    found = view.get(1024, 1)
    assert found is not None
    assert ({"made": made}, ts) == (found.data, found.ts)
    (entry,) = view.scan_index(coll.indexes[0], 1024, [made])
    assert (made,) == entry.values
    (entry,) = view.scan_index(coll.indexes[1], 1024, [])
    assert (made, made) == entry.values
    world.run(lambda view: view.put(coll, 1, {"made": None}, None))
    assert [] == list(world.view().scan_index(coll.indexes[0], 1024, [made]))


def test_an_own_write_has_no_time_yet() -> None:
    """Inside the query the version's time is unknown and its place provisional."""
    world, coll = World(), collection(("sorted", [], ["ts"]))
    view = world.view()
    view.put(coll, 1, {"made": TRANSACTION_TIME}, None)
    assert Document(1024, 1, None, {"made": TRANSACTION_TIME}) == view.get(1024, 1)
    (entry,) = view.scan_index(coll.indexes[0], 1024, [])
    assert ((TRANSACTION_TIME,), None) == (entry.values, entry.ts)
    here = Bound((TRANSACTION_TIME,))
    assert [entry] == list(view.scan_index(coll.indexes[0], 1024, [], lower=here, upper=here))
    view.delete(coll, 1)
    assert [] == list(view.scan_index(coll.indexes[0], 1024, []))


def test_expiry_hides_documents_and_their_entries() -> None:
    """What expires is seen until its ttl, and bounds how late the effects may be sealed."""
    world = World()
    until = world.now_us + 1000
    world.run(lambda view: view.put(THING, 1, {"kind": "a"}, Time.from_micros(until)))
    view = world.view()
    assert ["a"] == [
        entry.values[1] or "a" for entry in view.scan_index(THING.indexes[0], 1024, ["a"])
    ]
    assert until == view.valid_before
    effects = view.effects((1, 1), LEADER_TERM)
    with pytest.raises(AssertionError, match="expired"):
        seal(effects, until)
    world.now_us = until
    view = world.view()
    assert view.get(1024, 1) is None
    assert [] == list(view.scan_index(THING.indexes[0], 1024, ["a"]))
    assert view.valid_before is None
    world.run(put(1, {"kind": "b"}))
    assert 1 == len(list(world.view().scan_index(THING.indexes[0], 1024, ["b"])))


def test_the_past_ends_at_the_horizon() -> None:
    """Below it, `at` is refused; with history days it lies further back."""
    world = World()
    world.define(1024, {"name": "Thing"})
    world.define(1025, {"name": "Kept", "history_days": 1})
    world.define(1026, {"name": "Always", "history_days": None})
    now = world.view().snapshot_ts
    view = world.view()
    assert view.get(1024, 1, at=now - HISTORY_MIN_US + 10) is None
    assert view.get(1025, 1, at=now - DAY_US) is None
    assert view.get(1026, 1, at=1) is None
    assert view.get(1, 1024, at=1) is None
    assert view.get(1024, 1, at=view.snapshot_ts) is None
    for coll, at in ((1024, now - HISTORY_MIN_US - 1), (1025, now - 2 * DAY_US), (6, 1)):
        with pytest.raises(QueryError, match="less than minimum"):
            view.get(coll, 1, at=at)


# ---------------------------------------------------------------- limits


def test_what_is_too_large_is_refused() -> None:
    """A version over 8 MiB, a transaction over 16 MiB, a key over 64,000 bytes, a product."""
    view = World().view()
    with pytest.raises(QueryError, match="Version bytes"):
        view.put(collection(), 1, {"a": "x" * (8 << 20)}, None)
    for doc_id in range(2):
        view.put(collection(), doc_id, {"a": "x" * (7 << 20)}, None)
    with pytest.raises(QueryError, match="Transaction exceeded"):
        view.put(collection(), 3, {"a": "x" * (7 << 20)}, None)
    coll = collection(("by_name", ["name"], []), ("sorted", [], ["name"]))
    for index in coll.indexes:
        with pytest.raises(QueryError, match="Key bytes"):
            World().view().put(
                collection((index.name, ["name"], []) if index.terms else ("s", [], ["name"])),
                1,
                {"name": "x" * 64_001},
                None,
            )
    wide = collection(("wide", ["*a"], ["*b"]))
    numbers: list[Value] = list(range(101))
    with pytest.raises(QueryError, match="Index entries"):
        World().view().put(wide, 1, {"a": numbers, "b": numbers}, None)


def test_nesting_is_bounded_so_that_all_can_be_read_again() -> None:
    """250 levels are stored and read, more are refused, however many."""
    deep: list[Value] = []
    for _ in range(248):
        deep = [deep]
    world, coll = World(), collection(("sorted", [], ["a"]))
    world.run(putting(coll, 1, {"a": deep}))
    assert {"a": deep} == getattr(world.view().get(1024, 1), "data", None)
    for more in (2, 100_000):
        for _ in range(more):
            deep = [deep]
        with pytest.raises(QueryError, match="nested"):
            world.view().put(coll, 1, {"a": deep}, None)


def test_a_document_read_by_a_deep_program_is_a_stack_overflow() -> None:
    """The query fails; the bytes are not called broken, whatever depth it has got to."""
    deep: list[Value] = []
    for _ in range(240):
        deep = [deep]
    world = World()
    world.run(putting(collection(), 1, {"a": deep}))
    view, codes = world.view(), set[str]()

    def read_below(levels: int) -> None:
        if levels:
            read_below(levels - 1)
        else:
            view.get(1024, 1)

    for levels in range(0, sys.getrecursionlimit(), 7):
        try:
            read_below(levels)
        except QueryError as error:
            codes.add(error.code)
        except RecursionError:
            break
    assert {"stack_overflow"} == codes


def test_paths_go_into_objects_arrays_and_references() -> None:
    """Also to id, ttl and data; what is not there is null."""
    coll = collection(
        (
            "sorted",
            [],
            ["a.b", "list", "ref.id", "ref.name", "id", "ttl", "data.ttl", "n.x", "id.x"],
        )
    )
    view = World().view()
    data: Fields = {"a": {"b": 1}, "list": [1], "ref": Ref(1024, 5), "n": Date(1)}
    view.put(coll, 9, data, Time(10**19))
    (entry,) = view.scan_index(coll.indexes[0], 1024, [])
    assert (1, [1], 5, None, 9, Time(10**19), None, None, None) == entry.values


# ---------------------------------------------------------------- what is read


def test_everything_that_is_read_conflicts_and_nothing_else() -> None:
    """Absent documents, and ranges up to the last one consumed, are part of the read set."""
    world = World()
    for doc_id in (10, 20, 30):
        world.run(put(doc_id, {}))
    view = world.view()
    view.get(1024, 5)
    scan = view.scan(1024, lower=Bound(id=15))
    assert 20 == next(scan).id
    prefixes = [document_prefix(0, 1024, doc_id) for doc_id in (4, 5, 15, 17, 20, 25)]
    assert [False, True, True, True, True, False] == [
        conflicts(view.reads(), [prefix]) for prefix in prefixes
    ]
    list(scan)
    assert conflicts(view.reads(), prefixes[-1:])
    backwards = world.view()
    assert 30 == next(backwards.scan(1024, reverse=True)).id
    assert [False, True] == [
        conflicts(backwards.reads(), [document_prefix(0, 1024, doc_id)]) for doc_id in (29, 31)
    ]
    assert after(prefixes[0]) > prefixes[0]


def test_a_schema_write_conflicts_with_every_query() -> None:
    """Every query has read the schema version; secrets do not change it."""
    world = World()
    other = world.view().effects((1, 1), LEADER_TERM)
    schema = world.run(lambda view: view.put_definition(2, 1, {"name": "f", "body": "x => x"}))
    secret = world.run(lambda view: view.put_definition(6, 1, {"role": "admin"}))
    assert schema.schema_changed
    assert not secret.schema_changed
    assert conflicts(other.reads, [prefix for prefix, _ in schema.writes])
    assert not conflicts(other.reads, [prefix for prefix, _ in secret.writes])


def test_ids_grow() -> None:
    """Ids of one source grow strictly, also within a millisecond."""
    view = World().view()
    ids = [view.new_id() for _ in range(3000)]
    assert all(one < other for one, other in pairwise(ids))
    assert {7} == {doc_id % 1024 for doc_id in ids}
