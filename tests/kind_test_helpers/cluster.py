"""What does a test hold in its hand when it asks for a Kubernetes?

A `Cluster`: where it is, which images to use, kubectl, and its faults. It is the same whichever
provider made it. House rule: tests take nothing about the provider from here; what one of them
cannot do raises `Unavailable` with what to do about it.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kind_test_helpers.api import Api, Json
from kind_test_helpers.commands import COMMAND_SECONDS_MAX, await_that, run
from kind_test_helpers.failures import CommandFailed, Unavailable
from kind_test_helpers.faults import Faults

READY_SECONDS_MAX = 300.0
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True)
class Cluster:
    """A running Kubernetes; `logs` holds its daemons' files, `faults_or_why` what it can suffer."""

    provider: str
    kubeconfig: Path  # JSON, with certificates inside
    kubectl_program: Path
    images: Mapping[str, str]  # target of the Dockerfile -> complete reference
    node_names: tuple[str, ...]
    storage_class: str
    capped_storage_class: str | None  # a class whose disks can be full
    node_address: str  # where NodePorts are reached from here
    faults_or_why: Faults | str
    logs: Path | None = None

    @cached_property
    def api(self) -> Api:
        """The API server, as administrator."""
        return Api.from_file(self.kubeconfig)

    @property
    def faults(self) -> Faults:
        """What can go wrong; raises `Unavailable` for a cluster that cannot be hurt."""
        if isinstance(self.faults_or_why, str):
            raise Unavailable(self.faults_or_why)
        return self.faults_or_why

    def kubectl(
        self, *arguments: str, stdin: str | None = None, seconds_max: float = COMMAND_SECONDS_MAX
    ) -> str:
        """Run kubectl as administrator and return what it printed."""
        return run(
            self.kubectl_program,
            f"--kubeconfig={self.kubeconfig}",
            *arguments,
            stdin=stdin,
            seconds_max=seconds_max,
        )

    def apply(self, *objects: Json) -> None:
        """Apply objects on the server's side."""
        wrapped = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        arguments = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        self.kubectl(*arguments, stdin=json.dumps(wrapped))

    def get(self, kind: str, name: str, namespace: str | None = None) -> Json:
        """One object, as the server has it."""
        where = ("--namespace", namespace) if namespace else ()
        found: Json = json.loads(self.kubectl("get", kind, name, *where, "-o", "json"))
        return found

    def make_namespace(self, name: str) -> None:
        """Make a namespace under the restricted Pod Security Standard, ready for pods."""
        metadata = {"name": name, "labels": RESTRICTED}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        accounts = f"/api/v1/namespaces/{name}/serviceaccounts?fieldSelector=metadata.name=default"
        await_that(
            f"the service account of {name}",
            lambda: self.api.items(accounts),
            seconds_max=READY_SECONDS_MAX,
        )

    def await_pod(self, namespace: str, pod: str, seconds_max: float = READY_SECONDS_MAX) -> Json:
        """Wait until a pod is ready and return it."""

        def ready() -> Json | None:
            found = self.api.items(
                f"/api/v1/namespaces/{namespace}/pods?fieldSelector=metadata.name={pod}"
            )
            return found[0] if found and is_ready(found[0]) else None

        return await_that(f"{namespace}/{pod} to be ready", ready, seconds_max=seconds_max)

    def collect(self, folder: Path) -> None:
        """Write down everything that may explain a failure: objects, events, logs."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, arguments in {
            "objects.txt": ("get", "all,pv,pvc,cm,secret,lease,nodes", "-A", "-o", "wide"),
            "events.txt": ("get", "events", "-A", "--sort-by=.metadata.creationTimestamp"),
            "pods.yaml": ("get", "pods,pvc,services", "-A", "-o", "yaml"),
            "fauna.yaml": ("get", "faunaclusters.fauna.dev", "-A", "-o", "yaml"),
        }.items():
            (folder / name).write_text(self._said(*arguments))
        for pod in self._pods():
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            common = ("logs", "-n", namespace, name, "--all-containers", "--timestamps")
            (folder / f"{namespace}.{name}.log").write_text(self._said(*common))
            (folder / f"{namespace}.{name}.before.log").write_text(self._said(*common, "-p"))
        if self.logs is not None:
            for log in self.logs.glob("*/log/*.log"):
                shutil.copy(log, folder / f"{log.parent.parent.name}.{log.name}")
        (folder / "when.txt").write_text(time.strftime("%F %T %Z\n"))

    def _pods(self) -> list[Json]:
        try:
            return self.api.items("/api/v1/pods")
        except OSError:
            return []

    def _said(self, *arguments: str) -> str:
        try:
            return self.kubectl(*arguments)
        except CommandFailed as failed:
            return str(failed)


def is_ready(pod: Json) -> bool:
    """Whether a pod says that it is ready and is not on its way out."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
