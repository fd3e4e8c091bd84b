"""When is a backup due? Five fields of cron, or a nickname, in a time zone.

`cronsim` reads the fields: small, typed, without dependencies, released for years, and it keeps
Debian's rules where clocks are changed (a run in the skipped hour comes right after it, one in
the repeated hour comes once). Times here are seconds since 1970, whole minutes.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

MINUTE_S = 60
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


class BadSchedule(ValueError):
    """What was written is no schedule; the message is a sentence."""


class Calendar:
    """The times of one schedule. Raises `BadSchedule` for what cannot be meant."""

    def __init__(self, schedule: str, zone: str) -> None:
        self._fields = NICKNAMES.get(schedule, schedule)
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise BadSchedule(f"{zone!r} is not the name of a time zone") from error
        if len(self._fields.split()) != 5:
            raise BadSchedule(f"{schedule!r} has not five fields, nor is it @daily or such")
        try:
            CronSim(self._fields, datetime.fromtimestamp(0, UTC))
        except CronSimError as error:
            raise BadSchedule(f"{schedule!r}: {error}") from error

    def next(self, after: float) -> float | None:
        """Return the first time after a moment; None when there is none within decades."""
        return self._first(after, reverse=False)

    def last(self, until: float) -> float | None:
        """Return the last time not after a moment.

        >>> Calendar("*/5 * * * *", "Etc/UTC").last(601)
        600.0
        """
        return self._first(until // MINUTE_S * MINUTE_S + MINUTE_S, reverse=True)

    def count(self, after: float, until: float, most: int) -> int:
        """Return how many times lie after one moment and not after the other, at most `most`."""
        found, moment = 0, self.next(after)
        while moment is not None and moment <= until and found < most:
            found, moment = found + 1, self.next(moment)
        return found

    def _first(self, start: float, *, reverse: bool) -> float | None:
        moment = datetime.fromtimestamp(start, self._zone)
        try:
            return next(CronSim(self._fields, moment, reverse=reverse)).timestamp()
        except StopIteration:
            return None
