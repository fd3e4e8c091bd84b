"""First figures of three members on this machine: `python -m bench [--seconds 4] [--clients …]`.

Writes and reads a second, processor time, memory, time from start to ready, with the machine's own
yardstick before and after. One process is all clients; members and clients share the processors, so
the figures are those of a whole machine. The result goes to `bench/results/<date>.json`.

`--hold S` keeps 64 clients writing for S seconds and prints the leader's pid, for a profiler.
"""

import argparse
import dataclasses
import datetime as dt
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "database")]

from bench import load, yardstick  # noqa: E402 - the paths come first

from process.cluster import (  # noqa: E402
    NO_ANSWER,
    PROGRAM,
    TIED,
    Cluster,
    MemberProcess,
    cluster,
    wait_until,
)

RESULTS = Path(__file__).parent / "results"
DOCUMENTS_COUNT = 1000
TEXT = "x" * 100  # bytes of one document beside its number


def writes() -> Iterator[bytes]:
    """Create small documents; the text is the same, so it is compiled once."""
    for _ in itertools.count():
        value = {"value": {"@int": str(random.randrange(10**9))}}
        yield load.request(["Bench.create({n: ", value, f', text: "{TEXT}"}}).id'])


def reads() -> Iterator[bytes]:
    """Read documents by id."""
    for _ in itertools.count():
        value = {"value": str(random.randrange(DOCUMENTS_COUNT) + 1)}
        yield load.request(["Bench.byId(", value, ")!.n"])


WORK: Mapping[str, Callable[[], Iterator[bytes]]] = {"writes": writes, "reads": reads}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 64, 512])
    parser.add_argument("--hold", type=float, default=0.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {
            "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "yardstick_before": yardstick.measure(Path(folder)),
            "dev_ready_s": [round(dev_ready_s(Path(folder) / str(n)), 2) for n in range(3)],
        }
    began_s = time.monotonic()
    with cluster(3) as members:
        result["formed_s"] = round(time.monotonic() - began_s, 2)
        prepare(members)
        if options.hold:
            hold(members, options.hold)
            return
        result["rss_mib_idle"] = rss_mib(members)
        result["runs"] = [
            run(members, name, clients, where, options.seconds)
            for name in WORK
            for clients in options.clients
            for where in ("all members", "leader")
        ]
        result["rss_mib_after"] = rss_mib(members)
        result["restart_s"] = round(restart_s(members.followers()[0]), 2)
        result["failover_s"] = round(failover_s(members), 2)
    result["yardstick_after"] = yardstick.measure(Path(tempfile.gettempdir()))
    keep(result)


def dev_ready_s(folder: Path) -> float:
    """Return the seconds from the start of `faunadb dev` to its word that it is ready."""
    began_s = time.monotonic()
    command = [*TIED, *PROGRAM, "dev", "--data", str(folder), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        took_s = time.monotonic() - began_s
        process.terminate()
    return took_s


def prepare(members: Cluster) -> None:
    leader = members.leader()
    assert leader.query('Collection.create({name: "Bench"})').status == 200
    made = f"Set.sequence(1, {DOCUMENTS_COUNT} + 1).forEach((n) => Bench.create({{id: n, n: n}}))"
    answer = leader.query(made)
    assert answer.status == 200, answer.body
    members.wait_until_all_agree()


def run(members: Cluster, name: str, clients: int, where: str, seconds: float) -> dict[str, Any]:
    """Run one kind of work; processor time is in µs for each answer, of all members."""
    leader = members.leader()
    asked = members.members if where == "all members" else [leader]
    places = [(m.place.host, m.place.client_port) for m in asked]
    before = {m.place.id: cpu_s(m) for m in members.members}
    figures = load.run(places, clients, WORK[name], seconds)
    answers = figures.per_second * (seconds + load.WARM_S)
    spent = {m.place.id: (cpu_s(m) - before[m.place.id]) * 1e6 / answers for m in members.members}
    line = {
        "work": name,
        "clients": clients,
        "asked": where,
        **dataclasses.asdict(figures),
        "leader_cpu_us": round(spent[leader.place.id]),
        "follower_cpu_us": round(
            sum(us for number, us in spent.items() if number != leader.place.id) / 2
        ),
        "load_average_1_min": round(os.getloadavg()[0], 2),
    }
    print("  ".join(f"{key} {value}" for key, value in line.items()), flush=True)
    return line


def hold(members: Cluster, seconds: float) -> None:
    leader = members.leader()
    print(f"leader's pid: {leader.pid}", flush=True)
    places = [(leader.place.host, leader.place.client_port)]
    print(load.run(places, 64, writes, seconds))


def restart_s(member: MemberProcess) -> float:
    """Return the seconds from the start of a killed member to its first answered read."""
    member.kill()
    began_s = time.monotonic()
    member.start()
    wait_until(lambda: answers(member, 'Bench.byId("1")!.n'), "it answers")
    return time.monotonic() - began_s


def failover_s(members: Cluster) -> float:
    """Return the seconds from kill -9 of the leader to the next acknowledged write."""
    leader = members.leader()
    other = next(member for member in members.alive if member is not leader)
    began_s = time.monotonic()
    leader.kill()
    wait_until(lambda: answers(other, "Bench.create({n: 1}).n"), "a write is acknowledged")
    return time.monotonic() - began_s


def answers(member: MemberProcess, text: str) -> bool:
    try:
        return member.query(text).status == 200
    except NO_ANSWER:
        return False


def rss_mib(members: Cluster) -> list[float]:
    return [round(member.rss_bytes() / 2**20, 1) for member in members.members]


def cpu_s(member: MemberProcess) -> float:
    """Return the processor time that a member has used."""
    fields = Path(f"/proc/{member.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def keep(result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date'].replace(':', '')[:15]}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "runs"}, indent=1))
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
