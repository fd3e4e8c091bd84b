"""The threads around the log and the state, and the real directory under them."""

import errno
import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from disk_test_helpers.member import CLUSTER, SALT, describe, describe_pairs, entry
from faunadb.disk.boot import Boot, this_boot
from faunadb.disk.directory import DataDirectory, open_data_directory
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.files import DirectoryFiles, DirectoryInUse
from faunadb.disk.flusher import Flusher
from faunadb.disk.identity import create_identity, read_identity
from faunadb.disk.ports import Engine
from faunadb.disk.wal import WalLimits
from faunadb.disk.wal_thread import WalThread
from faunadb.raft.entries import EntryId, HardState, Index, MemberId, Term
from faunadb.raft.events import Token, Write

HANG_S = 60
LIMITS = WalLimits(segment_bytes=1 << 17, start_bytes=1 << 14)


class Hung:
    """A count that a test waits for."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.tokens: list[Token] = []
        self.fatal: list[BaseException] = []

    def persisted(self, tokens: Sequence[Token]) -> None:
        with self.condition:
            self.tokens += tokens
            self.condition.notify_all()

    def on_fatal(self, problem: BaseException) -> None:
        with self.condition:
            self.fatal.append(problem)
            self.condition.notify_all()

    def wait(self, done: Callable[[], bool]) -> None:
        with self.condition:
            assert self.condition.wait_for(done, HANG_S)


def open_directory(files: DirectoryFiles) -> DataDirectory:
    if read_identity(files) is None:
        create_identity(
            files,
            cluster_id=CLUSTER,
            member_id=MemberId(1),
            incarnation=1,
            incarnation_salt=SALT,
            created_us=0,
            draw=os.urandom,
        )
    directory = open_data_directory(
        files,
        LmdbEngines(files.root, map_bytes=1 << 28),
        None,
        boot=Boot("boot", "pod"),
        describe=describe,
        draw=os.urandom,
        pause=lambda: None,
        limits=LIMITS,
    )
    assert directory is not None
    return directory


def run_now(callback: Callable[[], None]) -> None:
    callback()


def append(index: int) -> Write:
    state = HardState(Term(1), MemberId(1), Index(0)) if index == 1 else None
    return Write(Token(Term(1), index), state, None, (entry(index, 1, bytes(2000)),))


@pytest.mark.parametrize("clean", [True, False])
def test_a_life_on_real_files(tmp_path: Path, clean: bool) -> None:
    """Batches, rolls, spares, cuts, snapshots and a second start, on a real file system."""
    files = DirectoryFiles(tmp_path)
    directory = open_directory(files)
    hung = Hung()
    log = WalThread(directory.wal, run_now, hung.persisted, hung.on_fatal)
    for index in range(1, 401):
        log.submit(append(index))
        if index % 20 == 0:
            hung.wait(lambda count=index: len(hung.tokens) == count)  # type: ignore[misc]
    assert [Token(Term(1), i) for i in range(1, 401)] == hung.tokens
    assert 0.0 == log.oldest_sync_age_s()
    for through in (300, 400):
        with directory.engine.write() as writer:
            writer.put_many(describe_pairs(EntryId(Term(1), Index(through))))
        assert directory.snapshots.take(directory.engine) is not None
        assert directory.snapshots.take(directory.engine) is None
    assert 300 == directory.snapshots.cut_index()
    kept = directory.wal.bytes_kept()
    log.cut(directory.snapshots.cut_index())
    log.submit(append(401))
    log.close()
    assert [] == hung.fatal
    directory.wal.cut(Index(300))
    assert directory.wal.bytes_kept() <= kept
    if clean:
        directory.close_cleanly()
    else:
        directory.close()
    files.close()

    files = DirectoryFiles(tmp_path)
    directory = open_directory(files)
    recovered = directory.recovered
    assert 401 == recovered.entries[-1].index
    assert recovered.entries[0].index > 1
    assert 400 == recovered.state_applied.index
    assert recovered.snapshot is not None
    assert 400 == recovered.snapshot.id.index
    assert directory.swap_state(directory.build_state(recovered.snapshot.id)) is directory.engine
    directory.remove_old()
    directory.close()
    files.close()


class _BrokenWal:
    """A log whose sync fails."""

    def write(self, writes: Sequence[object]) -> None: ...

    def sync(self) -> None:
        raise OSError(errno.EIO, "no")

    def needs_spare(self) -> bool:
        return False

    def prepare_spare(self) -> None: ...

    def cut(self, through: int) -> None: ...


def test_a_failed_sync_is_reported_once_and_nothing_follows() -> None:
    """The pages are clean now: to try again would be to lie."""
    hung = Hung()
    log = WalThread(_BrokenWal(), run_now, hung.persisted, hung.on_fatal)  # type: ignore[arg-type]
    log.submit(append(1))
    hung.wait(lambda: bool(hung.fatal))
    log.submit(append(2))
    log.close()

    assert [] == hung.tokens
    assert 1 == len(hung.fatal)
    assert log.oldest_sync_age_s() > 0


class _BrokenKeeper(_BrokenWal):
    def prepare_spare(self) -> None:
        raise OSError(errno.ENOSPC, "full")


def test_a_spare_that_cannot_be_filled_is_fatal() -> None:
    """The housekeeping thread does not die silently either."""
    hung = Hung()
    log = WalThread(_BrokenKeeper(), run_now, hung.persisted, hung.on_fatal)  # type: ignore[arg-type]
    hung.wait(lambda: bool(hung.fatal))
    log.close()

    assert isinstance(hung.fatal[0], OSError)


class _Counting:
    """An engine that is written all the time."""

    def __init__(self, fails: bool) -> None:
        self.fails, self.synced, self.written = fails, 0, 0

    def written_bytes(self) -> int:
        self.written += 10
        return self.written

    def force_sync(self) -> None:
        if self.fails:
            raise OSError(errno.EIO, "no")
        self.synced += 1


@pytest.mark.parametrize(("interval_s", "dirty"), [(0.01, 1 << 30), (0.05, 1)])
def test_the_flusher_syncs_by_time_and_by_bytes(interval_s: float, dirty: int) -> None:
    """Either limit is enough, and it stops when told."""
    engine = _Counting(fails=False)
    flusher = Flusher(
        lambda: _as_engine(engine),
        lambda: None,
        lambda _: None,
        interval_s=interval_s,
        dirty_bytes_max=dirty,
    )
    done = threading.Event()
    for _ in range(HANG_S * 100):
        if flusher.syncs >= 2:
            break
        done.wait(0.01)
    with flusher.paused():
        before = engine.synced
        done.wait(0.05)
        assert before == engine.synced
    flusher.stop()

    assert flusher.syncs >= 2


def test_a_failed_sync_of_the_state_takes_its_mark_back_first() -> None:
    """First VALID goes, then the process (SAFETY 18)."""
    told: list[str] = []
    ended = threading.Event()

    def fatal(problem: BaseException) -> None:
        told.append(type(problem).__name__)
        ended.set()

    flusher = Flusher(
        lambda: _as_engine(_Counting(fails=True)),
        lambda: told.append("disown"),
        fatal,
        interval_s=0.01,
    )
    assert ended.wait(HANG_S)
    flusher.stop()

    assert ["disown", "OSError"] == told


def _as_engine(engine: object) -> Engine:
    return engine  # type: ignore[return-value]


# ---------------------------------------------------------------- directory and boot


def _try_to_open(root: str) -> None:
    try:
        DirectoryFiles(Path(root))
    except DirectoryInUse:
        os._exit(7)
    os._exit(0)


def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    """The second is refused with a sentence; after the first has ended it may."""
    files = DirectoryFiles(tmp_path)
    context = multiprocessing.get_context("spawn")
    codes: list[int | None] = []
    with pytest.raises(DirectoryInUse, match="another process"):
        DirectoryFiles(tmp_path)
    for _ in range(2):
        child = context.Process(target=_try_to_open, args=(str(tmp_path),))
        child.start()
        child.join(HANG_S)
        codes.append(child.exitcode)
        files.close()
    files.close()

    assert [7, 0] == codes


def test_real_files(tmp_path: Path) -> None:
    """The port's promises, on the real file system."""
    files = DirectoryFiles(tmp_path)
    files.make_directory("a")
    files.make_directory("a")
    with pytest.raises(FileNotFoundError):
        files.open("a/x")
    file = files.open("a/x", create=True)
    file.allocate(3_000_000)
    file.pwrite(memoryview(b"hello"), 2_999_999)
    file.write_out(1 << 20, 0)
    file.fdatasync()
    assert 3_000_004 == file.size()
    assert b"\0hello" == file.pread(100, 2_999_998)
    file.truncate(5)
    assert b"\0" * 5 == file.pread(100, 0)
    file.close()
    file.close()
    files.rename("a/x", "a/y")
    files.fsync_directory("a")
    assert (["y"], []) == (files.list("a"), files.list("nowhere"))
    files.remove("a/y")
    files.remove("a")
    assert ["LOCK"] == files.list("")
    assert files.free_bytes() > 0
    files.close()


def test_a_boot_is_known_again(tmp_path: Path) -> None:
    """The same boot and memory give the same answer; another boot, pod or memory another."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("one\n")
    memory = tmp_path / "shm"
    memory.mkdir()
    first = this_boot(None, boot_id=boot_id, memory=memory)
    assert first == this_boot(None, boot_id=boot_id, memory=memory)
    assert Boot("one", "uid") == this_boot("uid", boot_id=boot_id, memory=memory)
    boot_id.write_text("two\n")
    assert first != this_boot(None, boot_id=boot_id, memory=memory)
    other = tmp_path / "other"
    other.mkdir()
    assert first.pod != this_boot(None, boot_id=boot_id, memory=other).pod


def test_without_a_nonce_every_start_is_a_new_life(tmp_path: Path) -> None:
    """A rebuild is cheap, a wrong belief is not."""
    nowhere = tmp_path / "nowhere"
    one = this_boot(None, boot_id=nowhere, memory=nowhere)
    assert one != this_boot(None, boot_id=nowhere, memory=nowhere)
    planted = tmp_path / f"faunadb-boot-{os.geteuid()}"
    planted.symlink_to("/etc/hostname")
    assert one.pod != this_boot(None, boot_id=nowhere, memory=tmp_path).pod
    planted.unlink()
    planted.mkdir()
    assert this_boot(None, memory=tmp_path) != this_boot(None, memory=tmp_path)
