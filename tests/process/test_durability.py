"""The running program, watched from below: nothing is acknowledged before it is on the disk.

Every document holds a marker. A preloaded library records when the marker is written to the log,
when that file is synced, and when the marker leaves the leader for a client. One of the three
members is stopped, so that no answer can be without the other two. Therefore an answer that
leaves before the sync of the *follower* has returned shows that the follower acknowledged its
append too early, although that message is encrypted.

The controls break a copy of the program and must be found out.
"""

import dataclasses
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import faunadb
from process.cluster import Cluster, MemberProcess, cluster, wait_until

pytestmark = pytest.mark.process
LEADER, FOLLOWER, STOPPED = 1, 2, 3
DELAY_MS = 100  # of every sync while we watch: far longer than all else between write and answer
CLIENTS_COUNT, WRITES_EACH = 4, 5
SYNC = "                self._wal.sync()\n"
DONE = "                self._sync_started_s = 0.0\n"  # else it takes its disk for a hanging one
REPORT = "                self._call_soon_threadsafe(partial(self._persisted, tokens))\n"
BREAKS = {  # how, in which module, what becomes what
    "removed": (
        "disk/wal.py",
        "        self._file.fdatasync()\n        self._unsynced = False\n",
        "        self._unsynced = False\n",
    ),
    "late": (
        "disk/wal_thread.py",
        f"{SYNC}{DONE}                tokens = tuple(write.token for write in batch)\n" + REPORT,
        f"                tokens = tuple(write.token for write in batch)\n{REPORT}{SYNC}{DONE}",
    ),
}


@dataclasses.dataclass(frozen=True)
class Event:
    """One line of a trace; times in ns of the machine's monotonic clock."""

    kind: str
    begin: int
    end: int
    fd: int
    what: str


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records, compiled here."""
    library = tmp_path_factory.mktemp("proof") / "proof.so"
    source = Path(__file__).with_name("proof.c")
    words = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(source)]
    subprocess.run([*words, "-ldl"], check=True, timeout=60)
    return library


def test_no_answer_before_the_sync_on_leader_and_follower(shim: Path, tmp_path: Path) -> None:
    """Each answer leaves after the log of the leader and of the follower was synced."""
    early = watch(shim, tmp_path, {})

    assert {LEADER: [], FOLLOWER: []} == early


@pytest.mark.parametrize(
    "breaks",
    [{LEADER: "removed", FOLLOWER: "late"}, {LEADER: "late", FOLLOWER: "removed"}],
    ids=lambda breaks: "-".join(breaks.values()),
)
def test_the_proof_can_fail(shim: Path, tmp_path: Path, breaks: dict[int, str]) -> None:
    """A sync that is missing, or comes after the report, is found on either member."""
    early = watch(shim, tmp_path, breaks)

    assert {LEADER: True, FOLLOWER: True} == {
        member: bool(found) for member, found in early.items()
    }


def watch(shim: Path, folder: Path, breaks: Mapping[int, str]) -> dict[int, list[str]]:
    """Write documents; return for leader and follower the markers that were answered too early."""
    told = folder / "delay"
    environments = {
        member: {
            "LD_PRELOAD": str(shim),
            "PROOF_TRACE": str(folder / f"trace-{member}"),
            "PROOF_DELAY": str(told),
            "PROOF_DELAY_MS": str(DELAY_MS),
        }
        for member in (LEADER, FOLLOWER)
    }
    for member, how in breaks.items():
        environments[member]["PYTHONPATH"] = str(broken_copy(folder / f"copy-{member}", how))
    with cluster(3, environments=environments) as members:
        lead(members)
        assert members[LEADER].query('Collection.create({name: "Proof"})').status == 200
        members.wait_until_all_agree()
        members[STOPPED].signal(signal.SIGSTOP)
        told.touch()
        markers = write_documents(members[LEADER])
        told.unlink()
        traces = {
            member: list(read_trace(folder / f"trace-{member}.{members[member].pid}"))
            for member in (LEADER, FOLLOWER)
        }
    answers = {e.what: e.begin for e in reversed(traces[LEADER]) if e.kind == "O"}
    assert set(markers) <= answers.keys(), "every answer was seen leaving"
    return {
        member: [m for m in markers if not is_covered(trace, m, answers[m])]
        for member, trace in traces.items()
    }


def lead(members: Cluster) -> None:
    """Let the member lead whose answers are watched."""
    leader = members.leader()
    if leader is not members[LEADER]:
        leader.admin("/cluster/transfer", {"to": LEADER})
        wait_until(members[LEADER].leads, "member 1 leads")


def write_documents(leader: MemberProcess) -> list[str]:
    """Write from several clients at once, so that syncs are shared; return the markers."""
    markers: list[str] = []

    def run(client: int) -> None:
        for number in range(WRITES_EACH):
            marker = f"PROOF-{client:04}{number:04}"
            answer = leader.query(f'Proof.create({{marker: "{marker}"}})', timeout_s=60)
            assert answer.data["marker"] == marker
            markers.append(marker)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(CLIENTS_COUNT)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert CLIENTS_COUNT * WRITES_EACH == len(markers)
    return markers


def is_covered(trace: list[Event], marker: str, answered: int) -> bool:
    """Return whether a sync began after the marker was written, and worked, before the answer."""
    return any(
        sync.kind == "S"
        and sync.what == "0"
        and sync.fd == write.fd
        and write.end <= sync.begin
        and sync.end <= answered
        for write in trace
        if write.kind == "W" and write.what == marker
        for sync in trace
    )


def read_trace(path: Path) -> Iterator[Event]:
    for line in path.read_text().splitlines():
        kind, begin, end, fd, what = line.split(" ", 4)
        yield Event(kind, int(begin), int(end), int(fd), what)


def broken_copy(folder: Path, how: str) -> Path:
    """Copy the program and break how it syncs its log; return the import path."""

    source = Path(faunadb.__file__).parent
    shutil.copytree(source, folder / "faunadb", ignore=shutil.ignore_patterns("__pycache__"))
    module, correct, broken = BREAKS[how]
    path = folder / "faunadb" / module
    text = path.read_text()
    assert 1 == text.count(correct), "the program has changed"
    path.write_text(text.replace(correct, broken))
    return folder
