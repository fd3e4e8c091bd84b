"""What can go wrong in a cluster, made to go wrong on purpose?

Every fault that lasts is a context manager: it ends with the block, also when the block fails.
House rules: rules go into chains of our own inside the node's network, never into the host's; a
fault says what it could not find instead of doing nothing. The trap: this kernel has no netem, so
loss is made by iptables, slowness by tbf, and delay by a relay; nor a device-mapper, so a bad disk
is made by a library (`bad_disk.py`).
"""

import base64
import contextlib
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.api import Api, Json
from kind_test_helpers.commands import await_that
from kind_test_helpers.failures import CommandFailed
from kind_test_helpers.nodes import FaultyNode
from kind_test_helpers.places import PACKAGE

CABLE = "eth0"
INCOMING = ("raw", "PREROUTING", "-i")
OUTGOING = ("mangle", "POSTROUTING", "-o")
CONTROL_DAEMONS = ("etcd", "apiserver", "controller-manager", "scheduler", "coredns")  # as started
GONE_SECONDS_MAX = 60.0
Direction = tuple[str, str, str]

# Prints the pids of a container as its node counts them: whichever the version of cgroups.
PIDS = 'find /sys/fs/cgroup -path "*$1*" -name cgroup.procs -exec cat {} + | sort -un'
SIGNAL = f'pids=$({PIDS}); test -n "$pids" && kill -"$2" $pids'
FILL = 'dd if=/dev/zero of="$1" bs=64k 2>/dev/null; sync -f "$1"; truncate -s "-$2" "$1"'

# Into the topmost layer of the image of a process's root, because a container's root is read only.
LAYER = """awk '$5 == "/"' /proc/$1/mountinfo | sed -n 's/.*[,:]lowerdir=\\([^:,]*\\).*/\\1/p'"""
PRELOAD = (
    'mkdir -p "$1/etc" && echo "$2" | base64 -d > "$1/bad_disk.so" && chmod 755 "$1/bad_disk.so"'
    ' && echo /bad_disk.so > "$1/etc/ld.so.preload"'
)
ORDER = 'echo "$2" > "$1.tmp" && chmod 644 "$1.tmp" && mv "$1.tmp" "$1"'


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults of one cluster; `control` starts (True) and stops daemons of the control plane."""

    api: Api
    nodes: Mapping[str, FaultyNode]
    control: Callable[[str, bool], None]

    # Processes.

    def kill(self, namespace: str, pod: str, sent: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to every process of a pod's only container, around the kubelet."""
        found = self._pod(namespace, pod)
        [status] = found["status"]["containerStatuses"]
        container = status["containerID"].rpartition("/")[2]
        node = self._node(found["spec"]["nodeName"])
        node.run("sh", "-c", SIGNAL, "sh", container, sent.name.removeprefix("SIG"))

    @contextlib.contextmanager
    def stopped(self, namespace: str, pod: str) -> Iterator[None]:
        """SIGSTOP a pod's processes: its connections stay open and nobody answers."""
        self.kill(namespace, pod, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(CommandFailed, KeyError, ValueError):  # it may be gone
                self.kill(namespace, pod, signal.SIGCONT)

    def delete(self, namespace: str, pod: str, *, force: bool = False) -> None:
        """Delete a pod; forced, it is gone from the API at once, whatever its node does."""
        options: Json = {"gracePeriodSeconds": 0} if force else {}
        self.api.delete(f"/api/v1/namespaces/{namespace}/pods/{pod}", options)

    # Nodes.

    @contextlib.contextmanager
    def frozen(self, node: str) -> Iterator[None]:
        """Freeze every process of a node, its kubelet too."""
        self._node(node).freeze(frozen=True)
        try:
            yield
        finally:
            self._node(node).freeze(frozen=False)

    @contextlib.contextmanager
    def without(self, node: str, daemon: str) -> Iterator[None]:
        """Keep a node's `kubelet` or `containerd` down; its containers go on."""
        self._node(node).stop(daemon)
        try:
            yield
        finally:
            self._node(node).start(daemon)

    @contextlib.contextmanager
    def powered_off(self, *nodes: str) -> Iterator[None]:
        """Pull the plug of nodes, all at once; they start again on their disks afterwards."""
        for node in nodes:
            self._node(node).power_off()
        try:
            yield
        finally:
            for node in nodes:
                self._node(node).power_on()

    @contextlib.contextmanager
    def without_control(self, *daemons: str) -> Iterator[None]:
        """Keep `apiserver`, `etcd`, `scheduler`, `controller-manager` or `coredns` down."""
        ordered = sorted(daemons, key=CONTROL_DAEMONS.index)
        for daemon in reversed(ordered):
            self.control(daemon, False)
        try:
            yield
        finally:
            for daemon in ordered:
                self.control(daemon, True)

    # Network.

    @contextlib.contextmanager
    def cut_off(self, node: str) -> Iterator[None]:
        """Take down a node's cable: it is alone, and so is everybody with it."""
        self._node(node).unplug(unplugged=True)
        try:
            yield
        finally:
            self._node(node).unplug(unplugged=False)

    @contextlib.contextmanager
    def deaf(self, node: str, *, to: str | None = None) -> Iterator[None]:
        """Drop what arrives at a node, from another node only when one is named: one way."""
        with contextlib.ExitStack() as stack:
            for network in self._networks(to):
                stack.enter_context(self._rule(node, INCOMING, *network, "-j", "DROP"))
            yield

    @contextlib.contextmanager
    def mute(self, node: str) -> Iterator[None]:
        """Drop what leaves a node, while it still hears the others."""
        with self._rule(node, OUTGOING, "-j", "DROP"):
            yield

    @contextlib.contextmanager
    def closed(self, node: str, port: int) -> Iterator[None]:
        """Drop what comes to and from one TCP port of a node's pods; all else goes on."""
        tcp = ("-p", "tcp", "-m", "multiport", "--ports", str(port), "-j", "DROP")
        with self._rule(node, INCOMING, *tcp), self._rule(node, OUTGOING, *tcp):
            yield

    @contextlib.contextmanager
    def parted(self, one: str, other: str) -> Iterator[None]:
        """Let two nodes hear nothing of each other, while both hear everybody else."""
        with self.deaf(one, to=other), self.deaf(other, to=one):
            yield

    @contextlib.contextmanager
    def lossy(self, node: str, probability: float) -> Iterator[None]:
        """Lose a share of the packets to and from a node, by chance."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{probability:.4f}")
        with (
            self._rule(node, INCOMING, *chance, "-j", "DROP"),
            self._rule(node, OUTGOING, *chance, "-j", "DROP"),
        ):
            yield

    @contextlib.contextmanager
    def narrow(self, node: str, rate: str) -> Iterator[None]:
        """Limit what a node can send, in tc's words: `1mbit`."""
        limit = ("rate", rate, "burst", "32k", "latency", "400ms")
        self._node(node).run("tc", "qdisc", "add", "dev", CABLE, "root", "tbf", *limit)
        try:
            yield
        finally:
            self._node(node).run("tc", "qdisc", "del", "dev", CABLE, "root")

    @contextlib.contextmanager
    def delayed(self, node: str, port: int, seconds: float) -> Iterator[None]:
        """Delay TCP connections that come to one port of a node's pods, each way.

        Only connections opened from now on, and those of before are cut, so that none goes round.
        """
        relay_port = 20_000 + secrets.randbelow(10_000)
        name = f"relay-{port}"
        self._node(node).launch(
            name,
            *("env", f"PYTHONPATH={PACKAGE.parent}", sys.executable),
            *("-m", "kind_test_helpers.relay", f"0.0.0.0:{relay_port}", str(seconds)),
        )
        listening = f"ss -Hltn sport = :{relay_port} | grep -q ."
        await_that(
            "the relay",
            lambda: self._succeeds(node, listening),
            seconds_max=GONE_SECONDS_MAX,
        )
        redirected = ("-p", "tcp", "--dport", str(port), "-j", "REDIRECT")
        try:
            with self._rule(
                node, ("nat", "PREROUTING", "-i"), *redirected, "--to-ports", str(relay_port)
            ):
                self._forget_connections(node, port)
                yield
        finally:
            self._node(node).stop(name)

    # Disks.

    def destroy_volume(self, namespace: str, claim: str, folder: str = "") -> None:
        """Remove every file of a claim's volume, or of a folder, under a pod that uses it too."""
        node, path = self._volume(namespace, claim)
        node.run("find", f"{path}/{folder}", "-mindepth", "1", "-delete")

    def found(self, namespace: str, claim: str, pattern: str) -> list[str]:
        """The paths in a claim's volume that fit a pattern of find."""
        node, path = self._volume(namespace, claim)
        return node.run("find", path, "-path", f"{path}/{pattern}").split()

    @contextlib.contextmanager
    def full(self, namespace: str, claim: str, *, leave_bytes: int = 0) -> Iterator[None]:
        """Fill the disk of a claim of the capped class, save some bytes."""
        node, path = self._volume(namespace, claim)
        filler = f"{path}/.filler"
        node.run("sh", "-c", FILL, "sh", filler, str(leave_bytes))
        try:
            yield
        finally:
            node.run("rm", "-f", filler)

    @contextlib.contextmanager
    def shimmed(self, namespace: str, pod: str, library: Path) -> Iterator[None]:
        """Start a pod's container again with the library of a bad disk; afterwards without.

        Every container of this image that starts on this node meanwhile has it too, and none
        obeys before `bad_disk`. Overlays only: raises `CommandFailed` for another snapshotter.
        """
        node = self._node(self._pod(namespace, pod)["spec"]["nodeName"])
        layer = node.run("sh", "-c", LAYER, "sh", self._main_process(namespace, pod)).strip()
        if not layer:
            raise CommandFailed(["lowerdir"], 1, f"{pod} does not stand on an overlay")
        content = base64.b64encode(library.read_bytes()).decode()
        node.run("sh", "-c", PRELOAD, "sh", layer, content)
        try:
            self.kill(namespace, pod)
            await_that(
                f"{pod} to start with {library.name}",
                lambda: self._has_loaded(namespace, pod, "bad_disk.so"),
                seconds_max=GONE_SECONDS_MAX,
            )
            yield
        finally:
            node.run("rm", "-f", f"{layer}/etc/ld.so.preload", f"{layer}/bad_disk.so")
            with contextlib.suppress(CommandFailed, KeyError, ValueError):  # it may be gone
                self.kill(namespace, pod)

    @contextlib.contextmanager
    def bad_disk(self, namespace: str, claim: str, order: str) -> Iterator[None]:
        """Give an order of `bad_disk.py` to whatever runs `shimmed` on a claim."""
        node, path = self._volume(namespace, claim)
        node.run("sh", "-c", ORDER, "sh", f"{path}/.bad-disk", order)
        try:
            yield
        finally:
            node.run("rm", "-f", f"{path}/.bad-disk")

    def _main_process(self, namespace: str, pod: str) -> str:
        """The first process of a pod's only container, as its node counts."""
        found = self._pod(namespace, pod)
        [status] = found["status"]["containerStatuses"]
        container = status["containerID"].rpartition("/")[2]
        node = self._node(found["spec"]["nodeName"])
        return node.run("sh", "-c", PIDS, "sh", container).split()[0]

    def _has_loaded(self, namespace: str, pod: str, library: str) -> bool:
        try:
            process = self._main_process(namespace, pod)
            node = self._pod(namespace, pod)["spec"]["nodeName"]
        except (CommandFailed, KeyError, ValueError, IndexError):  # it is just starting
            return False
        return self._succeeds(node, f"grep -q {library} /proc/{process}/maps")

    def _pod(self, namespace: str, pod: str) -> Json:
        return self.api.get(f"/api/v1/namespaces/{namespace}/pods/{pod}")

    def _node(self, name: str) -> FaultyNode:
        return self.nodes[name]

    def _volume(self, namespace: str, claim: str) -> tuple[FaultyNode, str]:
        found = self.api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
        volume = self.api.get(f"/api/v1/persistentvolumes/{found['spec']['volumeName']}")
        [term] = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        [on_node] = term["matchExpressions"]
        spec = volume["spec"]
        path = spec["local"]["path"] if "local" in spec else spec["hostPath"]["path"]
        return self._node(on_node["values"][0]), path

    def _networks(self, node: str | None) -> list[tuple[str, ...]]:
        """What comes from a node: from its own address or from one of its pods."""
        if node is None:
            return [()]
        addresses = self._node(node).run("ip", "-4", "-o", "address", "show", "dev", CABLE)
        own = addresses.split()[3].partition("/")[0]
        found = self.api.items(f"/api/v1/pods?fieldSelector=spec.nodeName={node}")
        pods = {each["status"].get("podIP", own) for each in found}
        return [("-s", f"{address}/32") for address in sorted({own, *pods})]

    @contextlib.contextmanager
    def _rule(self, node: str, direction: Direction, *rule: str) -> Iterator[None]:
        """Put one rule into a chain of its own, and take both away afterwards."""
        table, hook, side = direction
        chain = f"FAUNA-FAULT-{secrets.token_hex(4)}"
        tables = ("iptables", "-w", "-t", table)
        jump = (hook, side, CABLE, "-m", "comment", "--comment", "fauna: a fault", "-j", chain)
        run = self._node(node).run
        run(*tables, "-N", chain)
        run(*tables, "-A", chain, *rule)
        run(*tables, "-I", *jump)
        try:
            yield
        finally:
            run(*tables, "-D", *jump)
            run(*tables, "-D", chain, "1")
            run(*tables, "-X", chain)

    def _forget_connections(self, node: str, port: int) -> None:
        """Cut the connections to a port, so that they are opened anew and meet the rules.

        A second is ten heartbeats of the database: time for each peer to send and be refused.
        """
        reset = ("-p", "tcp", "--dport", str(port), "-j", "REJECT", "--reject-with", "tcp-reset")
        with self._rule(node, ("filter", "FORWARD", "-i"), *reset):
            time.sleep(1)

    def _succeeds(self, node: str, script: str) -> bool:
        try:
            self._node(node).run("sh", "-c", script)
        except CommandFailed:
            return False
        return True
