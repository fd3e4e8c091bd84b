"""A cluster leaves nothing on the machine, however its run ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kind_test_helpers.commands import await_that
from kind_test_helpers.local import cluster as local
from kind_test_helpers.local.cluster import LocalCluster
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.places import PACKAGE
from kind_test_helpers.traces import assert_same, traces

pytestmark = pytest.mark.e2e

HANG_SECONDS = 180.0
STARTER = (
    "from kind_test_helpers.local.cluster import up; from pathlib import Path; up(Path({!r}), 2)"
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    local.down(tmp_path)


def test_down_leaves_the_machine_as_up_found_it(folder: Path) -> None:
    """iptables, namespaces, mounts, cgroups, routes, sysctls and processes are as before."""
    before = traces()

    cluster = local.up(folder, 2)
    during = traces()
    local.down(folder)

    assert 2 == len(cluster.nodes)
    assert before["routes"] != during["routes"]
    assert_same(before)


@pytest.mark.parametrize("seconds", [0.3, 1.5, 3.0, 5.0])
def test_down_works_after_a_killed_up(folder: Path, seconds: float) -> None:
    """kill -9 of the starting program at any time leaves nothing that `down` does not find."""
    before = traces()

    starting = subprocess.Popen(
        [sys.executable, "-c", STARTER.format(str(folder))],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    starting.kill()
    starting.wait()
    local.down(folder)

    assert_same(before)


def test_down_ends_what_is_frozen(folder: Path) -> None:
    """A node that a test left frozen goes too."""
    before = traces()

    cluster = local.up(folder, 2)
    cluster.nodes[0].freeze(frozen=True)
    local.down(folder)

    assert_same(before)


def test_down_twice_is_down_once(folder: Path) -> None:
    """`down` without a cluster does nothing."""
    before = traces()

    local.up(folder, 1)
    local.down(folder)
    local.down(folder)

    assert_same(before)


def test_up_twice_is_one_cluster(folder: Path) -> None:
    """A second `up` finds the first one's cluster, and one that lost a machine is replaced."""
    first = local.up(folder, 1)
    again = local.up(folder, 1)
    assert first == again

    os.kill(first.control.machine.init, signal.SIGKILL)
    await_that("the end", lambda: not first.control.machine.is_on, seconds_max=HANG_SECONDS)
    third = local.up(folder, 1)

    assert third != first
    assert ["node-1"] == third.ready_nodes()
    assert third == LocalCluster(loaded(folder).layout)


def loaded(folder: Path) -> Ledger:
    ledger = Ledger.load(folder)
    assert ledger is not None
    return ledger
