"""Times and dates (functions.yaml, Time, Date, TransactionTime).

One clock: everything that says "now" is the snapshot's time.
Trap: fields are in UTC; a day is 24 hours.
"""

from collections.abc import Callable
from typing import Any

from faunadb.errors import QueryError
from faunadb.fql.arithmetic import narrow, wrap
from faunadb.fql.display import display
from faunadb.fql.durations import (
    DAY_SECONDS,
    NANOS,
    checked_time,
    day_of_week,
    day_of_year,
    exceeded,
    offset_nanos,
    unit_nanos,
)
from faunadb.fql.registry import getter, method
from faunadb.fql.runtime import OBSERVATION, Runtime
from faunadb.fql.times import DATE_MAX, DATE_MIN, date_of, parse_date, parse_time
from faunadb.values import LONG_MAX, LONG_MIN, TRANSACTION_TIME, Date, Long, Time

_DAY_NANOS = DAY_SECONDS * NANOS


@method("Time", "()", "(time: String)")
@method("Time", "fromString", "(time: String)")
def time_from(rt: Runtime, this: Any, text: str) -> Time:
    found = parse_time(text) if len(text) < 64 else None
    if found is None:
        raise QueryError("invalid_time", f"`{text}` is not a valid time.")
    return found


@method("Time", "now", effect=OBSERVATION)
def now(rt: Runtime, this: Any) -> Time:
    return Time.from_micros(rt.view.snapshot_ts)


@method("Time", "epoch", "(offset: Number, unit: String)")
def epoch(rt: Runtime, this: Any, offset: float, unit: str) -> Time:
    return checked_time(offset_nanos(offset, unit))


@method("Date", "()", "(date: String)")
@method("Date", "fromString", "(date: String)")
def date_from(rt: Runtime, this: Any, text: str) -> Date:
    found = parse_date(text) if len(text) < 64 else None
    if found is None:
        raise QueryError("invalid_date", f"`{text}` is not a valid date.")
    return found


@method("Date", "today")
def today(rt: Runtime, this: Any) -> Date:
    return Date(rt.view.snapshot_ts // 1_000_000 // DAY_SECONDS)


@method("TransactionTime", "()", "()")
def transaction_time(rt: Runtime, this: Any) -> Any:
    return TRANSACTION_TIME


_DAY_FIELDS: dict[str, Callable[[int], int]] = {
    "year": lambda days: date_of(days)[0],
    "month": lambda days: date_of(days)[1],
    "dayOfMonth": lambda days: date_of(days)[2],
    "dayOfWeek": day_of_week,
    "dayOfYear": day_of_year,
}
for _name, _field in _DAY_FIELDS.items():
    getter("Date#", _name)(lambda rt, this, f=_field: f(this.days))
    getter("Time#", _name)(lambda rt, this, f=_field: f(this.nanos // _DAY_NANOS))


@getter("Time#", "hour")
def hour(rt: Runtime, this: Time) -> int:
    return this.nanos // (3600 * NANOS) % 24


@getter("Time#", "minute")
def minute(rt: Runtime, this: Time) -> int:
    return this.nanos // (60 * NANOS) % 60


@getter("Time#", "second")
def second(rt: Runtime, this: Time) -> int:
    return this.nanos // NANOS % 60


@method("Time#", "toMicros")
def to_micros(rt: Runtime, this: Time) -> float:
    return narrow(wrap(this.nanos // 1000))


@method("Time#", "toMillis")
def to_millis(rt: Runtime, this: Time) -> float:
    return narrow(wrap(this.nanos // 1_000_000))


@method("Time#", "toSeconds")
def to_seconds(rt: Runtime, this: Time) -> float:
    return narrow(this.nanos // NANOS)


def _bounded(offset: int, bound: str) -> int:
    """Refuse what java.time could not even add."""
    if not LONG_MIN <= offset // NANOS <= LONG_MAX:
        raise exceeded(bound)
    return offset


@method("Time#", "add", "(amount: Number, unit: String)")
def time_add(rt: Runtime, this: Time, amount: float, unit: str) -> Time:
    return checked_time(this.nanos + _bounded(offset_nanos(amount, unit), "maximum"))


@method("Time#", "subtract", "(amount: Number, unit: String)")
def time_subtract(rt: Runtime, this: Time, amount: float, unit: str) -> Time:
    return checked_time(this.nanos - _bounded(offset_nanos(amount, unit, "minimum"), "minimum"))


@method("Time#", "difference", "(start: Time, unit: String)")
def time_difference(rt: Runtime, this: Time, start: Time, unit: str) -> float:
    span = this.nanos - start.nanos
    whole = abs(span) // unit_nanos(unit)
    return narrow(whole if span >= 0 else -whole)


def _date_offset(amount: float, unit: str) -> int:
    if unit.strip() not in ("day", "days"):
        raise QueryError("invalid_unit", f"`{unit}` is not a valid date unit.")
    if isinstance(amount, float):
        if not abs(amount) <= 1e18:
            raise QueryError("invalid_date", f"`{amount}` is not a valid date.")
        return int((amount + 0.5) // 1)
    return amount


def _checked_date(days: int) -> Date:
    if not DATE_MIN.days <= days <= DATE_MAX.days:
        raise QueryError("invalid_date", f"`{days}` is not a valid date.")
    return Date(days)


@method("Date#", "add", "(amount: Number, unit: String)")
def date_add(rt: Runtime, this: Date, amount: float, unit: str) -> Date:
    return _checked_date(this.days + _date_offset(amount, unit))


@method("Date#", "subtract", "(amount: Number, unit: String)")
def date_subtract(rt: Runtime, this: Date, amount: float, unit: str) -> Date:
    return _checked_date(this.days - _date_offset(amount, unit))


@method("Date#", "difference", "(start: Date)")
def date_difference(rt: Runtime, this: Date, start: Date) -> int:
    return Long(this.days - start.days)


def _to_string(rt: Runtime, this: Any) -> str:
    return display(rt, this)


for _owner in ("Time#", "Date#", "ID#", "UUID#", "Bytes#", "SetCursor#", "TransactionTime#"):
    method(_owner, "toString")(_to_string)
