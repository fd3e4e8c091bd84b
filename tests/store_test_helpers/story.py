"""A long run of a world with a bit of everything in it, the same each time."""

import random

from faunadb.codec import LeaseWorker, OpenForClients
from faunadb.errors import QueryError
from faunadb.store.history import RemovalPlanner
from faunadb.values import TRANSACTION_TIME, Fields, Time
from store_test_helpers.world import World, putting

_DEFINITION: Fields = {
    "name": "Thing",
    "indexes": {
        "by_tag": {"terms": [{"field": "tags", "mva": True}], "values": [{"field": "made"}]},
        "by_word": {"values": [{"field": "word", "order": "desc"}, {"field": "more"}]},
    },
    "constraints": [{"unique": ["word", "number"]}],
}


def long_story(transactions: int = 400) -> World:
    """Write, remove, lease, open; return the world with everything applied."""
    chance, world = random.Random(7), World()
    world.append(OpenForClients())
    world.append(LeaseWorker(1, b"process"))
    coll = world.define(1024, _DEFINITION)
    planner = RemovalPlanner(lambda _: world.view().schema)
    for _ in range(transactions):
        data: Fields = {
            "tags": [chance.choice("abc") for _ in range(3)],
            "word": chance.choice(["é", "e", "E", "x" * 600, ""]),
            "number": chance.randrange(40),
            "made": TRANSACTION_TIME,
            "more": {"b": 1, "a": [None, {"z": 0.5, "y": False}]},
        }
        ttl = Time.from_micros(world.now_us + 10**9) if chance.random() < 0.1 else None
        try:
            world.run(putting(coll, chance.randrange(30), data, ttl))
        except QueryError:
            world.now_us += 60_000_000
        with world.kv.read() as reader:
            removal = planner.next(reader, world.now_us)
        if removal is not None:
            world.append(removal)
    world.apply()
    return world
