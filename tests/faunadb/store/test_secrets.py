"""Tokens and credentials are found by their document, however many others there are."""

import pytest

from faunadb.codec import RemoveVersions
from faunadb.definitions import CREDENTIALS, TOKENS, CollectionDefinition
from faunadb.errors import QueryError
from faunadb.store import keys
from faunadb.store.history import RemovalPlanner
from faunadb.store.horizon import DAY_US
from faunadb.store.transaction import QueryView
from faunadb.values import Ref, Time
from store_test_helpers import LEADER_TERM, World
from store_test_helpers.world import Program

ADA, BOB = Ref(1024, 1), Ref(1024, 2)
BOTH = pytest.mark.parametrize("secrets", [TOKENS, CREDENTIALS])


def of(view: QueryView, secrets: CollectionDefinition, owner: Ref) -> list[int]:
    (index,) = secrets.indexes
    return [entry.id for entry in view.scan_index(index, secrets.id, [owner])]


def making(secrets: CollectionDefinition, number: int, owner: Ref) -> Program:
    return lambda view: view.put_definition(secrets.id, number, {"document": owner})


def world_of(secrets: CollectionDefinition) -> World:
    """One of Ada's, with number 7, among a hundred of others."""
    world = World()
    for number in range(100):
        world.run(making(secrets, number, ADA if number == 7 else Ref(1024, 1000 + number)))
    return world


@BOTH
def test_only_those_of_the_document_are_read(secrets: CollectionDefinition) -> None:
    """So a login does not conflict with whoever else signs up meanwhile."""
    world = world_of(secrets)
    view = world.view()
    assert [7] == of(view, secrets, ADA)
    assert [] == of(view, secrets, BOB)
    reads = view.effects(world.overlay.last, LEADER_TERM).reads
    prefix = keys.collection_prefix(0, secrets.id)
    assert not [start for start, _ in reads.ranges if start.startswith(prefix)]


@BOTH
def test_they_follow_changes_and_deletions(secrets: CollectionDefinition) -> None:
    """Of the document and of themselves; what has expired is not found."""
    world = world_of(secrets)
    world.run(lambda view: view.put_definition(secrets.id, 7, {"document": BOB}))
    assert [[], [7]] == [of(world.view(), secrets, owner) for owner in (ADA, BOB)]
    until = Time.from_micros(world.now_us + 1_000)
    world.run(lambda view: view.put_definition(secrets.id, 7, {"document": BOB, "ttl": until}))
    assert [7] == of(world.view(), secrets, BOB)
    world.now_us += 2_000
    assert [] == of(world.view(), secrets, BOB)
    world.run(lambda view: view.delete_definition(secrets.id, 8))
    assert [] == of(world.view(), secrets, Ref(1024, 1008))


def test_a_document_has_one_credential_and_many_tokens() -> None:
    """The second one is refused; its own may be written again."""
    world = world_of(CREDENTIALS)
    world.run(lambda view: view.put_definition(CREDENTIALS.id, 7, {"document": ADA}))
    with pytest.raises(QueryError) as refused:
        world.view().put_definition(CREDENTIALS.id, 500, {"document": ADA})
    assert ((("document",),), "Failed unique constraint") == refused.value.constraint_failures[0]
    world.run(lambda view: view.put_definition(TOKENS.id, 1, {"document": ADA}))
    world.run(lambda view: view.put_definition(TOKENS.id, 2, {"document": ADA}))
    assert [1, 2] == of(world.view(), TOKENS, ADA)


@BOTH
def test_removal_of_history_leaves_them(secrets: CollectionDefinition) -> None:
    """Their index belongs to no schema, and is no leftover of one."""
    world = world_of(secrets)
    world.run(lambda view: view.put_definition(secrets.id, 7, {"document": BOB}))
    world.now_us += DAY_US
    planner = RemovalPlanner(lambda scope: world.view(scope=scope).schema)
    removed = 0
    for _ in range(20):
        with world.kv.read() as reader:
            command = planner.next(reader, world.now_us)
        if isinstance(command, RemoveVersions):
            removed += 1
            world.append(command)
            world.apply()
    assert removed, "Ada's entry is history"
    assert [7] == of(world.view(), secrets, BOB)
    assert [8] == of(world.view(), secrets, Ref(1024, 1008))
