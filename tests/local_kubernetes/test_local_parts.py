"""The small parts of a local cluster: cgroup trees, ledger, quantities, relay."""

import asyncio
import time
from pathlib import Path

import pytest

from kind_test_helpers.local.cgroups import Hierarchies
from kind_test_helpers.local.layout import Layout
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.local.provisioner import bytes_of
from kind_test_helpers.relay import Relay

FIRST = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/freezer cgroup rw,freezer 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
"""
SECOND = "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n"


def test_version_one_is_told_by_its_freezer() -> None:
    """With a tree for each controller, processes are counted where they can be frozen."""
    found = Hierarchies.mounted(FIRST)

    assert (1, Path("/sys/fs/cgroup/freezer")) == (found.version, found.main)
    assert ["cpu,cpuacct", "freezer", "unified"] == [path.name for path in found.all]


def test_version_two_is_one_tree() -> None:
    """Everything is done in the only tree."""
    found = Hierarchies.mounted(SECOND)

    assert (2, Path("/sys/fs/cgroup")) == (found.version, found.main)
    assert (found.main,) == found.all


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Everything needed to clean up survives the program that wrote it."""
    ledger = Ledger(Layout("a1b2c3", 207, 3), ["/var/lib/cni"], ["cpuset"], firewall=True)

    assert Ledger.load(tmp_path) is None
    ledger.save(tmp_path)
    assert ledger == Ledger.load(tmp_path)


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [("0", 0), ("64Mi", 2**26), ("1.5Gi", 3 * 2**29), ("2G", 2 * 10**9), ("5k", 5000)],
)
def test_quantities_are_bytes(quantity: str, expected: int) -> None:
    """Binary and decimal suffixes, as Kubernetes writes them."""
    assert expected == bytes_of(quantity)


def test_a_relay_delays_both_ways_and_keeps_the_order() -> None:
    """A question and its answer take twice the delay; bytes arrive whole and in order."""
    sent = bytes(range(256)) * 4096

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(sent)))
        await writer.drain()
        writer.close()

    async def scenario() -> tuple[bytes, float]:
        far = await asyncio.start_server(echo, "127.0.0.1", 0)
        host, port = far.sockets[0].getsockname()
        relay = Relay(0.1, (host, port))
        near = await asyncio.start_server(relay.hand_on, "127.0.0.1", 0)
        async with far, near, asyncio.timeout(60):
            began = time.monotonic()
            reader, writer = await asyncio.open_connection(*near.sockets[0].getsockname())
            writer.write(sent)
            received = await reader.readexactly(len(sent))
            took = time.monotonic() - began
            assert b"" == await reader.read()
            writer.close()
        return received, took

    received, took = asyncio.run(scenario())

    assert sent == received
    assert took >= 0.2


def test_a_relay_without_a_target_to_reach_ends_the_connection() -> None:
    """A refused connection is refused here too, not left open."""

    async def scenario() -> bytes:
        closed = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
        host, port = closed.sockets[0].getsockname()
        closed.close()
        relay = Relay(0.0, (host, port))
        near = await asyncio.start_server(relay.hand_on, "127.0.0.1", 0)
        async with near, asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(*near.sockets[0].getsockname())
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert b"" == asyncio.run(scenario())
