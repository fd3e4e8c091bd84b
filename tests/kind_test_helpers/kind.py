"""How does a cluster of `kind` become ours, where Docker answers?

House rule: Docker is asked whether it answers; that its program is installed says nothing. The
cluster is named for the folder that it is started from, so that two checkouts do not share one.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.api import Api, Json
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import run, succeeds
from kind_test_helpers.failures import Unavailable
from kind_test_helpers.faults import Faults
from kind_test_helpers.images import ensure_images_in_docker
from kind_test_helpers.progress import stage
from kind_test_helpers.recipes import KIND, KUBE_LOCAL
from kind_test_helpers.tools import ensure

CREATE_SECONDS_MAX = 1800.0
CONTROL_MANIFESTS = "/etc/kubernetes/manifests"
PARKED_MANIFESTS = "/etc/kubernetes/parked"


def docker_answers() -> bool:
    """Whether a Docker daemon can be used."""
    return succeeds("docker", "info", seconds_max=20)


@dataclass(frozen=True, slots=True)
class KindNode:
    """A node that is a container of Docker."""

    name: str  # as Kubernetes calls it, and Docker too

    def run(self, *command: str | Path) -> str:
        return run("docker", "exec", "--privileged", self.name, *command)

    def launch(self, name: str, *command: str | Path) -> None:
        raise Unavailable(
            f"A node of kind cannot run {name} ({command[-1]}): set FAUNA_TEST_PROVIDER=local and"
            " run as root to test with delays."
        )

    def freeze(self, *, frozen: bool) -> None:
        run("docker", "pause" if frozen else "unpause", self.name)

    def unplug(self, *, unplugged: bool) -> None:
        for side in ("INPUT", "OUTPUT", "FORWARD"):
            self.run("iptables", "-w", "-D" if not unplugged else "-I", side, "-j", "DROP")

    def power_off(self) -> None:
        run("docker", "kill", self.name)

    def power_on(self) -> None:
        run("docker", "start", self.name)

    def stop(self, daemon: str) -> None:
        self.run("systemctl", "kill", "--signal=KILL", daemon)
        self.run("systemctl", "stop", daemon)

    def start(self, daemon: str) -> None:
        self.run("systemctl", "start", daemon)


def up(folder: Path, nodes: int) -> Cluster:
    """Start a cluster, or return the one that runs for this folder, with our images loaded."""
    kind, name = ensure(KIND), name_of(folder)
    kubeconfig = folder / "kubeconfig"
    folder.mkdir(parents=True, exist_ok=True)
    if name not in run(kind, "get", "clusters").split():
        roles: list[Json] = [{"role": "control-plane"}, *({"role": "worker"} for _ in range(nodes))]
        configuration = {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "nodes": roles,
        }
        with stage(f"kind create cluster {name}"):
            run(
                *(kind, "create", "cluster", "--name", name, "--config", "-", "--wait", "5m"),
                *("--kubeconfig", kubeconfig),
                stdin=json.dumps(configuration),
                seconds_max=CREATE_SECONDS_MAX,
            )
    kubectl = ensure(KUBE_LOCAL).with_name("kubectl")
    whole = run(kubectl, f"--kubeconfig={kubeconfig}", "config", "view", "--raw", "-o", "json")
    kubeconfig.write_text(whole)
    images = ensure_images_in_docker()
    for image in images:
        run(
            *(kind, "load", "docker-image", "--name", name, image.reference),
            seconds_max=CREATE_SECONDS_MAX,
        )
    api = Api.from_file(kubeconfig)
    found = [each["metadata"]["name"] for each in api.items("/api/v1/nodes")]
    workers = tuple(sorted(each for each in found if not each.endswith("control-plane")))
    control = KindNode(f"{name}-control-plane")

    def control_daemon(daemon: str, running: bool) -> None:
        """A daemon of the control plane runs while its manifest lies in the kubelet's folder."""
        file = {"apiserver": "kube-apiserver"}.get(daemon, f"kube-{daemon}") + ".yaml"
        file = "etcd.yaml" if daemon == "etcd" else file
        here, there = (PARKED_MANIFESTS, CONTROL_MANIFESTS)[:: 1 if running else -1]
        control.run("sh", "-c", f"mkdir -p {PARKED_MANIFESTS}; mv {here}/{file} {there}/")

    address = run(
        "docker", "inspect", "-f", "{{.NetworkSettings.Networks.kind.IPAddress}}", workers[0]
    )
    return Cluster(
        provider="kind",
        kubeconfig=kubeconfig,
        kubectl_program=kubectl,
        images={image.target: image.reference for image in images},
        node_names=workers,
        storage_class="standard",
        capped_storage_class=None,
        node_address=address.strip(),
        faults_or_why=Faults(api, {each: KindNode(each) for each in workers}, control_daemon),
    )


def down(folder: Path) -> None:
    """Delete the cluster of a folder, if there is one."""
    if KIND.path.exists() and docker_answers():
        run(KIND.path, "delete", "cluster", "--name", name_of(folder))


def name_of(folder: Path) -> str:
    """A name of Docker's kind, the same for the same folder."""
    return f"fauna-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]}"
