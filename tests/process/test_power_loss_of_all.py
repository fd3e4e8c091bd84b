"""Power is lost for all three members at one moment: what a client was told outlives it.

The members are real processes, each recorded (`recorder.c`). While clients write, one is killed and
started, the leader too, and one takes a snapshot and stops cleanly. Then, for many moments, what
each disk may hold is laid down; the product's recovery opens it, and whoever could be elected among
any two of them must hold every document that was acknowledged until then. At one moment the three
are started again as processes, and asked.

`POWER_LOSS_MOMENTS=2000` looks at more moments.
"""

import copy
import heapq
import os
import re
import shutil
import signal
import tempfile
import threading
import uuid
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from random import Random

import msgspec
import pytest

from faunadb.cli.opening import describe
from faunadb.disk.boot import SHARED_MEMORY, Boot
from faunadb.disk.directory import open_data_directory
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.errors import Corrupt
from faunadb.raft.entries import EntryId
from process.cluster import NO_ANSWER, Cluster, cluster, wait_until
from process.recording import Event, Platter, Recorder, Tree, compile_recorder, read_events

pytestmark = [pytest.mark.process, pytest.mark.new]
MOMENTS = int(os.environ.get("POWER_LOSS_MOMENTS", "40"))
SEED = int(os.environ.get("POWER_LOSS_SEED", "1"))
MEMBERS = (1, 2, 3)
CLIENTS, WRITES_MIN = 3, 200
MARKER = re.compile(rb"PROOF-([0-9]{8})")
NEXT_BOOT = Boot("the machines were started again", "pod")


class Held(msgspec.Struct, frozen=True):
    """What a member holds after its recovery: where its log ends, markers, its entries."""

    last: EntryId
    markers: frozenset[int]
    entries: dict[EntryId, bytes]


class Writers:
    """Clients that create documents with markers, each asking any member."""

    def __init__(self, members: Cluster) -> None:
        self._members, self._stop = members, threading.Event()
        self.acknowledged: list[int] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        wait_until(lambda: len(self.acknowledged) >= wanted, f"{count} more writes")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        chance, number = Random(client), client * 1_000_000
        while not self._stop.is_set():
            number += 1
            member = chance.choice(self._members.members)
            text = f'Proof.create({{marker: "PROOF-{number:08}"}}).marker'
            try:
                if member.query(text).status == 200:
                    self.acknowledged.append(number)
            except NO_ANSWER:
                self._stop.wait(0.02)


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory, see `test_power_loss`."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="power-loss-") as folder:
        yield Path(folder)


class Lived(msgspec.Struct, frozen=True):
    """A cluster that has lived, and what was recorded of it; `platters` as they were at first."""

    members: Cluster
    recorders: dict[int, Recorder]
    platters: dict[int, Platter]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """Three members that lived through ends of every kind while clients wrote."""
    logs = tmp_path_factory.mktemp("recorded")
    folder = logs / f"power-loss-{uuid.uuid4().hex[:8]}"
    recorders = prepared(folder, logs)
    platters = {number: Platter(recorders[number].root) for number in MEMBERS}
    environments = {number: recorder.environment for number, recorder in recorders.items()}
    with cluster(len(MEMBERS), environments=environments, folder=folder) as members:
        live(members)
        yield Lived(members, recorders, platters)


def test_all_lose_power_at_any_moment(lived: Lived, memory: Path) -> None:
    """Any two of three hold, and would elect somebody with, all that was acknowledged."""
    known, seen = Known(), 0
    for trees, told in moments(lived, Random(SEED), MOMENTS):
        known.check({n: recovered(tree, memory / f"{n}") for n, tree in trees.items()}, told)
        seen += 1
    start_again(lived.members, trees, told)

    assert seen == MOMENTS
    assert len(told) >= WRITES_MIN


def test_the_proof_can_fail(lived: Lived, memory: Path) -> None:
    """Members whose syncs of files did nothing are found out."""
    known, found = Known(), 0
    for trees, told in moments(lived, Random(SEED), MOMENTS // 4, without_syncs=True):
        try:
            known.check({n: recovered(tree, memory / f"{n}") for n, tree in trees.items()}, told)
        except (AssertionError, Corrupt):
            found += 1

    assert found


def prepared(folder: Path, logs: Path) -> dict[int, Recorder]:
    """Make the members' directories, empty, and a recorder for each."""
    library = compile_recorder(logs)
    recorders = {n: Recorder(library, folder / f"data-{n}", logs / f"log-{n}") for n in MEMBERS}
    for recorder in recorders.values():
        recorder.root.mkdir(parents=True)
    return recorders


def live(members: Cluster) -> None:
    """Let the cluster live through ends of every kind while clients write; end with kill -9."""
    assert members.leader().query('Collection.create({name: "Proof"})').status == 200
    writers = Writers(members)
    try:
        writers.wait_for(WRITES_MIN // 4)
        for member in (members.followers()[0], members.leader()):
            member.kill()
            writers.wait_for(WRITES_MIN // 4)
            member.start()
            members.wait_until_all_agree()
        stopped = members.followers()[1]
        assert stopped.admin("/snapshot?fresh=true").status == 200
        stopped.signal(signal.SIGTERM)
        assert stopped.exit_code() == 0
        writers.wait_for(WRITES_MIN // 4)
        stopped.start()
        writers.wait_for(WRITES_MIN // 4)
    finally:
        writers.stop()
        for member in members.members:
            member.kill()


def moments(
    lived: Lived, chance: Random, moments_count: int, *, without_syncs: bool = False
) -> Iterator[tuple[dict[int, Tree], frozenset[int]]]:
    """Yield what the three disks may hold at moments of the life, the last one its end."""
    platters = copy.deepcopy(lived.platters)
    logs = [
        [(event.at_ns, number, event) for event in read_events(recorder.log)]
        for number, recorder in lived.recorders.items()
    ]
    count, drawn, told = sum(map(len, logs)), 0, set[int]()
    founded = _number_of_founding(logs)
    for at, (_, number, event) in enumerate(heapq.merge(*logs, key=lambda found: found[0]), 1):
        if not (without_syncs and event.kind == "E" and platters[number].is_file(event.inode)):
            platters[number].take(event)
        if event.kind == "O":
            told.add(event.marker)
        if at >= founded and drawn < moments_count * (at - founded + 1) // (count - founded + 1):
            drawn += 1
            yield {n: platter.left(chance) for n, platter in platters.items()}, frozenset(told)


def _number_of_founding(logs: list[list[tuple[int, int, Event]]]) -> int:
    """Return after how many events the first marker left: before it nothing was promised."""
    first_ns = min(at_ns for log in logs for at_ns, _, event in log if event.kind == "O")
    return sum(1 for log in logs for at_ns, _, _ in log if at_ns < first_ns)


def recovered(tree: Tree, folder: Path) -> Held:
    """Open what is left as a member does at its start. Power loss is no reason to refuse."""
    tree.write_to(folder)
    files = DirectoryFiles(folder)
    try:
        directory = open_data_directory(
            files,
            LmdbEngines(folder),
            None,
            boot=NEXT_BOOT,
            describe=describe,
            draw=os.urandom,
            pause=lambda: None,
        )
        assert directory is not None
        found = directory.recovered
        markers = {int(m) for entry in found.entries for m in MARKER.findall(entry.raw)}
        with directory.engine.read() as reader:
            for _, value in reader.scan(b"", None):
                markers.update(map(int, MARKER.findall(value)))
        directory.close()
        last = found.entries[-1].id if found.entries else found.state_applied
        return Held(last, frozenset(markers), {entry.id: entry.raw for entry in found.entries})
    finally:
        files.close()
        shutil.rmtree(folder)


class Known:
    """All entries that any member held at any moment."""

    def __init__(self) -> None:
        self._entries: dict[EntryId, bytes] = {}

    def check(self, held: dict[int, Held], told: frozenset[int]) -> None:
        """Judge one moment: nothing told is missing, and one id is one entry for ever."""
        for found in held.values():
            for id_, raw in found.entries.items():
                assert self._entries.setdefault(id_, raw) == raw
        for pair in combinations(held.values(), 2):
            elected = max(pair, key=lambda found: (found.last.term, found.last.index))
            assert told <= elected.markers


def start_again(members: Cluster, trees: dict[int, Tree], told: frozenset[int]) -> None:
    """Start the processes on what is left, without the recorder, and ask for all documents."""
    for member in members.members:
        shutil.rmtree(member.data_dir)
        trees[member.place.id].write_to(member.data_dir)
        for mark in member.data_dir.glob("state-*/VALID"):
            mark.unlink()  # it is of this boot, in which the power was not really lost
        member.environment = {}
        member.start()
    members.wait_until_all_agree()
    found = members.leader().query("Proof.all().pageSize(10000).map(.marker)").data["data"]
    assert told <= {int(marker.removeprefix("PROOF-")) for marker in found}
