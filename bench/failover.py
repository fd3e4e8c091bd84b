"""How long nobody may write when the leader is lost: `python -m bench.failover [--kills 50]`.

Three members under load from clients that retry (`fauna_client`). The leader is killed with -9
again and again: seconds from the kill to the next acknowledged write that began after it. Then it
hands leadership over as often: the longest gap between two acknowledged writes around each
transfer, and how many requests failed after the client's own retries. The result goes to
`bench/results/<date>-failover.json`, with the machine's yardstick before and after.

Trap: members, clients and whatever else runs share the processors; the yardstick says how busy.
"""

import argparse
import datetime as dt
import itertools
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "database")]

from bench import yardstick  # noqa: E402 - the paths come first

import fauna_client  # noqa: E402
from process.cluster import SECRET, Cluster, cluster, wait_until  # noqa: E402

RESULTS = Path(__file__).parent / "results"
CLIENTS = 8
BEFORE_S = 0.5  # of undisturbed load before each loss
AFTER_S = 1.0  # in which the gap of a transfer is looked for
TIMEOUT_S = 20.0  # of a query, retries included


@dataclass
class Load:
    """Writes by several clients: when each acknowledged one began and ended, and what failed."""

    done: list[tuple[float, float]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, endpoints: list[str]) -> None:
        client = fauna_client.Client(
            endpoints=endpoints, secret=SECRET, query_timeout=TIMEOUT_S, connect_timeout=TIMEOUT_S
        )
        with client:
            while not self.stop.is_set():
                began_s = time.monotonic()
                try:
                    client.query("Bench.create({n: 1}).n")
                except Exception as problem:  # noqa: BLE001 - counted and shown
                    self.failed.append(f"{type(problem).__name__}: {problem}")
                else:
                    self.done.append((began_s, time.monotonic()))

    def first_after(self, moment_s: float) -> float | None:
        """Return when the first write that began after a moment was acknowledged."""
        ends = [end for began, end in self.done[-2000:] if began > moment_s]
        return min(ends, default=None)

    def gap_s(self, since_s: float, until_s: float) -> float:
        """Return the longest time between two acknowledged writes."""
        ends = sorted(end for _, end in self.done if since_s <= end <= until_s)
        return max((b - a for a, b in itertools.pairwise(ends)), default=until_s - since_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--transfers", type=int, default=50)
    options = parser.parse_args()
    temporary = Path(tempfile.gettempdir())
    result: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "clients": CLIENTS,
        "yardstick_before": yardstick.measure(temporary),
    }
    with cluster(3) as members:
        assert members.leader().query('Collection.create({name: "Bench"})').status == 200
        with loaded(members) as load:
            result["kill_s"] = summary([kill(members, load) for _ in range(options.kills)])
            result["failed_at_kills"] = load.failed[:]
            load.failed.clear()
            result["transfer_gap_s"] = summary(
                [transfer(members, load) for _ in range(options.transfers)]
            )
            result["failed_at_transfers"] = load.failed[:]
            result["writes"] = len(load.done)
    result["yardstick_after"] = yardstick.measure(temporary)
    keep(result)


@contextmanager
def loaded(members: Cluster) -> Iterator[Load]:
    """Keep clients writing through all members."""
    load = Load()
    endpoints = [member.place.endpoint for member in members.members]
    threads = [threading.Thread(target=load.run, args=(endpoints,)) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()


def kill(members: Cluster, load: Load) -> float:
    """Kill the leader; return the seconds to the next acknowledged write; bring it back."""
    leader = members.leader()
    time.sleep(BEFORE_S)
    killed_s = time.monotonic()
    leader.kill()
    found = wait_until(lambda: load.first_after(killed_s), "a write is acknowledged")
    leader.start()
    members.wait_until_all_agree()
    took_s = found - killed_s
    print(f"kill -9 of member {leader.place.id}: {took_s:.3f} s", flush=True)
    return took_s


def transfer(members: Cluster, load: Load) -> float:
    """Hand leadership over; return the longest gap around it."""
    leader = members.leader()
    time.sleep(BEFORE_S)
    began_s = time.monotonic()
    answer = leader.admin("/cluster/transfer", {})
    time.sleep(AFTER_S)
    gap_s = load.gap_s(began_s - BEFORE_S / 2, began_s + AFTER_S)
    print(f"transfer from member {leader.place.id}: {answer.status}, gap {gap_s:.3f} s", flush=True)
    return gap_s


def summary(seconds: list[float]) -> dict[str, Any]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {
        "median": round(statistics.median(ordered), 3),
        "p90": round(ordered[int(len(ordered) * 0.9)], 3),
        "worst": round(ordered[-1], 3),
        "all": [round(each, 3) for each in seconds],
    }


def keep(result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date'].replace(':', '')[:15]}-failover.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
