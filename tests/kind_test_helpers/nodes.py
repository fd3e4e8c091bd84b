"""What can a test do to a node, whichever way the cluster came about?

The local cluster and kind both give this; a cluster that was only named by a kubeconfig gives none.
House rule: what can be done by a command on the node is done so, and stands in `faults.py` once.
"""

from pathlib import Path
from typing import Protocol


class FaultyNode(Protocol):
    """A node that can be hurt."""

    @property
    def name(self) -> str: ...

    def run(self, *command: str | Path) -> str:
        """Run a command on the node, as root, in its network and mounts, and return its output."""
        ...

    def launch(self, name: str, *command: str | Path) -> None:
        """Start a program of a test on the node's network, in the background."""
        ...

    def freeze(self, *, frozen: bool) -> None:
        """Stop every process of the node between two instructions, or let them go on."""
        ...

    def unplug(self, *, unplugged: bool) -> None:
        """Let nothing pass to and from the node, or everything again."""
        ...

    def power_off(self) -> None:
        """End everything on the node between two instructions."""
        ...

    def power_on(self) -> None:
        """Start the node again on the disks that it had."""
        ...

    def stop(self, daemon: str) -> None:
        """Kill `containerd` or `kubelet`; the containers go on."""
        ...

    def start(self, daemon: str) -> None:
        """Start `containerd` or `kubelet` again."""
        ...
