"""Names and addresses of a local cluster follow from its layout."""

from ipaddress import IPv4Network

import pytest

from kind_test_helpers.local.layout import CONTROL, NODES_MAX, OCTETS, Layout, free_octet

LAYOUT = Layout("a1b2c3", 207, NODES_MAX)
INTERFACE_CHARACTERS_MAX = 15  # linux/if.h, IFNAMSIZ without its end
SOCKET_CHARACTERS_MAX = 107  # unix(7), sun_path without its end


def test_addresses_do_not_meet() -> None:
    """Machines, pods of each node and services lie apart, all inside the cluster's network."""
    machines = IPv4Network("10.207.0.0/24")
    pods = [LAYOUT.pods_of(node) for node in LAYOUT.node_names]
    networks = [machines, *pods, LAYOUT.services]

    assert all(network.subnet_of(LAYOUT.network) for network in networks)
    assert all(each.subnet_of(LAYOUT.pods) for each in pods)
    assert [] == [
        (one, other)
        for index, one in enumerate(networks)
        for other in networks[index + 1 :]
        if one.overlaps(other)
    ]


def test_every_machine_has_an_address_of_its_own() -> None:
    """The gateway, the control plane and the nodes never share one."""
    machines = [CONTROL, *LAYOUT.node_names]
    addresses = {LAYOUT.gateway, *(LAYOUT.address(machine) for machine in machines)}

    assert len(machines) + 1 == len(addresses)
    assert all(address in IPv4Network("10.207.0.0/24") for address in addresses)


def test_interface_names_are_short_enough() -> None:
    """The kernel refuses a longer name."""
    names = [LAYOUT.bridge, *(LAYOUT.veth(each) for each in (CONTROL, *LAYOUT.node_names))]

    assert [] == [name for name in names if len(name) > INTERFACE_CHARACTERS_MAX]
    assert len(names) == len(set(names))


def test_the_longest_socket_has_a_name_short_enough() -> None:
    """A kubelet listens below its root folder, which therefore has to be short."""
    longest = LAYOUT.folder / LAYOUT.node_names[-1] / "kubelet/pod-resources/kubelet.sock"

    assert len(str(longest)) <= SOCKET_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("taken", "first", "chosen"),
    [
        ([], 0, 200),
        ([], 55 + 3, 203),
        (["10.200.0.0/16"], 0, 201),
        (["10.200.4.7/32", "10.201.0.0/24"], 0, 202),
        (["10.192.0.0/11"], 0, 224),
        (["192.0.2.0/24"], 5, 205),
        (["10.0.0.0/8"], 0, None),
        (["0.0.0.0/0"], 0, None),
    ],
)
def test_a_free_network_overlaps_nothing(taken: list[str], first: int, chosen: int | None) -> None:
    """The first network that no route of this machine touches."""
    assert chosen == free_octet([IPv4Network(each) for each in taken], first)
    assert chosen is None or chosen in OCTETS
