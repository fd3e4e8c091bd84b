"""Every fault does what its name says, seen from inside pods of a real cluster."""

import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from kind_test_helpers.api import Json
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.failures import CommandFailed

pytestmark = pytest.mark.e2e

PORT = 7500
HANG_SECONDS = 120.0
# Answers each line with the same line, notes datagrams; a file in the volume counts its starts.
ECHO = f"""
import os, socketserver, threading
with open("/data/starts", "a") as file:
    file.write("start\\n")
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Note(socketserver.BaseRequestHandler):
    def handle(self):
        with open("/data/heard", "ab") as file:
            file.write(self.request[0])
notes = socketserver.UDPServer(("0.0.0.0", {PORT}), Note)
threading.Thread(target=notes.serve_forever, daemon=True).start()
class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
Server(("0.0.0.0", {PORT}), Echo).serve_forever()
"""
ASK = """
import socket, sys, time
began = time.monotonic()
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3])) as peer:
    peer.sendall(b"hello\\n")
    assert peer.makefile("rb").readline() == b"hello\\n"
print(time.monotonic() - began)
"""
STARTS = "print(len(open('/data/starts').read().split()))"
SAFE: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


@dataclass(frozen=True)
class Pair:
    """Two echo servers on two nodes, each with a volume."""

    cluster: Cluster
    namespace: str

    def node(self, pod: str) -> str:
        return str(self.pod(pod)["spec"]["nodeName"])

    def pod(self, pod: str) -> Json:
        return self.cluster.get("pod", pod, self.namespace)

    def hears(self, asking: str, asked: str, seconds: float = 1.0) -> float | None:
        """Seconds until the answer of one pod reached the other; None if it did not."""
        return self.ask(asking, str(self.pod(asked)["status"]["podIP"]), PORT, seconds)

    def ask(self, asking: str, host: str, port: int, seconds: float = 1.0) -> float | None:
        try:
            return float(self.python(asking, ASK, host, str(port), str(seconds)))
        except CommandFailed:
            return None

    def python(self, pod: str, program: str, *arguments: str) -> str:
        where = ("exec", "-n", self.namespace, pod, "--", "python3", "-c")
        return self.cluster.kubectl(*where, program, *arguments)

    def restarts(self, pod: str) -> int:
        [status] = self.pod(pod)["status"]["containerStatuses"]
        return int(status["restartCount"])

    def await_hearing(self, asking: str, asked: str) -> None:
        await_that(
            f"{asking} to hear {asked}",
            lambda: self.hears(asking, asked),
            seconds_max=HANG_SECONDS,
        )


@pytest.fixture(scope="module")
def pair(kubernetes: Cluster) -> Iterator[Pair]:
    namespace = "test-faults"
    kubernetes.make_namespace(namespace)
    capped = kubernetes.capped_storage_class or kubernetes.storage_class
    image = kubernetes.images["faunadb"]
    kubernetes.apply(*echo("a", namespace, image, capped))
    kubernetes.apply(*echo("b", namespace, image, kubernetes.storage_class))
    for name in ("a", "b"):
        kubernetes.await_pod(namespace, name)
    yield Pair(kubernetes, namespace)
    kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_killed_process_starts_again_within_seconds(pair: Pair) -> None:
    """kill -9 around the kubelet is a restart of the container, not of the pod."""
    before, uid = pair.restarts("a"), pair.pod("a")["metadata"]["uid"]

    pair.cluster.faults.kill(pair.namespace, "a")

    await_that("a restart", lambda: pair.restarts("a") == before + 1, seconds_max=HANG_SECONDS)
    pair.cluster.await_pod(pair.namespace, "a")
    assert uid == pair.pod("a")["metadata"]["uid"]


def test_a_stopped_process_does_not_answer_and_goes_on(pair: Pair) -> None:
    """SIGSTOP keeps the port open and the answer away."""
    before = pair.restarts("a")

    with pair.cluster.faults.stopped(pair.namespace, "a"):
        assert pair.hears("b", "a") is None

    pair.await_hearing("b", "a")
    assert before == pair.restarts("a")


def test_a_frozen_node_is_silent_and_goes_on(pair: Pair) -> None:
    """The freezer holds every process of a node."""
    with pair.cluster.faults.frozen(pair.node("a")):
        assert pair.hears("b", "a") is None

    pair.await_hearing("b", "a")


def test_a_node_without_a_cable_is_alone(pair: Pair) -> None:
    """With the cable down nothing passes; with it up everything does."""
    with pair.cluster.faults.cut_off(pair.node("a")):
        assert pair.hears("b", "a") is None

    pair.await_hearing("b", "a")


def test_parted_nodes_hear_only_others(pair: Pair) -> None:
    """A cut between two nodes leaves the API server and the rest within reach."""
    with pair.cluster.faults.parted(pair.node("a"), pair.node("b")):
        assert (None, None) == (pair.hears("a", "b"), pair.hears("b", "a"))
        assert pair.python("a", "print('reached')") == "reached\n"

    pair.await_hearing("a", "b")


def test_one_way_cuts_are_one_way(pair: Pair) -> None:
    """What a deaf node says arrives, and the answer does not."""
    send = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(*eval(sys.argv[1]))"
    letter = (b"one way", (pair.pod("b")["status"]["podIP"], PORT))

    with pair.cluster.faults.deaf(pair.node("a"), to=pair.node("b")):
        assert pair.hears("a", "b") is None
        pair.python("a", send, repr(letter))

    assert "b'one way'\n" == pair.python("b", "print(open('/data/heard', 'rb').read())")


def test_a_mute_node_is_not_heard(pair: Pair) -> None:
    """What a mute node sends does not arrive."""
    with pair.cluster.faults.mute(pair.node("a")):
        assert pair.hears("b", "a") is None

    pair.await_hearing("b", "a")


def test_loss_takes_its_share(pair: Pair) -> None:
    """With every packet lost nothing is heard; with a tenth, TCP gets through."""
    with pair.cluster.faults.lossy(pair.node("a"), 1.0):
        assert pair.hears("b", "a") is None
    with pair.cluster.faults.lossy(pair.node("a"), 0.1):
        pair.await_hearing("b", "a")


def test_a_narrow_cable_takes_longer(pair: Pair) -> None:
    """A megabyte takes at least four times as long at 4 Mbit/s as without a limit."""
    receive = """
import socket, sys, time
began = time.monotonic()
with socket.create_connection((sys.argv[1], 7500), timeout=60) as peer:
    line = b"x" * 1_000_000 + b"\\n"
    peer.sendall(line)
    assert peer.makefile("rb").readline() == line
print(time.monotonic() - began)
"""
    address = str(pair.pod("a")["status"]["podIP"])
    free = float(pair.python("b", receive, address))

    with pair.cluster.faults.narrow(pair.node("a"), "4mbit"):
        limited = float(pair.python("b", receive, address))

    assert limited > 4 * free


def test_a_delay_is_added_each_way(pair: Pair) -> None:
    """A question and its answer take at least twice the delay."""
    with pair.cluster.faults.delayed(pair.node("a"), PORT, seconds=0.3):
        delayed = pair.hears("b", "a", seconds=30)
        assert delayed is not None
        assert delayed >= 0.6

    direct = pair.hears("b", "a", seconds=30)
    assert direct is not None
    assert direct < delayed


def test_a_full_disk_refuses_and_recovers(pair: Pair) -> None:
    """A file system without a free block says ENOSPC, and takes writes again afterwards."""
    write = "import os; f = open('/data/more', 'wb'); f.write(bytes(1 << 20)); os.fsync(f.fileno())"

    with (
        pair.cluster.faults.full(pair.namespace, "data-a"),
        pytest.raises(CommandFailed, match="No space left"),
    ):
        pair.python("a", write)

    pair.python("a", write)


def test_a_larger_claim_gets_a_larger_volume(pair: Pair) -> None:
    """A claim that asks for more tells soon that it has it, while it is used."""
    patch = {"spec": {"resources": {"requests": {"storage": "128Mi"}}}}
    pair.cluster.kubectl(*("patch", "pvc", "data-b", "-n", pair.namespace, "-p", json.dumps(patch)))

    def told() -> bool:
        claim = pair.cluster.get("pvc", "data-b", pair.namespace)
        return bool(claim["status"]["capacity"]["storage"] == "128Mi")

    await_that("the claim to tell its size", told, seconds_max=HANG_SECONDS)


def test_containers_go_on_without_their_keepers(pair: Pair) -> None:
    """Neither a dead kubelet nor a dead containerd ends a container."""
    node, before = pair.node("a"), pair.restarts("a")

    for daemon in ("kubelet", "containerd"):
        with pair.cluster.faults.without(node, daemon):
            assert pair.hears("b", "a") is not None

    pair.cluster.await_pod(pair.namespace, "a")
    assert before == pair.restarts("a")


def test_pods_go_on_without_an_api_server(pair: Pair) -> None:
    """With API server and etcd down, the nodes keep what runs."""
    address = str(pair.pod("a")["status"]["podIP"])

    with pair.cluster.faults.without_control("etcd", "apiserver"):
        with pytest.raises(CommandFailed):
            pair.cluster.kubectl("get", "nodes")
        echo_from_here(address)

    await_that("the API server", lambda: pair.pod("a"), seconds_max=HANG_SECONDS)
    pair.await_hearing("b", "a")


def test_a_forced_deletion_is_at_once(pair: Pair) -> None:
    """A forced deletion removes the pod from the API while its node cannot be asked."""
    capped = pair.cluster.capped_storage_class or pair.cluster.storage_class
    with pair.cluster.faults.frozen(pair.node("a")):
        pair.cluster.faults.delete(pair.namespace, "a", force=True)
        names = pair.cluster.kubectl("get", "pods", "-n", pair.namespace, "-o", "name").split()
        assert ["pod/b"] == names

    pair.cluster.apply(*echo("a", pair.namespace, pair.cluster.images["faunadb"], capped))
    pair.cluster.await_pod(pair.namespace, "a")


def test_everything_comes_back_on_its_disks_after_a_power_cut(pair: Pair) -> None:
    """All nodes off at once, then on: the same pods start again and find what they wrote."""
    before = {name: int(pair.python(name, STARTS)) for name in ("a", "b")}

    with pair.cluster.faults.powered_off(*pair.cluster.node_names):
        time.sleep(0.5)

    for name, count in before.items():
        await_that(
            f"{name} to start again",
            partial(started_again, pair, name, count),
            seconds_max=HANG_SECONDS,
        )
    pair.await_hearing("a", "b")


def test_a_destroyed_volume_is_empty(pair: Pair) -> None:
    """The files are gone under the pod that uses them."""
    pair.cluster.faults.destroy_volume(pair.namespace, "data-b")

    assert "[]\n" == pair.python("b", "import os; print(os.listdir('/data'))")


def started_again(pair: Pair, pod: str, before: int) -> bool:
    """Whether the server noted one more start in its volume."""
    try:
        return int(pair.python(pod, STARTS)) > before
    except CommandFailed:
        return False


def echo_from_here(address: str) -> None:
    """Pods are reached directly from the machine that runs the tests."""
    with socket.create_connection((address, PORT), timeout=10) as peer:
        peer.sendall(b"hello\n")
        assert peer.recv(16) == b"hello\n"


def echo(name: str, namespace: str, image: str, storage_class: str) -> tuple[Json, Json]:
    """A claim and a pod that keeps away from the other one, both under the restricted standard."""
    apart: Json = {
        "labelSelector": {"matchLabels": {"app": "echo"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    claim: Json = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"data-{name}", "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": "64Mi"}},
        },
    }
    pod: Json = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "echo"}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "affinity": {
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}
            },
            "containers": [
                {
                    "name": "echo",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", ECHO],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    "securityContext": SAFE,
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                }
            ],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": f"data-{name}"}}],
        },
    }
    return claim, pod
