"""Removal takes only what no snapshot from the horizon on can see."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from faunadb.codec import RemoveVersions
from faunadb.machine import describe, state_hash_of
from faunadb.store import keys, mvcc
from faunadb.store.history import VISITED_AT_ONCE_MAX, RemovalPlanner
from faunadb.store.horizon import DAY_US, HISTORY_MIN_US
from faunadb.values import Time
from store_test_helpers import World, collection, deleting, putting

COLL = collection(("by_n", ["n"], ["n"]))
MINUTE_US = 60_000_000


def picture(world: World, at: int) -> list[tuple[bytes, bytes]]:
    with world.kv.read() as reader:
        found = mvcc.scan_newest(reader, keys.DOCUMENTS, keys.successor(keys.INDEXES), at)
        return [(version.prefix, version.raw) for version in found if version.live_at(at)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.one_of(st.none(), st.integers(0, 2)),
            st.one_of(st.none(), st.integers(1, 30)),
        ),
        max_size=12,
    ),
    st.integers(0, 30),
    st.integers(1, 40),
)
@example([(1, 0, None), (1, None, None)], 4, 1)
def test_nothing_that_can_be_read_goes(
    operations: list[tuple[int, int | None, int | None]], horizon: int, keys_max: int
) -> None:
    """Snapshots from the horizon on are the same after a removal; old ones are gone in the end."""
    world = World()
    times = []
    for doc_id, number, ttl in operations:
        until = None if ttl is None else Time.from_micros(world.now_us + ttl)
        if number is None:
            world.run(deleting(COLL, doc_id))
        else:
            world.run(putting(COLL, doc_id, {"n": number}, until))
        times.append(world.now_us)
    at = 2_000_000_000_000_000 + horizon
    later = [at, *(time for time in times if time >= at), at + 10_000]
    before = [picture(world, time) for time in later]
    for _ in range(60):
        world.append(RemoveVersions(keys.DOCUMENTS, b"j", at, keys_max))
        world.apply()
    assert before == [picture(world, time) for time in later]
    with world.kv.read() as reader:
        assert state_hash_of(reader) == describe(reader).state_hash
        if keys_max == 40:
            for key, raw in reader.scan(keys.DOCUMENTS, b"j"):
                assert keys.ts_of(key) > at or mvcc.is_live(raw, at)


def run_planner(world: World, planner: RemovalPlanner, rounds: int) -> int:
    """Go round; return how many commands were needed."""
    commands = 0
    for _ in range(rounds):
        with world.kv.read() as reader:
            command = planner.next(reader, world.now_us)
        if command is not None:
            assert command.keys_max == VISITED_AT_ONCE_MAX
            world.append(command)
            world.apply()
            commands += 1
    return commands


def planner_of(world: World) -> RemovalPlanner:
    return RemovalPlanner(lambda _: world.view().schema)


def versions(world: World, coll: int) -> int:
    head = keys.collection_prefix(0, coll)
    return sum(key.startswith(head) for key in world.kv.pairs)


def test_history_goes_after_its_time_and_not_before() -> None:
    """15 minutes, or the collection's days longer; the present version stays."""
    world = World()
    short = world.define(1024, {"name": "Short", "indexes": {"by_n": {"terms": ["n"]}}})
    long = world.define(1025, {"name": "Long", "history_days": 1})
    for number in range(4):
        world.run(putting(short, 1, {"n": number}))
        world.run(putting(long, 1, {"n": number}))
    planner = planner_of(world)
    world.now_us += HISTORY_MIN_US - MINUTE_US
    assert 0 == run_planner(world, planner, 10)
    world.now_us += 2 * MINUTE_US
    assert 0 < run_planner(world, planner, 10)
    assert (1, 4) == (versions(world, 1024), versions(world, 1025))
    assert 1 == sum(key.startswith(keys.INDEXES) for key in world.kv.pairs)
    world.now_us += DAY_US
    assert 0 < run_planner(world, planner, 10)
    assert (1, 1) == (versions(world, 1024), versions(world, 1025))
    assert 0 == run_planner(world, planner, 20)
    assert {"n": 3} == getattr(world.view().get(1025, 1), "data", None)


def test_what_belongs_to_a_dropped_collection_goes_altogether() -> None:
    """Documents and entries go after 15 minutes, then the numbers are free again."""
    world = World()
    coll = world.define(1024, {"name": "Thing", "indexes": {"by_n": {"terms": ["n"]}}})
    world.run(lambda view: view.put(coll, 1, {"n": 1}, None))
    world.run(lambda view: view.delete_definition(1, 1024))
    planner = planner_of(world)
    assert 0 == run_planner(world, planner, 10)
    world.now_us += HISTORY_MIN_US + MINUTE_US
    run_planner(world, planner, 10)
    assert not [key for key in world.kv.pairs if key[:1] in b"di" and b"\x04\x00" == key[7:9]]
    assert 0 == versions(world, 1024)
    assert 32768 == world.view().next_index_id()


def test_many_versions_of_one_document_go_in_slices() -> None:
    """A thing with more versions than a slice holds is worked off, and the walk goes on."""
    world = World()
    coll = world.define(1024, {"name": "Thing"})
    for number in range(2500):
        world.run(putting(coll, 1, {"n": number}), apply=False)
    world.run(putting(coll, 2, {"n": 0}), apply=False)
    world.run(putting(coll, 2, {"n": 1}), apply=False)
    world.apply()
    world.now_us += HISTORY_MIN_US + MINUTE_US
    run_planner(world, planner_of(world), 60)
    assert 2 == versions(world, 1024)


def test_a_deletion_goes_with_all_that_it_hides() -> None:
    """A slice that ends among the hidden versions does not bring them back."""
    world = World()
    coll = world.define(1024, {"name": "Thing"})
    for number in range(VISITED_AT_ONCE_MAX + 500):
        world.run(putting(coll, 1, {"n": number}), apply=False)
    world.run(deleting(coll, 1), apply=False)
    world.apply()
    world.now_us += HISTORY_MIN_US + MINUTE_US
    planner, before = planner_of(world), picture(world, world.now_us)
    for _ in range(10):
        run_planner(world, planner, 1)
        assert before == picture(world, world.now_us)
    assert 0 == versions(world, 1024)


def test_an_empty_state_needs_nothing() -> None:
    """The planner has nothing to say about nothing."""
    world = World()
    assert 0 == run_planner(world, planner_of(world), 3)
