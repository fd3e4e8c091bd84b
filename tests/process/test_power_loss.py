"""Power is lost at any moment of a recorded life, on real files: what was told is there afterwards.

As ALICE and CrashMonkey do: all that the program wrote, renamed, removed and synced was recorded
(`recorder.c`); it is played back up to a point, any subset of what was not synced is laid down,
and the product's own recovery opens the folder. Power loss is no excuse: nothing may be refused.

`POWER_LOSS_POINTS=20000` runs more points, `POWER_LOSS_SEED` others. The controls take syncs out
of a recording and must be found out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from disk_test_helpers.member import StoredMember
from faunadb.disk.boot import SHARED_MEMORY, Boot
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles
from faunadb.errors import Corrupt
from process.recorded_life import Before, Told
from process.recording import Event, Platter, Recorder, Tree, compile_recorder, read_events

pytestmark = [pytest.mark.process, pytest.mark.new]
POINTS = int(os.environ.get("POWER_LOSS_POINTS", "400"))
SEED = int(os.environ.get("POWER_LOSS_SEED", "1"))
POINTS_EACH = 60  # of a life that begins with a recovery
LIVES = max(2, POINTS // 350)  # of those
PROCESS_ALONE = 0.15  # of the crashes leave the machine running


class Life(msgspec.Struct, frozen=True):
    """A recording: what the folder held at first, what was done to it, and what was told."""

    platter: Platter
    events: list[Event]
    told: list[Told]
    before: Before


class Crash(msgspec.Struct, frozen=True):
    """What is to be laid down, what was told until then, and the next life of the machine."""

    told: Told
    tree: Tree
    boot: Boot


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: syncs cost nothing there, and here they prove nothing."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="power-loss-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records."""
    return compile_recorder(tmp_path_factory.mktemp("recorder"))


def test_storage_at_any_moment(tmp_path: Path, memory: Path, library: Path) -> None:
    """Whatever is left of what was not synced, recovery refuses nothing and misses nothing.

    Of some of the crashes the recovery is recorded too, and power is lost during it.
    """
    chance, later = Random(SEED), []
    for number, crash in enumerate(crashes(first_life(tmp_path / "0", library), chance, POINTS)):
        survive(crash, memory / "data")
        if crash.told.reported.last_index and number % (POINTS // LIVES) == 7:
            later.append(crash)
    for number, crash in enumerate(later, 1):
        life = next_life(tmp_path / f"{number}", library, crash)
        for again in crashes(life, chance, POINTS_EACH):
            survive(again, memory / "data")

    assert len(later) >= LIVES // 2


@pytest.mark.parametrize("what", ["files", "directories"])
def test_the_proof_can_fail(tmp_path: Path, memory: Path, library: Path, what: str) -> None:
    """A program that would not sync its files, or its directories, is found out."""
    life = first_life(tmp_path / "0", library)
    folders = {event.inode for event in life.events if event.kind == "M"}
    folders.add((tmp_path / "0" / "data").stat().st_ino)
    events = [
        event
        for event in life.events
        if event.kind not in "BE" or (event.inode in folders) != (what == "directories")
    ]
    found = 0
    for crash in crashes(msgspec.structs.replace(life, events=events), Random(SEED), 100):
        try:
            survive(crash, memory / "data")
        except (AssertionError, Corrupt):
            found += 1

    assert found


def first_life(folder: Path, library: Path) -> Life:
    """Let a member's storage live from its first day on."""
    (folder / "data").mkdir(parents=True)
    (folder / "leader").mkdir()
    return recorded(folder, library, Before(Told(), Boot("the first life", "pod")))


def next_life(folder: Path, library: Path, crash: Crash) -> Life:
    """Let it go on after a crash."""
    folder.mkdir()
    crash.tree.write_to(folder / "data")
    return recorded(folder, library, Before(crash.told, crash.boot))


def recorded(folder: Path, library: Path, before: Before) -> Life:
    platter, recorder = Platter(folder / "data"), Recorder(library, folder / "data", folder / "log")
    (folder / "before").write_bytes(msgspec.msgpack.encode(before))
    words = [sys.executable, "-m", "process.recorded_life", str(folder), str(SEED)]
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, **recorder.environment, "PYTHONPATH": paths}
    subprocess.run(words, env=environment, check=True, timeout=120)
    told = msgspec.msgpack.decode((folder / "told").read_bytes(), type=list[Told])
    return Life(platter, list(read_events(recorder.log)), told, before)


def crashes(life: Life, chance: Random, count: int) -> Iterator[Crash]:
    """Yield so many crashes, spread evenly over all points of a life."""
    platter, known, drawn = life.platter, life.before.told, 0
    boot = life.before.boot
    next_boot = Boot(f"after {boot.boot_id}", boot.pod)
    for number, event in enumerate(life.events, 1):
        platter.take(event)
        if event.kind == "O":
            known = life.told[event.marker]
        while drawn < count * number // len(life.events):
            drawn += 1
            if chance.random() < PROCESS_ALONE:
                yield Crash(known, platter.seen(), boot)
            else:
                yield Crash(known, platter.left(chance), next_boot)


def survive(crash: Crash, folder: Path) -> None:
    """Lay down what is left and open it: the model says what must be there, `check` compares."""
    crash.tree.write_to(folder)
    files = DirectoryFiles(folder)
    member = StoredMember(files, LmdbEngines(folder), lambda: crash.boot, Random(SEED))
    member.reported, member.pending = crash.told.reported, crash.told.pending
    try:
        member.open()
        member.vote()
        member.append(2)
        member.commit_and_apply()
        member.crash()
        member.open()
    finally:
        if member.directory is not None:
            member.crash()
        files.close()
        shutil.rmtree(folder)
