"""What the tests of the store stand on: a map in memory, and a small world around it."""

from store_test_helpers.memory import Crash, MemoryKeyValue
from store_test_helpers.world import (
    LEADER_TERM,
    LogEntry,
    World,
    collection,
    deleting,
    no_computed_fields,
    putting,
)

__all__ = [
    "LEADER_TERM",
    "Crash",
    "LogEntry",
    "MemoryKeyValue",
    "World",
    "collection",
    "deleting",
    "no_computed_fields",
    "putting",
]
