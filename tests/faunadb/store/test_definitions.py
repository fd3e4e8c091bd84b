"""Definitions become a schema; indexes get numbers and are built, at once or in steps."""

import pytest

from faunadb.definitions import (
    CheckDefinition,
    CollectionDefinition,
    ComputedField,
    Document,
    FieldDefinition,
    IndexStatus,
    Path,
    SystemCollection,
)
from faunadb.errors import QueryError
from faunadb.store.horizon import DAY_US
from faunadb.store.schema import SchemaCache, parse_path, schema_version
from faunadb.store.transaction import QueryView
from faunadb.values import Fields, Value
from store_test_helpers import LEADER_TERM, World

NAME_INDEX: Fields = {"by_name": {"terms": [{"field": ".name"}]}}


def double_size(coll: CollectionDefinition, name: str, document: Document) -> Value:
    size = document.data.get("size")
    assert (coll.name, name) == ("Thing", "double")
    return 2 * size if isinstance(size, int) else None


def fill(world: World, count: int, *, first: int = 1) -> None:
    coll = world.view().schema.collections[1024]

    def program(view: QueryView) -> None:
        for doc_id in range(first, first + count):
            view.put(coll, doc_id, {"name": f"n{doc_id}"}, None)

    world.run(program)


def build(world: World) -> int:
    """Run steps until nothing is building; return how many it took."""
    steps = 0
    while True:
        view = world.view()
        if not view.fill_index():
            return steps
        world.commit(view.effects(world.overlay.last, LEADER_TERM))
        steps += 1
        assert steps < 100


def found(world: World, name: str, *, index: str = "by_name") -> list[int]:
    view = world.view()
    definition = view.schema.collections[1024].index(index)
    assert definition is not None
    return [entry.id for entry in view.scan_index(definition, 1024, [name])]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (".a.b", ("a", "b")),
        ("a", ("a",)),
        (".a[0].b", ("a", 0, "b")),
        ('["a b"]', ("a b",)),
        ('.x["a]\\"b"].c', ("x", 'a]"b', "c")),
        (".a['q']", ("a", "q")),
        (".data.ttl", ("data", "ttl")),
    ],
)
def test_a_path_is_split(text: str, parts: tuple[str | int, ...]) -> None:
    """Dots, brackets with numbers, brackets with quoted names."""
    assert parts == parse_path(text)


def test_a_schema_says_what_the_documents_say() -> None:
    """Every part of a definition has its place; names and aliases share one namespace."""
    world = World()
    data: Fields = {
        "name": "Thing",
        "alias": "T",
        "fields": {"size": {"signature": "Int", "default": "1"}},
        "computed_fields": {"double": {"body": "d => d.size * 2", "signature": "Int"}},
        "wildcard": "Any",
        "history_days": None,
        "ttl_days": 3,
        "indexes": {
            "by_size": {
                "terms": [{"field": ".size", "mva": True}, "name"],
                "values": [{"field": ".double", "order": "desc"}, {"field": ".x", "order": "asc"}],
                "queryable": False,
            }
        },
        "constraints": [
            {"unique": [".name", {"field": ".tags", "mva": True}]},
            {"check": {"name": "positive", "body": "d => d.size > 0"}},
        ],
    }
    coll = world.define(1024, data)
    world.run(lambda view: view.put_definition(2, 1, {"name": "f", "body": "x => x", "alias": "g"}))
    world.run(lambda view: view.put_definition(3, 1, {"name": "reader", "privileges": []}))
    schema = world.view().schema

    assert coll == schema.names["Thing"] == schema.names["T"]
    assert schema.functions[1] == schema.names["f"] == schema.names["g"]
    assert {"reader": {"name": "reader", "privileges": []}} == schema.roles
    assert (FieldDefinition("size", "Int", "1"),) == coll.fields
    assert (ComputedField("double", "d => d.size * 2", "Int"),) == coll.computed_fields
    assert (CheckDefinition("positive", "d => d.size > 0"),) == coll.checks
    assert ("Any", None, 3) == (coll.wildcard, coll.history_days, coll.ttl_days)
    by_size, unique = coll.indexes
    assert by_size == coll.index("by_size")
    assert (Path(("size",), mva=True), Path(("name",))) == by_size.terms
    assert [True, False] == [value.descending for value in by_size.values]
    assert (IndexStatus.COMPLETE, False) == (by_size.status, by_size.queryable)
    assert (Path(("name",)), Path(("tags",), mva=True)) == unique.terms
    assert (True, "") == (unique.unique, unique.name)
    assert data == getattr(world.view().get(SystemCollection.COLLECTION, 1024), "data", None)
    assert [data] == [document.data for document in world.view().scan(1)]


def test_the_version_of_a_schema_is_the_time_of_its_last_write() -> None:
    """It is 0 before any, seen from the past too, and secrets leave it alone."""
    world, cache = World(), SchemaCache()
    before = world.view()
    assert 0 == before.schema.version
    world.define(1024, {"name": "Thing"})
    first = world.view().schema.version
    world.run(lambda view: view.put_definition(SystemCollection.KEY, 5, {"role": "admin"}))
    assert first == world.view().schema.version
    world.run(lambda view: view.delete_definition(SystemCollection.COLLECTION, 1024))
    with world.kv.read() as reader:
        assert 0 == schema_version(reader, 0, before.snapshot_ts)
        assert first == schema_version(reader, 0, first)
        assert {1024} == set(cache.at(reader, 0, first).collections)
        cache.clear()
        assert {} == cache.at(reader, 0, world.now_us).collections


def test_a_schema_of_the_tail_is_seen_before_it_is_applied() -> None:
    """What is appended counts at the tip."""
    world = World()
    world.run(lambda view: view.put_definition(1, 1024, {"name": "Thing"}), apply=False)
    assert {1024} == set(world.view().schema.collections)


def test_many_databases_do_not_fill_the_cache() -> None:
    """The cache is bounded."""
    world, cache = World(), SchemaCache()
    with world.kv.read() as reader:
        for scope in range(300):
            assert {} == cache.at(reader, scope, 1).collections
        assert len(cache._schemas) <= 256


def test_few_documents_are_indexed_at_once() -> None:
    """An index that comes later finds what was there, and keeps its number afterwards."""
    world = World()
    world.define(1024, {"name": "Thing"})
    fill(world, 128)
    coll = world.define(1024, {"name": "Thing", "indexes": NAME_INDEX})
    (index,) = coll.indexes
    assert (IndexStatus.COMPLETE, True) == (index.status, index.queryable)
    assert [7] == found(world, "n7")
    again = world.define(1024, {"name": "Renamed", "indexes": NAME_INDEX})
    assert index == again.indexes[0]
    assert not world.view().fill_index()


def test_many_documents_are_indexed_in_steps() -> None:
    """Writers maintain an index while it is built; in the end it misses nothing."""
    world = World()
    coll = world.define(1024, {"name": "Thing"})
    for first in range(1, 301, 100):
        fill(world, 100, first=first)
    coll = world.define(1024, {"name": "Thing", "indexes": NAME_INDEX})
    (index,) = coll.indexes
    assert (IndexStatus.BUILDING, False) == (index.status, index.queryable)
    view = world.view()
    assert view.fill_index()
    world.commit(view.effects(world.overlay.last, LEADER_TERM))
    world.run(lambda view: view.put(coll, 5, {"name": "moved"}, None))
    world.run(lambda view: view.put(coll, 250, {"name": "moved"}, None))
    world.run(lambda view: view.delete(coll, 251))
    world.run(lambda view: view.delete(coll, 6))
    assert 2 == build(world)
    (index,) = world.view().schema.collections[1024].indexes
    assert (IndexStatus.COMPLETE, True) == (index.status, index.queryable)
    names = {f"n{doc_id}": [doc_id] for doc_id in range(1, 301)}
    names |= {"moved": [5, 250], "n5": [], "n250": [], "n251": [], "n6": []}
    assert names == {name: found(world, name) for name in names}


def test_a_document_that_cannot_be_indexed_fails_the_build() -> None:
    """The index is `failed`, and the rest goes on."""
    world = World()
    coll = world.define(1024, {"name": "Thing"})
    fill(world, 200)
    world.run(lambda view: view.put(coll, 50, {"name": "x" * 65_000}, None))
    world.define(1024, {"name": "Thing", "indexes": NAME_INDEX})
    assert 1 == build(world)
    (index,) = world.view().schema.collections[1024].indexes
    assert (IndexStatus.FAILED, False) == (index.status, index.queryable)


def test_equal_shapes_share_an_index() -> None:
    """Two names, and a unique constraint of the same terms, are one index underneath."""
    world = World()
    indexes: Fields = {"one": {"terms": ["name"]}, "two": {"terms": [{"field": ".name"}]}}
    coll = world.define(
        1024, {"name": "Thing", "indexes": indexes, "constraints": [{"unique": ["name"]}]}
    )
    assert [32768] * 3 == [index.id for index in coll.indexes]
    fill(world, 2)
    assert [[2], [2]] == [found(world, "n2", index=name) for name in ("one", "two")]
    with pytest.raises(QueryError, match="unique"):
        world.view().put(coll, 9, {"name": "n2"}, None)


def test_a_computed_field_is_a_term() -> None:
    """Its body is part of the shape: another body is another index."""
    world = World(compute=double_size)
    data: Fields = {
        "name": "Thing",
        "computed_fields": {"double": {"body": "d => d.size * 2"}},
        "indexes": {"by_double": {"terms": ["double"], "values": [{"field": ".double.x"}]}},
    }
    coll = world.define(1024, data)
    world.run(lambda view: view.put(coll, 1, {"size": 21}, None))
    assert 1 == len(list(world.view().scan_index(coll.indexes[0], 1024, [42])))
    changed = world.define(1024, {**data, "computed_fields": {"double": {"body": "d => 2"}}})
    assert coll.indexes[0].id != changed.indexes[0].id


def test_new_indexes_of_one_definition_get_different_numbers() -> None:
    """Numbers given out earlier in the same write are taken."""
    indexes: Fields = {"one": {"terms": ["a"]}, "two": {"terms": ["b"]}, "three": {"values": ["c"]}}
    coll = World().define(1024, {"name": "Thing", "indexes": indexes})
    assert [32768, 32769, 32770] == [index.id for index in coll.indexes]


def test_numbers_are_free_only_when_nothing_is_left() -> None:
    """Neither a dropped collection's number nor a dropped index's comes back to its remains."""
    world = World()
    world.define(1024, {"name": "Thing", "indexes": NAME_INDEX})
    fill(world, 1)
    world.run(lambda view: view.delete_definition(1, 1024))
    view = world.view()
    assert (1025, 1, 32769) == (
        view.next_definition_id(1),
        view.next_definition_id(2),
        view.next_index_id(),
    )
    view.put_definition(1, 1025, {"name": "Other", "indexes": NAME_INDEX})
    assert (1026, 32770) == (view.next_definition_id(1), view.next_index_id())
    with pytest.raises(AssertionError, match="drawn"):
        view.next_definition_id(SystemCollection.KEY)


def test_databases_have_numbers_of_the_whole_tree() -> None:
    """Children of different parents never get the same number."""
    world = World()
    numbers = []
    for scope in (0, 1, 0):
        view = world.view(scope=scope)
        numbers.append(view.next_definition_id(SystemCollection.DATABASE))
        world.commit(view.effects(world.overlay.last, LEADER_TERM))
    assert [1, 2, 3] == numbers


def test_raising_history_days_brings_nothing_back() -> None:
    """The floor of history stands where the old days had put it."""
    world = World()
    world.define(1024, {"name": "Thing", "history_days": 1})
    now = world.now_us
    coll = world.define(1024, {"name": "Thing", "history_days": 10})
    assert now - DAY_US < coll.history_floor_us <= now - DAY_US + 10
    with pytest.raises(QueryError, match="less than minimum"):
        world.view().get(1024, 1, at=now - 2 * DAY_US)


def test_a_deleted_definition_is_gone() -> None:
    """It leaves the schema, and the query knows that it did it."""
    world = World()
    world.run(lambda view: view.put_definition(2, 1, {"name": "f", "body": "x => x"}))
    view = world.view()
    view.delete_definition(2, 1)
    view.delete_definition(2, 9)
    assert view.was_deleted(2, 1)
    assert view.get(2, 1) is None
    world.commit(view.effects(world.overlay.last, LEADER_TERM))
    assert {} == world.view().schema.functions
