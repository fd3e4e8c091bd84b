"""Members in network namespaces of their own, whose links can be cut, lossy or slow.

    with network(3) as net, cluster(3, places=net.places, programs=net.programs) as members:
        net.deafen(2)                what is sent to member 2 by the others is lost
        net.heal()

A hub, itself a namespace, joins them; while the context is open this thread is in the hub, and so
is every thread that it starts. Nothing of the machine's own network is touched, and all is gone
when the processes that hold the namespaces end, which they do with us.

Trap: this kernel has no netem: loss is a rule of iptables, slowness a bucket (`tbf`).
"""

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from process.cluster import PROGRAM, TIED, Place

NET, HUB = "10.77.0", 254
PORT = 20_000
_CLONE_NEWNET = 0x40000000
_HOLD = "import os, sys; os.write(1, b'.'); sys.stdin.read()"


class Network:
    """The namespaces of members 1 to n, and their links."""

    def __init__(self, hub: int, holders: Sequence[int]) -> None:
        self._hub, self._holders = hub, holders
        self.places = [
            Place(number, f"{NET}.{number}", PORT, PORT + 1, PORT + 2)
            for number in range(1, len(holders) + 1)
        ]

    @property
    def programs(self) -> Mapping[int, Sequence[str]]:
        """How each member is started, by id."""
        return {
            place.id: ("nsenter", f"--net=/proc/{pid}/ns/net", "--", *PROGRAM)
            for place, pid in zip(self.places, self._holders, strict=True)
        }

    def make(self) -> None:
        """Join all namespaces by a bridge in the hub."""
        hub = f"--net=/proc/{self._hub}/ns/net"
        _run("nsenter", hub, "ip", "link", "add", "hub", "type", "bridge")
        _run("nsenter", hub, "ip", "address", "add", f"{NET}.{HUB}/24", "dev", "hub")
        _run("nsenter", hub, "ip", "link", "set", "hub", "up")
        for place, pid in zip(self.places, self._holders, strict=True):
            port = f"member{place.id}"
            peer = ("peer", "name", "eth0", "netns", str(pid))
            _run("nsenter", hub, "ip", "link", "add", port, "type", "veth", *peer)
            _run("nsenter", hub, "ip", "link", "set", port, "master", "hub", "up")
            self._in(place.id, "ip", "address", "add", f"{place.host}/24", "dev", "eth0")
            self._in(place.id, "ip", "link", "set", "eth0", "up")
            self._in(place.id, "ip", "link", "set", "lo", "up")

    # ------------------------------------------------------------ what is done to links

    def deafen(self, member: int, to: Sequence[int] = ()) -> None:
        """Lose what the others, or those of `to`, send to a member; clients still reach it."""
        for host in self._others(member, to):
            self._in(member, "iptables", "-A", "INPUT", "-s", host, "-j", "DROP")

    def silence(self, member: int, to: Sequence[int] = ()) -> None:
        """Lose what a member sends to the others."""
        for host in self._others(member, to):
            self._in(member, "iptables", "-A", "OUTPUT", "-d", host, "-j", "DROP")

    def cut(self, member: int) -> None:
        """Lose both ways."""
        self.deafen(member)
        self.silence(member)

    def lose(self, member: int, share: float) -> None:
        """Lose a share of the packets that the others send to a member."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(share))
        for host in self._others(member, ()):
            self._in(member, "iptables", "-A", "INPUT", "-s", host, *chance, "-j", "DROP")

    def slow(self, member: int, bits: str) -> None:
        """Bound what a member sends, as 2mbit; up to 0.4 s of it wait, the rest is lost."""
        bucket = ("tbf", "rate", bits, "burst", "16kb", "latency", "400ms")
        self._in(member, "tc", "qdisc", "add", "dev", "eth0", "root", *bucket)

    def heal(self) -> None:
        """Make all links whole."""
        for place in self.places:
            self._in(place.id, "iptables", "-F")
            self._in(place.id, "tc", "qdisc", "del", "dev", "eth0", "root", check=False)

    def _others(self, member: int, to: Sequence[int]) -> list[str]:
        return [p.host for p in self.places if p.id != member and (not to or p.id in to)]

    def _in(self, member: int, *words: str, check: bool = True) -> None:
        _run("nsenter", f"--net=/proc/{self._holders[member - 1]}/ns/net", *words, check=check)


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """Make namespaces for so many members, and be in their hub."""
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(_namespace()) for _ in range(count + 1)]
        made = Network(pids[0], pids[1:])
        made.make()
        with _inside(pids[0]):
            yield made


@contextlib.contextmanager
def _namespace() -> Iterator[int]:
    """Hold a network namespace; give the pid of its holder."""
    words = [*TIED, "unshare", "--net", sys.executable, "-S", "-c", _HOLD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.read(1) == b"."
        yield holder.pid
        holder.kill()


@contextlib.contextmanager
def _inside(pid: int) -> Iterator[None]:
    """Move this thread into a process's network, and back at the end."""
    libc = ctypes.CDLL(None, use_errno=True)

    def move(path: Path) -> None:
        with path.open() as namespace:
            if libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code))

    with Path("/proc/thread-self/ns/net").open() as home:
        move(Path(f"/proc/{pid}/ns/net"))
        try:
            yield
        finally:
            libc.setns(home.fileno(), _CLONE_NEWNET)


def _run(*words: str, check: bool = True) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
