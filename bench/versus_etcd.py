"""Durable writes and linearizable reads a second, beside etcd 3.6: `python -m bench.versus_etcd`.

One Go program (`bench/loadgen`) drives both systems with the same connections, keys, sizes and
clock. Three members of each stand on the same file system, etcd with its default fsync. Only one
system runs at a time; runs alternate A B B A, and the figure of each is the median of its runs.
A write is 256 bytes: a put there, a document with one index through FQL here. Reads are
linearizable in both. The result goes to `bench/results/<date>-etcd.json`.
"""

import argparse
import datetime as dt
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "database")]

from bench import yardstick  # noqa: E402 - the paths come first

from kind_test_helpers.recipes import GO, KUBE_LOCAL  # noqa: E402
from kind_test_helpers.tools import ensure  # noqa: E402
from process.cluster import TIED, cluster, find_places, is_free, wait_until  # noqa: E402

RESULTS = Path(__file__).parent / "results"
HERE = Path(__file__).parent
SETTLE_S_MAX = 60.0


@contextmanager
def etcd() -> Iterator[list[str]]:
    """Run three members of etcd; give their client addresses, the leader unknown."""
    program = ensure(KUBE_LOCAL)
    places = find_places(3)
    peers = ",".join(f"m{p.id}=http://{p.host}:{p.peer_port}" for p in places)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-etcd-")))
        for p in places:
            client = f"http://{p.host}:{p.client_port}"
            words = {
                "--name": f"m{p.id}",
                "--data-dir": folder / f"data-{p.id}",
                "--listen-client-urls": client,
                "--advertise-client-urls": client,
                "--listen-peer-urls": f"http://{p.host}:{p.peer_port}",
                "--initial-advertise-peer-urls": f"http://{p.host}:{p.peer_port}",
                "--initial-cluster": peers,
                "--log-level": "error",
            }
            command = [
                *TIED,
                str(program),
                "etcd",
                *(f"{key}={word}" for key, word in words.items()),
            ]
            log = stack.enter_context((folder / f"{p.id}.log").open("wb"))
            member = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
            stack.callback(member.kill)
        for p in places:
            wait_until(lambda p=p: not is_free(p.host, p.client_port), "etcd listens")
        yield [f"{p.host}:{p.client_port}" for p in places]


@contextmanager
def faunadb() -> Iterator[list[str]]:
    """Run three members of ours; give their client addresses."""
    with cluster(3) as members:
        made = 'Collection.create({name: "Bench", indexes: {byKey: {terms: [{field: ".key"}]}}})'
        assert members.leader().query(made).status == 200
        members.wait_until_all_agree()
        yield [f"{m.place.host}:{m.place.client_port}" for m in members.members]


SYSTEMS: dict[str, Callable[[], Any]] = {"etcd": etcd, "faunadb": faunadb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 64, 512])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each system")
    options = parser.parse_args()
    loadgen = build()
    with tempfile.TemporaryDirectory() as folder:
        before = yardstick.measure(Path(folder))
    order = [name for n in range(options.rounds) for name in in_turn(n)]
    runs = [found for name in order for found in measure(name, loadgen, options)]
    result = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "yardstick": before,
        "load_average_1_min": round(os.getloadavg()[0], 2),
        "summary": summary(runs),
        "runs": runs,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date'].replace(':', '')[:15]}-etcd.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


def in_turn(round_: int) -> Sequence[str]:
    """Return A B, then B A, then A B …"""
    names = list(SYSTEMS)
    return names if round_ % 2 == 0 else names[::-1]


def build() -> Path:
    """Compile the load generator, once for each state of its sources."""
    target = ROOT / ".run" / "loadgen"
    sources = [HERE / "loadgen" / name for name in ("main.go", "go.mod", "go.sum")]
    if not target.exists() or any(s.stat().st_mtime > target.stat().st_mtime for s in sources):
        target.parent.mkdir(exist_ok=True)
        command = [str(ensure(GO)), "build", "-trimpath", "-o", str(target), "."]
        subprocess.run(command, cwd=HERE / "loadgen", check=True)
    return target


def measure(name: str, loadgen: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Start one system, fill it, and measure every kind of work on it."""
    with SYSTEMS[name]() as places:
        words = [str(loadgen), "-system", name, "-endpoints", ",".join(places)]
        subprocess.run([*words, "-work", "prepare"], check=True, timeout=SETTLE_S_MAX)
        for work in ("write", "read"):
            for clients in options.clients:
                asked = ["-work", work, "-clients", str(clients), "-seconds", str(options.seconds)]
                said = subprocess.run([*words, *asked], check=True, capture_output=True, text=True)
                found: dict[str, Any] = json.loads(said.stdout)
                print("  ".join(f"{key} {value}" for key, value in found.items()), flush=True)
                yield found


def summary(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the medians of both systems and their ratio, for each kind of work."""
    found = []
    for work, clients in sorted({(run["work"], run["clients"]) for run in runs}):
        line: dict[str, Any] = {"work": work, "clients": clients}
        for name in SYSTEMS:
            of = [
                r for r in runs if (r["work"], r["clients"], r["system"]) == (work, clients, name)
            ]
            line[name] = round(statistics.median(run["per_second"] for run in of))
            line[f"{name}_p99_ms"] = round(statistics.median(run["p99_ms"] for run in of), 1)
        line["ratio"] = round(line["faunadb"] / line["etcd"], 2) if line["etcd"] else None
        print("  ".join(f"{key} {value}" for key, value in line.items()))
        found.append(line)
    return found


if __name__ == "__main__":
    main()
