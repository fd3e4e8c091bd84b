"""Disks that fail at the n-th call, and bytes that change while a member is stopped.

A member with a failing disk ends and says so; the others go on. A member whose bytes changed has
everything that was acknowledged, or refuses with a reason, and can be replaced. What can be proven
about a damaged directory is asked of many copies of two real ones, one of a member that stopped
cleanly and one of a member that was killed: `MATRIX_DAMAGES=3000` makes more.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from e2e.workload import Workload
from faunadb.cli.exits import IDENTITY_OR_CORRUPTION, IO_ERROR
from faunadb.disk.boot import SHARED_MEMORY, Boot, this_boot
from kind_test_helpers.bad_disk import BadDisk, Call, compile_shim, failing
from process.cluster import Cluster, MemberProcess, cluster, wait_until
from process.damage import KINDS, Found, damage, file_of, probe

pytestmark = [pytest.mark.process, pytest.mark.new]
DAMAGES = int(os.environ.get("MATRIX_DAMAGES", "150"))
FAILURES = int(os.environ.get("MATRIX_FAILURES", "1"))  # rounds
SEED = int(os.environ.get("MATRIX_SEED", "1"))
NTH_MAX = 60
WRITES = 60
DOCUMENTS = 25  # between snapshots
NEXT_BOOT = Boot("the machine was started again", "pod")
MAY_REFUSE = {
    "identity",
    "newest segment",
    "older segment",
    "state",
}  # all else can be done without
FAILING: tuple[tuple[Call, str], ...] = (
    ("sync", "/wal/"),
    ("write", "/wal/"),
    ("write", "/state-"),
)


def test_failing_at_the_nth_call(tmp_path: Path) -> None:
    """EIO from the n-th write or fsync on: the member ends with 74, and no answer is lost."""
    chance, library = Random(SEED), compile_shim(tmp_path)
    disks = {n: BadDisk(library, tmp_path / f"order-{n}") for n in (1, 2, 3)}
    environments = {number: disk.environment for number, disk in disks.items()}
    with (
        cluster(3, environments=environments) as members,
        Workload([m.place.endpoint for m in members.members], seed=SEED) as workload,
    ):
        for call, part in FAILING * FAILURES:
            hurt = chance.choice([members.leader(), *members.followers()])
            order = failing(call, part, nth=chance.randrange(1, NTH_MAX))
            with workload.fault(f"{order} of {hurt.place.id}"), disks[hurt.place.id].obeys(order):
                assert IO_ERROR == hurt.exit_code()
                workload.run_until(writes=WRITES)
            hurt.start()
            members.wait_until_all_agree()
        workload.run_until(writes=max(WRITES, 1000 - workload.acknowledged()))
    print(workload.report())
    workload.faults = [fault for fault in workload.faults if workload.in_flight(fault)]
    workload.assert_linearizable()


# ---------------------------------------------------------------- bytes that change


class Kept:
    """Copies of the directories of two stopped members of one cluster."""

    def __init__(self, folder: Path, members: Cluster) -> None:
        self.folder, self.members = folder, members
        self.clean, self.killed = members.followers()
        self.written = 0

    def write(self, count: int) -> None:
        leader = self.members.leader()
        for _ in range(count):
            self.written += 1
            text = f'Proof.create({{marker: "PROOF-{self.written:08}", pad: "{"x" * 300}"}})'
            assert leader.query(text).status == 200

    def copy(self, name: str) -> Path:
        """Make a fresh copy to damage."""
        target = self.folder / "copy"
        shutil.rmtree(target, ignore_errors=True)
        _copy(self.folder / name, target)
        return target


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    """Directories with a log, two snapshots and a state; the leader and the cluster go on."""
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="damage-") as folder,
        cluster(4, formed=False) as members,
    ):
        members[4].kill()
        trio = Cluster(members.members[:3], members.folder, members.cluster_id)
        trio.form()
        assert trio.leader().query('Collection.create({name: "Proof"})').status == 200
        found = Kept(Path(folder), trio)
        for number in range(3):
            found.write(DOCUMENTS)
            for member in (found.clean, found.killed):
                assert number == 2 or member.admin("/snapshot?fresh=true").status == 200
            if number == 0:  # so that there is a sealed segment
                found.killed.kill()
                found.killed.start()
            trio.wait_until_all_agree()
        found.clean.signal(signal.SIGTERM)
        assert found.clean.exit_code() == 0
        found.killed.kill()
        for name, member in (("clean", found.clean), ("killed", found.killed)):
            _copy(member.data_dir, found.folder / name)
        found.members.members.append(members[4])
        yield found


@pytest.mark.parametrize("name", ["clean", "killed"])
def test_changed_bytes(kept: Kept, name: str) -> None:
    """Everything that was acknowledged is there, or the member refuses and says which file it is.

    A state that kills its reader is found dead here; `test_a_torn_state_heals` is what follows.
    """
    chance, boot = Random(f"{SEED}-{name}"), NEXT_BOOT if name == "clean" else this_boot(None)
    everything = frozenset(range(1, kept.written + 1))
    counts: dict[str, int] = {}
    with probe() as opener:
        assert everything == opener.open(kept.copy(name), boot).markers
        for number in range(DAMAGES):
            kind = list(KINDS)[number % len(KINDS)]
            folder = kept.copy(name)
            path = file_of(folder, kind, chance)
            if path is None:
                continue
            how = damage(path, chance)
            found = opener.open(folder, boot)
            verdict = judge(found, kind, everything, tail_may_go=name == "killed")
            assert verdict, f"{how}: {found}"
            counts[f"{kind}: {verdict}"] = counts.get(f"{kind}: {verdict}", 0) + 1
    print(name, dict(sorted(counts.items())))


def judge(found: Found, kind: str, everything: frozenset[int], *, tail_may_go: bool) -> str:
    """Return how a damage ended, "" when it must not end so."""
    if found.died:
        return f"died of {found.died}" if kind == "state" and "SIG" in found.died else ""
    if found.refused:
        is_precise = re.match("[a-z]+: .{10}", found.refused) is not None
        return "refused" if is_precise and kind in MAY_REFUSE else ""
    missing = everything - found.markers
    if not missing:
        return "all there"
    is_tail = missing == {max(everything)}
    return "the last frame is gone" if tail_may_go and is_tail and "segment" in kind else ""


@pytest.mark.parametrize("how", ["torn", "no head"])
def test_a_torn_state_heals(kept: Kept, how: str) -> None:
    """A process that dies of its state builds it anew at the next start, and has everything."""
    member = kept.clean
    with put_back(member, kept.folder / "clean"):
        data = next(member.data_dir.glob("state-*/data.mdb"))
        if how == "torn":
            os.truncate(data, 3 * 4096)
        else:
            data.write_bytes(bytes(2 * 4096) + data.read_bytes()[2 * 4096 :])
        starts = until_it_serves(member, kept)

    assert starts <= 2
    assert "rebuilding" in member.log.read_text()


def until_it_serves(member: MemberProcess, kept: Kept) -> int:
    """Start it until it serves all documents by itself; return how often it had to be started."""
    starts = 1
    member.start()

    def serves() -> bool:
        nonlocal starts
        assert member.process is not None
        if member.process.poll() is not None:
            starts += 1
            member.start()
        return bool(member.status().get("applied", 0) >= kept.written)

    wait_until(serves, "it has applied everything")
    assert kept.written == member.query("Proof.all().count()").data
    return starts


def test_what_cannot_be_healed_is_replaced(kept: Kept) -> None:
    """A broken frame is exit code 78 with its reason at every start; a new member takes over."""
    member, fresh = kept.clean, kept.members.members[-1]
    with put_back(member, kept.folder / "clean"):
        segment = max(member.data_dir.glob("wal/0*.wal"))
        block = bytearray(segment.read_bytes())
        block[block.index(b"PROOF-")] ^= 1
        segment.write_bytes(block)
        for _ in range(2):
            member.start()
            assert IDENTITY_OR_CORRUPTION == member.exit_code()
            assert "frame" == member.last_line()["reason"]
        kept.killed.start()
        fresh.start()
        wait_until(fresh.status, "the new member answers")
        kept.members.grow([fresh])
        leader = kept.members.leader()
        body = {
            "op": "remove",
            "member": {"id": member.place.id},
            "if": leader.status()["configuration"]["id"],
        }
        removed = leader.admin("/cluster/membership", body)
        kept.members.wait_until_all_agree()

    assert removed.status == 200, removed.body
    assert kept.written == fresh.query("Proof.all().count()").data


@contextlib.contextmanager
def put_back(member: MemberProcess, kept: Path) -> Iterator[None]:
    """Give a member its directory as it was kept, before and after; it ends stopped."""
    member.kill()
    for last in (False, True):
        shutil.rmtree(member.data_dir)
        _copy(kept, member.data_dir)
        if not last:
            yield
            member.kill()


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-r", "--sparse=always", source, target], check=True, timeout=60)
