"""How do the machines of a cluster reach each other, and the host them?

One bridge on the host, a cable for each machine, routes to each node's pods. The host forwards
nothing, so that no setting of it has to change. House rules: never a flush, never a policy; the
host's iptables are touched only where it filters bridged packets, and then with one chain of our
own name. The trap: an `iptables` listing may create empty tables; ask the kernel first.
"""

import contextlib
import json
from ipaddress import IPv4Network, ip_network
from pathlib import Path

from kind_test_helpers.commands import run, succeeds
from kind_test_helpers.failures import CommandFailed
from kind_test_helpers.local.layout import Layout

BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
COMMENT = ("-m", "comment", "--comment", "fauna-local: packets of the test cluster")


def taken_networks() -> list[IPv4Network]:
    """Every IPv4 network that this machine has a route or an address for, the default aside."""
    routes = json.loads(run("ip", "-4", "-json", "route", "show", "table", "all"))
    networks = [route["dst"] for route in routes if route["dst"] != "default"]
    for link in json.loads(run("ip", "-4", "-json", "address")):
        networks += [f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]]
    found = [ip_network(each, strict=False) for each in networks]
    return [each for each in found if isinstance(each, IPv4Network)]


def build_bridge(layout: Layout) -> None:
    """Make the bridge and the host's routes to pods and services over it."""
    if not Path("/sys/class/net", layout.bridge).exists():
        run("ip", "link", "add", layout.bridge, "type", "bridge")
        run("ip", "address", "add", f"{layout.gateway}/24", "dev", layout.bridge)
    run("ip", "link", "set", layout.bridge, "up")
    ways = {layout.pods_of(node): node for node in layout.node_names}
    ways[layout.services] = layout.node_names[0]
    for network, node in ways.items():
        run("ip", "route", "replace", str(network), "via", str(layout.address(node)))


def remove_bridge(layout: Layout) -> None:
    """Remove the bridge; cables and routes go with it."""
    for link in Path("/sys/class/net").glob(f"{layout.bridge}-*"):
        with contextlib.suppress(CommandFailed):  # it may go by itself at this moment
            run("ip", "link", "delete", link.name)
    if Path("/sys/class/net", layout.bridge).exists():
        run("ip", "link", "delete", layout.bridge)


def firewall_needed() -> bool:
    """Whether this machine's iptables see packets of the bridge and might drop them."""
    if not BRIDGE_FILTER.exists() or BRIDGE_FILTER.read_text().strip() != "1":
        return False
    return ["-P FORWARD ACCEPT"] != run("iptables", "-w", "-S", "FORWARD").split("\n")[:-1]


def chain(layout: Layout) -> str:
    return f"FAUNA-{layout.id}"


def open_firewall(layout: Layout) -> None:
    """Let packets from bridge to bridge pass, whatever the other rules say."""
    name = chain(layout)
    between = ("-i", layout.bridge, "-o", layout.bridge, *COMMENT)
    run("iptables", "-w", "-N", name)
    run("iptables", "-w", "-A", name, *between, "-j", "ACCEPT")
    run("iptables", "-w", "-I", "FORWARD", *between, "-j", name)


def close_firewall(layout: Layout) -> None:
    """Remove our chain and the one rule that led to it."""
    name = chain(layout)
    between = ("-i", layout.bridge, "-o", layout.bridge, *COMMENT)
    while succeeds("iptables", "-w", "-D", "FORWARD", *between, "-j", name):
        pass
    if succeeds("iptables", "-w", "-S", name):
        while succeeds("iptables", "-w", "-D", name, "1"):
            pass
        run("iptables", "-w", "-X", name)
