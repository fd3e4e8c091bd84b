"""What of a local cluster can be seen on the machine?

Everything that one could leave behind, as lines, so that two moments can be compared.
"""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from kind_test_helpers.commands import run
from kind_test_helpers.local import cluster as local

GONE_SECONDS_MAX = 180.0
# Settings that other programs, or the kernel by itself, change at any time.
RESTLESS = (
    r"^(fs\.(file-nr|inode-|dentry-state|aio-nr)|fs\.quota|kernel\.(ns_last_pid|random|pty\.nr|perf)"
    r"|kernel\.sched_domain|net\.netfilter\.nf_conntrack_count|net\..*\.(fl[0-9a-f]{6}.*)\.|vm\.stat"
    r"|fs\.mqueue)"
)


def assert_same(before: dict[str, list[str]]) -> None:
    """The kernel buries the dead in its own time; what is still there after that is ours."""

    def differing() -> dict[str, set[str]]:
        now = traces()
        differences = {what: set(now[what]) ^ set(before[what]) for what in before}
        return {what: lines for what, lines in differences.items() if lines}

    deadline = time.monotonic() + GONE_SECONDS_MAX
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
