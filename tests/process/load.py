"""Clients that read, write and compare-and-set registers through every member, and what they saw.

Every operation is ok, surely failed or unknown, so that the checker of the simulator can judge a
run of real processes.

Trap: an operation without an answer may have happened; only one that never left (connection
refused), or whose refusal promises it (429, 440), is a failure. Many unknown ones make the checker
slow.
"""

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator

from faunadb_sim.history import Kind, Operation, Outcome
from process.cluster import NO_ANSWER, SECRET, Cluster, Place

KEYS_COUNT = 12
CLIENTS_COUNT = 6
ANSWER_S = 8.0  # an answer that takes longer is unknown
NEVER_APPLIED = (429, 440)
_names = itertools.count(1)


class Load:
    """A running load: `history` is complete once the context has ended."""

    def __init__(self, places: list[Place], collection: str) -> None:
        self._places, self._collection = places, collection
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.history: list[Operation] = []
        self.acknowledged_writes = 0

    def wait_for_writes(self, count: int, limit_s: float = 60.0) -> None:
        """Wait until `count` more writes are acknowledged."""
        wanted, give_up_s = self.acknowledged_writes + count, time.monotonic() + limit_s
        while self.acknowledged_writes < wanted:
            assert time.monotonic() < give_up_s, f"{count} writes took more than {limit_s} s"
            time.sleep(0.01)

    def longest_gap_s(self, since_ns: int) -> float:
        """Return the longest time without an acknowledged write that ended after `since_ns`."""
        ends = sorted(o.end for o in self.history if o.kind != "read" and o.outcome is Outcome.OK)
        gaps = (b - a for a, b in itertools.pairwise(ends) if b >= since_ns)
        return max(gaps, default=0) / 1e9

    def stop(self) -> None:
        self._stop.set()

    def run_client(self, number: int) -> None:
        """Ask until stopped; never the same value twice."""
        chance, count = random.Random(number), 0
        client = _Client(self._places, self._collection, chance)
        while not self._stop.is_set():
            count += 1
            key = f"{chance.randrange(KEYS_COUNT) + 1}"
            kind: Kind = chance.choice(("read", "write", "write", "cas"))
            argument: int | list[int] | None = number * 1_000_000 + count
            if kind == "read":
                argument = None
            elif kind == "cas":
                argument = [client.seen.get(key, 0), number * 1_000_000 + count]
            operation = client.ask(key, kind, argument, f"client {number}")
            with self._lock:
                self.history.append(operation)
                if kind != "read" and operation.outcome is Outcome.OK:
                    self.acknowledged_writes += 1
            if operation.outcome is not Outcome.OK:
                time.sleep(0.02)
        client.close()


class _Client:
    """One connection at a time, to another member after every failure."""

    def __init__(self, places: list[Place], collection: str, chance: random.Random) -> None:
        self._places, self._collection, self._chance = places, collection, chance
        self._link: http.client.HTTPConnection | None = None
        self.seen: dict[str, int] = {}

    def ask(self, key: str, kind: Kind, argument: int | list[int] | None, name: str) -> Operation:
        start = time.monotonic_ns()
        outcome, result = Outcome.UNKNOWN, None
        try:
            status, result = self._post(_text(self._collection, key, kind, argument))
            if status == 200:
                outcome = Outcome.OK
            elif status in NEVER_APPLIED:
                outcome = Outcome.FAILED
            else:
                assert status == 503, f"{status}: {result}"
        except ConnectionRefusedError:
            outcome = Outcome.FAILED  # it never left
            self.close()
        except NO_ANSWER:
            self.close()
        if kind == "read" and outcome is Outcome.OK and result is not None:
            self.seen[key] = result
        if outcome is not Outcome.OK:
            result = None
            self.close()
        return Operation(
            key=key,
            kind=kind,
            argument=argument,
            result=result if kind != "write" else None,
            outcome=outcome,
            start=start,
            end=time.monotonic_ns(),
            client=name,
        )

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _post(self, text: str) -> tuple[int, int | bool | None]:
        if self._link is None:
            place = self._chance.choice(self._places)
            self._link = http.client.HTTPConnection(place.host, place.client_port, timeout=ANSWER_S)
        headers = {"authorization": f"Bearer {SECRET}"}
        self._link.request("POST", "/query/1", json.dumps({"query": text}), headers)
        response = self._link.getresponse()
        body = json.loads(response.read())
        return response.status, body.get("data")


def _text(collection: str, key: str, kind: Kind, argument: int | list[int] | None) -> str:
    found = f'let r = {collection}.byId("{key}")\n'
    if kind == "read":
        return found + "if (r.exists()) r!.v else null"
    if kind == "write":
        return (
            f"{found}if (r.exists()) r!.update({{v: {argument}}}) "
            f'else {collection}.create({{id: "{key}", v: {argument}}})\ntrue'
        )
    assert isinstance(argument, list)
    expected, new = argument
    does = f"{{ r!.update({{v: {new}}}); true }}"
    return f"{found}if (r.exists() && r!.v == {expected}) {does} else false"


@contextlib.contextmanager
def load(cluster: Cluster, clients_count: int = CLIENTS_COUNT) -> Iterator[Load]:
    """Run clients against all members, on a new collection, until the context ends."""
    collection = f"Register{next(_names)}"
    made = f'Collection.create({{name: "{collection}"}})'
    assert cluster.leader().query(made).status == 200
    running = Load([member.place for member in cluster.members], collection)
    threads = [
        threading.Thread(target=running.run_client, args=(number + 1,), daemon=True)
        for number in range(clients_count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.stop()
        for thread in threads:
            thread.join(60)
