"""What is one pass over a FaunaCluster, and how long is the rest after it?

    observe → plan → status → act

A pass that did something is followed by another at once; one that
waits for a member looks again soon; an idle one after `IDLE_S`. An error becomes a condition.

Where nothing changed since the last look (`changes.py`), a pass only asks the members, and rests if
the plan is still empty and status still true. The trap: it never acts or writes on that; whatever
it would do, it first looks itself.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from fauna_operator.act import Actor
from fauna_operator.changes import Changes
from fauna_operator.database import Members
from fauna_operator.events import Teller
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.metrics import Metrics
from fauna_operator.model import Blocked, Desired, Observed, Plan
from fauna_operator.observe import Memory, ask_again, observe
from fauna_operator.plan import plan
from fauna_operator.status import status
from fauna_operator.supervise import BACKOFF_S, Key

log = logging.getLogger(__name__)

IDLE_S = 15.0
WAITING_S = 0.5  # something is on its way: a pod starts, a learner catches up
LOOK_S = 6 * 3600.0  # what no watch and no list shows is looked at so often, more or less


@dataclass(frozen=True)
class Sight:
    """A look that found nothing to do; it holds while `count` does, until `until_s` at most."""

    count: int
    until_s: float
    resource: Object
    desired: Desired
    seen: Observed


class Cluster:
    """The passes of one FaunaCluster."""

    def __init__(
        self,
        kube: Kubernetes,
        members: Members,
        key: Key,
        metrics: Metrics | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        changes: Changes | None = None,
    ) -> None:
        self._changes = changes
        self._sight: Sight | None = None
        self._clock = clock
        self._kube = kube
        self._members = members
        self._key = self._namespace, self._name = key
        self._metrics = metrics or Metrics()
        self._memory = Memory()
        self._teller = Teller(kube)
        self._uid = ""
        self._trouble: Blocked | None = None
        self._last: Plan | None = None
        self._repeats = 0

    def troubled(self, trouble: Blocked) -> None:
        """Hear why the last pass failed, to say so in status."""
        self._trouble = trouble

    def passed(self, seconds: float, error: str) -> None:
        """Count a pass."""
        self._metrics.passed(self._key, seconds, error)

    async def close(self) -> None:
        """Close the connections to members; forget the figures."""
        self._metrics.forget(self._key)
        await self._members.close()

    async def one_pass(self) -> float | None:
        """Look, decide, report, act. Returns seconds to the next look, None when it is gone."""
        count = self._changes.count(self._key) if self._changes else None
        if await self._still_holds(count):
            return IDLE_S
        self._sight = None
        resource = await self._kube.get("FaunaCluster", self._namespace, self._name)
        if resource is None:
            return None
        desired = Desired.of(resource)
        if self._uid != desired.uid:  # deleted and made again: other durations, other trouble
            self._uid, self._memory, self._trouble = desired.uid, Memory(), None
        now = time.time()
        seen = await observe(self._kube, self._members, resource, desired, now=now)
        observed = self._memory.update(seen, self._clock())
        decided = plan(desired, observed, now)
        blocked = [*decided.blocked, *([self._trouble] if self._trouble else [])]
        self._metrics.decided(self._key, decided.rule, [each.reason for each in blocked])
        read, resource = resource, await self._report(desired, observed, decided, resource, now)
        self._metrics.saw(resource)
        self._trouble = None
        actor = Actor(self._kube, self._members, desired, observed, resource, now)
        for action in decided.actions:
            log.info("%s/%s: %s: %s", desired.namespace, desired.name, decided.rule, action)
            await actor.perform(action)
            await self._teller.deed(desired, action)
        pause_s = self._pause(observed, decided)
        quiet = pause_s == IDLE_S and resource is read and not observed.requests
        if count is not None and quiet:
            until_s = self._clock() + random.uniform(0.5, 1.0) * LOOK_S  # noqa: S311 not all at once
            self._sight = Sight(count, until_s, resource, desired, seen)
        return pause_s

    async def _still_holds(self, count: int | None) -> bool:
        """Tell whether nothing changed since the last look, and members ask for nothing either."""
        sight = self._sight
        if sight is None or sight.count != count or self._clock() > sight.until_s:
            return False
        now = time.time()
        seen = await ask_again(self._members, sight.desired, sight.seen, now)
        observed = self._memory.update(seen, self._clock())
        decided = plan(sight.desired, observed, now)
        before: Object = sight.resource.get("status") or {}
        same = self._wanted(sight.desired, observed, decided, before, now) == before
        return same and self._pause(observed, decided) == IDLE_S and not decided.actions

    async def _report(
        self, desired: Desired, observed: Observed, decided: Plan, resource: Object, now: float
    ) -> Object:
        """Write status if it changed; compare-and-set, so that a stale reader stops here."""
        before = resource.get("status") or {}
        wanted = self._wanted(desired, observed, decided, before, now)
        if wanted == before:
            return resource
        stored = await self._kube.replace_status({**resource, "status": wanted})
        await self._teller.turn(desired, before, wanted)
        return stored

    def _wanted(
        self, desired: Desired, observed: Observed, decided: Plan, before: Object, now: float
    ) -> Object:
        fresh = status(desired, observed, decided, now=now, trouble=self._trouble)
        kept: Object = {key: before[key] for key in ("initAttempts", "backup") if key in before}
        return {**kept, **fresh}

    def _pause(self, observed: Observed, decided: Plan) -> float:
        self._repeats = self._repeats + 1 if decided == self._last else 0
        self._last = decided
        if decided.actions:  # the same again and again changes nothing: do not burn the API
            return 0.0 if self._repeats == 0 else BACKOFF_S[min(self._repeats, len(BACKOFF_S)) - 1]
        waiting = any(blocked.final for blocked in decided.blocked) and decided.rule not in (
            "stop_when_deleted",
            "stop_when_paused",
            "settle_identity",
        )
        unready = any(not pod.ready for pod in observed.lists.pods)
        return WAITING_S if waiting or unready else IDLE_S
