"""Which Kubernetes does this machine give, and how does it go again?

In this order, the first that works: a cluster that the caller named on purpose by
`FAUNA_TEST_KUBECONFIG`; `kind`, where Docker answers; a local one. `FAUNA_TEST_PROVIDER`
(`kind` or `local`) decides instead. The current context of somebody's kubectl is never used.
"""

import os
from pathlib import Path

from kind_test_helpers import kind
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import run
from kind_test_helpers.failures import Unavailable
from kind_test_helpers.faults import Faults
from kind_test_helpers.images import TARGETS, ensure_images
from kind_test_helpers.local import cluster as local
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.local.provisioner import CAPPED_CLASS, CLASS
from kind_test_helpers.recipes import KUBE_LOCAL
from kind_test_helpers.tools import ensure

NAMED = "FAUNA_TEST_KUBECONFIG"
CHOSEN = "FAUNA_TEST_PROVIDER"
IMAGES = "FAUNA_TEST_IMAGES"  # "faunadb=REFERENCE,fauna-operator=REFERENCE"


def up(folder: Path, nodes: int) -> Cluster:
    """Return a cluster of that many nodes with our images in it, started if need be."""
    chosen = os.environ.get(CHOSEN)
    if chosen not in (None, "", "kind", "local"):
        raise Unavailable(f"{CHOSEN}={chosen} is not known: say kind or local, or nothing.")
    if os.environ.get(NAMED):
        return named(folder)
    if chosen == "kind" or (chosen != "local" and kind.docker_answers()):
        return kind.up(folder, nodes)
    return started_here(folder, nodes)


def down(folder: Path) -> None:
    """Take away the cluster of a folder; a named one is left alone."""
    if Ledger.load(folder) is not None:
        local.down(folder)
    elif (folder / "kubeconfig").exists():
        kind.down(folder)
    (folder / "kubeconfig").unlink(missing_ok=True)


def started_here(folder: Path, nodes: int) -> Cluster:
    """The local cluster of a folder."""
    images = ensure_images()
    running = local.up(folder, nodes, [image.archive for image in images])
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(running.kubeconfig.read_text())
    kubeconfig.chmod(0o600)

    def control_daemon(daemon: str, wanted: bool) -> None:
        if wanted:
            running.control.start(daemon)
        else:
            running.control.machine.stop(daemon)

    by_name = {node.name: node for node in running.nodes}
    return Cluster(
        provider="local",
        kubeconfig=kubeconfig,
        kubectl_program=KUBE_LOCAL.folder / "kubectl",
        images={image.target: image.reference for image in images},
        node_names=running.layout.node_names,
        storage_class=CLASS,
        capped_storage_class=CAPPED_CLASS,
        node_address=str(running.layout.address(running.layout.node_names[0])),
        faults_or_why=Faults(running.api, by_name, control_daemon),
        logs=running.layout.folder,
    )


def named(folder: Path) -> Cluster:
    """The cluster that the caller named; it has to have the images, or be able to fetch them."""
    pairs = [each.partition("=")[::2] for each in os.environ.get(IMAGES, "").split(",") if each]
    images = dict(pairs)
    if missing := [target for target in TARGETS if target not in images]:
        raise Unavailable(
            f"{NAMED} is set, but not where that cluster finds {' and '.join(missing)}: set"
            f" {IMAGES}={','.join(f'{target}=REFERENCE' for target in TARGETS)}."
        )
    kubectl = ensure(KUBE_LOCAL).with_name("kubectl")
    folder.mkdir(parents=True, exist_ok=True)
    kubeconfig = folder / "kubeconfig"
    view = ("config", "view", "--raw", "--flatten", "--minify", "-o", "json")
    kubeconfig.write_text(run(kubectl, f"--kubeconfig={os.environ[NAMED]}", *view))
    names = run(kubectl, f"--kubeconfig={kubeconfig}", "get", "nodes", "-o", "name").split()
    wide = ("get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}")
    return Cluster(
        provider="named",
        kubeconfig=kubeconfig,
        kubectl_program=kubectl,
        images=images,
        node_names=tuple(name.removeprefix("node/") for name in names),
        storage_class="",
        capped_storage_class=None,
        node_address=run(kubectl, f"--kubeconfig={kubeconfig}", *wide),
        faults_or_why=f"The nodes of a named cluster cannot be hurt: unset {NAMED} and try again.",
    )
