"""Who of several operators leads? Whoever renewed the Lease last, by compare-and-set.

A lease of another is believed for `LEASE_S` of *our* monotonic clock since it last changed:
clocks of two machines are never compared. Our own is lost when it could not be renewed for
`RENEW_S`, which is shorter. An API server that does not answer is one failed attempt.
(`kubernetes.aio.leaderelection` sends a request that its own client refuses in v37, lets
connection errors out, and waits five minutes for an answer.)
"""

import asyncio
import time
from datetime import UTC, datetime

from fauna_operator.errors import OperatorError
from fauna_operator.kube import Kubernetes, Object

LEASE_S, RENEW_S, RETRY_S = 15.0, 10.0, 2.0  # as kube-controller-manager


class LeaseLost(Exception):
    """Another operator may lead now: stop at once."""


class Lease:
    """One candidate for one Lease."""

    def __init__(self, kube: Kubernetes, namespace: str, name: str, identity: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen: tuple[object, float] = (None, 0.0)  # what another wrote, and since when

    async def acquire(self) -> None:
        """Return when the Lease is ours."""
        while not await self._attempt(time.monotonic()):  # noqa: ASYNC110 nobody tells us
            await asyncio.sleep(RETRY_S)

    async def hold(self) -> None:
        """Renew until that fails for too long. Raises `LeaseLost`."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < RENEW_S:
            await asyncio.sleep(RETRY_S)
            started = time.monotonic()
            if await self._attempt(started):
                renewed = started
        raise LeaseLost(f"{self._identity} could not renew its Lease for {RENEW_S:g} s")

    async def _attempt(self, now_s: float) -> bool:
        """Take or renew the Lease if we may."""
        try:
            async with asyncio.timeout(RENEW_S / 2):
                return await self._take(now_s)
        except (OperatorError, TimeoutError):
            return False

    async def _take(self, now_s: float) -> bool:
        found = await self._kube.get("Lease", self._namespace, self._name)
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if found is None:
            await self._kube.create(self._manifest({}, {"acquireTime": stamp}, stamp))
            return True
        spec = found.get("spec", {})
        mine = spec.get("holderIdentity") == self._identity
        if not mine and not self._expired(spec, now_s):
            return False
        kept = {} if mine else {"acquireTime": stamp}
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        await self._kube.patch(self._manifest(version, kept, stamp), apply=False)
        return True

    def _expired(self, spec: Object, now_s: float) -> bool:
        """Tell whether another's lease has not changed for its whole duration."""
        if not spec.get("holderIdentity"):
            return True
        wrote = (spec.get("holderIdentity"), spec.get("renewTime"))
        if wrote != self._seen[0]:
            self._seen = (wrote, now_s)
        return now_s - self._seen[1] > LEASE_S

    def _manifest(self, metadata: Object, spec: Object, stamp: str) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, **metadata},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(LEASE_S),
                "renewTime": stamp,
                **spec,
            },
        }
