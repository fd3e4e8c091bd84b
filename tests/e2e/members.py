"""What do the members of a FaunaCluster say, each asked from outside?

The resource's status may be some seconds old; a test that hurts "the leader" has to know better.
"""

from dataclasses import dataclass
from functools import cached_property

import httpx
import msgspec

from fauna_client.directory import Cluster as Told
from kind_test_helpers.api import Json
from kind_test_helpers.cluster import is_ready
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import Database, condition

ASK_SECONDS_MAX = 2.0
HANG_SECONDS = 300.0
EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class Members:
    """The members of one database, by their NodePorts."""

    database: Database

    @cached_property
    def secret(self) -> str:
        return self.database.secret()

    @cached_property
    def endpoints(self) -> list[str]:
        return self.database.endpoints()

    def leader(self) -> str:
        """Wait until a majority names one leader; return the name of its pod."""
        majority = len(self.endpoints) // 2 + 1

        def named() -> str | None:
            leaders = self._leaders()
            most = max(leaders, key=leaders.count, default=0)
            return self._pod(most) if most and leaders.count(most) >= majority else None

        return await_that("a leader", named, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)

    def await_whole(self) -> None:
        """Wait until all pods are ready, all members name one leader, and the resource agrees."""

        def whole() -> bool:
            pods = self.database.pods()
            if len(pods) < len(self.endpoints) or not all(map(is_ready, pods)):
                return False
            leaders = self._leaders()
            agreed = len(leaders) == len(pods) and len(set(leaders)) == 1 and leaders[0] != 0
            status = self.database.status()
            return (
                agreed
                and condition(status, "Ready") == "True"
                and status.get("leader") == self._pod(leaders[0])
            )

        await_that(
            "all members to agree", whole, seconds_max=HANG_SECONDS, every=2.5 * EVERY_SECONDS
        )

    def node(self, pod: str) -> str:
        """The node of a pod."""
        [found] = [each for each in self.database.pods() if each["metadata"]["name"] == pod]
        return str(found["spec"]["nodeName"])

    def uids(self) -> dict[str, str]:
        """The uid of every pod and claim, by name."""
        space = f"/api/v1/namespaces/{self.database.namespace}"
        selector = f"labelSelector=fauna.dev/cluster={self.database.name}"
        claims = self.database.cluster.api.items(f"{space}/persistentvolumeclaims?{selector}")
        found: list[Json] = [*self.database.pods(), *claims]
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}

    def restarts(self) -> dict[str, int]:
        """How often the container of each pod was started again."""
        return {
            pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
            for pod in self.database.pods()
        }

    def _leaders(self) -> list[int]:
        """The id of the leader that each answering member names; 0 when it knows none."""
        found = []
        for endpoint in self.endpoints:
            try:
                answer = httpx.get(
                    f"{endpoint}/cluster/1",
                    headers={"Authorization": f"Bearer {self.secret}"},
                    timeout=ASK_SECONDS_MAX,
                    trust_env=False,
                )
                told = msgspec.json.decode(answer.content, type=Told)
            except (httpx.HTTPError, msgspec.MsgspecError):
                continue
            found.append(next((member.id for member in told.members if member.leader), 0))
        return found

    def _pod(self, member: int) -> str:
        return f"{self.database.name}-{member}"
