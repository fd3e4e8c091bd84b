"""What is the next step of one FaunaScheduledBackup? `plan(schedule, seen, now)`, pure.

A run is named after its minute, so that making it twice makes it once. What the schedule has
behind it is the later of what status says and what its backups are named after: a crash between
the two loses nothing.
Trap: its backups are not owned by it. Who deletes a schedule has not asked for the data to go.
"""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from fauna_operator.backups.model import COMPLETED, KIND, BackupSpec
from fauna_operator.backups.moments import MINUTE_S, BadSchedule, Calendar
from fauna_operator.backups.retention import Child, Retention, surplus
from fauna_operator.model.actions import Blocked, Create, Delete
from fauna_operator.model.conditions import conditions
from fauna_operator.model.dates import epoch, iso
from fauna_operator.model.desired import seconds
from fauna_operator.render import names

SCHEDULE_KIND = "FaunaScheduledBackup"
MISSED_MAX = 1_000  # counted at one look; a schedule that was away for longer missed "many"


class Template(msgspec.Struct, frozen=True, rename="camel"):
    """What each FaunaBackup is made like."""

    spec: BackupSpec
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class ScheduleSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The whole spec."""

    schedule: str
    template: Template
    time_zone: str = "Etc/UTC"
    suspend: bool = False
    immediate: bool = False
    starting_deadline: str = "1h"
    concurrency_policy: Literal["Forbid", "Replace"] = "Forbid"
    retention: Retention = Retention()


class Memory(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What only status knows."""

    last_schedule_time: str = ""
    last_successful_time: str = ""
    last_backup_name: str = ""
    missed_runs: int = 0


class Schedule(msgspec.Struct, frozen=True):
    """One FaunaScheduledBackup as it was read."""

    name: str
    namespace: str
    generation: int
    created: float
    spec: ScheduleSpec
    template: Mapping[str, Any]  # spec.template.spec as it was written
    memory: Memory = Memory()
    deleting: bool = False

    @classmethod
    def of(cls, resource: Mapping[str, Any]) -> "Schedule":
        """Read a FaunaScheduledBackup. Raises `msgspec.ValidationError`."""
        metadata = resource["metadata"]
        return cls(
            name=metadata["name"],
            namespace=metadata["namespace"],
            generation=int(metadata.get("generation", 1)),
            created=epoch(metadata["creationTimestamp"]),
            spec=msgspec.convert(resource["spec"], ScheduleSpec, strict=True),
            template=resource["spec"]["template"]["spec"],
            memory=msgspec.convert(resource.get("status") or {}, Memory),
            deleting="deletionTimestamp" in metadata,
        )


class Around(msgspec.Struct, frozen=True):
    """What one pass knows besides the resource itself."""

    children: tuple[Child, ...] = ()
    in_use: frozenset[str] = frozenset()  # backups that a FaunaRestore reads


class Advance(msgspec.Struct, frozen=True, tag=True):
    """Leave times behind without a backup; compare-and-set on the resource as it was observed."""

    last: float
    missed: int
    why: str

    def __str__(self) -> str:
        return f"skip to {iso(self.last)}, {self.missed} missed ({self.why})"


Action = Advance | Create | Delete
Wish = tuple[Action, ...] | Blocked


def plan(schedule: Schedule, around: Around, now: float) -> Wish:
    """Return what to do, or what is waited for; `now` is seconds since 1970."""
    if schedule.deleting:
        return Blocked("Deleting", "its backups stay")
    try:
        calendar = Calendar(schedule.spec.schedule, schedule.spec.time_zone)
    except BadSchedule as error:
        return Blocked("InvalidSchedule", str(error))
    old = surplus(around.children, schedule.spec.retention, around.in_use, now)
    if old:
        return tuple(
            Delete(KIND, child.name, child.uid, child.resource_version, why) for child, why in old
        )
    return _next_run(schedule, around, calendar, now)


def _next_run(schedule: Schedule, around: Around, calendar: Calendar, now: float) -> Wish:
    spec, last = schedule.spec, behind(schedule, around.children)
    if spec.immediate and last is None and not spec.suspend:
        return (Create(child_of(schedule, schedule.created)),)
    since = schedule.created if last is None else last
    due = calendar.last(now)
    if due is None or due <= since:
        return Blocked("Suspended", "spec.suspend is true") if spec.suspend else ()
    if spec.suspend:
        return (Advance(due, 0, "suspended"),)
    passed = calendar.count(since, due, MISSED_MAX)
    if now - due > seconds(spec.starting_deadline):
        return (Advance(due, passed, f"not begun within {spec.starting_deadline}"),)
    return _due_run(schedule, around, calendar, due=due, passed=passed)


def _due_run(
    schedule: Schedule, around: Around, calendar: Calendar, *, due: float, passed: int
) -> Wish:
    """Make the run that is due, when no other is in its way."""
    active = [child for child in around.children if child.active]
    if active and schedule.spec.concurrency_policy == "Forbid":
        return Blocked("Waiting", f"FaunaBackup {active[0].name} is still being made")
    if active:
        return tuple(
            Delete(KIND, child.name, child.uid, child.resource_version, "the next one is due")
            for child in active
        )
    before = calendar.last(due - MINUTE_S)
    if passed > 1 and before is not None:
        return (Advance(before, passed - 1, "a later one is due"),)
    return (Create(child_of(schedule, due)),)


def behind(schedule: Schedule, children: tuple[Child, ...]) -> float | None:
    """Return the last time that needs no run any more; None when there was none yet."""
    said = schedule.memory.last_schedule_time
    times = [child.at for child in children] + ([epoch(said)] if said else [])
    return max(times, default=None)


def child_of(schedule: Schedule, at: float) -> dict[str, Any]:
    """Return the FaunaBackup of a run; its name tells the minute."""
    template = schedule.spec.template
    return {
        "apiVersion": names.API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": f"{schedule.name}-{int(at) // MINUTE_S}",
            "namespace": schedule.namespace,
            "labels": {
                **template.labels,
                names.SCHEDULE: schedule.name,
                names.CLUSTER: template.spec.cluster_ref.name,
            },
            "annotations": dict(template.annotations),
        },
        "spec": dict(schedule.template),
    }


def status(
    schedule: Schedule,
    around: Around,
    memory: Memory,
    blocked: Blocked | None,
    *,
    before: Mapping[str, Any],
    now: float,
) -> dict[str, Any]:
    """Return the whole status; `blocked` is what it waits for, or what went wrong."""
    spec, children = schedule.spec, sorted(around.children, key=lambda child: child.at)
    last = behind(msgspec.structs.replace(schedule, memory=memory), around.children)
    done = [child.completed_at for child in children if child.phase == COMPLETED]
    memory = msgspec.structs.replace(
        memory,
        last_schedule_time=iso(last) if last is not None else "",
        last_successful_time=max([*done, memory.last_successful_time]),
        last_backup_name=children[-1].name if children else memory.last_backup_name,
    )
    found: dict[str, Any] = msgspec.to_builtins(memory)
    found["missedRuns"] = memory.missed_runs
    upcoming = None if spec.suspend or schedule.deleting else _upcoming(spec, last, now)
    if upcoming is not None:
        found["nextScheduleTime"] = iso(upcoming)
    verdict = ("False", blocked.reason, blocked.message) if blocked else ("True", "Scheduled", "")
    return {
        **found,
        "observedGeneration": schedule.generation,
        "active": [child.name for child in children if child.active],
        "conditions": conditions(
            {"Ready": verdict}, before.get("conditions", ()), schedule.generation, now
        ),
    }


def _upcoming(spec: ScheduleSpec, last: float | None, now: float) -> float | None:
    try:
        return Calendar(spec.schedule, spec.time_zone).next(max(now, last or 0.0))
    except BadSchedule:
        return None
