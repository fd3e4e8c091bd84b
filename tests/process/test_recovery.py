"""Two of three members are lost for ever: the survivor goes on alone, and the cluster regrows."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faunadb.backup.segments import held
from faunadb_sim.linearizable import check
from process.cluster import Cluster, MemberProcess, cluster, run_program, wait_until
from process.load import load
from process.test_archive import ArchiveProcess, archive_of

pytestmark = pytest.mark.process
USAGE, IDENTITY = 64, 78
WRITES_MIN = 500
RECOVERY = ("--recover-single", "--from-incarnation", "1", "--to-incarnation", "2")


@pytest.fixture
def five() -> Iterator[Cluster]:
    """Members 1 to 3 are a cluster; 4 and 5 are not started yet."""
    with cluster(5, formed=False) as made:
        for member in made.members[3:]:
            member.kill()
        Cluster(made.members[:3], made.folder, made.cluster_id).form()
        yield made


def inspected(data_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_program("inspect", str(data_dir)).stdout)
    return found


def last_entry(member: MemberProcess) -> tuple[int, int]:
    """Return how far a stopped member's log goes, as the operator compares it."""
    last = inspected(member.data_dir)["log"]["last"]
    return last["term"], last["index"]


def of_incarnation(member: MemberProcess, number: int, *more: str) -> list[str]:
    words = list(member.arguments)
    words[words.index("--incarnation") + 1] = str(number)
    return [*words, *more]


def lose_two(five: Cluster) -> tuple[MemberProcess, MemberProcess, Path]:
    """Kill all three at once; return the survivor, a lost member, and the folder it had."""
    trio = five.members[:3]
    for member in trio:
        assert member.process is not None
        member.process.kill()
    for member in trio:
        member.kill()
    survivor = max(trio, key=last_entry)
    first, second = (member for member in trio if member is not survivor)
    kept = first.data_dir.with_name("put-aside")
    first.data_dir.rename(kept)
    shutil.rmtree(second.data_dir)
    return survivor, first, kept


def regrow(five: Cluster, survivor: MemberProcess) -> None:
    for member in five.members[3:]:
        member.arguments = of_incarnation(member, 2)
        member.start()
        wait_until(member.status, "a new member answers")
    five.grow(five.members[3:])
    five.open(3)
    voters = [found["id"] for found in five.leader().status()["configuration"]["voters"]]
    assert [survivor.place.id, 4, 5] == voters


def test_a_survivor_is_recovered_and_the_cluster_regrows(five: Cluster, tmp_path: Path) -> None:
    """Nothing that the survivor holds is lost, and one history goes through it all.

    The survivor is the one with the highest last entry of all three, therefore it has every
    write that was acknowledged, and the checker must find the whole history linearizable.
    An archive that runs beside it all has the log of both incarnations, each in its folder.
    """
    with archive_of(five, tmp_path, five.members[:3]) as archive, load(five) as running:
        wait_until(archive.is_ready, "the archive is ready")
        running.wait_for_writes(WRITES_MIN)
        before = max(member.status().get("txn_ts", 0) for member in five.members[:3])
        cursor = a_cursor(five.leader())
        survivor, former, kept = lose_two(five)
        old = inspected(survivor.data_dir)
        survivor.arguments = of_incarnation(survivor, 2, *RECOVERY)
        survivor.start()
        wait_until(survivor.leads, "the survivor leads")
        alone = survivor.status()
        check_alone(survivor, alone, old)
        refused = survivor.query('Collection.create({name: "TooEarly"})')
        assert 429 == refused.status, "one disk holds everything (SAFETY 26)"

        regrow(five, survivor)
        running.wait_for_writes(WRITES_MIN)
        former_comes_back(five, former, kept)
        running.wait_for_writes(WRITES_MIN)
        late = five.leader().query(f'Set.paginate("{cursor}")')
        check_archive(five, archive, tmp_path)
    former.kill()
    five.wait_until_all_agree()

    assert (400, "invalid_cursor") == (late.status, late.body["error"]["code"])
    assert before < five.leader().status()["txn_ts"]
    assert check(running.history) is None
    restart_without_the_options(five, survivor)


def check_archive(five: Cluster, archive: ArchiveProcess, store: Path) -> None:
    """What the survivor kept is archived again, in the folder of the incarnation that began."""
    archive.wait_for(five.leader().status()["commit"])
    assert (2, []) == (archive.status()["incarnation"], archive.status()["gaps"])
    folders = sorted((store / five.cluster_id / "log").iterdir())
    assert 2 == len(folders)
    for folder in folders:
        found = held(str(path) for path in folder.iterdir())
        assert (1, []) == (found.segments[0].first, found.holes())


def a_cursor(leader: MemberProcess) -> str:
    """Return the cursor behind the first page of a set."""
    page = leader.query("Set.sequence(0, 10).pageSize(2)")
    return str(page.data["after"])


def check_alone(survivor: MemberProcess, alone: dict[str, Any], old: dict[str, Any]) -> None:
    """The survivor is the only voter of incarnation 2, under the same nonce and a fresh salt."""
    configuration = alone["configuration"]
    assert [survivor.place.id] == [found["id"] for found in configuration["voters"]]
    assert ([], 3) == (configuration["learners"], configuration["highest_member_id"])
    assert (2, old["nonce"]) == (alone["incarnation"], alone["nonce"])
    assert old["incarnation_salt"] != alone["incarnation_salt"]
    assert not alone["open"]
    kept = old["log"]["last"]["index"]
    assert f"everything up to {kept} is kept" in survivor.log.read_text()


def former_comes_back(five: Cluster, former: MemberProcess, kept: Path) -> None:
    """A member of the former incarnation is refused by everybody, and changes nothing."""
    before = five.leader().status()["configuration"]["id"]
    kept.rename(former.data_dir)
    shown = inspected(former.data_dir)
    former.start()
    wait_until(lambda: former.log.read_text().count("wrong incarnation") >= 3, "it is refused")
    status = former.status()
    assert (1, shown["nonce"]) == (status["incarnation"], status["nonce"])
    assert "leader" != status["role"]
    assert 200 != former.query("1 + 1", timeout_s=20).status
    assert before == five.leader().status()["configuration"]["id"]


def restart_without_the_options(five: Cluster, survivor: MemberProcess) -> None:
    """A recovered member is a member like any other; the former incarnation is over for it."""
    salt = survivor.status()["incarnation_salt"]
    survivor.kill()
    old = run_program(*of_incarnation(survivor, 1)[:-5], check=False)
    survivor.arguments = of_incarnation(survivor, 2)[:-5]
    survivor.start()
    five.wait_until_all_agree()
    wait_until(survivor.status, "the survivor answers")
    assert IDENTITY == old.returncode
    assert salt == survivor.status()["incarnation_salt"]


def test_what_recovery_refuses(five: Cluster) -> None:
    """Options that contradict each other are 64; a directory of another incarnation is 78."""
    member = five[2]
    member.kill()
    wrong = [
        of_incarnation(member, 2, "--recover-single"),
        of_incarnation(member, 2, "--from-incarnation", "1"),
        of_incarnation(member, 1, *RECOVERY),
        of_incarnation(member, 2, "--recover-single", "--from-incarnation", "2", *RECOVERY[3:]),
    ]
    assert [USAGE] * len(wrong) == [run_program(*words, check=False).returncode for words in wrong]
    other = of_incarnation(
        member, 4, "--recover-single", "--from-incarnation", "3", "--to-incarnation", "4"
    )
    empty = of_incarnation(five[4], 2, *RECOVERY)
    assert [IDENTITY] * 2 == [run_program(*w, check=False).returncode for w in (other, empty)]
    assert 1 == inspected(member.data_dir)["incarnation"]
