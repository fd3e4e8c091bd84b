"""What is a machine of a local cluster?

A process tree in namespaces of its own (processes, mounts, network), with a cable to the bridge,
a private /run, and a cgroup. Killing its first process ends everything in it at once, as pulling
the plug does; the mounts and the network go with it. House rules: nothing is mounted on the host;
files stand in the cluster's folder. The traps: the pid of a daemon is the child of the `nsenter`
that brought it in; `ip netns exec` would hide the cgroups.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.commands import await_that, run
from kind_test_helpers.local import cgroups
from kind_test_helpers.local.layout import Layout

START_SECONDS_MAX = 60.0
# The paths that Kubernetes' programs do not let themselves be told; private to each machine.
PRIVATE_FOLDERS = ("/run", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers")
# What a kubelet would set for the whole host; here it writes into a file of its own.
SHIELDED_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# As systemd would: a kubelet that lost its containerd ends, and has to be started again.
SUPERVISE = ("sh", "-c", 'while :; do "$@"; sleep 0.5; done', "supervise")
ENTRANCES = ("nsenter", "sh", "sleep", "unshare")
ENTER_CGROUP = 'echo $$ > "$1" && echo $$ > "$2.tmp" && mv "$2.tmp" "$2" && shift 2 && exec "$@"'


@dataclass(frozen=True, slots=True)
class Machine:
    """A node or the control plane, by its name in the layout."""

    layout: Layout
    name: str
    pause: Path  # the first process; must bury orphans

    @property
    def folder(self) -> Path:
        return self.layout.folder / self.name

    @property
    def cgroup(self) -> str:
        return f"{self.layout.cgroup}/{self.name}"

    @property
    def init(self) -> int:
        """The pid of the first process, as the host sees it; raises LookupError when it is off."""
        return self.pid("init")

    @property
    def is_on(self) -> bool:
        try:
            return self.init > 0
        except LookupError:
            return False

    def power_on(self) -> None:
        """Make the namespaces and the cable; the disk is as it was left, /run is empty."""
        shutil.rmtree(self.folder / "private/run", ignore_errors=True)
        for path in ("log", "pids", "settings", *(f"private{each}" for each in PRIVATE_FOLDERS)):
            (self.folder / path).mkdir(parents=True, exist_ok=True)
        namespaces = "unshare --mount --propagation slave --net --pid --fork --kill-child"
        self._launch("init", [*namespaces.split(), "--mount-proc", str(self.pause)])
        await_that(f"{self.name} to be on", lambda: self.is_on, seconds_max=START_SECONDS_MAX)
        self._mount()
        self._plug_in()

    def power_off(self) -> None:
        """Kill everything in the machine between two instructions."""
        with contextlib.suppress(LookupError, ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        cgroups.kill_all(self.cgroup)
        with contextlib.suppress(Exception):
            run("ip", "link", "delete", self.layout.veth(self.name))

    def command(self, *command: str | Path) -> list[str]:
        """The command line that runs a command inside."""
        return [
            *("nsenter", f"--target={self.init}", "--mount", "--net", "--pid", "--"),
            *(str(word) for word in command),
        ]

    def run(self, *command: str | Path) -> str:
        """Run a command inside to its end and return what it printed."""
        return run(*self.command(*command))

    def start(self, daemon: str, *command: str | Path) -> None:
        """Start a daemon inside, and again whenever it ends; its output goes to its log."""
        self._launch(daemon, self.command(*SUPERVISE, *command))

    def start_outside(self, daemon: str, *command: str | Path) -> None:
        """Start a daemon on the host that belongs to this machine all the same."""
        self._launch(daemon, [*SUPERVISE, *(str(word) for word in command)])

    def start_on_network(self, daemon: str, *command: str | Path) -> None:
        """Start a daemon that sees the host's files but this machine's network."""
        network = ("nsenter", f"--target={self.init}", "--net", "--no-fork", "--")
        self._launch(daemon, [*network, *(str(word) for word in command)])

    def pid(self, daemon: str) -> int:
        """The pid of a running daemon, as the host sees it; raises LookupError when it is not."""
        chain = self._chain(daemon)
        if not chain or is_entrance(chain[-1]):
            raise LookupError(f"{daemon} does not run on {self.name}")
        return chain[-1]

    def is_running(self, daemon: str) -> bool:
        """Whether a daemon was started and not stopped since; it may just be starting again."""
        return bool(self._chain(daemon))

    def stop(self, daemon: str, sent: signal.Signals = signal.SIGKILL) -> None:
        """End a daemon for good and wait until it is gone; does nothing when it does not run."""
        for pid in self._chain(daemon):  # those who would start it again are stopped first
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if is_entrance(pid) else sent)
        left = self._chain(daemon)
        for pid in (each for each in left if is_entrance(each)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await_that(
            f"{daemon} on {self.name} to end",
            lambda: not any(living(pid) for pid in left),
            seconds_max=START_SECONDS_MAX,
        )

    def _chain(self, daemon: str) -> list[int]:
        """The living processes from the one that we started down to the daemon itself."""
        try:
            pid = living(int((self.folder / "pids" / daemon).read_text()))
        except FileNotFoundError:
            return []
        chain: list[int] = []
        while pid is not None:
            chain.append(pid)
            pid = child_of(pid) if is_entrance(pid) else None
        return chain

    def log(self, daemon: str) -> Path:
        return self.folder / "log" / f"{daemon}.log"

    def _launch(self, daemon: str, command: list[str]) -> None:
        """Start a process that outlives this program, in the cgroup from its first instant."""
        pid_file = self.folder / "pids" / daemon
        pid_file.unlink(missing_ok=True)
        with self.log(daemon).open("ab") as log:
            subprocess.run(
                [
                    *("setsid", "--fork", "sh", "-c", ENTER_CGROUP, "sh"),
                    *(str(cgroups.entrance(self.cgroup)), str(pid_file), *command),
                ],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await_that(f"{daemon} to start", pid_file.exists, seconds_max=START_SECONDS_MAX)

    def _mount(self) -> None:
        script = ["set -e", "mount --make-rshared /"]
        script += [f"mount --bind {self.folder}/private{path} {path}" for path in PRIVATE_FOLDERS]
        for setting, value in SHIELDED_SETTINGS.items():
            shield = self.folder / "settings" / setting.replace("/", ".")
            shield.write_text(f"{value}\n")
            target = f"/proc/sys/{setting}"
            script.append(f"test ! -e {target} || mount --bind {shield} {target}")
        self.run("sh", "-c", "\n".join(script))

    def _plug_in(self) -> None:
        """Lay the cable to the bridge and tell the machine the way to the pods of all nodes."""
        layout = self.layout
        veth = layout.veth(self.name)
        ways = [
            f"ip route add {layout.pods_of(node)} via {layout.address(node)}"
            for node in layout.node_names
            if node != self.name
        ]
        inside = [
            "set -e",
            "ip link set lo up",
            f"ip address add {layout.address(self.name)}/24 dev eth0",
            "ip link set eth0 up",
            f"ip route add {layout.network} via {layout.gateway}",
            *ways,
            "echo 1 > /proc/sys/net/ipv4/ip_forward",
        ]
        await_that(
            f"the old cable of {self.name} to go",
            lambda: not Path("/sys/class/net", veth).exists(),
            seconds_max=START_SECONDS_MAX,
        )
        run(
            *("ip", "link", "add", veth, "type", "veth"),
            *("peer", "name", "eth0", "netns", str(self.init)),
        )
        run("ip", "link", "set", veth, "master", layout.bridge, "up")
        self.run("sh", "-c", "\n".join(inside))


def child_of(parent: int) -> int | None:
    """The first living child of a process; None when there is none."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, above = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it ended meanwhile
            continue
        if int(above) == parent and state not in "ZX":
            return int(stat.parent.name)
    return None


def living(pid: int) -> int | None:
    """The pid, if its process is one of a cluster's and not dead; None otherwise."""
    try:
        groups = Path(f"/proc/{pid}/cgroup").read_text()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None
    return pid if "/fauna-local-" in groups and state not in "ZX" else None


def is_entrance(pid: int) -> bool:
    """Whether a process only brings another into the machine, or will start it again."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() in ENTRANCES
    except OSError:
        return False
