"""A Helm release of the chart on a real cluster, and what its operator asked the API server.

House rule: everything goes through helm itself, as a person does it. The trap: other tests apply
the CRDs with kubectl, so a release takes them over.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from kind_test_helpers.api import Json
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that, run
from kind_test_helpers.failures import Unavailable
from kind_test_helpers.places import REPOSITORY
from kind_test_helpers.recipes import HELM
from kind_test_helpers.tools import ensure

CHART = REPOSITORY / "charts/fauna-operator"
NAME = "fauna-operator"
HANG_SECONDS = 300.0
GLOBAL = (
    *("validatingadmissionpolicybinding", "validatingadmissionpolicy"),
    *("clusterrolebinding", "clusterrole"),
)


@dataclass(frozen=True)
class Release:
    """A release by its namespace; it watches that one."""

    cluster: Cluster
    namespace: str
    folder: Path  # helm's own files

    @property
    def environment(self) -> dict[str, str]:
        """What helm and kubectl need to find the cluster."""
        return {
            **os.environ,
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "HELM_CACHE_HOME": str(self.folder / "cache"),
            "HELM_CONFIG_HOME": str(self.folder / "config"),
            "HELM_DATA_HOME": str(self.folder / "data"),
        }

    def helm(self, *arguments: str) -> str:
        words = (*arguments, "--namespace", self.namespace)
        environment = self.environment
        return run(ensure(HELM), *words, environment=environment, seconds_max=HANG_SECONDS)

    def upgrade(self, *settings: str, chart: Path = CHART) -> str:
        """Install or upgrade with the image of the present source; return what helm says."""
        repository, _, tag = self.cluster.images[NAME].rpartition(":")
        chosen = [f"image.repository={repository}", f"image.tag={tag}", *settings]
        return self.helm(
            *("upgrade", "--install", NAME, str(chart), "--take-ownership"),
            *("--wait", "--timeout", "240s"),
            *(word for each in chosen for word in ("--set", each)),
        )

    def uninstall(self) -> str:
        return self.helm("uninstall", NAME, "--wait", "--timeout", "240s")

    def pods(self) -> list[str]:
        """The operator's pods that are not on their way out."""
        selector = f"labelSelector=app.kubernetes.io/name={NAME}"
        found = self.cluster.api.items(f"/api/v1/namespaces/{self.namespace}/pods?{selector}")
        return [
            each["metadata"]["name"]
            for each in found
            if "deletionTimestamp" not in each["metadata"]
        ]

    def leader(self) -> str:
        """The pod that holds the Lease; "" while nobody does."""
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{NAME}"
        spec: Json = self.cluster.api.get(path)["spec"]
        return str(spec.get("holderIdentity", ""))

    def scrape(self, pod: str, port: str = "8080") -> dict[str, float]:
        """The sums of a pod's samples by family, through the API server; 0.0 without samples."""
        scheme = "" if port == "8080" else "https:"
        where = f"/api/v1/namespaces/{self.namespace}/pods/{scheme}{pod}:{port}/proxy/metrics"
        return {
            sample_name(family.name, family.type): sum(each.value for each in family.samples)
            for family in text_string_to_metric_families(self.cluster.api.text(where))
        }

    def asked(self, *, by_all: bool = False) -> list[Json]:
        """What this release's account, or all of that name, asked; from the audit log."""
        logs = [*self.cluster.logs.glob("*/audit.log")] if self.cluster.logs else []
        if not logs:
            raise Unavailable("This cluster writes no audit log: use the local one.")
        account = f"system:serviceaccount:{self.namespace}:{NAME}"
        lines = (json.loads(line) for log in logs for line in log.read_text().splitlines())
        return [
            each
            for each in lines
            for user in [each["user"]["username"]]
            if user == account or (by_all and user.endswith(f":{NAME}"))
        ]

    def forget(self) -> None:
        """Take away what the release left: its objects without a namespace too."""
        with contextlib.suppress(Exception):
            self.uninstall()
        for kind in GLOBAL:
            found = self.cluster.kubectl("get", kind, "-o", "name").split()
            for name in found:
                if name.rpartition("/")[2].startswith(f"{self.namespace}-{NAME}"):
                    self.cluster.kubectl("delete", name)


def sample_name(family: str, kind: str) -> str:
    """The name by which an expression asks for a family."""
    return f"{family}_total" if kind == "counter" and not family.endswith("_total") else family


@contextlib.contextmanager
def released(cluster: Cluster, namespace: str, folder: Path, *settings: str) -> Iterator[Release]:
    """A release for the duration of a block."""
    release = Release(cluster, namespace, folder)
    try:
        release.upgrade(*settings)
        yield release
    finally:
        release.forget()


def await_leader(release: Release, other_than: str = "") -> str:
    """Wait until a pod that exists holds the Lease; return its name."""

    def leads() -> str | None:
        name = release.leader()
        return name if name and name != other_than and name in release.pods() else None

    return await_that("a leading operator", leads, seconds_max=HANG_SECONDS)


def await_figure(release: Release, pod: str, name: str, value: float) -> None:
    """Wait until a figure of a pod's scrape has a value."""
    asked = partial(release.scrape, pod)
    await_that(f"{name} of {pod}", lambda: asked().get(name) == value, seconds_max=HANG_SECONDS)
