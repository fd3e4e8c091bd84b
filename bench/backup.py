"""A backup under load: `python -m bench.backup [--mib 300] [--rounds 3] [--bandwidth-mib-s 0]`.

Three members with so many MiB of documents of 1 KiB; 16 clients write to the leader all the time.
The leader's throughput is measured without a backup and with one, in turns, and the median of the
ratios is what a backup costs; so is that of the leader's processor time a write, which a busy
machine disturbs less. Printed besides: how long a backup took, its size in the store, and
the most memory that it took. All processes share this machine's processors; the backup runs at the
lowest priority, as a stand-in for a node of its own.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "database")]

from bench import load  # noqa: E402 - the paths come first
from bench.__main__ import cpu_s, writes  # noqa: E402

from process.cluster import PROGRAM, TIED, Cluster, cluster  # noqa: E402

DOCUMENT_BYTES = 1024
BATCH = 500
CLIENTS = 16
SECONDS = 8.0
PEAK = """
import json, os, resource, subprocess, sys
os.nice(19)
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"peak_mib": peak // 1024, **json.loads(done.stdout)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bandwidth-mib-s", type=float, default=0)
    options = parser.parse_args()
    with cluster(3) as members, tempfile.TemporaryDirectory() as folder:
        fill(members, options.mib)
        ratios: list[float] = []
        costs: list[float] = []
        backups: list[dict[str, Any]] = []
        for number in range(options.rounds):
            alone, alone_us = measure(members)
            words = [
                *("--backup-id", f"b{number}", "--store", f"file://{folder}/backups"),
                *("--bandwidth-mib-s", str(options.bandwidth_mib_s)),
            ]
            running = Backup(members, words)
            beside, beside_us = measure(members)
            backups.append(running.wait())
            ratios.append(beside.per_second / alone.per_second)
            costs.append(beside_us / alone_us)
            print(f"alone {alone}\nbeside {beside}\n{json.dumps(backups[-1])}")
        result = {
            "mib": options.mib,
            "bandwidth_mib_s": options.bandwidth_mib_s,
            "ratio_median": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "leader_cpu_per_write": [round(cost, 3) for cost in costs],
            "backup_s": [round(each["seconds"], 1) for each in backups],
            "peak_mib": max(each["peak_mib"] for each in backups),
        }
        print(json.dumps(result))


def measure(members: Cluster) -> tuple[load.Figures, float]:
    """Write to the leader for a while; return the figures, and its processor time (µs) a write."""
    leader = members.leader()
    before = cpu_s(leader)
    places = [(leader.place.host, leader.place.client_port)]
    figures = load.run(places, CLIENTS, writes, SECONDS)
    answered = figures.per_second * (SECONDS + load.WARM_S)
    return figures, (cpu_s(leader) - before) * 1e6 / answered


def fill(members: Cluster, mib: int) -> None:
    """Create documents that compress to about half, in one collection with an index."""
    leader = members.leader()
    definition = '{name: "Bench", indexes: {byN: {terms: [{field: "n"}]}}}'
    assert leader.query(f"Collection.create({definition})").status == 200
    chance = random.Random(1)
    for _ in range(mib * 1024 * 1024 // (BATCH * DOCUMENT_BYTES)):
        texts = [chance.randbytes(DOCUMENT_BYTES // 2).hex() for _ in range(BATCH)]
        body = {
            "query": "texts.forEach(text => Bench.create({ n: 1, text: text }))",
            "arguments": {"texts": texts},
        }
        sent = json.dumps(body).encode()
        while members.leader().post(sent, timeout_s=60).status != 200:
            print("again: leadership moved")
    members.wait_until_all_agree()


class Backup:
    """A backup that runs, and how long it took."""

    def __init__(self, members: Cluster, words: list[str]) -> None:
        command = [
            *(*TIED, PROGRAM[0], "-c", PEAK, *PROGRAM, "backup"),
            *(
                "--members",
                ",".join(f"{m.place.host}:{m.place.admin_port}" for m in members.members),
            ),
            *("--tls-dir", str(members.folder / "tls" / "backup")),
            *("--cluster-id", members.cluster_id, *words),
        ]
        self._began_s = time.monotonic()
        self._took_s = 0.0
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._said = ""
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def wait(self) -> dict[str, Any]:
        self._thread.join()
        assert self._process.returncode == 0
        return {"seconds": self._took_s, **json.loads(self._said)}

    def _run(self) -> None:
        self._said, _ = self._process.communicate()
        self._took_s = time.monotonic() - self._began_s


if __name__ == "__main__":
    main()
