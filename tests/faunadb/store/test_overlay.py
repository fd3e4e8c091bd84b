"""The tip is the applied state and every later entry, whatever is applied meanwhile."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faunadb.codec import (
    CloseForClients,
    HashPoint,
    OpenForClients,
    Payload,
    RaiseCeiling,
    RemoveVersions,
    RequestId,
    Transaction,
)
from faunadb.store.effects import Effects, ReadSet, conflicts
from faunadb.store.overlay import Overlay, Window
from store_test_helpers import World, collection, deleting, putting

COLL = collection(("by_n", [], ["n"]))
REQUEST = RequestId(2_000_000_000_000_000, b"n" * 16)
small_keys = st.sampled_from([bytes((97 + number,)) + b"12345678" for number in range(6)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.one_of(st.none(), st.integers(0, 3))), max_size=8),
    st.lists(st.integers(1, 3), max_size=4),
)
def test_the_tip_does_not_depend_on_what_is_applied(
    operations: list[tuple[int, int | None]], batches: list[int]
) -> None:
    """A reader over state and tail shows what a state shows that has applied everything."""
    world = World()
    for doc_id, number in operations:
        if number is None:
            world.run(deleting(COLL, doc_id), apply=False)
        else:
            world.run(putting(COLL, doc_id, {"n": number}), apply=False)
    pictures = []
    for batch in [*batches, None]:
        with world.kv.read() as reader:
            tip = world.overlay.over(reader)
            for reverse in (False, True):
                pairs = list(tip.scan(b"d", b"j", reverse=reverse))
                pictures.append(sorted(pairs))
                assert sorted(pairs, reverse=reverse) == pairs
            assert all(value == tip.get(key) for key, value in pairs)
            assert tip.get(b"dx") is None
            assert pairs[:1] == list(tip.scan(pairs[0][0], None))[:1] if pairs else True
        world.apply(batch)
    with world.kv.read() as reader:
        assert [sorted(reader.scan(b"d", b"j"))] * len(pictures) == pictures
    assert 0 == len(world.overlay)


def test_a_deleted_pair_hides_the_applied_one() -> None:
    """A None in the tail covers what is below it, until the entry is applied."""
    world = World()
    world.run(lambda view: view.put(COLL, 1, {"n": 1}, None))
    keys = [key for key in world.kv.pairs if key.startswith(b"d")]
    now = world.overlay.last_ts + 1
    world.append(Transaction(now, now, tuple((key, None) for key in keys)))
    for reverse in (False, True):
        with world.kv.read() as reader:
            assert [] == list(world.overlay.over(reader).scan(b"d", b"e", reverse=reverse))
            assert world.overlay.over(reader).get(keys[0]) is None
    world.apply()
    assert not [key for key in world.kv.pairs if key.startswith(b"d")]


def test_a_pair_put_and_deleted_in_the_tail_stays_hidden() -> None:
    """Applying the put does not uncover it while the deletion is still in the tail."""
    world = World()
    world.run(lambda view: view.put(COLL, 1, {"n": 1}, None), apply=False)
    key = next(key for key, _ in world.overlay._pairs.items() if key.startswith(b"d"))
    world.append(Transaction(world.now_us + 5, 0, ((key, None),)))
    world.apply(1)
    with world.kv.read() as reader:
        assert reader.get(key) is not None
        assert world.overlay.over(reader).get(key) is None


def test_what_closes_the_cluster_counts_at_the_tip() -> None:
    """A recovered incarnation takes no writes of clients before it is opened again."""
    world = World()
    overlay = Overlay(world.machine.record)
    overlay.load([((3, 1), OpenForClients()), ((3, 2), CloseForClients())])

    assert not overlay.open_for_clients


def test_a_new_leader_takes_in_what_it_inherits() -> None:
    """Writes, request ids, timestamps, ceilings and the opening of an inherited tail count."""
    old = World()
    old.apply()
    new = Overlay(old.machine.record)
    write = Transaction(50, 900, ((b"d12345678", b"x"),), REQUEST)
    payloads: list[Payload | None] = [None, write, RaiseCeiling(950), HashPoint()]
    payloads += [OpenForClients(), RemoveVersions(b"a", b"b", 1, 1)]
    new.load(((3, number + 1), payload) for number, payload in enumerate(payloads))
    with old.kv.read() as reader:
        assert ((3, 6), 50, 950, True) == (
            new.last,
            new.last_ts,
            new.ceiling,
            new.open_for_clients,
        )
        found = new.find_request(reader, REQUEST)
        assert found is not None
        assert 50 == found.ts
        assert b"x" == new.over(reader).get(b"d12345678")
        assert not new.window.covers(5)
        assert new.window.covers(6)
        new.prune(2)
        assert new.find_request(reader, REQUEST) is None
        assert new.over(reader).get(b"d12345678") is None


def test_what_breaks_the_order_of_the_log_is_a_crash() -> None:
    """A gap, a time that does not grow, a request that is appended twice."""
    for broken in ((1, 3), (0, 2)):
        overlay = Overlay(World().machine.record)
        overlay.append((1, 1), None)
        with pytest.raises(AssertionError, match=r"gaps|fall"):
            overlay.append(broken, None)
    overlay = Overlay(World().machine.record)
    overlay.append((1, 1), Transaction(5, 5, (), REQUEST))
    with pytest.raises(AssertionError, match="timestamps"):
        overlay.append((1, 2), Transaction(5, 5, ()))
    with pytest.raises(AssertionError, match="once"):
        overlay.append((1, 3), Transaction(6, 6, (), REQUEST))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(small_keys, max_size=3), max_size=8),
    st.integers(0, 8),
    st.frozensets(small_keys, max_size=2),
    st.lists(st.tuples(small_keys, small_keys), max_size=2),
)
def test_the_window_finds_what_was_written_since(
    entries: list[list[bytes]],
    base: int,
    points: frozenset[bytes],
    ranges: list[tuple[bytes, bytes]],
) -> None:
    """It says what comparing the read set with every later write says."""
    window, reads = Window(0), ReadSet(points, tuple(ranges))
    for number, written in enumerate(entries):
        window.note(number + 1, written)
    later = [prefix for written in entries[base:] for prefix in written]
    assert conflicts(reads, later) == window.conflicts(reads, base)


def test_the_window_forgets_by_bytes() -> None:
    """Beyond its limit the oldest entries go, and it says so."""
    window = Window(0, bytes_max=1000)
    for index in range(1, 20):
        window.note(index, [b"same", bytes((index,)) * 20])
    assert 0 < window.start < 19
    assert not window.covers(window.start - 1)
    assert window.conflicts(ReadSet(frozenset({b"same"})), 18)
    assert not window.conflicts(ReadSet(frozenset({b"same"})), 19)
    assert len(window._last) < 10
    with pytest.raises(AssertionError):
        window.conflicts(ReadSet(), 0)


def test_effects_are_a_value_that_travels() -> None:
    """A worker process sends them as bytes; nothing is lost, placeholders included."""
    view = World().view()
    view.put(collection(("by_ts", ["ts"], [])), 1, {"n": 1}, None)
    effects = view.effects((1, 5), 1)
    assert effects.late
    encoded = msgspec.msgpack.encode(effects)
    assert effects == msgspec.msgpack.decode(encoded, type=Effects)
