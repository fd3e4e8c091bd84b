"""What do `make run` and `make down` do?

`python -m kind_test_helpers.run up|down|status`. `up` starts a cluster of three nodes, or finds the
one that runs, and shows the product on it. `down` takes away every cluster of this checkout, also
what an interrupted run or test left. House rule: standard library only on the way down, so that
it works with whatever is installed.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from kind_test_helpers import providers
from kind_test_helpers.failures import CommandFailed, HangLimit, Unavailable
from kind_test_helpers.local import cluster as local
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.places import run_folder
from kind_test_helpers.progress import say

NODES = 3


def up() -> None:
    """Start the cluster and lay its kubeconfig and kubectl where a person looks for them."""
    cluster = providers.up(cluster_folder(), NODES)
    for name, target in {
        "kubeconfig": cluster.kubeconfig,
        "kubectl": cluster.kubectl_program,
    }.items():
        link = run_folder() / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    say(f"a cluster of {len(cluster.node_names)} nodes is ready: {run_folder() / 'kubeconfig'}")


def down() -> None:
    """Take away every cluster that was started from this checkout."""
    for name in ("kubeconfig", "kubectl"):
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
