"""How long does the store take for one write? Evaluation's half, the machine's half, on LMDB.

    python -m bench.store [transactions]

One transaction creates a document of about 256 bytes in a collection with one index of a term
and a value. Goals on the machine of reference: buffer and seal 40 µs, apply 15 µs an entry in
batches of 64. Figures are processor time, the best of five rounds; the yardstick is a loop of
this machine.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faunadb.codec import Transaction, encode_payload
from faunadb.definitions import CollectionDefinition, Document, SystemCollection
from faunadb.disk.engine import LmdbEngine
from faunadb.machine import DATA, Machine
from faunadb.store.effects import seal
from faunadb.store.ids import IdSource
from faunadb.store.overlay import Overlay
from faunadb.store.schema import SchemaCache
from faunadb.store.transaction import QueryView
from faunadb.values import Fields, Value

BATCH = 64
ROUNDS = 5
DEFINITION: Fields = {
    "name": "Thing",
    "indexes": {"by_name": {"terms": [{"field": ".name"}], "values": [{"field": ".age"}]}},
}


@dataclass(frozen=True)
class Entry:
    term: int
    index: int
    kind: int
    payload: memoryview


class Bench:
    """A member's state in LMDB, and the leader's overlay over it."""

    def __init__(self, root: Path, name: str) -> None:
        (root / name).mkdir()
        self.engine = LmdbEngine(root, name)
        self.machine = Machine(self.engine)
        self.overlay = Overlay(self.machine.record)
        self.ids, self.schemas = IdSource(1), SchemaCache()
        self.ts = 1_800_000_000_000_000
        self.log: list[Entry] = []
        self.write(lambda view: view.put_definition(SystemCollection.COLLECTION, 1024, DEFINITION))
        self.apply()

    def write(self, program: Callable[[QueryView], object]) -> None:
        """Evaluate at the tip, seal, take into the overlay; one turn of a leader."""
        self.ts += 10
        with self.engine.read() as reader:
            tip = self.overlay.over(reader)
            schema = self.schemas.at(tip, 0, self.ts)
            view = QueryView(
                tip, schema, snapshot_ts=self.ts, draw_id=self.ids.draw, compute=_nothing
            )
            program(view)
            effects = view.effects(self.overlay.last, 1)
        self.ts += 1
        index = self.overlay.last[1] + 1
        payload = Transaction(self.ts, self.ts, seal(effects, self.ts))
        self.overlay.append((1, index), payload)
        self.log.append(Entry(1, index, DATA, memoryview(encode_payload(payload))))

    def apply(self) -> float:
        """Apply what is appended in batches; return the seconds that it took."""
        began = time.process_time()
        done = self.machine.record.applied[1]
        for start in range(done, len(self.log), BATCH):
            self.machine.apply(self.log[start : start + BATCH])
        taken = time.process_time() - began
        self.overlay.prune(self.machine.record.applied[1])
        return taken

    def create(self, number: int) -> Callable[[QueryView], None]:
        fields: Fields = {"name": f"name{number}", "age": number, "text": "t" * 190, "on": True}

        def program(view: QueryView) -> None:
            view.put(view.schema.collections[1024], view.new_id(), fields, None)

        return program


def _nothing(coll: CollectionDefinition, name: str, document: Document) -> Value:
    raise AssertionError(f"{coll.name} has no computed field {name} for {document.id}")


def yardstick_us() -> float:
    """Return what a thousand additions take on this machine."""
    began, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return (time.process_time() - began) * 1e3


def one_round(bench: Bench, count: int) -> tuple[float, float, float, float]:
    """Return µs for buffer and seal, for a whole turn, for apply, for a read by index."""
    began = time.process_time()
    for number in range(count):
        bench.write(bench.create(number))
    turn = time.process_time() - began
    apply = bench.apply()

    with bench.engine.read() as reader:
        schema = bench.schemas.at(reader, 0, bench.ts)
        coll = schema.collections[1024]
        spent = 0.0
        for number in range(count):
            view = QueryView(
                reader, schema, snapshot_ts=bench.ts, draw_id=bench.ids.draw, compute=_nothing
            )
            program = bench.create(number)
            began = time.process_time()
            program(view)
            seal(view.effects((1, 1), 1), bench.ts)
            spent += time.process_time() - began
        view = QueryView(
            reader, schema, snapshot_ts=bench.ts, draw_id=bench.ids.draw, compute=_nothing
        )
        began = time.process_time()
        for number in range(count):
            for entry in view.scan_index(coll.indexes[0], 1024, [f"name{number}"]):
                view.get(1024, entry.id)
                break
        read = time.process_time() - began
    return spent / count * 1e6, turn / count * 1e6, apply / count * 1e6, read / count * 1e6


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(Path(root), "state")
        rounds = [one_round(bench, count) for _ in range(ROUNDS)]
    names = (
        "buffer and seal",
        "a leader's turn in the store",
        "apply, an entry",
        "index, document",
    )
    print(f"{'a thousand additions':32}{yardstick_us():8.1f} µs")
    for place, name in enumerate(names):
        print(f"{name:32}{min(some[place] for some in rounds):8.1f} µs")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
