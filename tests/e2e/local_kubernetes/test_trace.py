"""A cluster leaves nothing on the machine, however its run ended."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kind_test_helpers.commands import await_that, run
from kind_test_helpers.local import cluster as local
from kind_test_helpers.local.cluster import LocalCluster
from kind_test_helpers.local.ledger import Ledger
from kind_test_helpers.places import PACKAGE

pytestmark = pytest.mark.e2e

HANG_SECONDS = 180.0
# Settings that other programs, or the kernel by itself, change at any time.
RESTLESS = (
    r"^(fs\.(file-nr|inode-|dentry-state|aio-nr)|fs\.quota|kernel\.(ns_last_pid|random|pty\.nr|perf)"
    r"|kernel\.sched_domain|net\.netfilter\.nf_conntrack_count|net\..*\.(fl[0-9a-f]{6}.*)\.|vm\.stat"
    r"|fs\.mqueue)"
)
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


def assert_same(before: dict[str, list[str]]) -> None:
    """The kernel buries the dead in its own time; what is still there after that is ours."""

    def differing() -> dict[str, set[str]]:
        now = traces()
        differences = {what: set(now[what]) ^ set(before[what]) for what in before}
        return {what: lines for what, lines in differences.items() if lines}

    deadline = time.monotonic() + HANG_SECONDS
    while differing() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert {} == differing()


def traces() -> dict[str, list[str]]:
    """Everything that a cluster could leave behind, in comparable lines."""
    settings = run("sh", "-c", "sysctl -a 2>/dev/null || true").splitlines()
    return {
        "iptables": rules(),
        "links": [link["ifname"] for link in json.loads(run("ip", "-json", "link"))],
        "routes": run("ip", "route", "show", "table", "all").splitlines(),
        "rules": run("ip", "rule").splitlines(),
        "mounts": ours(Path("/proc/mounts").read_text().splitlines()),
        "namespaces": [path.name for path in Path("/run/netns").glob("*")],
        "cgroups": ours(str(path) for path in Path("/sys/fs/cgroup").rglob("fauna-local-*")),
        "processes": ours(commands()),
        "sysctl": [line for line in settings if not re.search(RESTLESS, line)],
        "folders": [str(path) for path in map(Path, local.folders_needed()) if path.exists()],
    }


def rules() -> list[str]:
    """Rules and policies; an empty table with open policies is the same as none."""
    saved = run("sh", "-c", "iptables-save; ip6tables-save").splitlines()
    return [
        re.sub(r"\[\d+:\d+\]", "", line)
        for line in saved
        if not line.startswith("#")
        and not re.match(r"\*|COMMIT|:(PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING) ACCEPT", line)
    ]


def ours(lines: Iterator[str] | list[str]) -> list[str]:
    """The lines that speak of a local cluster: other programs come and go meanwhile."""
    return sorted(line for line in lines if "fauna-local" in line or "kube-local" in line)


def commands() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield f"{path.parent.name} {path.read_text().replace(chr(0), ' ')}"
        except OSError:
            continue
