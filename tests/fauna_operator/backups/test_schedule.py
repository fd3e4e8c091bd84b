"""Times, retention, and whole stories of a FaunaScheduledBackup."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauna_operator.backups.moments import BadSchedule, Calendar
from fauna_operator.backups.reconcile import BackupReconciler, Turns
from fauna_operator.backups.retention import Child, Retention, surplus
from fauna_operator.backups.scheduler import Scheduler
from fauna_operator.errors import OperatorError
from fauna_operator.model.dates import iso
from fauna_operator.render import names
from fauna_operator_faults import Crash
from fauna_operator_jobs import CLUSTER, SPACE, World, fresh

HOUR = 3_600.0
DAY = 86_400.0
START = 1_800_000_000.0  # 2027-01-15 08:00 UTC


# -- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        ("0 3 * * *", "Etc/UTC", "2026-11-24T02:59:59", "2026-11-24T03:00:00"),
        ("0 3 * * *", "Europe/Zurich", "2026-07-01T00:00:00", "2026-07-01T01:00:00"),
        ("@daily", "Etc/UTC", "2026-12-31T12:00:00", "2027-01-01T00:00:00"),
        ("@weekly", "Etc/UTC", "2026-11-24T00:00:00", "2026-11-29T00:00:00"),
        ("*/15 8-17 * * 1-5", "Etc/UTC", "2026-11-27T17:45:00", "2026-11-30T08:00:00"),
        ("0 0 29 2 *", "Etc/UTC", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        # 02:30 does not exist on that morning, and exists twice on the other
        ("30 2 * * *", "Europe/Zurich", "2026-03-28T12:00:00", "2026-03-29T01:00:00"),
        ("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("30 2 * * *", "Europe/Zurich", "2026-10-25T00:30:00", "2026-10-26T01:30:00"),
    ],
)
def test_the_next_time(schedule: str, zone: str, after: str, expected: str) -> None:
    """Fields and nicknames, in the zone's own hours, also where clocks change."""
    start = datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp()
    found = Calendar(schedule, zone).next(start)

    assert found is not None
    assert expected == datetime.fromtimestamp(found, UTC).replace(tzinfo=None).isoformat()


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("61 * * * *", "Etc/UTC"),
        ("0 0 31 2 *", "Etc/UTC"),
        ("* * * * * *", "Etc/UTC"),
        ("@often", "Etc/UTC"),
        ("0 3 * * *", "Mars/Olympus"),
        ("0 3 * * *", "../../etc/passwd"),
    ],
)
def test_what_is_no_schedule_is_refused(schedule: str, zone: str) -> None:
    """With a sentence, and never with another error."""
    with pytest.raises(BadSchedule):
        Calendar(schedule, zone)


@settings(deadline=None)
@given(
    schedule=st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 */5 1,15 * *", "@hourly"]),
    zone=st.sampled_from(["Etc/UTC", "Europe/Zurich", "Australia/Lord_Howe"]),
    now=st.integers(1_760_000_000, 1_860_000_000),
)
def test_last_and_next_are_neighbours(schedule: str, zone: str, now: int) -> None:
    """Nothing lies between the last time and the next one, and the last is not after now."""
    calendar = Calendar(schedule, zone)
    last, following = calendar.last(now), calendar.next(now)

    assert last is not None
    assert following is not None
    assert last <= now < following
    assert following == calendar.next(last)
    assert 0 == calendar.count(last, now, 10)
    assert 1 == calendar.count(last, following, 10)


def test_a_zone_keeps_its_hour_over_the_year() -> None:
    """Three in the morning is three in the morning, summer and winter."""
    calendar, moment = Calendar("0 3 * * *", "Europe/Zurich"), START
    for _ in range(400):
        found = calendar.next(moment)
        assert found is not None
        assert 3 == datetime.fromtimestamp(found, ZoneInfo("Europe/Zurich")).hour
        moment = found


# -- retention --------------------------------------------------------------------------------

CHILDREN = st.lists(
    st.tuples(
        st.sampled_from(["Completed", "Failed", "Running", "Pending"]), st.booleans(), st.booleans()
    ),
    max_size=12,
)


@settings(deadline=None)
@given(
    kinds=CHILDREN,
    keep=st.integers(1, 4),
    failed=st.integers(0, 3),
    age=st.sampled_from(["", "2h", "1000h"]),
    used=st.integers(0, 12),
)
def test_retention_never_takes_the_last(
    kinds: list[tuple[str, bool, bool]], keep: int, failed: int, age: str, used: int
) -> None:
    """The last verified one, the last one, what is used and what is being made stay."""
    children = [child(number, *kind) for number, kind in enumerate(kinds)]
    in_use = frozenset({f"nightly-{used}"})

    gone = {
        child.name
        for child, _ in surplus(children, Retention(keep, age, failed), in_use, START + 20 * HOUR)
    }

    completed = [c for c in children if c.phase == "Completed" and not c.deleting]
    verified = [c for c in completed if c.verified_at]
    assert not gone & in_use
    assert not gone & {c.name for c in children if c.phase in ("Running", "Pending")}
    assert not gone & {c.name for c in completed[-1:] + verified[-1:]}
    left = [c for c in completed if c.name not in gone]
    assert len(left) <= keep + 2  # the last verified one, and one that is used
    lost = [c for c in children if c.phase == "Failed" and not c.deleting and c.name not in gone]
    assert len(lost) <= failed + 1


def child(number: int, phase: str, verified: bool, deleting: bool) -> Child:
    at = START + number * HOUR
    ended = iso(at + 60) if phase in ("Completed", "Failed") else ""
    return Child(
        name=f"nightly-{number}",
        uid=str(number),
        resource_version="1",
        at=at,
        phase=phase,
        completed_at=ended,
        verified_at=ended if verified and phase == "Completed" else "",
        deleting=deleting,
    )


# -- stories ----------------------------------------------------------------------------------


def scheduled(world: World, **spec: Any) -> World:
    world.now = START
    template = {"spec": {"clusterRef": {"name": CLUSTER}}, "labels": {"team": "shop"}}
    world.put(
        {
            "apiVersion": names.API_VERSION,
            "kind": "FaunaScheduledBackup",
            "metadata": {"name": "nightly"},
            "spec": {"schedule": "0 * * * *", "template": template, **spec},
        }
    )
    return world


class Story:
    """A schedule, its backups, and time."""

    def __init__(self, world: World) -> None:
        self.world, self.turns = world, Turns()
        self.restart()

    def restart(self) -> None:
        self.scheduler = Scheduler(self.world, (SPACE, "nightly"), lambda: self.world.now)

    async def spend(self, seconds: float, *, step: float = 300.0, finish: bool = True) -> None:
        """Let time pass, with passes of everybody in between."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.now = min(end, self.world.now + step)
            await self.passes(finish=finish)

    async def passes(self, *, finish: bool = True) -> None:
        for _ in range(20 if finish else 3):
            before = repr(self.world.objects)
            await self.one_pass(self.scheduler)
            for name in self.backups():
                reconciler = BackupReconciler(
                    self.world, self.turns, (SPACE, name), lambda: self.world.now
                )
                await self.one_pass(reconciler)
            if finish:
                self.world.step()
            if before == repr(self.world.objects):
                return

    async def one_pass(self, reconciler: Scheduler | BackupReconciler) -> None:
        try:
            await reconciler.one_pass()
        except OperatorError:
            return
        except Crash:
            self.restart()

    def backups(self) -> list[str]:
        return [name for kind, name in self.world.objects if kind == "FaunaBackup"]

    def created(self) -> list[str]:
        lines = self.world.log
        return [line.rpartition(" ")[2] for line in lines if line.startswith("create FaunaBackup")]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.world.objects["FaunaScheduledBackup", "nightly"]["status"]
        return found


def names_of(*hours: int) -> list[str]:
    return [f"nightly-{int(START + hour * HOUR) // 60}" for hour in hours]


def test_backups_come_and_old_ones_go() -> None:
    """One an hour; three are kept; status tells when the last and the next one is."""
    story = Story(scheduled(fresh(), retention={"keepLast": 3}))

    asyncio.run(story.spend(6 * HOUR + 60))

    assert names_of(1, 2, 3, 4, 5, 6) == story.created()
    assert names_of(4, 5, 6) == sorted(story.backups())
    status = story.status()
    assert (iso(START + 6 * HOUR), iso(START + 7 * HOUR)) == (
        status["lastScheduleTime"],
        status["nextScheduleTime"],
    )
    assert (names_of(6)[0], 0, []) == (
        status["lastBackupName"],
        status["missedRuns"],
        status["active"],
    )
    assert 3 == len(story.world.store)
    labels = story.world.objects["FaunaBackup", names_of(6)[0]]["metadata"]["labels"]
    assert ("shop", "nightly") == (labels["team"], labels[names.SCHEDULE])


def test_immediate_makes_one_at_once() -> None:
    """And the next one at its time; a restart in between makes no second one."""
    story = Story(scheduled(fresh(), immediate=True))

    async def tell() -> None:
        await story.passes()
        story.restart()
        await story.spend(HOUR + 60)

    asyncio.run(tell())

    assert names_of(0, 1) == story.created()


def test_a_run_that_is_late_is_made_and_one_too_late_is_counted() -> None:
    """The operator was away: half an hour late is made up for, older runs are missed."""
    story = Story(scheduled(fresh(), schedule="0 0 * * *", startingDeadline="45m"))
    first = 57_600.0  # to midnight

    async def tell() -> None:
        await story.passes()
        story.world.now = START + first + 2 * DAY + 1800  # two midnights missed, the third is late
        await story.passes()
        assert 1 == len(story.created())
        story.world.now = START + first + 3 * DAY + 2 * HOUR  # too late
        await story.passes()

    asyncio.run(tell())

    assert 1 == len(story.created())
    assert 3 == story.status()["missedRuns"]


def test_suspended_makes_nothing_and_does_not_catch_up() -> None:
    """What fell into the suspension is neither made nor counted."""
    story = Story(scheduled(fresh(), suspend=True))
    resource = story.world.objects["FaunaScheduledBackup", "nightly"]

    async def tell() -> None:
        await story.spend(3 * HOUR + 60)
        assert [] == story.created()
        assert "nextScheduleTime" not in story.status()
        resource["spec"]["suspend"] = False
        await story.spend(HOUR)

    asyncio.run(tell())

    assert names_of(4) == story.created()
    assert 0 == story.status()["missedRuns"]


def test_forbid_waits_for_the_one_that_runs() -> None:
    """While a backup is being made no other begins; afterwards the latest one does."""
    story = Story(scheduled(fresh()))

    async def tell() -> None:
        await story.spend(HOUR * 2 + 60, finish=False)
        assert 1 == len(story.created())
        assert "Waiting" == story.status()["conditions"][0]["reason"]
        await story.passes()

    asyncio.run(tell())

    assert names_of(1, 2) == story.created()


def test_replace_deletes_the_one_that_runs() -> None:
    """The one that is being made goes, with its data; the next one is made."""
    story = Story(scheduled(fresh(), concurrencyPolicy="Replace"))

    async def tell() -> None:
        await story.spend(2 * HOUR + 60, finish=False)
        await story.passes()

    asyncio.run(tell())

    assert names_of(1, 2) == story.created()
    assert names_of(2) == story.backups()


def test_a_failed_backup_is_kept_for_a_while_and_the_verified_one_for_ever() -> None:
    """Many failures later the last verified backup is still there."""
    story = Story(scheduled(fresh(), retention={"keepLast": 1, "failedHistoryLimit": 2}))

    async def tell() -> None:
        await story.spend(HOUR + 60)
        story.world.exits = [(64, "")] * 1000
        spec = story.world.objects["FaunaScheduledBackup", "nightly"]["spec"]["template"]["spec"]
        spec |= {"backoffLimit": 0, "deletionPolicy": "Retain"}
        await story.spend(6 * HOUR)

    asyncio.run(tell())

    assert names_of(1, 6, 7) == sorted(story.backups())
    assert "Completed" == story.world.status(names_of(1)[0])["phase"]


def test_a_killed_scheduler_makes_each_run_once_for_every_write() -> None:
    """Killed before its n-th write, for every n, the same backups are made and kept."""

    def story_of(crash: int) -> Story:
        story = Story(scheduled(fresh(), immediate=True, retention={"keepLast": 2}))
        story.world.faults.crash_after = crash
        asyncio.run(story.spend(4 * HOUR + 60, step=900.0))
        return story

    whole = story_of(-1)
    for n in range(0, len(whole.world.log), 3):
        story = story_of(n)
        assert (n, sorted(whole.backups())) == (n, sorted(story.backups()))
        assert (n, 5) == (n, len(set(story.created())))


def test_a_deleted_schedule_leaves_its_backups() -> None:
    """They are not owned by it."""
    story = Story(scheduled(fresh()))
    asyncio.run(story.spend(HOUR + 60))
    story.world.remove("FaunaScheduledBackup", "nightly")

    assert names_of(1) == story.backups()


def test_a_schedule_that_cannot_be_read_says_so() -> None:
    """Nothing is made, and the condition names what is wrong."""
    story = Story(scheduled(fresh(), timeZone="Mars/Olympus"))
    asyncio.run(story.spend(2 * HOUR))

    assert [] == story.created()
    [condition] = story.status()["conditions"]
    assert ("False", "InvalidSchedule") == (condition["status"], condition["reason"])
    assert "Mars/Olympus" in condition["message"]
