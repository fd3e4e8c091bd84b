"""When is the next pass? One supervised task per FaunaCluster; each pass starts from nothing.

    observe → plan → status → act

An event only wakes the task. A pass that did something is followed by another at once; one that
waits for a member looks again soon; an idle one after `IDLE_S`. An error becomes a condition.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from fauna_operator.act import Actor
from fauna_operator.database import Members
from fauna_operator.errors import OperatorError, Stale
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import Blocked, Desired, Observed, Plan
from fauna_operator.observe import Memory, observe
from fauna_operator.plan import plan
from fauna_operator.status import status

log = logging.getLogger(__name__)

IDLE_S = 15.0
WAITING_S = 0.5  # something is on its way: a pod starts, a learner catches up
BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)

Key = tuple[str, str]  # namespace, name


class Cluster:
    """The loop of one FaunaCluster."""

    def __init__(self, kube: Kubernetes, members: Members, key: Key) -> None:
        self._kube = kube
        self._members = members
        self._namespace, self._name = key
        self._dirty = asyncio.Event()
        self._memory = Memory()
        self._uid = ""
        self._trouble: Blocked | None = None
        self._failures = 0
        self._last: Plan | None = None
        self._repeats = 0

    def wake(self) -> None:
        """Look again soon: something changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Run passes until the resource is gone."""
        try:
            while True:
                self._dirty.clear()
                pause_s = await self._guarded_pass()
                if pause_s is None:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._dirty.wait()
        finally:
            await self._members.close()

    async def _guarded_pass(self) -> float | None:
        """Run one pass; return the pause after it, None when the resource is gone."""
        try:
            pause_s = await self.one_pass()
        except Stale as error:
            log.info("%s/%s: stale: %s", self._namespace, self._name, error)
            return self._backoff()
        except OperatorError as error:
            log.warning("%s/%s: %s", self._namespace, self._name, error)
            self._trouble = Blocked("ReconcileFailed", str(error))
            return self._backoff()
        except Exception as error:
            log.exception("%s/%s: a pass failed", self._namespace, self._name)
            self._trouble = Blocked("ReconcileFailed", f"{type(error).__name__}: {error}")
            return self._backoff()
        self._failures = 0
        return pause_s

    def _backoff(self) -> float:
        self._failures += 1
        return BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1]

    async def one_pass(self) -> float | None:
        """Look, decide, report, act. Returns seconds to the next look, None when it is gone."""
        resource = await self._kube.get("FaunaCluster", self._namespace, self._name)
        if resource is None:
            return None
        desired = Desired.of(resource)
        if self._uid != desired.uid:  # deleted and made again: other durations, other trouble
            self._uid, self._memory, self._trouble = desired.uid, Memory(), None
        now = time.time()
        seen = await observe(self._kube, self._members, resource, desired, now=now)
        observed = self._memory.update(seen, time.monotonic())
        decided = plan(desired, observed, now)
        resource = await self._report(desired, observed, decided, resource, now)
        self._trouble = None
        actor = Actor(self._kube, self._members, desired, observed, resource, now)
        for action in decided.actions:
            log.info("%s/%s: %s: %s", desired.namespace, desired.name, decided.rule, action)
            await actor.perform(action)
        return self._pause(observed, decided)

    async def _report(
        self, desired: Desired, observed: Observed, decided: Plan, resource: Object, now: float
    ) -> Object:
        """Write status if it changed; compare-and-set, so that a stale reader stops here."""
        before = resource.get("status") or {}
        fresh = status(desired, observed, decided, now=now, trouble=self._trouble)
        kept = {key: before[key] for key in ("initAttempts",) if key in before}
        wanted = {**kept, **fresh}
        if wanted == before:
            return resource
        return await self._kube.replace_status({**resource, "status": wanted})

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


class Supervisor:
    """Runs the loops of all clusters; a loop that ends is started again by the next event."""

    def __init__(self, kube: Kubernetes, make_members: Callable[[], Members]) -> None:
        self._kube = kube
        self._make_members = make_members
        self._clusters: dict[Key, Cluster] = {}
        self._wanted: asyncio.Queue[Key] = asyncio.Queue()

    def wake(self, namespace: str, name: str) -> None:
        """Look at a cluster soon, whether or not it is known."""
        known = self._clusters.get((namespace, name))
        if known is not None:
            known.wake()
        else:
            self._wanted.put_nowait((namespace, name))

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                key = await self._wanted.get()
                if key not in self._clusters:
                    self._clusters[key] = Cluster(self._kube, self._make_members(), key)
                    group.create_task(self._supervise(key))

    async def _supervise(self, key: Key) -> None:
        try:
            await self._clusters[key].run()
        finally:
            del self._clusters[key]
