"""What is everything of one local cluster called, and which addresses has it?

Pure: all names and addresses follow from an id, a number and the count of nodes. House rule:
every name on the machine carries the id, so that two clusters never meet and cleaning up needs
nothing but the id. The trap: an interface name has at most 15 characters.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

BASE = Path("/var/lib/fauna-local")
OCTETS = range(200, 255)  # 10.200/16 … 10.254/16: seldom used elsewhere
NODES_MAX = 32
CONTROL = "control"
API_PORT = 6443


@dataclass(frozen=True, slots=True)
class Layout:
    """The plan of a cluster: `octet` is the second number of its 10.x network."""

    id: str
    octet: int
    nodes: int

    def __post_init__(self) -> None:
        assert len(self.id) == 6
        assert self.octet in range(256)
        assert 1 <= self.nodes <= NODES_MAX

    @property
    def folder(self) -> Path:
        """Where data of the cluster stands; short, because sockets below it have 108 characters."""
        return BASE / self.id

    @property
    def cgroup(self) -> str:
        """The name of the cluster's cgroup, in every hierarchy."""
        return f"fauna-local-{self.id}"

    @property
    def bridge(self) -> str:
        return f"fl{self.id}"

    @property
    def network(self) -> IPv4Network:
        """Everything below: machines, pods and services."""
        return IPv4Network(f"10.{self.octet}.0.0/16")

    @property
    def gateway(self) -> IPv4Address:
        """This machine, on the bridge."""
        return IPv4Address(f"10.{self.octet}.0.1")

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network(f"10.{self.octet}.64.0/18")

    @property
    def services(self) -> IPv4Network:
        return IPv4Network(f"10.{self.octet}.128.0/18")

    @property
    def api(self) -> str:
        return f"https://{self.address(CONTROL)}:{API_PORT}"

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"node-{number}" for number in range(1, self.nodes + 1))

    def address(self, machine: str) -> IPv4Address:
        """The address of a machine on the bridge."""
        host = 2 if machine == CONTROL else 10 + number_of(machine)
        return IPv4Address(f"10.{self.octet}.0.{host}")

    def pods_of(self, node: str) -> IPv4Network:
        """The addresses of the pods of one node."""
        return IPv4Network(f"10.{self.octet}.{64 + number_of(node)}.0/24")

    def veth(self, machine: str) -> str:
        """The end of a machine's cable that is plugged into the bridge."""
        return f"{self.bridge}-{'c' if machine == CONTROL else number_of(machine)}"


def number_of(node: str) -> int:
    """The number in a node's name.

    >>> number_of("node-3")
    3
    """
    return int(node.removeprefix("node-"))


def free_octet(taken: list[IPv4Network], first: int) -> int | None:
    """The first 10.x network from `first` on that overlaps nothing that is routed here."""
    candidates = [OCTETS[(first + step) % len(OCTETS)] for step in range(len(OCTETS))]
    for octet in candidates:
        network = IPv4Network(f"10.{octet}.0.0/16")
        if not any(network.overlaps(other) for other in taken):
            return octet
    return None
