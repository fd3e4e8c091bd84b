"""What does one operator cost that has nothing to do? `python -m bench.idle_clusters`.

A real operator process against a real etcd and kube-apiserver, with clusters of three members that
are only their admin API (`tests/fake_clusters.py`), each over its own TLS address. They are made by
the operator, from nothing; then nobody touches anything, and after `--settle` seconds it is
measured: resident memory, calls in the audit log of the API server, and how long passes take.
With `--keep` the result goes to `bench/results/<date>-idle-clusters.json`.
"""

import argparse
import asyncio
import datetime as dt
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "operator"), str(ROOT / "database")]

from bench import yardstick  # noqa: E402 - the paths come first

from bare_kubernetes import Bare, bare_kubernetes, free_ports, process  # noqa: E402
from fake_clusters import FakeClusters, fake_clusters  # noqa: E402
from fauna_operator_world import NAME, resource  # noqa: E402

RESULTS = Path(__file__).parent / "results"
SPACE = "idle-{:03d}"
GOALS = {"resident_mib": 150.0, "api_calls_per_s": 1.0, "pass_p99_s": 1.0}
HISTOGRAM = "fauna_operator_reconcile_duration_seconds_bucket"
IDLE_EVERY_S = 20.0  # what the fakes ask of the API server is no part of the figures
READY_S_MAX = 3600.0
AT_ONCE = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--settle", type=float, default=120.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=300.0, help="seconds of measuring")
    parser.add_argument("--keep", action="store_true", help="write the result to bench/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as folder:
        figures = run(Path(folder), options.clusters, options.settle, options.seconds)
    text = json.dumps(figures, indent=1)
    if options.keep:
        today = dt.datetime.now(dt.UTC).date()
        (RESULTS / f"{today}-idle-clusters.json").write_text(text + "\n")
    print(text)


def run(folder: Path, clusters: int, settle_s: float, seconds: float) -> dict[str, Any]:
    """Make clusters, let them settle, measure."""
    with bare_kubernetes(folder) as bare, ExitStack() as stack:
        (port,) = free_ports(1)
        command = [
            *(sys.executable, "-m", "fauna_operator", "run", f"--health-port={port}"),
            f"--kubeconfig={bare.kubeconfig('program')}",
        ]
        log = folder / "operator.log"

        def start() -> subprocess.Popen[bytes]:
            return stack.enter_context(process(command, log, PYTHONPATH=str(ROOT / "operator")))

        operator = Operator(start, port)
        try:
            return asyncio.run(measured(bare, operator, clusters, settle_s, seconds))
        finally:
            print(log.read_text()[-1500:], file=sys.stderr)


class Operator:
    """The process; like a Deployment, it starts another one where one ended."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], port: int) -> None:
        self._start = start
        self._running = start()
        self.port = port
        self.ends = 0

    @property
    def pid(self) -> int:
        """The pid of the one that runs."""
        return self._running.pid

    def see_to(self) -> None:
        """Start another one if it ended: it gives up its Lease where it gets no processor time."""
        if self._running.poll() is not None:
            self.ends += 1
            self._running = self._start()


async def measured(
    bare: Bare, operator: Operator, clusters: int, settle_s: float, seconds: float
) -> dict[str, Any]:
    """Wait until all clusters are ready, then measure."""
    async with fake_clusters(bare.kubeconfig("script")) as fakes:
        began = time.monotonic()
        await make(bare, fakes, operator, clusters)
        made_s = time.monotonic() - began
        fakes.every_s = IDLE_EVERY_S
        await asyncio.sleep(settle_s)
        pid, port, ends = operator.pid, operator.port, operator.ends
        said, passes, cpu_s = bare.said, durations(port), processor_s(pid)
        memory = []
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            await asyncio.sleep(5.0)
            memory.append(resident_mib(pid))
        took_s = time.monotonic() - began
        asked = await asyncio.to_thread(bare.calls, said)
        spent, used_s = durations(port) - passes, processor_s(pid) - cpu_s
        machine = yardstick.measure(bare.folder)
    figures = {
        "resident_mib": round(max(memory), 1),
        "api_calls_per_s": round(asked.total() / took_s, 3),
        "pass_p99_s": quantile(spent, 0.99),
    }
    return {
        "clusters": clusters,
        "seconds": round(took_s, 1),
        "goals": GOALS,
        "figures": figures,
        "reached": all(figures[name] <= goal for name, goal in GOALS.items()),
        "passes": spent[float("inf")],
        "processor_percent": round(100 * used_s / took_s, 1),
        "from_nothing_to_all_ready_s": round(made_s, 1),
        "operator_ended_while_they_were_made": ends,
        "api_calls": dict(asked.most_common()),
        "machine": machine,
    }


async def make(bare: Bare, fakes: FakeClusters, operator: Operator, clusters: int) -> None:
    """Ask for clusters, `AT_ONCE` at a time, until all are ready."""
    asked, said = 0, 0.0
    async with asyncio.timeout(READY_S_MAX):
        while (ready := fakes.settled()) < clusters:
            operator.see_to()
            while asked < min(clusters, ready + AT_ONCE):
                ask_for(bare, SPACE.format(asked))
                asked += 1
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{ready} of {clusters} clusters are ready", file=sys.stderr)
            await asyncio.sleep(0.2)


def ask_for(bare: Bare, space: str) -> None:
    """Create a namespace and a FaunaCluster in it."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
    bare.call("POST", "/api/v1/namespaces", namespace)
    wanted = resource()
    wanted["metadata"] = {"name": NAME, "namespace": space}
    path = f"/apis/fauna.dev/v1alpha1/namespaces/{space}/faunaclusters"
    bare.call("POST", path, wanted)


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def processor_s(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def durations(port: int) -> Counter[float]:
    """Return how many passes took at most as long as each bound, as the operator's metrics say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read().decode()
    pattern = re.compile(HISTOGRAM + r'\{le="([^"]+)"\} (\S+)')
    return Counter({float(bound): int(float(count)) for bound, count in pattern.findall(text)})


def quantile(buckets: Counter[float], part: float) -> float:
    """Return the lowest bound below which that part of all passes stayed."""
    return min(bound for bound, count in buckets.items() if count >= part * buckets[float("inf")])


if __name__ == "__main__":
    main()
