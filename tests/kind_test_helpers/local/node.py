"""What runs on a node's machine?

containerd, kubelet and kube-proxy, told by files in the node's folder. What was learnt the hard
way stands beside the line that it explains.
"""

import json
import shutil
import signal
import tarfile
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from kind_test_helpers.commands import await_that, run, succeeds
from kind_test_helpers.local import cgroups
from kind_test_helpers.local.capped import mount_capped
from kind_test_helpers.local.layout import CONTROL, number_of
from kind_test_helpers.local.machine import Machine

START_SECONDS_MAX = 120.0
IMPORT_SECONDS_MAX = 600.0
PAUSE_IMAGE = "docker.io/fauna-local/pause:1"
CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE runc dies of a lowered score
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
"""


@dataclass(frozen=True, slots=True)
class Node:
    """The daemons of one node, by the names that a test stops and starts them by."""

    machine: Machine
    kube_local: Path

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def socket(self) -> Path:
        """containerd's door, as the host sees it."""
        return self.machine.folder / "private/run/containerd/containerd.sock"

    @property
    def volumes(self) -> Path:
        """The folder of this node's volumes, the same path inside and outside."""
        return self.machine.folder / "volumes"

    @property
    def daemons(self) -> dict[str, list[str | Path]]:
        """The command line of each, in the order in which they start."""
        layout, folder = self.machine.layout, self.machine.folder
        pki = layout.folder / "pki"
        return {
            "containerd": ["/usr/bin/containerd", "-c", folder / "containerd.toml"],
            "kubelet": [
                *(self.kube_local, "kubelet", f"--config={folder}/kubelet.json"),
                f"--kubeconfig={pki}/{self.name}.conf",
                f"--hostname-override={self.name}",
                f"--node-ip={layout.address(self.name)}",
                f"--root-dir={folder}/kubelet",
                f"--cert-dir={folder}/kubelet-pki",
                f"--node-labels=topology.kubernetes.io/zone=zone-{number_of(self.name)}",
            ],
            "proxy": [self.kube_local, "proxy", f"--config={folder}/proxy.json"],
        }

    def run(self, *command: str | Path) -> str:
        """Run a command on the node and return what it printed."""
        return self.machine.run(*command)

    def launch(self, name: str, *command: str | Path) -> None:
        """Start a program of a test on the node's network, in the background."""
        self.machine.start_on_network(name, *command)

    def freeze(self, *, frozen: bool) -> None:
        """Stop every process of the node between two instructions, or let them go on."""
        cgroups.freeze(self.machine.cgroup, frozen=frozen)

    def unplug(self, *, unplugged: bool) -> None:
        """Take down the node's cable, or bring it up: nothing passes in either direction."""
        veth = self.machine.layout.veth(self.name)
        run("ip", "link", "set", veth, "down" if unplugged else "up")

    def power_off(self) -> None:
        """Pull the plug: everything on the node ends between two instructions."""
        self.machine.power_off()

    def power_on(self) -> None:
        """Start the node again on the disks that it had."""
        self.machine.power_on()
        for image in self.volumes.glob("*.ext4"):
            mount_capped(image.with_suffix(""), self.machine)
        self.start()

    def stop(self, daemon: str) -> None:
        """Kill containerd or kubelet; the containers go on."""
        self.machine.stop(daemon)

    def prepare(self) -> None:
        """Write the configuration files; the machine need not be on."""
        folder = self.machine.folder
        for path in ("cni", "kubelet", "pods", "volumes", "volume-plugins"):
            (folder / path).mkdir(parents=True, exist_ok=True)
        cgroups.make(f"{self.machine.cgroup}/{cgroups.DAEMONS}")
        (folder / "containerd.toml").write_text(
            CONTAINERD.format(folder=folder, pause=PAUSE_IMAGE, snapshotter=snapshotter(folder))
        )
        (folder / "cni/10-fauna.conflist").write_text(
            json.dumps(network(folder, self.machine.layout.pods_of(self.name)))
        )
        (folder / "kubelet.json").write_text(json.dumps(self._kubelet()))
        (folder / "proxy.json").write_text(json.dumps(self._proxy()))

    def start(self, *names: str) -> None:
        """Start daemons by name, or all of them, each when the one before it answers."""
        for name in names or self.daemons:
            if not self.machine.is_running(name):
                self.machine.start(name, *self.daemons[name])
            if name == "containerd":
                await_that(
                    f"containerd on {self.name}", self.answers, seconds_max=START_SECONDS_MAX
                )

    def answers(self) -> bool:
        """Whether containerd answers."""
        return self.socket.exists() and succeeds("ctr", "-a", self.socket, "version")

    def load(self, archive: Path) -> None:
        """Put the image of a docker-archive into this node's containerd, unless it is there."""
        if reference_in(archive) not in self._ctr("images", "ls", "-q").split():
            self._ctr(
                *("images", "import", "--snapshotter", snapshotter(self.machine.folder), archive)
            )

    def stock(self, archives: list[Path]) -> None:
        """Load images and end with containerd off, so that its folder may be copied."""
        self.start("containerd")
        for archive in archives:
            self.load(archive)
        self.machine.stop("containerd", signal.SIGTERM)

    def copy_stock(self, stocked: "Node") -> None:
        """Take over the images of another node whose containerd is off.

        Layers and blobs are never written again, so they are linked, which takes a second for
        what an import unpacks in half a minute; the databases are written and are copied.
        """
        run("cp", "-a", "--link", stocked.machine.folder / "containerd", self.machine.folder)
        for database in (self.machine.folder / "containerd").rglob("*.db"):
            original = stocked.machine.folder / database.relative_to(self.machine.folder)
            database.unlink()
            shutil.copy(original, database)

    def _ctr(self, *arguments: str | Path) -> str:
        return run(
            *("ctr", "-a", self.socket, "-n", "k8s.io", *arguments), seconds_max=IMPORT_SECONDS_MAX
        )

    def _kubelet(self) -> dict[str, object]:
        layout, folder = self.machine.layout, self.machine.folder
        pki = layout.folder / "pki"
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": f"{pki}/{self.name}.crt",
            "tlsPrivateKeyFile": f"{pki}/{self.name}.key",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.machine.cgroup}",  # or one kubelet removes another's pods
            "failCgroupV1": False,
            "failSwapOn": False,
            "clusterDNS": [str(layout.address(CONTROL))],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "podLogsDir": f"{folder}/pods",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "enforceNodeAllocatable": ["pods"],
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
            },
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "nodeStatusUpdateFrequency": "4s",
            "serializeImagePulls": False,
            "registryPullQPS": 0,
            "volumePluginDir": f"{folder}/volume-plugins",
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},  # a test may kill ten times
        }

    def _proxy(self) -> dict[str, object]:
        layout = self.machine.layout
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": f"{layout.folder}/pki/admin.conf"},
            "hostnameOverride": self.name,
            "clusterCIDR": str(layout.pods),
            "mode": "iptables",
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "conntrack": {  # the host's settings are not ours to change
                "maxPerCore": 0,
                "min": 0,
                "tcpEstablishedTimeout": "0s",
                "tcpCloseWaitTimeout": "0s",
            },
            "iptables": {"minSyncPeriod": "0s"},
        }


def network(folder: Path, pods: IPv4Network) -> dict[str, object]:
    """The pods' network: a routed cable for each, so that answers always pass the node's tables.

    With a bridge, the answer of a Service's pod on the same node would go around them. No address
    is hidden behind the node's: a test sees who speaks.
    """
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": str(pods)}]],
        "dataDir": f"{folder}/addresses",
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": "0.4.0",
        "name": "fauna",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": addresses},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def reference_in(archive: Path) -> str:
    """The name of the only image in a docker-archive."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        [image] = json.load(manifest)
    [reference] = image["RepoTags"]
    return str(reference)


def snapshotter(folder: Path) -> str:
    """overlayfs, save where the folder itself stands on one: overlays do not stack there."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    beneath = [(at, kind) for at, kind in mounts if folder.is_relative_to(at)]
    _, kind = max(beneath, key=lambda each: len(each[0]))
    return "native" if kind == "overlay" else "overlayfs"
