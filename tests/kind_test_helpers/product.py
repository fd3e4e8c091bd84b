"""How does the product come onto a cluster, and when does it answer?

The chart is the only description of the operator: `helm template` renders it, kubectl applies it.
A FaunaCluster is an example of `examples/` with the image of the present source. House rule: what
is awaited says what it still waits for, in the words of the resource's own status.
"""

import base64
import json
import socket
import time
from dataclasses import dataclass
from functools import partial

from kind_test_helpers.api import Json, Refused
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that, run
from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.progress import QUIET_SECONDS_MAX, say, stage
from kind_test_helpers.recipes import HELM, KUBERNETES
from kind_test_helpers.tools import ensure

OPERATOR = "fauna-operator"
API_PATH = "/apis/fauna.dev/v1alpha1"
CLIENT_PORT = 8443
READY_SECONDS_MAX = 400.0  # twenty times the goal
REACHED_SECONDS_MAX = 60.0  # a Service reaches the rules of a node within a second
ASK_EVERY_SECONDS = 0.25
SERVER_SIDE = ("apply", "--server-side", "--force-conflicts", "-f", "-")


def install_operator(
    cluster: Cluster, namespace: str, *, watch: tuple[str, ...] = (), replicas: int = 2
) -> None:
    """Install CRDs and operator into a namespace, and wait until it is ready.

    Without the admission policies: tests delete volumes and namespaces as an administrator.
    """
    repository, _, tag = cluster.images["fauna-operator"].rpartition(":")
    settings = [f"image.repository={repository}", f"image.tag={tag}", f"replicas={replicas}"]
    settings += [f"watchNamespaces[{at}]={name}" for at, name in enumerate(watch)]
    settings += ["admissionPolicies.enabled=false"]
    rendered = run(
        ensure(HELM),
        *("template", OPERATOR, str(REPOSITORY / "charts" / OPERATOR), "--namespace", namespace),
        *("--kube-version", KUBERNETES),
        *(word for each in settings for word in ("--set", each)),
    )
    cluster.kubectl(*SERVER_SIDE, stdin=rendered)
    cluster.kubectl("wait", "--for=condition=Established", "crd/faunaclusters.fauna.dev")
    with stage(f"the operator in {namespace}"):
        where = ("-n", namespace, f"deployment/{OPERATOR}")
        cluster.kubectl("rollout", "status", *where, "--timeout=120s", seconds_max=130)


def manifest(cluster: Cluster, example: str = "orders", *, name: str = "", **spec: object) -> Json:
    """Return an example with the image of the present source, and with other fields of spec."""
    repository, _, tag = cluster.images["faunadb"].rpartition(":")
    patch = {"spec": {"image": {"repository": repository, "tag": tag}, **spec}}
    path = REPOSITORY / "examples" / f"{example}.yaml"
    local = ("patch", "--local", "--type=merge", "-o", "json", "-f", str(path))
    found: Json = json.loads(cluster.kubectl(*local, "-p", json.dumps(patch)))
    found["metadata"]["name"] = name or found["metadata"]["name"]
    return found


@dataclass(frozen=True)
class Database:
    """One FaunaCluster on a cluster, as its owner sees it."""

    cluster: Cluster
    namespace: str
    name: str = "orders"

    @property
    def path(self) -> str:
        """The path of the resource on the API server."""
        return f"{API_PATH}/namespaces/{self.namespace}/faunaclusters/{self.name}"

    def resource(self) -> Json:
        return self.cluster.api.get(self.path)

    def status(self) -> Json:
        """What the resource says about itself; {} before it said anything."""
        found: Json = self.resource().get("status", {})
        return found

    def create(self, resource: Json) -> None:
        """Create the resource."""
        self.cluster.api.create(self.path.rpartition("/")[0], resource)

    def await_ready(self, seconds_max: float = READY_SECONDS_MAX) -> float:
        """Wait until it is ready and open; return the seconds, saying every few what it says."""
        began = said = time.monotonic()

        def ready() -> bool:
            nonlocal said
            status = self.status()
            if time.monotonic() - said > QUIET_SECONDS_MAX:
                said = time.monotonic()
                say(f"{self.name}: {told(status)}")
            return condition(status, "Ready") == "True"

        what = f"{self.namespace}/{self.name} to be ready"
        await_that(what, ready, seconds_max=seconds_max, every=ASK_EVERY_SECONDS)
        return time.monotonic() - began

    def secret(self) -> str:
        """The root secret that the operator drew."""
        found = self.cluster.api.get(
            f"/api/v1/namespaces/{self.namespace}/secrets/{self.name}-root"
        )
        return base64.b64decode(found["data"]["secret"]).decode()

    def pods(self) -> list[Json]:
        """The members' pods, by serial."""
        selector = f"labelSelector=fauna.dev/cluster={self.name},fauna.dev/component=member"
        found = self.cluster.api.items(f"/api/v1/namespaces/{self.namespace}/pods?{selector}")
        return sorted(found, key=lambda pod: serial(pod["metadata"]["name"]))

    def endpoint(self) -> str:
        """A URL of the whole cluster that works from here: a NodePort."""
        selector = {"fauna.dev/cluster": self.name, "fauna.dev/component": "member"}
        return self._expose(f"{self.name}-outside", selector, self.cluster.node_address)

    def endpoints(self) -> list[str]:
        """A URL of each member that works from here and stays when its pod is made again.

        Through the member's own node, so that a fault of that node is the member's alone.
        """
        addresses = {
            node["metadata"]["name"]: node["status"]["addresses"][0]["address"]
            for node in self.cluster.api.items("/api/v1/nodes")
        }
        return [
            self._expose(
                f"{pod['metadata']['name']}-outside",
                {"fauna.dev/cluster": self.name, "fauna.dev/serial": labels["fauna.dev/serial"]},
                addresses[pod["spec"]["nodeName"]],
            )
            for pod in self.pods()
            for labels in [pod["metadata"]["labels"]]
        ]

    def _expose(self, service: str, selector: dict[str, str], address: str) -> str:
        wanted = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service},
            "spec": {
                "type": "NodePort",
                "selector": selector,
                "ports": [{"name": "client", "port": CLIENT_PORT}],
            },
        }
        path = f"/api/v1/namespaces/{self.namespace}/services/{service}"
        made = self.cluster.api.apply(path, wanted, "kind-test-helpers")
        port: int = made["spec"]["ports"][0]["nodePort"]
        reached = partial(connects, address, port)
        await_that(f"{service} at {address}:{port}", reached, seconds_max=REACHED_SECONDS_MAX)
        return f"http://{address}:{port}"


def connects(address: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


def serial(member: str) -> int:
    """The number at the end of a member's name."""
    return int(member.rpartition("-")[2])


def condition(status: Json, kind: str) -> str:
    """The status of a condition; "" when it is not there."""
    found = [each["status"] for each in status.get("conditions", ()) if each["type"] == kind]
    return found[0] if found else ""


def told(status: Json) -> str:
    """A line of what a resource says it is waiting for."""
    waiting = [
        f"{each['type']}={each['status']} {each.get('reason', '')}: {each.get('message', '')}"
        for each in status.get("conditions", ())
        if each["type"] in ("Ready", "Progressing")
    ]
    return f"{status.get('phase', 'not seen yet')}; {'; '.join(waiting)}"[:400]


def exists(cluster: Cluster, path: str) -> bool:
    """Whether the API server has an object."""
    try:
        cluster.api.get(path)
    except Refused as refused:
        if refused.status == 404:
            return False
        raise
    return True
