"""The log goes into a store while the cluster works, and any point of it comes back."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from faunadb.backup.segments import Held, held
from faunadb.cli.opening import describe as describe_member
from faunadb.disk.engine import LmdbEngines
from faunadb.machine import describe
from faunadb.store.ports import Reader
from process.cluster import (
    LOGS,
    PROGRAM,
    TIED,
    Cluster,
    MemberProcess,
    Place,
    cluster,
    find_places,
    make_certificates,
    run_program,
    serve_arguments,
    wait_until,
)
from process.load import load

pytestmark = pytest.mark.process
WRITES_MIN = 1500
REFUSED, USAGE = 1, 64


class ArchiveProcess:
    """One `faunadb archive` into `store`."""

    def __init__(self, of: Cluster, store: Path, seeds: Sequence[MemberProcess]) -> None:
        host = find_places(1)[0]
        self._listen = f"{host.host}:{host.admin_port}"
        members = ",".join(f"{m.place.host}:{m.place.admin_port}" for m in seeds)
        self._words = [
            *("archive", "--members", members, "--cluster-id", of.cluster_id),
            *("--tls-dir", str(of.folder / "tls" / "backup"), "--store", f"file://{store}"),
            *("--listen", self._listen, "--every-s", "2"),
        ]
        self._log = LOGS / of.folder.name / "archive.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*TIED, *PROGRAM, *self._words], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        return self._process.wait(60)

    def status(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"http://{self._listen}/status", timeout=10) as answer:
                found: dict[str, Any] = json.loads(answer.read())
                return found
        except OSError:
            return {}

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._listen}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_for(self, index: int) -> None:
        wait_until(lambda: self.status().get("archived_index", 0) >= index, f"{index} is archived")


@contextlib.contextmanager
def archive_of(
    of: Cluster, store: Path, seeds: Sequence[MemberProcess]
) -> Iterator[ArchiveProcess]:
    made = ArchiveProcess(of, store, seeds)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def restored(store: Path, of: Cluster, data: Path, *more: str, place: Place) -> tuple[int, Any]:
    """Run `faunadb restore`; return its exit code and result, or its reason."""
    words = [
        *("restore", "--store", f"file://{store}", "--from-cluster-id", of.cluster_id),
        *("--backup-id", "b1", "--data-dir", str(data), "--cluster-id", of.cluster_id),
        *("--incarnation", "2", "--member-id", "9", "--name", place.name),
    ]
    done = run_program(*words, *more, check=False)
    said = done.stdout if done.returncode == 0 else done.stderr
    return done.returncode, json.loads(said.rstrip().rpartition("\n")[2])


def folder_held(store: Path, of: Cluster) -> Held:
    return held(str(path) for path in (store / of.cluster_id / "log").glob("*/*"))


def state_of(member: MemberProcess) -> tuple[int, str]:
    """Return applied index and state hash of a member that was stopped cleanly."""
    number = max(path.name for path in member.data_dir.glob("state-*"))
    found: list[tuple[int, str]] = []

    def look(reader: Reader) -> Any:
        record = describe(reader)
        found.append((record.applied[1], record.state_hash.hex()))
        return describe_member(reader)

    LmdbEngines(member.data_dir).describe(number, look)
    return found[0]


def mark(of: Cluster, text: str) -> int:
    """Write one document; return the time of that transaction."""
    leader = of.leader()
    changed = f'd!.update({{t: "{text}"}})'
    created = f'Mark.create({{id: "1", t: "{text}"}})'
    answer = leader.query(f'let d = Mark.byId("1")\nif (d.exists()) {changed} else {created}')
    assert 200 == answer.status, answer
    return int(answer.body["txn_ts"])


def test_point_in_time(tmp_path: Path) -> None:
    """Killed archive, lost leader, under load: every entry is there, and any of them comes back.

    The state that comes back at the entry where a member stopped has that member's hash.
    """
    store = tmp_path / "store"
    with cluster(3) as members, archive_of(members, store, members.members[:2]) as archive:
        wait_until(archive.is_ready, "the archive is ready")
        assert 200 == members.leader().query('Collection.create({name: "Mark"})').status
        lags: list[float] = []
        with load(members) as running:
            running.wait_for_writes(WRITES_MIN)
            backup(members, store)
            first = mark(members, "first")
            mark(members, "second")
            measure(archive, lags)
            members.leader().kill()
            running.wait_for_writes(WRITES_MIN)
            archive.kill()
            running.wait_for_writes(WRITES_MIN)
            archive.start()
            wait_until(archive.is_ready, "the archive is ready again")
            measure(archive, lags)
        members.wait_until_all_agree()
        newest = members.leader().status()
        archive.wait_for(newest["commit"])
        follower = members.followers()[0]
        follower.signal(signal.SIGTERM)
        assert 0 == follower.exit_code()
        index, state_hash = state_of(follower)
        archive.wait_for(index)
        status = archive.status()
        assert 0 == archive.kill(signal.SIGTERM)

        print(f"lag while under load: {max(lags):.1f} s at most")
        assert ([], "") == (status["gaps"], status["problem"])
        found = folder_held(store, members)
        assert (1, []) == (found.segments[0].first, found.holes())
        check_points(members, store, tmp_path, index, state_hash)
        check_time(members, store, tmp_path, first, newest["txn_ts"])
        check_refusals(members, store, tmp_path, found)


def backup(of: Cluster, store: Path) -> None:
    admin = ",".join(f"{m.place.host}:{m.place.admin_port}" for m in of.alive)
    words = ["--cluster-id", of.cluster_id, "--backup-id", "b1", "--store", f"file://{store}"]
    tls = str(of.folder / "tls" / "backup")
    run_program("backup", "--members", admin, "--tls-dir", tls, *words)


def measure(archive: ArchiveProcess, lags: list[float]) -> None:
    end_s = time.monotonic() + 8
    while time.monotonic() < end_s:
        lags.append(archive.status().get("lag_s", 0.0))
        time.sleep(0.1)


def check_points(of: Cluster, store: Path, folder: Path, index: int, state_hash: str) -> None:
    place = find_places(1)[0]
    target = ("--target-index", str(index))
    code, told = restored(store, of, folder / "dry", *target, "--dry-run", place=place)
    assert (0, index) == (code, told["index"])
    assert not (folder / "dry").exists()
    code, result = restored(store, of, folder / "at", *target, place=place)
    assert (0, index, state_hash) == (code, result["index"], result["state_hash"])
    assert told["txn_ts"] == result["txn_ts"]
    assert (0, result) == restored(store, of, folder / "at", *target, place=place), "a retry"


def check_time(of: Cluster, store: Path, folder: Path, first: int, newest: int) -> None:
    """A restored member serves what was there at that time, and nothing later."""
    place = find_places(1)[0]
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(first // 1_000_000))
    target = ("--target-time", f"{when}.{first % 1_000_000:06d}Z")
    code, result = restored(store, of, folder / f"data-{place.id}", *target, place=place)
    assert (0, first) == (code, result["txn_ts"])
    make_certificates(folder / "tls", of.cluster_id, [place])
    (folder / "root-secret").write_text("secret")
    words = serve_arguments(folder, of.cluster_id, place)
    words[words.index("--incarnation") + 1] = "2"
    words[words.index("--member-id") + 1] = "9"
    log = LOGS / of.folder.name / "restored.log"
    member = MemberProcess(place, folder / "data-1", words, folder / "tls" / "operator", log)
    member.start()
    try:
        wait_until(member.leads, "the restored member leads")
        seen = member.query('Mark.byId("1")!.t')
        assert newest <= member.status()["ts_ceiling"], "never issued again (SAFETY 10)"
        assert "first" == seen.data
    finally:
        member.kill()


def check_refusals(of: Cluster, store: Path, folder: Path, found: Held) -> None:
    place = find_places(1)[0]
    last = found.last
    removed = next(s for s in reversed(found.segments[1:-1]))

    def refusal(*target: str) -> str:
        code, said = restored(store, of, folder / "refused", *target, place=place)
        assert (REFUSED, {"reason", "detail"}) == (code, said.keys()), said
        return str(said["reason"])

    assert "before_backup" == refusal("--target-index", "2")
    assert "before_backup" == refusal("--target-time", "2001-01-01T00:00:00Z")
    assert "beyond_archive" == refusal("--target-index", str(last + 1_000_000))
    assert "beyond_archive" == refusal("--target-time", "2101-01-01T00:00:00Z")
    for wrong in (("--target-time", "yesterday"), ("--target-time", "x", "--target-index", "5")):
        assert USAGE == restored(store, of, folder / "refused", *wrong, place=place)[0]
    Path(removed.key).unlink()
    assert "archive_gap" == refusal("--target-index", str(last))
    assert not list((folder / "refused").glob("IDENTITY"))
