"""What do `make run` and `make down` do?

`python -m kind_test_helpers.run up|down|status`. `up` starts a cluster of three nodes, or finds the
one that runs, and shows the product on it. `down` takes away every cluster of this checkout, also
what an interrupted run or test left. House rules: standard library only on the way down, so that
it works with whatever is installed; what `up` tells a person to type is run by a test from the
printed text.
"""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from kind_test_helpers import product, providers
from kind_test_helpers.api import Json
from kind_test_helpers.cluster import RESTRICTED, Cluster
from kind_test_helpers.failures import CommandFailed, HangLimit, Unavailable
from kind_test_helpers.local import cluster as local
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.places import run_folder
from kind_test_helpers.progress import say, stage

NODES = 3
LAID = ("kubeconfig", "kubectl", "environment")
PROGRAM = """#!/bin/sh
exec {kubectl} --kubeconfig={kubeconfig} "$@"
"""
TRY_NEXT = "Try next:"
TRY = """\
.run/kubectl describe faunacluster orders
. .run/environment && .venv/bin/python -c 'from fauna_client import Client; \
c = Client(query_timeout=60); \
print(c.get_node_count(), c.query("Airport.byState(state).count()", state="TX"))'
.run/kubectl delete pod $(.run/kubectl get faunacluster orders -o jsonpath={.status.leader})
.run/kubectl wait --for=condition=Ready faunacluster/orders --timeout=120s
.run/kubectl -n fauna-operator logs -l app.kubernetes.io/name=fauna-operator --tail=3
"""


def up() -> None:
    """Start the cluster, and show the product on it."""
    with stage("a Kubernetes"):
        cluster = providers.up(cluster_folder(), NODES)
    present(cluster)


def present(cluster: Cluster) -> None:
    """Put the product on a cluster, show it, and say what to try next."""
    from kind_test_helpers.showing import show  # noqa: PLC0415 - it needs the official driver

    _lay_kubectl(cluster)
    cluster.make_namespace(product.OPERATOR)
    cluster.apply(_restricted("default"))
    product.install_operator(cluster, product.OPERATOR, watch=("default",))
    database = product.Database(cluster, "default")
    fresh = not product.exists(cluster, database.path)
    if fresh:
        database.create(product.manifest(cluster))
    seconds = database.await_ready()
    endpoint, secret = database.endpoint(), database.secret()
    _lay_environment(endpoint, secret)
    show(endpoint, secret)
    print(f"\n{cluster.kubectl('get', 'faunacluster,pods')}")
    if fresh:
        print(f"{seconds:.1f} s from apply to Ready")
    print(f"clients: {endpoint}, secret in .run/environment\n\n{TRY_NEXT}\n\n{TRY}")


def _lay_kubectl(cluster: Cluster) -> None:
    """Lay kubeconfig and kubectl where a person looks for them."""
    link = run_folder() / "kubeconfig"
    link.unlink(missing_ok=True)
    link.symlink_to(cluster.kubeconfig)
    program = run_folder() / "kubectl"
    program.unlink(missing_ok=True)
    kubectl, kubeconfig = (shlex.quote(str(p)) for p in (cluster.kubectl_program, link))
    program.write_text(PROGRAM.format(kubectl=kubectl, kubeconfig=kubeconfig))
    program.chmod(0o755)
    say(f"a cluster of {len(cluster.node_names)} nodes is ready: {link}")


def _lay_environment(endpoint: str, secret: str) -> None:
    path = run_folder() / "environment"
    path.touch(mode=0o600)
    path.write_text(f"export FAUNA_ENDPOINT={endpoint}\nexport FAUNA_SECRET={secret}\n")


def _restricted(namespace: str) -> Json:
    metadata = {"name": namespace, "labels": RESTRICTED}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def down() -> None:
    """Take away every cluster that was started from this checkout."""
    for name in LAID:
        (run_folder() / name).unlink(missing_ok=True)
    for folder in clusters():
        providers.down(folder)
    say("nothing of ours runs any more")


def status() -> None:
    """Say which clusters there are, and whether they are whole."""
    found = clusters()
    if not found:
        print("no cluster: `make run` starts one")
    for folder in found:
        ledger = Ledger.load(folder)
        whole = ledger is not None and local.is_whole(local.LocalCluster(ledger.layout))
        state = "runs" if whole else "is not whole: `make down` cleans up"
        print(f"{folder.name}: {state}")


def cluster_folder() -> Path:
    return run_folder() / "run"


def clusters() -> list[Path]:
    """The folders of clusters, whole or not."""
    marks = [*run_folder().glob("*/ledger.json"), *run_folder().glob("*/kubeconfig")]
    return sorted({mark.parent for mark in marks})


COMMANDS: dict[str, Callable[[], None]] = {"up": up, "down": down, "status": status}


def main(arguments: list[str]) -> int:
    """Run one command; a failure is a sentence, not a traceback."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m kind_test_helpers.run {'|'.join(COMMANDS)}", file=sys.stderr)
        return 64
    try:
        COMMANDS[arguments[0]]()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        return 69
    except (CommandFailed, HangLimit) as failed:
        print(f"{failed}\n`make down` takes away what was begun.", file=sys.stderr)
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
