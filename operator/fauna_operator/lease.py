"""Who of several operators leads? Whoever renewed the Lease last, by compare-and-set.

A lease of another is believed for `lease_s` of *our* monotonic clock since it last changed:
clocks of two machines are never compared. Our own is lost when it could not be renewed for
`renew_s`, which is shorter. An API server that does not answer is one failed attempt.
(`kubernetes.aio.leaderelection` sends a request that its own client refuses in v37, lets
connection errors out, and waits five minutes for an answer.)
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from fauna_operator.errors import OperatorError, Stale
from fauna_operator.kube import Kubernetes, Object


@dataclass(frozen=True)
class Durations:
    """As kube-controller-manager: `renew_s` is shorter than `lease_s`."""

    lease_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 2.0


class LeaseLost(Exception):
    """Another operator may lead now: stop at once."""


class Lease:
    """One candidate for one Lease."""

    def __init__(
        self,
        kube: Kubernetes,
        namespace: str,
        name: str,
        identity: str,
        durations: Durations = Durations(),
    ) -> None:
        self._durations = durations
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seen: tuple[object, float] = (None, 0.0)  # what another wrote, and since when
        self._written = ""  # the resourceVersion of our own last write, while nobody wrote after it

    async def acquire(self) -> None:
        """Return when the Lease is ours."""
        while not await self._attempt(time.monotonic()):  # noqa: ASYNC110 nobody tells us
            await asyncio.sleep(self._durations.retry_s)

    async def hold(self) -> None:
        """Renew until that fails for too long. Raises `LeaseLost`."""
        renewed = time.monotonic()
        while time.monotonic() - renewed < self._durations.renew_s:
            await asyncio.sleep(self._durations.retry_s)
            started = time.monotonic()
            if await self._attempt(started):
                renewed = started
        raise LeaseLost(
            f"{self._identity} could not renew its Lease for {self._durations.renew_s:g} s"
        )

    async def release(self) -> None:
        """Give the Lease back; after all work has ended, and only if it is still ours."""
        try:
            found = await self._kube.get("Lease", self._namespace, self._name)
            if found and found.get("spec", {}).get("holderIdentity") == self._identity:
                version = {"resourceVersion": found["metadata"]["resourceVersion"]}
                spec = {"holderIdentity": ""}
                await self._kube.patch(self._manifest(version, spec, _stamp()), apply=False)
        except OperatorError:
            return  # then it runs out by itself

    async def _attempt(self, now_s: float) -> bool:
        """Take or renew the Lease if we may."""
        try:
            async with asyncio.timeout(self._durations.renew_s / 2):
                return await self._take(now_s)
        except (OperatorError, TimeoutError):
            return False

    async def _take(self, now_s: float) -> bool:
        if self._written and await self._renewed():
            return True
        found = await self._kube.get("Lease", self._namespace, self._name)
        stamp = _stamp()
        if found is None:
            made = await self._kube.create(self._manifest({}, {"acquireTime": stamp}, stamp))
            self._written = made["metadata"]["resourceVersion"]
            return True
        spec = found.get("spec", {})
        mine = spec.get("holderIdentity") == self._identity
        if not mine and not self._expired(spec, now_s):
            return False
        kept = {} if mine else {"acquireTime": stamp}
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        stored = await self._kube.patch(self._manifest(version, kept, stamp), apply=False)
        self._written = stored["metadata"]["resourceVersion"]
        return True

    async def _renewed(self) -> bool:
        """Renew by one write, which fails unless ours was the last; then look before the next."""
        version, self._written = {"resourceVersion": self._written}, ""
        try:
            stored = await self._kube.patch(self._manifest(version, {}, _stamp()), apply=False)
        except Stale:
            return False
        self._written = stored["metadata"]["resourceVersion"]
        return True

    def _expired(self, spec: Object, now_s: float) -> bool:
        """Tell whether another's lease has not changed for its whole duration."""
        if not spec.get("holderIdentity"):
            return True
        wrote = (spec.get("holderIdentity"), spec.get("renewTime"))
        if wrote != self._seen[0]:
            self._seen = (wrote, now_s)
        return now_s - self._seen[1] > self._durations.lease_s

    def _manifest(self, metadata: Object, spec: Object, stamp: str) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace, **metadata},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, int(self._durations.lease_s)),
                "renewTime": stamp,
                **spec,
            },
        }


def _stamp() -> str:
    now = datetime.fromtimestamp(time.time(), UTC)
    return now.isoformat(timespec="microseconds").replace("+00:00", "Z")
