"""Members whose disk is slow, or fails: nobody waits for a slow one, and a broken one ends."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faunadb.cli.exits import IO_ERROR
from kind_test_helpers.bad_disk import BadDisk, compile_shim, failing, slow
from process.cluster import NO_ANSWER, Cluster, MemberProcess, cluster, wait_until

pytestmark = pytest.mark.process

MEMBERS, WRITES = 3, 20
ONCE = 'if (Thing.byId("1") == null) { Thing.create({ id: "1" }) }'
SLOW_S = 30.0  # of one sync: far longer than all writes together


@pytest.fixture
def disks(tmp_path: Path) -> dict[int, BadDisk]:
    """A disk for each member."""
    library = compile_shim(tmp_path)
    return {number: BadDisk(library, tmp_path / f"order-{number}") for number in (1, 2, 3)}


@pytest.fixture
def members(disks: dict[int, BadDisk]) -> Iterator[Cluster]:
    """Three members on disks that do as they should, with a collection."""
    environments = {number: disk.environment for number, disk in disks.items()}
    with cluster(MEMBERS, environments=environments) as found:
        assert written(found.leader(), 'Collection.create({ name: "Thing" })')
        yield found


def written(member: MemberProcess, text: str) -> bool:
    """Whether a member acknowledged."""
    try:
        return member.query(text).status == 200
    except NO_ANSWER:
        return False


def test_nobody_waits_for_a_follower_with_a_slow_disk(
    members: Cluster, disks: dict[int, BadDisk]
) -> None:
    """A majority without the slow one acknowledges, many times faster than one of its syncs."""
    slowed = members.followers()[0]
    with disks[slowed.place.id].obeys(slow(SLOW_S, "/wal/")):
        began = time.monotonic()
        for _ in range(WRITES):
            assert written(members.leader(), "Thing.create({})")
        took = time.monotonic() - began

    assert took < SLOW_S


@pytest.mark.parametrize("leads", [True, False])
def test_a_member_ends_when_its_log_cannot_be_synced(
    members: Cluster, disks: dict[int, BadDisk], *, leads: bool
) -> None:
    """It exits with the code of an I/O error and never tries again; the others acknowledge."""
    hurt = members.leader() if leads else members.followers()[0]
    others = [member for member in members.members if member is not hurt]
    with disks[hurt.place.id].obeys(failing("sync", "/wal/")):
        wait_until(
            lambda: (
                any(written(member, ONCE) for member in others)
                and hurt.process is not None
                and hurt.process.poll() is not None
            ),
            "the others acknowledge, and it ends",
        )
        assert IO_ERROR == hurt.exit_code()

    hurt.start()
    wait_until(hurt.status, "it answers again")
    members.wait_until_all_agree()
    assert "1" == hurt.query('Thing.byId("1")!.id').data
