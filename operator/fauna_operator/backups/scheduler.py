"""What is one pass over a FaunaScheduledBackup, and how long is the rest after it?"""

import logging
import time
from collections.abc import Callable
from typing import assert_never

import msgspec

from fauna_operator.backups.model import KIND, Record
from fauna_operator.backups.moments import MINUTE_S
from fauna_operator.backups.observe import restored_from
from fauna_operator.backups.retention import Child
from fauna_operator.backups.schedule import (
    SCHEDULE_KIND,
    Action,
    Advance,
    Around,
    Schedule,
    plan,
    status,
)
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import Blocked
from fauna_operator.model.actions import Create, Delete
from fauna_operator.model.dates import epoch, iso
from fauna_operator.render import names
from fauna_operator.supervise import BACKOFF_S, Key

log = logging.getLogger(__name__)

IDLE_S = 30.0  # half a minute late at most, should the clock jump
WAITING_S = 5.0


class Scheduler:
    """The passes of one FaunaScheduledBackup."""

    def __init__(self, kube: Kubernetes, key: Key, clock: Callable[[], float] = time.time) -> None:
        self._kube = kube
        self._namespace, self._name = key
        self._clock = clock
        self._trouble: Blocked | None = None
        self._repeats = 0
        self._last: tuple[Action, ...] = ()

    def troubled(self, trouble: Blocked) -> None:
        """Hear why the last pass failed, to say so in status."""
        self._trouble = trouble

    def passed(self, seconds: float, error: str) -> None:
        """Count nothing: a pass is a few reads."""

    async def close(self) -> None:
        """Let go of nothing: all belongs to the operator."""

    async def one_pass(self) -> float | None:
        """Look, decide, report, act. Returns seconds to the next look, None when it is gone."""
        resource = await self._kube.get(SCHEDULE_KIND, self._namespace, self._name)
        if resource is None:
            return None
        schedule, now = Schedule.of(resource), self._clock()
        around = await self._observe(schedule)
        wish = plan(schedule, around, now)
        blocked = wish if isinstance(wish, Blocked) else None
        actions = () if isinstance(wish, Blocked) else wish
        before = resource.get("status") or {}
        wanted = status(
            schedule, around, schedule.memory, self._trouble or blocked, before=before, now=now
        )
        if wanted != before:
            resource = await self._kube.replace_status({**resource, "status": wanted})
        self._trouble = None
        for action in actions:
            log.info("%s %s/%s: %s", SCHEDULE_KIND, self._namespace, self._name, action)
            resource = await self._perform(schedule, around, resource, action, now)
        return self._pause(wanted, actions, blocked, now)

    async def _observe(self, schedule: Schedule) -> Around:
        selector = f"{names.SCHEDULE}={schedule.name}"
        children = tuple(
            _child(item) for item in await self._kube.find(KIND, schedule.namespace, selector)
        )
        ended = {child.name for child in children if not child.active}
        used = await restored_from(self._kube, schedule.namespace, ended) if ended else {}
        return Around(children, frozenset(used.values()))

    async def _perform(
        self, schedule: Schedule, around: Around, resource: Object, action: Action, now: float
    ) -> Object:
        """Do one action; return the resource as it is then."""
        match action:
            case Advance():
                memory = msgspec.structs.replace(
                    schedule.memory,
                    last_schedule_time=iso(action.last),
                    missed_runs=schedule.memory.missed_runs + action.missed,
                )
                before = resource.get("status") or {}
                wanted = status(schedule, around, memory, None, before=before, now=now)
                return await self._kube.replace_status({**resource, "status": wanted})
            case Create():
                await self._kube.create(action.manifest)
            case Delete():
                seen = {"uid": action.uid, "resourceVersion": action.resource_version}
                await self._kube.delete(action.kind, self._namespace, action.name, seen)
            case _:
                assert_never(action)
        return resource

    def _pause(
        self, said: Object, actions: tuple[Action, ...], blocked: Blocked | None, now: float
    ) -> float:
        self._repeats = self._repeats + 1 if actions and actions == self._last else 0
        self._last = actions
        if actions:
            return 0.0 if self._repeats == 0 else BACKOFF_S[min(self._repeats, len(BACKOFF_S)) - 1]
        if blocked is not None and blocked.reason == "Waiting":
            return WAITING_S
        until = epoch(said["nextScheduleTime"]) - now if "nextScheduleTime" in said else IDLE_S
        return max(0.05, min(IDLE_S, until))


def _child(item: Object) -> Child:
    metadata, record = item["metadata"], msgspec.convert(item.get("status") or {}, Record)
    minute = metadata["name"].rpartition("-")[2]
    made = epoch(metadata["creationTimestamp"])
    return Child(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        at=float(int(minute) * MINUTE_S) if minute.isdecimal() else made,
        phase=record.phase,
        completed_at=record.completed_at,
        verified_at=record.verified_at,
        deleting="deletionTimestamp" in metadata,
    )
