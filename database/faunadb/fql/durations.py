"""How long a unit of time is, and what adding one may give.

Trap: a Double amount is exact in binary (`Decimal` keeps all its digits), then cut to whole
nanoseconds.
"""

import math
from decimal import Decimal

from faunadb.errors import QueryError
from faunadb.fql.times import TIME_MAX, TIME_MIN, date_of, days_of
from faunadb.values import Time

NANOS = 1_000_000_000
DAY_SECONDS = 86_400
_UNITS = {
    "day": DAY_SECONDS * NANOS,
    "half day": DAY_SECONDS // 2 * NANOS,
    "hour": 3600 * NANOS,
    "minute": 60 * NANOS,
    "second": NANOS,
    "millisecond": 1_000_000,
    "microsecond": 1000,
    "nanosecond": 1,
}
UNITS_NANOS = _UNITS | {f"{unit}s": nanos for unit, nanos in _UNITS.items()}


def unit_nanos(unit: str) -> int:
    """Return a unit's length; raises `invalid_unit`."""
    nanos = UNITS_NANOS.get(unit.strip())
    if nanos is None:
        raise QueryError("invalid_unit", f"`{unit}` is not a valid time unit.")
    return nanos


def offset_nanos(amount: float, unit: str, bound: str = "maximum") -> int:
    """Return `amount` units in nanoseconds; raises `invalid_time` for what is no number."""
    nanos = unit_nanos(unit)
    if isinstance(amount, float):
        if not math.isfinite(amount):
            raise exceeded(bound)
        return int(Decimal(amount) * nanos)
    return amount * nanos


def exceeded(bound: str) -> QueryError:
    """`bound` is minimum or maximum."""
    return QueryError("invalid_time", f"Time exceeds the {bound} value.")


def checked_time(nanos: int) -> Time:
    """Return the time; raises `invalid_time` beyond the year 999,999,999."""
    if nanos > TIME_MAX.nanos:
        raise exceeded("maximum")
    if nanos < TIME_MIN.nanos:
        raise exceeded("minimum")
    return Time(nanos)


def day_of_week(days: int) -> int:
    """Return 1 for a Monday, 7 for a Sunday."""
    return (days + 3) % 7 + 1


def day_of_year(days: int) -> int:
    """Return 1 for the first of January."""
    return days - days_of(date_of(days)[0], 1, 1) + 1
