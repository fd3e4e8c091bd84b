"""How points in time and calendar days are written and read: ISO 8601, proleptic Gregorian.

Shared by the wire encoding and the functions `Time` and `Date`. Years reach from -999,999,999
to +999,999,999, which `datetime` cannot do, so the calendar is computed here: days are counted
in cycles of 400 years (146,097 days) from 0000-03-01, so that the leap day ends a year.

Trap: `Time("2023-02-30T00:00:00Z")` is the last of February, `Date("2023-02-30")` is nothing.
"""

import re

from faunadb.values import Date, Time

YEAR_MAX = 999_999_999
_CYCLE_DAYS = 146_097  # 400 years
_EPOCH = 719_468  # days from 0000-03-01 to 1970-01-01
_DAY_S = 86_400
_NANOS = 1_000_000_000
_OFFSET_MAX_S = 18 * 3600
_YEAR = r"([+-]?\d{4,9})"
_DATE = re.compile(rf"{_YEAR}-(\d\d)-(\d\d)", re.ASCII)
_TIME = re.compile(
    _DATE.pattern + r"[Tt](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{0,9}))?)?"
    r"(?:([Zz])|([+-])(\d\d):?(\d\d)(?::(\d\d))?)",
    re.ASCII,
)


def days_of(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date; the day of the month is not checked.

    >>> days_of(1970, 1, 2), days_of(2000, 2, 29), days_of(-1, 12, 31)
    (1, 11016, -719529)
    """
    year -= month <= 2
    cycle, year = divmod(year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return cycle * _CYCLE_DAYS + year * 365 + year // 4 - year // 100 + day_of_year - _EPOCH


def date_of(days: int) -> tuple[int, int, int]:
    """Undo `days_of`: (year, month, day).

    >>> date_of(0), date_of(11016), date_of(-719529)
    ((1970, 1, 1), (2000, 2, 29), (-1, 12, 31))
    """
    cycle, day = divmod(days + _EPOCH, _CYCLE_DAYS)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month = month + 3 if month < 10 else month - 9
    return cycle * 400 + year + (month <= 2), month, day


def month_days(year: int, month: int) -> int:
    """Return how many days the month has."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in {4, 6, 9, 11} else 31


TIME_MIN = Time(days_of(-YEAR_MAX, 1, 1) * _DAY_S * _NANOS)
TIME_MAX = Time(days_of(YEAR_MAX + 1, 1, 1) * _DAY_S * _NANOS - 1)
DATE_MIN = Date(days_of(-YEAR_MAX, 1, 1))
DATE_MAX = Date(days_of(YEAR_MAX, 12, 31))


def format_date(date: Date) -> str:
    """Write yyyy-mm-dd; years beyond four digits get a sign.

    >>> format_date(Date(0)), format_date(DATE_MIN)
    ('1970-01-01', '-999999999-01-01')
    """
    return _format_days(date.days)


def format_time(time: Time) -> str:
    """Write UTC with seconds and no, 3, 6 or 9 digits of fraction, whichever is exact.

    >>> format_time(Time(1_500_000_000)), format_time(Time(0))
    ('1970-01-01T00:00:01.500Z', '1970-01-01T00:00:00Z')
    """
    seconds, nanos = divmod(time.nanos, _NANOS)
    days, second = divmod(seconds, _DAY_S)
    minute, second = divmod(second, 60)
    text = f"{_format_days(days)}T{minute // 60:02}:{minute % 60:02}:{second:02}"
    if nanos == 0:
        return text + "Z"
    if nanos % 1_000_000 == 0:
        return f"{text}.{nanos // 1_000_000:03}Z"
    if nanos % 1000 == 0:
        return f"{text}.{nanos // 1000:06}Z"
    return f"{text}.{nanos:09}Z"


def parse_date(text: str) -> Date | None:
    """Read yyyy-mm-dd strictly; None for anything else."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year = _year(found[1])
    month, day = int(found[2]), int(found[3])
    if year is None or not 1 <= month <= 12 or not 1 <= day <= month_days(year, month):
        return None
    return Date(days_of(year, month, day))


def parse_time(text: str) -> Time | None:
    """Read a date, T, a time and an offset; None for anything else.

    Days 29 to 31 that the month lacks become its last one; 24:00 is the next day's 00:00.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    year = _year(found[1])
    month, day = int(found[2]), int(found[3])
    if year is None or not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    nanos = int((found[7] or "").ljust(9, "0"))
    second = _second_of_day(int(found[4]), int(found[5]), int(found[6] or 0), nanos)
    offset = 0 if found[8] else _offset_s(found[9], found[10], found[11], found[12])
    if second is None or offset is None:
        return None
    days = days_of(year, month, min(day, month_days(year, month)))
    time = Time((days * _DAY_S + second - offset) * _NANOS + nanos)
    return time if TIME_MIN <= time <= TIME_MAX else None


def _format_days(days: int) -> str:
    year, month, day = date_of(days)
    if 0 <= year <= 9999:
        return f"{year:04}-{month:02}-{day:02}"
    sign = "-" if year < 0 else "+"
    return f"{sign}{abs(year):04}-{month:02}-{day:02}"


def _year(text: str) -> int | None:
    """A sign is needed beyond four digits, and a plus only there."""
    signed = text[0] in "+-"
    if len(text) - signed > 4:
        return int(text) if signed else None
    return None if text[0] == "+" else int(text)


def _second_of_day(hour: int, minute: int, second: int, nanos: int) -> int | None:
    if hour == 24:
        return _DAY_S if minute == second == nanos == 0 else None
    if hour > 23 or minute > 59 or second > 59:
        return None
    return hour * 3600 + minute * 60 + second


def _offset_s(sign: str, hours: str, minutes: str, seconds: str | None) -> int | None:
    if int(minutes) > 59 or int(seconds or 0) > 59:
        return None
    offset = int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0)
    return (-offset if sign == "-" else offset) if offset <= _OFFSET_MAX_S else None
