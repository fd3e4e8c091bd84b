"""How many members does a FaunaCluster have, who votes, and what lies on which volume?

The committed configuration comes from status, which the operator takes from the leader's word.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from e2e.workload import Workload
from kind_test_helpers.api import Json
from kind_test_helpers.commands import await_that
from kind_test_helpers.places import run_folder
from kind_test_helpers.product import Database, condition, told

HANG_SECONDS = 400.0
EVERY_SECONDS = 0.05
SHAPES = {1: (1, 0), 3: (3, 0), 4: (3, 1), 5: (5, 0), 6: (5, 1)}  # members: voters, read replicas
QUICK = {"minReadySeconds": 1, "memberReadyTimeout": "60s"}


@dataclass(frozen=True)
class Shape:
    """The members of one database while they come and go."""

    database: Database

    def scale(self, count: int) -> None:
        """Ask for so many members, as a person does."""
        where = ("-n", self.database.namespace, "faunacluster", self.database.name)
        self.database.cluster.kubectl("scale", *where, f"--replicas={count}")

    def edit(self, **spec: object) -> None:
        """Change fields of spec."""
        self.database.cluster.api.merge(self.database.path, {"spec": spec})

    def status(self) -> Json:
        return self.database.status()

    def await_settled(self, count: int) -> Json:
        """Wait until there are so many members, all Ready, and nothing is being done.

        A pod that left and is stuck on a dead node stays for longer than that.
        """

        def settled() -> Json | None:
            resource = self.database.resource()
            status = resource.get("status", {})
            seen = status.get("observedGeneration") == resource["metadata"]["generation"]
            shape = (status.get("voters"), status.get("learners"))
            ready = condition(status, "Ready") == "True" and "operation" not in status
            return status if seen and ready and shape == SHAPES[count] else None

        try:
            return await_that(f"{count} members", settled, seconds_max=HANG_SECONDS, every=0.2)
        except Exception as late:
            late.add_note(told(self.status()))
            late.add_note(json.dumps(self.status().get("operation")))
            raise

    def await_template(self) -> None:
        """Wait until the present template is remembered as good."""
        space = f"/api/v1/namespaces/{self.database.namespace}/configmaps"
        path = f"{space}?fieldSelector=metadata.name={self.database.name}-template"
        self.await_step("a good template", lambda: bool(self.database.cluster.api.items(path)))

    def await_step(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something can be seen, looking often."""
        await_that(what, holds, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)

    def voters(self) -> dict[str, str]:
        """The voters and the uids of their claims."""
        uids = {claim["metadata"]["name"]: claim["metadata"]["uid"] for claim in self.claims()}
        return {
            member["name"]: uids.get(member["claimName"], "")
            for member in self.status()["members"]
            if member["role"] in ("Voter", "Leader")
        }

    def claims(self, *, quarantined: bool | None = None) -> list[Json]:
        """The volume claims, all or those that are (not) put aside."""
        path = f"/api/v1/namespaces/{self.database.namespace}/persistentvolumeclaims"
        selector = f"labelSelector=fauna.dev/cluster={self.database.name}"
        found = self.database.cluster.api.items(f"{path}?{selector}")
        aside = [c for c in found if "fauna.dev/quarantined" in c["metadata"]["labels"]]
        if quarantined is None:
            return found
        return aside if quarantined else [claim for claim in found if claim not in aside]

    def received_snapshot(self, member: str) -> bool:
        """Whether what a member has began with a snapshot of another one."""
        space, faults = self.database.namespace, self.database.cluster.faults
        return bool(faults.found(space, f"data-{member}", "snap-*/RECEIVED"))

    def events(self) -> list[str]:
        """The reasons of the events, oldest first."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.database.namespace}/events"
        mine = [
            event
            for event in self.database.cluster.api.items(path)
            if event.get("regarding", {}).get("kind") == "FaunaCluster"
        ]
        return [event["reason"] for event in sorted(mine, key=lambda e: str(e["eventTime"]))]


def doors(database: Database) -> list[str]:
    """The Service of all members, at three nodes: members come and go, and nodes do, too."""
    port = database.endpoint().rpartition(":")[2]
    nodes = database.cluster.api.items("/api/v1/nodes")
    return [f"http://{node['status']['addresses'][0]['address']}:{port}" for node in nodes[:3]]


@contextlib.contextmanager
def under_load(database: Database, name: str, *, clients: int = 4) -> Iterator[Workload]:
    """Clients write and read all the time, whoever is a member; then the history is judged."""
    workload = Workload(doors(database), database.secret(), clients=clients)
    try:
        with workload:
            workload.run_until(writes=50)
            yield workload
            workload.run_until(writes=max(50, 1000 - workload.acknowledged()))
        workload.assert_linearizable()
    except BaseException:
        workload.save(run_folder() / "failures" / f"{name}.history.jsonl")
        raise
    finally:
        print(f"\n{workload.report()}")
