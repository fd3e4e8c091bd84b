"""A long scan holds no state for long and misses nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faunadb.disk.engine import LmdbEngine
from faunadb.node.sliced import SLICE_S, SlicedReader
from store_test_helpers import MemoryKeyValue
from store_test_helpers.memory import MemoryTransaction

PAIRS = [(b"%03d" % n, b"v%d" % n) for n in range(200)]


class Store(MemoryKeyValue):
    """Counts its readers, and time passes with every one of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = self.open = 0
        self.now_s = 0.0
        self.row_s = 0.0
        self.pairs.update(PAIRS)

    @contextmanager
    def read(self) -> Iterator[MemoryTransaction]:
        self.opened += 1
        self.open += 1
        store = self

        class Timed(MemoryTransaction):
            def scan(
                self, start: bytes, end: bytes | None, *, reverse: bool = False
            ) -> Iterator[tuple[bytes, bytes]]:
                for pair in super().scan(start, end, reverse=reverse):
                    store.now_s += store.row_s
                    yield pair

        yield Timed(self.pairs)
        self.open -= 1

    def monotonic_s(self) -> float:
        return self.now_s

    def wall_us(self) -> int:
        return 0


@pytest.mark.parametrize("row_s", [0.0, 0.01, SLICE_S, 2.0])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("bounds", [(b"", None), (b"010", b"150"), (b"0105", b"011"), (b"9", None)])
def test_a_scan_in_slices_is_a_scan(
    row_s: float, bounds: tuple[bytes, bytes | None], *, reverse: bool
) -> None:
    """However slow it is; readers are opened one after the other."""
    store = Store()
    store.row_s = row_s
    reader = SlicedReader(store, store)
    start, end = bounds
    expected = [p for p in PAIRS if start <= p[0] and (end is None or p[0] < end)]
    if reverse:
        expected.reverse()

    assert expected == list(reader.scan(start, end, reverse=reverse))
    assert store.open <= 1
    assert store.opened <= 2 + len(PAIRS) * row_s / SLICE_S
    reader.close()
    assert 0 == store.open


def test_scans_within_each_other_share_one_reader() -> None:
    """The inner one gives the reader back under the outer one, which goes on behind its row."""
    store = Store()
    store.row_s = 0.03
    reader = SlicedReader(store, store)
    found = [(a, len(list(reader.scan(b"100", b"110")))) for a, _ in reader.scan(b"", b"005")]

    assert [(b"%03d" % n, 10) for n in range(5)] == found
    assert 1 == store.open


def test_who_computes_holds_nothing() -> None:
    """Another thread gives the reader back; the next read opens another."""
    store = Store()
    reader = SlicedReader(store, store)
    rows = reader.scan(b"", None)
    assert PAIRS[:2] == [next(rows), next(rows)]
    reader.give_back_if_old()
    assert 1 == store.open
    store.now_s += SLICE_S
    reader.give_back_if_old()
    assert 0 == store.open

    assert PAIRS[2:] == list(rows)
    assert b"v7" == reader.get(b"007")


def test_lmdb_lets_go_of_a_scan_that_is_under_way(tmp_path: Path) -> None:
    """A cursor whose transaction has ended is not used any more."""
    engine, store = LmdbEngine(tmp_path, "state"), Store()
    with engine.write() as writer:
        writer.put_many(PAIRS)
    reader = SlicedReader(engine, store)
    rows, back = reader.scan(b"", None), reader.scan(b"", None, reverse=True)
    assert (PAIRS[0], PAIRS[-1]) == (next(rows), next(back))
    store.now_s += SLICE_S
    reader.give_back_if_old()
    with engine.write() as writer:
        writer.delete_many([PAIRS[0][0]])

    assert PAIRS[1:] == list(rows)
    assert PAIRS[-2:0:-1] == list(back)
    reader.close()
    engine.close()
