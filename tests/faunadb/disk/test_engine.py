"""LMDB behind its port, with real files."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from sortedcontainers import SortedDict

from faunadb.disk.engine import GROWTH_BYTES_MIN, LmdbEngine, LmdbEngines, check_apart, scrub
from faunadb.disk.ports import CopyAborted, Description
from faunadb.errors import Corrupt
from faunadb_sim.disk import SimDisk, SimEngine, SimEngines

MAP_BYTES = 1 << 30
KILLS = int(os.environ.get("LMDB_KILLS", "8"))
HANG_S = 60


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LmdbEngine]:
    engine = LmdbEngines(tmp_path, map_bytes=MAP_BYTES).open("state-1")
    yield engine
    engine.close()


@pytest.fixture(params=["lmdb", "simulated"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LmdbEngine | SimEngine]:
    """Product and simulator keep the same port."""
    if request.param == "lmdb":
        found: LmdbEngine | SimEngine = LmdbEngines(tmp_path, map_bytes=MAP_BYTES).open("state-1")
    else:
        disk = SimDisk(Random(1))
        disk.make_directory("state-1")
        found = SimEngines(disk).open("state-1")
    yield found
    found.close()


def test_it_is_an_ordered_map(either: LmdbEngine | SimEngine) -> None:
    """Random puts, deletes, gets and scans agree with a sorted dictionary."""
    chance = Random(4)
    model: SortedDict[bytes, bytes] = SortedDict()
    for _ in range(60):
        pairs = [(b"%03d" % chance.randrange(300), chance.randbytes(9)) for _ in range(20)]
        gone = [b"%03d" % chance.randrange(300) for _ in range(8)]
        with either.write() as writer:
            writer.put_many(pairs)
            writer.delete_many(gone)
            model.update(pairs)
            for key in gone:
                model.pop(key, None)
            assert model.get(pairs[0][0]) == writer.get(pairs[0][0])
            assert list(model.items()) == list(writer.scan(b"", None))
        low, high = sorted((b"%03d" % chance.randrange(300), b"%03d" % chance.randrange(300)))
        with either.read() as reader:
            for start, end in ((low, high), (low, None), (b"", high), (b"", None), (b"x", None)):
                expected = [(k, model[k]) for k in model.irange(start, end, (True, False))]
                assert expected == list(reader.scan(start, end))
                assert expected[::-1] == list(reader.scan(start, end, reverse=True))
            assert reader.get(b"nothing") is None
    assert either.written_bytes() > 0


def test_a_failed_transaction_leaves_nothing(either: LmdbEngine | SimEngine) -> None:
    """An exception inside undoes puts and deletes."""
    with either.write() as writer:
        writer.put_many([(b"a", b"1"), (b"b", b"2")])
    with pytest.raises(KeyError):
        _fail_halfway(either)
    with either.read() as reader:
        assert [(b"a", b"1"), (b"b", b"2")] == list(reader.scan(b"", None))


def _fail_halfway(either: LmdbEngine | SimEngine) -> None:
    with either.write() as writer:
        writer.put_many([(b"a", b"x"), (b"c", b"3")])
        writer.delete_many([b"b"])
        raise KeyError


def test_a_reader_sees_one_state(either: LmdbEngine | SimEngine) -> None:
    """Commits after it was opened are not seen."""
    with either.write() as writer:
        writer.put_many([(b"a", b"1")])
    with either.read() as reader:
        with either.write() as writer:
            writer.put_many([(b"a", b"2"), (b"b", b"2")])
        assert [(b"a", b"1")] == list(reader.scan(b"", None))
    with either.read() as reader:
        assert b"2" == reader.get(b"a")


def test_an_empty_state_scans(either: LmdbEngine | SimEngine) -> None:
    """Nothing comes out, in either direction."""
    with either.read() as reader:
        assert [] == list(reader.scan(b"", None))
        assert [] == list(reader.scan(b"", b"z", reverse=True))


def test_a_value_that_rots_is_never_served(engine: LmdbEngine, tmp_path: Path) -> None:
    """A mismatch of its checksum is `Corrupt` at get, scan, scrub and walk (SAFETY 18)."""
    with engine.write() as writer:
        writer.put_many([(b"a", b"innocent"), (b"b", b"needle" * 20)])
    engine.force_sync()
    engine.close()
    data = tmp_path / "state-1" / "data.mdb"
    block = bytearray(data.read_bytes())
    at = block.index(b"needle")
    block[at] ^= 1
    data.write_bytes(block)
    damaged = LmdbEngines(tmp_path, map_bytes=MAP_BYTES).open("state-1")

    with damaged.read() as reader:
        assert b"innocent" == reader.get(b"a")
        for read in (
            lambda: reader.get(b"b"),
            lambda: list(reader.scan(b"", None)),
            lambda: scrub(reader, b"", 10),
        ):
            with pytest.raises(Corrupt):
                read()
    damaged.close()
    with pytest.raises(Corrupt):
        LmdbEngines(tmp_path).check("state-1")
    with pytest.raises(Corrupt, match="ended with 1"):
        check_apart(tmp_path / "state-1")


def test_scrubbing_goes_in_slices(engine: LmdbEngine) -> None:
    """Each slice says where the next begins."""
    with engine.write() as writer:
        writer.put_many([(b"%d" % i, b"") for i in range(10)])
    with engine.read() as reader:
        assert b"4" == scrub(reader, b"", 4)
        assert b"8" == scrub(reader, b"4", 4)
        assert scrub(reader, b"8", 4) is None


def test_what_is_no_state_is_said(tmp_path: Path) -> None:
    """Garbage in place of the data is `Corrupt`, not a crash."""
    (tmp_path / "state-1").mkdir()
    (tmp_path / "state-1" / "data.mdb").write_bytes(Random(1).randbytes(100_000))

    with pytest.raises(Corrupt):
        LmdbEngines(tmp_path).open("state-1")
    with pytest.raises(Corrupt):
        LmdbEngines(tmp_path).describe("state-1", lambda _: Description())
    with pytest.raises(Corrupt):
        LmdbEngines(tmp_path).check("state-1")
    with pytest.raises(OSError, match="No such file"):
        LmdbEngines(tmp_path).open("state-2/nowhere")


def test_a_copy_is_a_state(engine: LmdbEngine, tmp_path: Path) -> None:
    """It is consistent, and a process of its own walks it."""
    with engine.write() as writer:
        writer.put_many([(b"%06d" % i, b"v" * 50) for i in range(5000)])
    (tmp_path / "copy").mkdir()

    engine.copy_to("copy/data.mdb")

    engines = LmdbEngines(tmp_path, map_bytes=MAP_BYTES)
    assert 5000 == engines.check("copy") == check_apart(tmp_path / "copy")
    assert (tmp_path / "copy" / "data.mdb").stat().st_size == engine.data_bytes()
    stats = engine.stats()
    assert (5000, 0) == (stats["pairs"], engine.reader_check())


def test_a_copy_of_a_state_that_grows_is_given_up(tmp_path: Path) -> None:
    """A long copy would pin pages (SAFETY 19)."""

    class Growing(LmdbEngine):
        """Each look finds it a good deal larger."""

        growth_bytes = 0

        def data_bytes(self) -> int:
            self.growth_bytes += 4 * GROWTH_BYTES_MIN
            return super().data_bytes() + self.growth_bytes

    (tmp_path / "state-1").mkdir()
    engine = Growing(tmp_path, "state-1")
    _put(engine, [(b"%06d" % i, b"v" * 500) for i in range(9000)])

    with pytest.raises(CopyAborted):
        engine.copy_to("copy.mdb")
    engine.close()


def test_a_full_map_is_an_oserror(tmp_path: Path) -> None:
    """The caller crashes or refuses; LMDB's errors stay inside."""
    engine = LmdbEngines(tmp_path, map_bytes=1 << 16).open("state-1")
    with pytest.raises(OSError, match="state"):
        _put(engine, [(b"%d" % i, bytes(4000)) for i in range(100)])
    engine.close()


def _put(engine: LmdbEngine, pairs: list[tuple[bytes, bytes]]) -> None:
    with engine.write() as writer:
        writer.put_many(pairs)


# ---------------------------------------------------------------- killed at every step

CHILD = """
import resource, signal, sys
from pathlib import Path
from faunadb.disk.engine import LmdbEngine
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
root, limit = Path(sys.argv[1]), int(sys.argv[2])
engine = LmdbEngine(root, "state-1", map_bytes=1 << 28)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with engine.read() as reader:
    number = int(reader.get(b"applied") or b"0")
while number < 4000:
    number += 1
    with engine.write() as writer:
        writer.put_many([(b"applied", b"%d" % number)])
        first, value = number * 7919 % 600, b"%d" % number * 90
        writer.put_many([(b"k%05d" % (first + i), value) for i in range(9)])
        writer.delete_many([b"k%05d" % ((number * 31) % 600)])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def spawn(root: Path, limit: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", CHILD, str(root), str(limit)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def check_after_kill(root: Path, child: "subprocess.Popen[str]") -> int:
    """The state is exactly the last transaction told, or the one after it."""
    assert child.stdout is not None
    with child:
        told = [int(line) for line in child.stdout.read().splitlines() if line.isdigit()]
    engine = LmdbEngine(root, "state-1", map_bytes=1 << 28)
    try:
        with engine.read() as reader:
            applied = int(reader.get(b"applied") or b"0")
            found = dict(reader.scan(b"k", b"l"))
    finally:
        engine.close()
    if told:
        assert applied - told[-1] in {0, 1}
    model: dict[bytes, bytes] = {}
    for number in range(1, applied + 1):
        for i in range(9):
            model[b"k%05d" % (number * 7919 % 600 + i)] = b"%d" % number * 90
        model.pop(b"k%05d" % ((number * 31) % 600), None)
    assert model == found
    return applied


def test_killed_at_every_step_of_growth(tmp_path: Path) -> None:
    """The kernel kills it in the write that would exceed a page: whole transactions are left."""
    applied = -1
    for step in range(KILLS):
        child = spawn(tmp_path, 4096 * (3 + 5 * step))
        applied = max(applied, check_after_kill(tmp_path, child))
        assert child.returncode in {-signal.SIGXFSZ, 1}, "a write that ends at the limit is EIO"
    assert applied > 0


def test_killed_at_any_time(tmp_path: Path) -> None:
    """kill -9 under load, again and again on the same state."""
    chance = Random(8)
    for _ in range(KILLS):
        child = spawn(tmp_path, 0)
        assert child.stdout is not None
        child.stdout.readline()
        timer = threading.Timer(chance.random() * 0.05, child.kill)
        timer.start()
        check_after_kill(tmp_path, child)
        timer.join()


def test_readers_and_the_writer_do_not_wait_for_a_sync(engine: LmdbEngine) -> None:
    """`force_sync` runs on another thread while transactions go on."""
    stop = threading.Event()

    def sync() -> None:
        while not stop.is_set():
            engine.force_sync()

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        for i in range(200):
            with engine.write() as writer:
                writer.put_many([(b"%d" % i, bytes(1000))])
        with engine.read() as reader:
            assert 200 == sum(1 for _ in reader.scan(b"", None))
    finally:
        stop.set()
        thread.join(HANG_S)
