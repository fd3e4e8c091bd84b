"""Times and dates as text."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faunadb.fql import times
from faunadb.values import Date, Time


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2023-02-10T00:00:00Z", "2023-02-10T00:00:00Z"),
        ("2023-02-10T01:02Z", "2023-02-10T01:02:00Z"),
        ("2023-02-10t01:02:03.5z", "2023-02-10T01:02:03.500Z"),
        ("2023-02-10T01:02:03.123456Z", "2023-02-10T01:02:03.123456Z"),
        ("2023-02-10T01:02:03.123456789+02:00", "2023-02-09T23:02:03.123456789Z"),
        ("2023-02-10T00:00:00-0130", "2023-02-10T01:30:00Z"),
        ("2023-02-10T00:00:00+01:02:03", "2023-02-09T22:57:57Z"),
        ("2023-02-30T00:00:00Z", "2023-02-28T00:00:00Z"),
        ("2024-02-31T00:00:00Z", "2024-02-29T00:00:00Z"),
        ("2023-12-31T24:00:00Z", "2024-01-01T00:00:00Z"),
        ("+12023-01-01T00:00:00Z", "+12023-01-01T00:00:00Z"),
        ("-0001-01-01T00:00:00Z", "-0001-01-01T00:00:00Z"),
        ("+999999999-12-31T23:59:59.999999999Z", "+999999999-12-31T23:59:59.999999999Z"),
    ],
)
def test_a_time_is_read_and_written_in_utc(text: str, shown: str) -> None:
    """Offsets, fractions, short seconds and impossible days are read as the original does."""
    time = times.parse_time(text)

    assert time is not None
    assert shown == times.format_time(time)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023-02-10",
        "2023-02-10T00:00:00",
        "12023-01-01T00:00:00Z",
        "+2023-01-01T00:00:00Z",
        "2023-13-01T00:00:00Z",
        "2023-00-01T00:00:00Z",
        "2023-01-32T00:00:00Z",
        "2023-01-01T24:00:01Z",
        "2023-01-01T25:00:00Z",
        "2023-01-01T00:60:00Z",
        "2023-01-01T00:00:60Z",
        "2023-01-01T00:00:00+19:00",
        "2023-01-01T00:00:00.1234567891Z",
        "2023-01-01T00:00:00Z ",
        "\uff12023-01-01T00:00:00Z",
        "+999999999-12-31T23:59:59-01:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Nothing else is a time, the first instant beyond the last year included."""
    assert None is times.parse_time(text)


@pytest.mark.parametrize("text", ["2023-02-30", "2023-2-3", "12023-01-01", "2023-02-10T00:00:00Z"])
def test_a_date_is_strict(text: str) -> None:
    """Unlike a time, a date has no lenient days."""
    assert None is times.parse_date(text)


@given(st.integers(times.DATE_MIN.days, times.DATE_MAX.days))
def test_a_date_reads_back(days: int) -> None:
    """Every day that can be written is read as itself."""
    assert Date(days) == times.parse_date(times.format_date(Date(days)))


@given(st.integers(times.TIME_MIN.nanos, times.TIME_MAX.nanos))
def test_a_time_reads_back(nanos: int) -> None:
    """Every instant that can be written is read as itself, to the nanosecond."""
    assert Time(nanos) == times.parse_time(times.format_time(Time(nanos)))


@given(st.dates())
def test_the_calendar_is_the_standard_one(date: dt.date) -> None:
    """Where `datetime` reaches, both agree."""
    days = date.toordinal() - dt.date(1970, 1, 1).toordinal()

    assert (date.year, date.month, date.day) == times.date_of(days)
    assert days == times.days_of(date.year, date.month, date.day)
    assert date.isoformat() == times.format_date(Date(days))
