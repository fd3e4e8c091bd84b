"""What is one pass over a FaunaRestore? Look, decide, write status or make one object.

Trap: from `Accepted` on the loop of the FaunaCluster writes the status; this one only sees to it
that a restore of a cluster that is gone ends.
"""

import logging
import time
from collections.abc import Callable

from fauna_operator.backups.model import Backup
from fauna_operator.errors import Stale
from fauna_operator.kube import Kubernetes, Object
from fauna_operator.model import Blocked, Desired, Request
from fauna_operator.model.restores import (
    ENDED,
    HANDED_OVER,
    PENDING,
    REGROWING,
    SAVING,
    TRYING,
)
from fauna_operator.observe import job_of
from fauna_operator.plan.fences import told
from fauna_operator.restores.plan import Facts, Step, Target, decide, trial_name
from fauna_operator.supervise import Key

log = logging.getLogger(__name__)

WAITING_S = 1.0
ENDED_S = 600.0

Waker = Callable[[str, str, str], None]  # kind, namespace, name


class Restore:
    """The passes of one FaunaRestore."""

    def __init__(self, kube: Kubernetes, key: Key, wake: Waker) -> None:
        self._kube = kube
        self._namespace, self._name = key
        self._wake = wake
        self._trouble: Blocked | None = None

    def troubled(self, trouble: Blocked) -> None:
        """Hear why the last pass failed, to say so in status."""
        self._trouble = trouble

    def passed(self, seconds: float, error: str) -> None:
        """Nobody counts these passes."""

    async def close(self) -> None:
        """There is nothing to let go of."""

    async def one_pass(self) -> float | None:
        """Look, decide, act. Returns seconds to the next look, None when it is gone."""
        resource = await self._kube.get("FaunaRestore", self._namespace, self._name)
        if resource is None:
            return None
        now = time.time()
        request = Request.of(resource)
        if request.status.phase in ENDED:
            return ENDED_S
        step = decide(request, await facts_of(self._kube, request), now)
        await self._act(request, step, now)
        acted = step.status is not None or step.create is not None
        return 0.0 if acted and request.status.phase not in HANDED_OVER else WAITING_S

    async def _act(self, request: Request, step: Step, now: float) -> None:
        status, trouble = step.status, self._trouble
        self._trouble = None
        if trouble is not None and status is None and request.status.phase not in HANDED_OVER:
            said = told(request, now, message=trouble.message)
            status = said if said != request.status else None
        if step.create is not None:
            kind, metadata = step.create["kind"], step.create["metadata"]
            log.info("%s/%s: create %s %s", *self._key, kind, metadata["name"])
            try:
                await self._kube.create(step.create)
            except Stale as error:
                raise Stale(f"{kind} {metadata['name']}: {error}") from error
        if status is not None:
            log.info("%s/%s: %s: %s", *self._key, status.phase, status.message)
            await self._kube.replace_status({**request.resource, "status": status.plain})
        if status is not None and status.phase in HANDED_OVER:
            self._wake("FaunaCluster", self._namespace, request.cluster)

    @property
    def _key(self) -> Key:
        return self._namespace, self._name


async def facts_of(kube: Kubernetes, request: Request) -> Facts:
    """Look at everything that a restore stands on. Raises `OperatorError` when it cannot."""
    space, asked, known = request.namespace, request.spec.source, request.status

    async def backup(name: str) -> Backup | None:
        found = await kube.get("FaunaBackup", space, name) if name else None
        return Backup.of(found) if found is not None else None

    cluster = await kube.get("FaunaCluster", space, request.cluster)
    return Facts(
        target=_target(cluster) if cluster is not None else None,
        backup=await backup(asked.backup_name if known.phase == PENDING else ""),
        safety=await backup(known.safety_backup_name if known.phase == SAVING else ""),
        trial=await job_of(kube, space, trial_name(request)) if known.phase == TRYING else None,
        others=await _others(kube, request, cluster or {}) if known.phase == PENDING else (),
    )


def _target(resource: Object) -> Target:
    return Target(
        Desired.of(resource),
        resource.get("status") or {},
        resource["spec"],
    )


async def _others(kube: Kubernetes, request: Request, cluster: Object) -> tuple[str, ...]:
    """Return the restores that were handed over to the same cluster and still hinder another.

    One that regrows does not where the majority is lost again: it could not end without another.
    """
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    unavailable = {"type": "Available", "status": "False"}.items()
    lost = any(unavailable <= condition.items() for condition in conditions)
    hindering = HANDED_OVER - {REGROWING} if lost else HANDED_OVER
    found = []
    for item in await kube.find("FaunaRestore", request.namespace):
        other = Request.of(item)
        same = other.cluster == request.cluster and other.uid != request.uid
        if same and other.spec.target.in_place and other.status.phase in hindering:
            found.append(other.name)
    return tuple(sorted(found))
