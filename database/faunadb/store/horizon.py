"""How far back can one read? To the horizon of the collection (schema.md, section 10).

    max(snapshot - history_days, floor) - 15 minutes

The floor rises when `history_days` changes, so that raising it brings nothing back. Schema is
kept for ever; keys, tokens and credentials have no days.
"""

from faunadb.definitions import CollectionDefinition, SystemCollection
from faunadb.errors import QueryError

HISTORY_MIN_US = 15 * 60 * 1_000_000
DAY_US = 86_400 * 1_000_000
INTERNAL = 0  # a collection that no schema names: what the store remembers for itself
_NO_DAYS = (
    INTERNAL,
    SystemCollection.KEY,
    SystemCollection.TOKEN,
    SystemCollection.CREDENTIAL,
)


def floor_of(coll: CollectionDefinition, ts: int) -> int:
    """Return the time before which `history_days` has let history go, seen from `ts`."""
    if coll.history_days is None:
        return coll.history_floor_us
    return max(ts - coll.history_days * DAY_US, coll.history_floor_us)


def horizon_of(coll: CollectionDefinition, ts: int) -> int:
    """Return the earliest readable time of a user's collection, in microseconds."""
    return max(floor_of(coll, ts) - HISTORY_MIN_US, 0)


def system_horizon(coll: int, ts: int) -> int:
    """Return the same for a system collection."""
    return max(ts - HISTORY_MIN_US, 0) if coll in _NO_DAYS else 0


def check_readable(at: int, horizon: int) -> None:
    """Refuse, as `invalid_request`, a time whose versions may be gone."""
    if at < horizon:
        raise QueryError(
            "invalid_request",
            f"Requested timestamp {at} less than minimum allowed timestamp {horizon}.",
        )
