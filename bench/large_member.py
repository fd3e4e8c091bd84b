"""A member with much data: `python -m bench.large_member [--mib 1024] [--seconds 6]`.

Three members with so many MiB of documents of 1 KiB. Measured: anonymous memory; seconds from the
start of a process to its first answer, after a clean stop and after kill -9; throughput with one
follower whose syncs take 50 ms longer; and a fourth member that joins: MB/s from the call that
adds it to the moment it has applied everything (sent, verified, installed), with the leader's p99
under load before and meanwhile. The result goes to `bench/results/<date>-large-member.json`.

Trap: members and load share the processors; the yardstick says how busy the machine was.
"""

import argparse
import datetime as dt
import json
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "database")]

from bench import load, yardstick  # noqa: E402 - the paths come first
from bench.__main__ import answers, writes  # noqa: E402
from bench.backup import fill  # noqa: E402

from kind_test_helpers.bad_disk import BadDisk, compile_shim, slow  # noqa: E402
from process.cluster import Cluster, MemberProcess, cluster, wait_until  # noqa: E402

RESULTS = Path(__file__).parent / "results"
CLIENTS = 16
SLOW_S = 0.05  # of each sync of the slow member
WINDOW_S = 2.0  # of the load beside a transfer
HANG_S = 600.0
SLOW, NEW = 3, 4
MB = 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    temporary = Path(tempfile.gettempdir())
    result: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "mib": options.mib,
        "yardstick_before": yardstick.measure(temporary),
    }
    with tempfile.TemporaryDirectory() as folder:
        disk = BadDisk(compile_shim(Path(folder)), Path(folder) / "order")
        with cluster(4, formed=False, environments={SLOW: disk.environment}) as all_four:
            members = Cluster(all_four.members[:3], all_four.folder, all_four.cluster_id)
            all_four[NEW].kill()
            members.form()
            began_s = time.monotonic()
            fill(members, options.mib)
            result["filled_mb_per_s"] = round(options.mib * 2**20 / MB / _since(began_s), 1)
            measured(result, members, disk, options.seconds)
            result |= joined(members, all_four[NEW])
            result["anonymous_mib_after"] = [anonymous_mib(m) for m in all_four.members]
    result["yardstick_after"] = yardstick.measure(temporary)
    keep(result)


def measured(result: dict[str, Any], members: Cluster, disk: BadDisk, seconds: float) -> None:
    """Memory, restarts and one slow member."""
    follower = next(m for m in members.followers() if m.place.id != SLOW)
    result["state_mb"] = round(state_bytes(follower) / MB)
    result["anonymous_mib"] = [anonymous_mib(member) for member in members.members]
    result["restart_s"] = {"clean": [], "killed": []}
    for _ in range(3):
        for how, number in (("clean", signal.SIGTERM), ("killed", signal.SIGKILL)):
            took_s = restart_s(follower, number)
            result["restart_s"][how].append(round(took_s, 2))
            members.wait_until_all_agree()
    print(json.dumps(result), flush=True)
    if members[SLOW].leads():
        members[SLOW].admin("/cluster/transfer", {})
        wait_until(lambda: not members[SLOW].leads(), "another one leads")
    ratios = []
    for _ in range(3):
        alone = run(members, seconds)
        with disk.obeys(slow(SLOW_S)):
            beside = run(members, seconds)
        ratios.append(round(beside.per_second / alone.per_second, 3))
        print(f"alone {alone}\nwith a slow member {beside}", flush=True)
    result["slow_member_ratio"] = statistics.median(ratios)
    result["slow_member_ratios"] = ratios


def joined(members: Cluster, fresh: MemberProcess) -> dict[str, Any]:
    """Add a member under load; return how fast, and what it cost the leader's p99."""
    before = [run(members, WINDOW_S) for _ in range(3)]
    fresh.start()
    wait_until(fresh.status, "the new member answers")
    size = state_bytes(members.leader())
    with beside(members) as meanwhile:
        began_s = time.monotonic()
        body = {
            "op": "add_learner",
            "member": {"id": fresh.place.id, "name": fresh.place.name},
            "if": members.leader().status()["configuration"]["id"],
        }
        commit = members.leader().status()["commit"]
        answer = members.leader().admin("/cluster/membership", body)
        assert answer.status == 200, answer.body
        wait_until(lambda: fresh.status().get("applied", 0) >= commit, "it has all", HANG_S)
        took_s = _since(began_s)
    p99_before = statistics.median(figures.p99_ms for figures in before)
    p99_beside = statistics.median(figures.p99_ms for figures in meanwhile)
    return {
        "joined_s": round(took_s, 2),
        "joined_mb_per_s": round(size / MB / took_s, 1),
        "p99_ms_before": p99_before,
        "p99_ms_meanwhile": p99_beside,
        "p99_ratio": round(p99_beside / p99_before, 2),
        "writes_per_s": [figures.per_second for figures in (*before, *meanwhile)],
    }


@contextmanager
def beside(members: Cluster) -> Iterator[list[load.Figures]]:
    """Keep the load on the leader, in windows, while the block runs."""
    found: list[load.Figures] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            found.append(run(members, WINDOW_S))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()


def run(members: Cluster, seconds: float) -> load.Figures:
    """Write to the leader."""
    place = members.leader().place
    return load.run([(place.host, place.client_port)], CLIENTS, writes, seconds)


def restart_s(member: MemberProcess, number: int) -> float:
    """End a member; return the seconds from its start to its first answer."""
    member.signal(number)
    member.exit_code(HANG_S)
    began_s = time.monotonic()
    member.start()
    wait_until(lambda: answers(member, "Bench.all().first()!.n"), "it serves", HANG_S)
    return _since(began_s)


def state_bytes(member: MemberProcess) -> int:
    return max(path.stat().st_size for path in member.data_dir.glob("state-*/data.mdb"))


def anonymous_mib(member: MemberProcess) -> int:
    """Return the memory that is not a page of a file."""
    text = Path(f"/proc/{member.pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) // 1024


def _since(began_s: float) -> float:
    return time.monotonic() - began_s


def keep(result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date'].replace(':', '')[:15]}-large-member.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
