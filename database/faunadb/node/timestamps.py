"""Which timestamp comes next: one counter, on the leader (SAFETY 8 to 11).

A read timestamp is issued only below a committed ceiling, so that a new leader, which starts
above every ceiling and timestamp in its log, never issues it again. Writes carry their own.
All times are microseconds since 1970.

Trap: `now_us` of one clock must never move the counter: only the lower median of a majority
of the voters' clocks may, so that one clock an hour ahead is harmless.
"""

from collections.abc import Iterable, Mapping

from faunadb.errors import InvalidRequest

CEILING_AHEAD_US = 1_000_000
LAST_TXN_TS_AHEAD_MAX_US = 60_000_000
CLOCK_OFF_MAX_US = 1_000_000


class ClockMedian:
    """The voters' wall clocks as offsets to this member's monotonic clock, of one term."""

    def __init__(self) -> None:
        self._offset_us: dict[int, int] = {}
        self._sorted: tuple[tuple[int, ...], list[int] | None] | None = None  # (voters, offsets)

    def reset(self) -> None:
        """Forget what was heard: a new term began."""
        self._offset_us.clear()
        self._sorted = None

    def heard(self, member: int, wall_us: int, monotonic_us: int) -> None:
        self._offset_us[member] = wall_us - monotonic_us
        self._sorted = None

    def now_us(self, voters: Iterable[int], monotonic_us: int) -> int | None:
        """Return the lower median of a majority's clocks, `None` before a majority was heard."""
        offsets = self._of(voters)
        return None if offsets is None else monotonic_us + offsets[(len(offsets) - 1) // 2]

    def latest_us(self, voters: Iterable[int], monotonic_us: int) -> int | None:
        """Return the upper median: of two clocks nobody can say which one is wrong."""
        offsets = self._of(voters)
        return None if offsets is None else monotonic_us + offsets[len(offsets) // 2]

    def off(self, voters: Iterable[int]) -> frozenset[int]:
        """Return the voters whose clock is more than one second away from the median."""
        members = list(voters)
        offsets = self._of(members)
        if offsets is None:
            return frozenset()
        median, heard = offsets[(len(offsets) - 1) // 2], self._offset_us
        return frozenset(
            member
            for member in members
            if member in heard and abs(heard[member] - median) > CLOCK_OFF_MAX_US
        )

    def _of(self, voters: Iterable[int]) -> list[int] | None:
        """Asked several times for each write, heard anew once a second."""
        members = tuple(voters)
        if self._sorted is None or self._sorted[0] != members:
            self._sorted = members, self._in_order(members)
        return self._sorted[1]

    def _in_order(self, members: tuple[int, ...]) -> list[int] | None:
        heard: Mapping[int, int] = self._offset_us
        offsets = sorted(heard[member] for member in members if member in heard)
        return offsets if len(offsets) * 2 > len(members) else None


class Counter:
    """The leader's counter. `start_above` everything that the log and the state hold."""

    def __init__(self, start_above: int) -> None:
        self.last_us = start_above

    def issue(self, now_us: int | None, count: int = 1) -> int:
        """Issue `count` consecutive timestamps and return the first."""
        first = max(self.last_us + 1, now_us or 0)
        self.last_us = first + count - 1
        return first

    def raise_to(self, last_txn_ts: int, ceiling_us: int) -> None:
        """Make later timestamps greater than `last_txn_ts`.

        Refuses, as `InvalidRequest`, a time more than one minute beyond the ceiling and the
        counter: no member of this cluster has issued it.
        """
        if last_txn_ts > max(ceiling_us, self.last_us) + LAST_TXN_TS_AHEAD_MAX_US:
            raise InvalidRequest(
                f"Invalid header 'x-last-txn-ts': {last_txn_ts} is later than any transaction."
            )
        self.last_us = max(self.last_us, last_txn_ts)
