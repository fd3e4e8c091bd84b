"""How does a local cluster come up, and how does it go without a trace?

House rules: the ledger is written before the first deed; `down` needs nothing but the ledger,
works after any interruption and may be repeated. The trap: namespaces, mounts and cables go with
the first process of each machine, so processes are ended first and nothing else is undone by hand
that goes by itself.
"""

import contextlib
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.api import Api
from kind_test_helpers.commands import await_that, succeeds
from kind_test_helpers.debian import install_missing
from kind_test_helpers.failures import Unavailable
from kind_test_helpers.local import cgroups, network, pki
from kind_test_helpers.local.control import ControlPlane
from kind_test_helpers.local.layout import BASE, CONTROL, Layout, free_octet
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.local.machine import PRIVATE_FOLDERS, Machine
from kind_test_helpers.local.node import Node
from kind_test_helpers.local.provisioner import CAPPED_CLASS, CLASS, storage_class
from kind_test_helpers.locks import held
from kind_test_helpers.places import PACKAGE
from kind_test_helpers.progress import say, stage
from kind_test_helpers.recipes import COREDNS, KUBE_LOCAL, PAUSE
from kind_test_helpers.tools import ensure

READY_SECONDS_MAX = 300.0
STARTS_AT_ONCE = 3  # more only take turns on two cores
PROVISIONER = "provisioner"


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A cluster that was started here, from its layout."""

    layout: Layout

    @property
    def control(self) -> ControlPlane:
        return ControlPlane(self._machine(CONTROL), KUBE_LOCAL.path, COREDNS.path)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(Node(self._machine(name), KUBE_LOCAL.path) for name in self.layout.node_names)

    @property
    def kubeconfig(self) -> Path:
        return self.layout.folder / "pki/admin.conf"

    @property
    def api(self) -> Api:
        return Api.from_file(self.kubeconfig)

    def load(self, archives: Iterable[Path]) -> None:
        """Put images into every node."""
        wanted = tuple(archives)

        def load_all(node: Node) -> None:
            for archive in wanted:
                node.load(archive)

        each_of(self.nodes, load_all)

    def start_provisioner(self) -> None:
        """Start the program that serves volumes, on the host, unless it runs."""
        machine = self._machine(CONTROL)
        layout = self.layout
        machine.start_outside(
            PROVISIONER,
            *("env", f"PYTHONPATH={PACKAGE.parent}"),
            *(sys.executable, "-m", "kind_test_helpers.local.provisioner"),
            *(layout.id, str(layout.octet), str(layout.nodes)),
        )

    def ready_nodes(self) -> list[str]:
        """The names of the nodes that say that they are ready."""
        return [
            node["metadata"]["name"]
            for node in self.api.items("/api/v1/nodes")
            for condition in node["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]

    def _machine(self, name: str) -> Machine:
        return Machine(self.layout, name, PAUSE.path)


def up(folder: Path, nodes: int, archives: Iterable[Path] = ()) -> LocalCluster:
    """Start a cluster whose ledger is in a folder, or return the one that runs there."""
    if (ledger := Ledger.load(folder)) is not None:
        running = LocalCluster(ledger.layout)
        if ledger.layout.nodes == nodes and is_whole(running):
            say(f"the cluster {ledger.layout.id} runs already")
            running.load(archives)
            return running
        down(folder)
    require_possible()
    for recipe in (PAUSE, COREDNS, KUBE_LOCAL):
        ensure(recipe)
    with stage(f"a cluster of {nodes} nodes"):
        with held("network"):  # or two clusters choose the same addresses
            ledger = begin(folder, nodes)
        cluster = LocalCluster(ledger.layout)
        start(cluster, [PAUSE.folder / "image.tar", *archives])
    return cluster


def begin(folder: Path, nodes: int) -> Ledger:
    """Choose names and addresses, write the ledger, make what must not be chosen twice."""
    chosen = secrets.token_hex(3)
    octet = free_octet(network.taken_networks(), first=int(chosen, 16))
    if octet is None:
        raise Unavailable("No free 10.x network is left: run `make down` where clusters still run.")
    ledger = Ledger(Layout(chosen, octet, nodes))
    ledger.folders_made = [path for path in folders_needed() if not Path(path).exists()]
    ledger.firewall = network.firewall_needed()
    ledger.save(folder)
    for path in ledger.folders_made:
        Path(path).mkdir(exist_ok=True)
    ledger.controllers_made = cgroups.make(ledger.layout.cgroup)
    ledger.save(folder)
    network.build_bridge(ledger.layout)
    if ledger.firewall:
        network.open_firewall(ledger.layout)
    return ledger


def start(cluster: LocalCluster, archives: list[Path]) -> None:
    """Start control plane and nodes side by side and wait until all are ready."""
    layout = cluster.layout
    layout.folder.mkdir(parents=True, exist_ok=True)
    pki.issue_all(layout)

    def start_control() -> None:
        cgroups.make(f"{cluster.control.machine.cgroup}/{cgroups.DAEMONS}")
        cluster.control.machine.power_on()
        cluster.control.start()
        cluster.start_provisioner()
        for name in (CLASS, CAPPED_CLASS):
            cluster.api.apply(
                f"/apis/storage.k8s.io/v1/storageclasses/{name}",
                storage_class(name),
                manager="kind-test-helpers",
            )
        say("the control plane answers")

    def start_nodes() -> None:
        first, *others = cluster.nodes
        prepare(first)
        first.stock(archives)
        say("the images are unpacked")

        def start_other(node: Node) -> None:
            prepare(node)
            node.copy_stock(first)
            node.start("containerd")

        each_of(others, start_other)
        first.start("containerd")

    def prepare(node: Node) -> None:
        node.prepare()
        node.machine.power_on()

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(start_control), pool.submit(start_nodes)]:
            each.result()
    each_of(cluster.nodes, lambda node: node.start("kubelet", "proxy"))
    await_that(
        "every node to be ready",
        lambda: len(cluster.ready_nodes()) == layout.nodes,
        seconds_max=READY_SECONDS_MAX,
        every=0.2,
    )


def down(folder: Path) -> None:
    """Take away all that the ledger of a folder knows of; does nothing when there is none."""
    ledger = Ledger.load(folder)
    if ledger is None:
        say(f"nothing runs from {folder}")
        return
    layout = ledger.layout
    with stage(f"taking down the cluster {layout.id}"):
        cgroups.kill_all(layout.cgroup)
        cgroups.remove(layout.cgroup)
        cgroups.switch_off(ledger.controllers_made)
        network.remove_bridge(layout)
        if ledger.firewall:
            network.close_firewall(layout)
        shutil.rmtree(layout.folder, ignore_errors=True)
        for path in reversed(ledger.folders_made):
            with contextlib.suppress(OSError):  # somebody else uses it now
                Path(path).rmdir()
        (folder / "ledger.json").unlink()


def is_whole(cluster: LocalCluster) -> bool:
    """Whether every machine of a cluster is on and its API server answers."""
    machines = [cluster.control.machine, *(node.machine for node in cluster.nodes)]
    return all(machine.is_on for machine in machines) and cluster.control.answers()


def folders_needed() -> list[str]:
    """The folders outside our own that have to exist, parents first."""
    paths = [path for path in PRIVATE_FOLDERS if path != "/run"]
    return [str(BASE), *paths]


def require_possible() -> None:
    """Raise `Unavailable` with what to do where a local cluster cannot run."""
    if platform.system() != "Linux":
        raise Unavailable(
            "A local cluster needs Linux: start Docker and install kind, or name a cluster by"
            " FAUNA_TEST_KUBECONFIG=path."
        )
    if os.geteuid() != 0:
        raise Unavailable(
            "A local cluster needs root: use sudo, or start Docker and install kind, or name a"
            " cluster by FAUNA_TEST_KUBECONFIG=path."
        )
    install_missing()
    if not succeeds("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "true"):
        raise Unavailable(
            "The kernel does not let this process make namespaces (an unprivileged container?):"
            " run on a machine or in a privileged container, or name a cluster by"
            " FAUNA_TEST_KUBECONFIG=path."
        )
    if not os.access(cgroups.hierarchies().main, os.W_OK) or read_only(cgroups.hierarchies().main):
        raise Unavailable(
            f"{cgroups.hierarchies().main} cannot be written: run on a machine or in a privileged"
            " container, or name a cluster by FAUNA_TEST_KUBECONFIG=path."
        )


def read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def each_of(nodes: Iterable[Node], act: Callable[[Node], object]) -> None:
    """Do something on several nodes at once; the first failure is raised."""
    with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
        for done in [pool.submit(act, node) for node in nodes]:
            done.result()
