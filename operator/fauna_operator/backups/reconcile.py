"""What is one pass over a FaunaBackup, and how long is the rest after it?

    observe → plan → status → act

All backups of one cluster take turns, so that two that begin at once see each other.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from fauna_operator.backups.act import Actor
from fauna_operator.backups.model import KIND, Backup, Decision
from fauna_operator.backups.observe import observe
from fauna_operator.backups.plan import plan
from fauna_operator.backups.status import status
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import Blocked
from fauna_operator.supervise import BACKOFF_S, Key

log = logging.getLogger(__name__)

WAITING_S = 3.0  # a Job is at it, or something else must happen first


class Turns:
    """One lock for each cluster that has backups; its passes are short."""

    def __init__(self) -> None:
        self._locks: dict[Key, asyncio.Lock] = {}

    def of(self, namespace: str, cluster: str) -> asyncio.Lock:
        """Return the lock of a cluster's backups."""
        return self._locks.setdefault((namespace, cluster), asyncio.Lock())


class BackupReconciler:
    """The passes of one FaunaBackup."""

    def __init__(
        self, kube: Kubernetes, turns: Turns, key: Key, clock: Callable[[], float] = time.time
    ) -> None:
        self._kube = kube
        self._turns = turns
        self._clock = clock
        self._namespace, self._name = key
        self._trouble: Blocked | None = None
        self._last: Decision | None = None
        self._repeats = 0

    def troubled(self, trouble: Blocked) -> None:
        """Hear why the last pass failed, to say so in status."""
        self._trouble = trouble

    def passed(self, seconds: float, error: str) -> None:
        """Count nothing: a pass is a few reads."""

    async def close(self) -> None:
        """Let go of nothing: all belongs to the operator."""

    async def one_pass(self) -> float | None:
        """Look, decide, report, act. Returns seconds to the next look, None when none is needed.

        What has ended needs no loop: hundreds of kept backups cost nothing until an event.
        """
        resource = await self._kube.get(KIND, self._namespace, self._name)
        if resource is None or at_rest(resource):
            return None
        backup = Backup.of(resource)
        async with self._turns.of(backup.namespace, backup.spec.cluster_ref.name):
            now = self._clock()
            seen = await observe(self._kube, backup)
            decided = plan(backup, seen, now)
            resource = await self._report(backup, decided, resource, now)
            self._trouble = None
            actor = Actor(self._kube, backup, resource, now)
            for action in decided.actions:
                name = f"{backup.namespace}/{backup.name}"
                log.info("%s %s: %s: %s", KIND, name, decided.rule, action)
                await actor.perform(action)
        return self._pause(decided)

    async def _report(
        self, backup: Backup, decided: Decision, resource: Object, now: float
    ) -> Object:
        """Write status if it changed; compare-and-set, so that a stale reader stops here."""
        before = resource.get("status") or {}
        why = self._trouble or decided.blocked
        wanted = status(backup, backup.record, why, before=before, now=now)
        if wanted == before:
            return resource
        return await self._kube.replace_status({**resource, "status": wanted})

    def _pause(self, decided: Decision) -> float:
        self._repeats = self._repeats + 1 if decided == self._last else 0
        self._last = decided
        if decided.actions:  # the same again and again changes nothing: do not burn the API
            return 0.0 if self._repeats == 0 else BACKOFF_S[min(self._repeats, len(BACKOFF_S)) - 1]
        return WAITING_S


def at_rest(resource: Object) -> bool:
    """Tell whether a FaunaBackup has ended, and is not being deleted."""
    ended = bool((resource.get("status") or {}).get("completedAt"))
    return ended and "deletionTimestamp" not in resource["metadata"]
