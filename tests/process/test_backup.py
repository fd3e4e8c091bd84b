"""Backups of real members in a real S3 server, and clusters that are restored from them."""

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kind_test_helpers.s3 import S3Server, s3_server
from process.cluster import (
    PROGRAM,
    TIED,
    Answer,
    Cluster,
    MemberProcess,
    cluster,
    run_program,
    wait_until,
)
from process.load import load
from process.test_pages import run_page

pytestmark = pytest.mark.process
REFUSED, USAGE, IO_ERROR, CORRUPT = 1, 64, 74, 78
RSS_BYTES_MAX = 200 * 1024 * 1024
LARGE_BYTES = 75 * 1000 * 1000  # two parts; bench/backup.py has larger ones


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "server") as server:
        yield server


@pytest.fixture(scope="module")
def people(three: Cluster) -> Cluster:
    """The cluster with a collection of 500 people, found by name."""
    leader = three.leader()
    definition = '{name: "Person", indexes: {byName: {terms: [{field: "name"}]}}}'
    assert leader.query(f"Collection.create({definition})").status == 200
    made = leader.query("Set.sequence(0, 500).forEach(n => Person.create({ name: 'p' + n, n: n }))")
    assert made.status == 200, made.body
    three.wait_until_all_agree()
    return three


def store(s3: S3Server, path: str = "backups/test") -> list[str]:
    return ["--store", s3.url(path), "--credentials-dir", str(s3.credentials)]


def addresses(members: Cluster) -> str:
    return ",".join(f"{m.place.host}:{m.place.admin_port}" for m in members.members)


def backup_words(members: Cluster, backup_id: str, *more: str) -> list[str]:
    return [
        "backup",
        "--members",
        addresses(members),
        "--tls-dir",
        str(members.folder / "tls" / "backup"),
        "--cluster-id",
        members.cluster_id,
        "--backup-id",
        backup_id,
        *more,
    ]


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Return the last line of standard output of a command that must have worked."""
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    return found


def reason_of(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    said: dict[str, str] = json.loads(done.stderr.rstrip().rpartition("\n")[2])
    return done.returncode, said["reason"], said["detail"]


def named(members: Cluster, backup_id: str) -> list[str]:
    return ["--cluster-id", members.cluster_id, "--backup-id", backup_id]


def restore_words(source: Cluster, backup_id: str, member: MemberProcess, *more: str) -> list[str]:
    """Return the command that makes a member's empty directory the restored one."""
    options = dict(zip(member.arguments[1::2], member.arguments[2::2], strict=True))
    same = ("--data-dir", "--cluster-id", "--incarnation", "--member-id", "--name")
    words = [word for name in same for word in (name, options[name])]
    from_ = ["--from-cluster-id", source.cluster_id, "--backup-id", backup_id]
    return ["restore", *from_, *words, *more]


def count(member: MemberProcess, collection: str = "Person") -> Answer:
    return member.query(f"{collection}.all().count()")


def test_a_backup_becomes_a_cluster(people: Cluster, s3: S3Server) -> None:
    """Backup of a follower under load, restored under a new cluster id, regrown to three.

    It holds all that was acknowledged before the question, is closed until it has regrown, and
    its first timestamp lies above everything that was told.
    """
    with load(people) as running:
        running.wait_for_writes(50)
        written = people.leader().query('Person.create({ name: "the last" }).id')
        done = run_program(
            *backup_words(people, "b1", *store(s3), "--verify", "restore", "--log-format", "json")
        )
        running.wait_for_writes(50)
        running.stop()
    made = result_of(done)
    manifest = s3.data / "backups" / "test" / people.cluster_id / "b1" / "manifest.json"
    assert 501 == json.loads(manifest.read_text())["documents"]["Person"]
    assert "restore" == made["verified"]
    assert made["member"] in {m.place.name for m in people.followers()}
    assert {"snapshot", "download", "upload", "restore"} <= {
        json.loads(line)["event"] for line in done.stderr.splitlines()
    }
    with cluster(3, formed=False) as restored:
        first = restored[1]
        first.kill()
        floor = made["txn_ts"] + 60_000_000
        words = restore_words(people, "b1", first, *store(s3), "--floor-ts", str(floor))
        foretold = result_of(run_program(*words, "--dry-run"))
        assert not (first.data_dir / "IDENTITY").exists()
        done_ = result_of(run_program(*words))
        assert done_ == result_of(run_program(*words)), "a retry says the same"
        assert [made[key] for key in ("index", "term", "txn_ts", "state_hash")] == [
            done_[key] for key in ("index", "term", "txn_ts", "state_hash")
        ]
        assert made["state_hash"] == done_["expected_state_hash"] == foretold["expected_state_hash"]
        assert made["index"] == foretold["lost_after_index"] == done_["lost_after_index"]
        first.start()
        wait_until(first.leads, "the restored member leads")
        status = first.status()
        assert (False, done_["nonce"], 1) == (
            status["open"],
            status["nonce"],
            len(status["configuration"]["voters"]),
        )
        assert 501 == count(first).data
        assert 429 == first.query("Person.create({})").status, "one disk holds everything"
        grow(restored)
        answer = restored.leader().query('Person.create({ name: "new" })')
        assert answer.status == 200, answer.body
        assert max(floor, done_["ts_ceiling"]) < answer.body["txn_ts"]
        restored.wait_until_all_agree()
        for member in restored.members:
            assert 502 == count(member).data
            found = member.query('Person.byName("the last").first()!.id')
            assert written.data == found.data


def grow(restored: Cluster) -> None:
    """Make the waiting members voters, as the operator does, and let clients write."""
    for member in restored.members[1:]:
        added = {"id": member.place.id, "name": member.place.name}
        restored._change("add_learner", partial(as_it_is, added))
    for member in restored.members[1:]:
        restored._change("promote", partial(caught_up, member_id=member.place.id))
    body = {"voters": len(restored.members)}
    wait_until(
        lambda: restored.leader().admin("/cluster/open", body).status == 200, "clients may write"
    )


def as_it_is(member: dict[str, Any], _status: dict[str, Any]) -> dict[str, Any]:
    return member


def caught_up(status: dict[str, Any], *, member_id: int) -> dict[str, Any]:
    for member in status.get("members") or ():
        if member["id"] == member_id and member["caught_up"] and member["nonce"]:
            return {"id": member_id, "nonce": member["nonce"]}
    return {}


def test_in_place_what_came_after_is_gone_and_cannot_come_back(
    s3: S3Server, tmp_path: Path
) -> None:
    """The same cluster in a later incarnation, under a new member id.

    Cursors of the former one are invalid, times go on above them, and the former member's
    directory does not start as a part of it (SAFETY 25).
    """
    with cluster(1) as members:
        former = members[1]
        former.query('Collection.create({ name: "Person" })')
        former.query("Set.sequence(0, 40).forEach(n => Person.create({ n: n }))")
        done = run_program(*backup_words(members, "b1", *store(s3, "backups/in-place")))
        made = result_of(done)
        former.query("Set.sequence(0, 40).forEach(n => Person.create({ n: n }))")
        page = former.query("Person.all().pageSize(5)")
        cursor, told = page.data["after"], former.status()["ts_ceiling"]
        former.kill()

        words = [str(w) for w in former.arguments]
        for option, value in (
            ("--incarnation", "2"),
            ("--member-id", "2"),
            ("--data-dir", str(members.folder / "data-2")),
        ):
            words[words.index(option) + 1] = value
        later = replace(former, arguments=words, data_dir=members.folder / "data-2", process=None)
        members.members.append(later)
        restore = restore_words(members, "b1", later, *store(s3, "backups/in-place"))
        restored = result_of(run_program(*restore, "--floor-ts", str(told)))
        assert (2, 2, made["state_hash"]) == (
            restored["incarnation"],
            restored["member_id"],
            restored["state_hash"],
        )
        later.start()
        wait_until(later.leads, "the restored member leads")
        assert 200 == later.admin("/cluster/open", {"voters": 1}).status
        assert 40 == count(later).data
        refused = later.query(f'Set.paginate("{cursor}")')
        assert (400, "invalid_cursor") == (refused.status, refused.body["error"]["code"])
        answer = later.query("Person.create({ n: 99 })")
        assert told < answer.body["txn_ts"], answer.body
        status = later.status()
        assert (2, [2]) == (
            status["incarnation"],
            [voter["id"] for voter in status["configuration"]["voters"]],
        )
        wrong = list(former.arguments)
        wrong[wrong.index("--incarnation") + 1] = "2"
        assert CORRUPT == run_program(*wrong, check=False).returncode


def test_one_flipped_byte_is_found_and_named(people: Cluster, s3: S3Server, tmp_path: Path) -> None:
    """In each object, by `verify` and by `restore`: exit 78 with the object's name."""
    where = store(s3, "backups/flipped")
    result_of(run_program(*backup_words(people, "b1", *where)))
    folder = s3.data / "backups" / "flipped" / people.cluster_id / "b1"
    objects = sorted(path for path in folder.iterdir() if path.is_file())
    assert ["data-00001.zst", "manifest.json"] == [path.name for path in objects]
    for path in objects:
        block = path.read_bytes()
        at = random.randrange(len(block))
        path.write_bytes(block[:at] + bytes((block[at] ^ 1,)) + block[at + 1 :])
        never = replace_data_dir(people[1], tmp_path / "never")
        for words in (
            ["verify", *named(people, "b1"), *where],
            restore_words(people, "b1", never, *where),
        ):
            code, _, detail = reason_of(run_program(*words, check=False))
            assert (CORRUPT, True) == (code, f"b1/{path.name}" in detail), detail
        path.write_bytes(block)
    assert not (tmp_path / "never" / "IDENTITY").exists()
    made = result_of(run_program("verify", *named(people, "b1"), *where, "--restore"))
    assert "restore" == made["verified"]


def replace_data_dir(member: MemberProcess, data_dir: Path) -> MemberProcess:
    words = list(member.arguments)
    words[words.index("--data-dir") + 1] = str(data_dir)
    return replace(member, arguments=words)


def test_a_killed_job_is_never_complete_and_is_made_good(
    people: Cluster, s3: S3Server, tmp_path: Path
) -> None:
    """Killed at any moment there is no manifest, or all of it; the same command ends it."""
    where = store(s3, "backups/killed")
    manifest = s3.data / "backups" / "killed" / people.cluster_id / "b1" / "manifest.json"
    words = backup_words(people, "b1", *where, "--scratch-dir", str(tmp_path))
    for delay_s in (0.8, 1.2, 1.6):
        process = subprocess.Popen([*TIED, *PROGRAM, *words], stderr=subprocess.DEVNULL)
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        if not manifest.exists():
            verified = run_program("verify", *named(people, "b1"), *where, check=False)
            assert (REFUSED, "no_backup") == reason_of(verified)[:2]
    made = result_of(run_program(*words))
    assert made == result_of(run_program(*words)), "a complete one is told again"


def test_another_member_gives_what_a_lost_one_began(s3: S3Server) -> None:
    """The follower that is read dies in the middle: the backup is of the next one."""
    with cluster(3) as members:
        leader = members.leader()
        leader.query('Collection.create({ name: "Blob" })')
        text = random.Random(1).randbytes(400_000).hex()
        for _ in range(20):
            body = {"query": "Blob.create({ text: text })", "arguments": {"text": text}}
            assert leader.post(json.dumps(body).encode()).status == 200
        where = store(s3, "backups/lost")
        words = backup_words(members, "b1", *where, "--bandwidth-mib-s", "4")
        process = subprocess.Popen(
            [*TIED, *PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        asked = next(line for line in process.stderr if "download" in line).split("member=")[1]
        [lost] = [
            member
            for member in members.members
            if asked.strip() == f"{member.place.host}:{member.place.admin_port}"
        ]
        assert lost in members.followers()
        lost.kill()
        said, _ = process.communicate(timeout=120)
        made = json.loads(said.rstrip().rpartition("\n")[2])
        assert (20, True) == (made["documents"], made["member"] != lost.place.name)


def test_what_is_refused(people: Cluster, s3: S3Server, tmp_path: Path) -> None:
    """Each refusal has its code and its word; nothing was written."""
    where = store(s3, "backups/refused")
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "access-key-id").write_text("nobody")
    (wrong / "secret-access-key").write_text("nothing")
    member_leaf = [*backup_words(people, "b2", *where)]
    member_leaf[member_leaf.index("--cluster-id") + 1] = "0" * 32
    url = ["--store", "gs://bucket/x"]
    cases = {
        "no_backup": (REFUSED, ["verify", *named(people, "b9"), *where]),
        "no_member": (IO_ERROR, member_leaf),
        "store": (
            IO_ERROR,
            ["verify", *named(people, "b1"), *where[:2], "--credentials-dir", str(wrong)],
        ),
        "usage": (USAGE, ["verify", *named(people, "b1"), *url]),
        "directory_taken": (REFUSED, restore_words(people, "b1", copied(people[2]), *where)),
    }
    found = {
        word: reason_of(run_program(*words, check=False)) for word, (_, words) in cases.items()
    }

    assert {word: (code, word) for word, (code, _) in cases.items()} == {
        word: (code, reason) for word, (code, reason, _) in found.items()
    }
    assert USAGE == run_program(*backup_words(people, "../b", *where), check=False).returncode


def copied(member: MemberProcess) -> MemberProcess:
    """Return a member whose directory holds the IDENTITY of another."""
    folder = member.data_dir.with_name(f"{member.data_dir.name}-copied")
    folder.mkdir()
    (folder / "IDENTITY").write_bytes((member.data_dir / "IDENTITY").read_bytes())
    return replace_data_dir(member, folder)


def test_a_folder_is_a_store(people: Cluster, tmp_path: Path) -> None:
    """A mounted volume holds the same objects; discarded twice, the backup is gone once."""
    where = ["--store", f"file://{tmp_path}/backups"]
    made = result_of(run_program(*backup_words(people, "b1", *where)))
    folder = tmp_path / "backups" / people.cluster_id / "b1"

    assert ["data-00001.zst", "manifest.json"] == sorted(p.name for p in folder.iterdir())
    assert made["state_hash"] == json.loads((folder / "manifest.json").read_text())["state_hash"]
    for removed in (2, 0):
        done = run_program("discard", *named(people, "b1"), *where)
        assert removed == result_of(done)["objects_removed"]
    assert [] == list((tmp_path / "backups").iterdir())


def test_a_large_state_needs_little_memory(s3: S3Server, tmp_path: Path) -> None:
    """75 MB of documents that hardly compress: backup and restore stay below 200 MiB."""
    with cluster(1) as members:
        member = members[1]
        member.query('Collection.create({ name: "Blob" })')
        chance = random.Random(1)
        for _ in range(LARGE_BYTES // 5_000_000):
            body = {
                "query": "texts.forEach(text => Blob.create({ text: text }))",
                "arguments": {"texts": [chance.randbytes(25_000).hex() for _ in range(100)]},
            }
            assert member.post(json.dumps(body).encode(), timeout_s=60).status == 200
        where = store(s3, "backups/large")
        made, peak = run_measured(
            backup_words(members, "b1", *where, "--verify", "restore"), tmp_path
        )
        assert (True, 2) == (made["size_bytes"] > LARGE_BYTES, made["parts"])
        assert peak < RSS_BYTES_MAX, f"the backup took {peak >> 20} MiB"
        target = replace_data_dir(member, tmp_path / "restored")
        restored, peak = run_measured(restore_words(members, "b1", target, *where), tmp_path)
        assert made["state_hash"] == restored["state_hash"]
        assert peak < RSS_BYTES_MAX, f"the restore took {peak >> 20} MiB"


PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(str(peak * 1024))
sys.exit(code)
"""


def run_measured(words: list[str], tmp_path: Path) -> tuple[dict[str, Any], int]:
    """Return a command's result and the most memory that it or a process of its own took."""
    peak = tmp_path / "peak"
    command = [*TIED, PROGRAM[0], "-c", PEAK, str(peak), *PROGRAM, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    return result_of(done), int(peak.read_text())


def test_the_page_about_backups(tmp_path: Path) -> None:
    """Every command of `docs/backup.md` does what the page says."""
    said = run_page("backup.md", tmp_path)

    assert '"verified": "restore"' in said
    assert '"Ada"' in said
    assert 2 <= said.count('"state_hash"')
