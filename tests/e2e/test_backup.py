"""Backups of a running cluster by Jobs: made, killed, damaged, deleted, and made again by time."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from e2e.backups import BUCKET, EVERY_SECONDS, HANG_SECONDS, Backed, backed, fill
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import exists

pytestmark = [pytest.mark.e2e, pytest.mark.new]

SPACE = "backups"
MEGABYTES = 140  # three parts


@pytest.fixture(scope="module")
def here(kubernetes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """Three members with documents, an operator, and a store; for all tests of this file."""
    kubernetes.make_namespace(SPACE)
    with backed(kubernetes, SPACE, tmp_path_factory.mktemp("s3")) as found:
        print(f"\n{MEGABYTES} MB written in {fill(found.database, MEGABYTES):.1f} s")
        yield found
        kubernetes.kubectl("delete", "namespace", SPACE, "--wait=false")


def seconds(status: dict[str, str]) -> float:
    first, last = (datetime.fromisoformat(status[key]) for key in ("startedAt", "completedAt"))
    return (last - first).total_seconds()


def test_a_backup_is_made_restored_and_counted(here: Backed) -> None:
    """A Job makes it from a follower and restores it into scratch; no member gets credentials."""
    name = here.fresh("counted")
    here.backup(name, verify="Restore")
    status = here.await_phase(name, "Completed", "Failed")

    assert "Completed" == status["phase"], status
    assert ("Restore", 1) == (status["verified"], status["attempts"])
    assert status["parts"] >= 2
    assert status["parts"] + 1 == len(here.objects(name))
    leader = here.database.status()["leader"]
    assert not status["member"].startswith(f"{leader}.")
    told = here.cluster.kubectl("get", "faunabackup", name, "-n", SPACE, "--no-headers").split()
    assert [name, "orders", "Completed", status["size"]] == told[:4]
    assert "Restore" in told
    print(f"\n{told}")
    print(f"{status['size']} in {status['parts']} parts, {seconds(status):.0f} s with Restore")
    mounted = {
        volume["secret"]["secretName"]
        for pod in here.database.pods()
        for volume in pod["spec"]["volumes"]
        if "secret" in volume
    }
    assert "s3" not in mounted

    def summed_up() -> bool:
        known = here.database.status().get("backup", {})
        said = (known.get("lastSuccessfulName"), known.get("lastVerifiedTime"))
        return said == (name, status["verifiedAt"])

    what = "status.backup of the cluster"
    await_that(what, summed_up, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)


@pytest.mark.parametrize("way", ["kill -9", "deleted"])
def test_a_job_killed_in_the_middle_is_never_completed(here: Backed, way: str) -> None:
    """After its first part the pod dies, the operator too: the next try makes the whole backup."""
    name = here.fresh(f"killed-{way[0]}")
    here.backup(name, bandwidthMiBPerSecond=20)
    begun = lambda: here.objects(name) or None  # noqa: E731
    await_that("a part", begun, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)
    assert "manifest.json" not in here.objects(name)
    [pod] = here.pods(name)
    if way == "kill -9":
        here.cluster.faults.kill(SPACE, pod["metadata"]["name"])
    else:
        here.cluster.faults.delete(SPACE, pod["metadata"]["name"])
    selector = ("-l", "app.kubernetes.io/name=fauna-operator", "--wait=false")
    here.cluster.kubectl("delete", "pod", "-n", SPACE, *selector)

    def ended() -> str | None:
        phase, whole = here.status(name)["phase"], "manifest.json" in here.objects(name)
        assert phase != "Completed" or whole
        return phase if phase in ("Completed", "Failed") else None

    phase = await_that("the next try", ended, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)

    status = here.status(name)
    assert "Completed" == phase, status
    assert 2 == status["attempts"]
    assert 0 == here.cli("verify", name).returncode
    print(f"\n{way}: completed at try {status['attempts']} after {seconds(status):.0f} s")


def test_one_flipped_byte_is_found_and_named(here: Backed) -> None:
    """A part that is not as it was written is named, with exit code 78."""
    name = here.fresh("damaged")
    here.backup(name)
    assert "Completed" == here.await_phase(name, "Completed", "Failed")["phase"]
    part = sorted(here.folder(name).glob("data-*"))[1]
    block = bytearray(part.read_bytes())
    block[len(block) // 2] ^= 1
    part.write_bytes(block)

    found = here.cli("verify", name)

    assert 78 == found.returncode
    assert part.name in found.stderr
    print(f"\n{found.stderr.strip().splitlines()[-1]}")


def test_the_data_go_with_the_resource(here: Backed) -> None:
    """Delete takes the objects along, Retain leaves them."""
    for name, policy in (("going", "Delete"), ("staying", "Retain")):
        here.backup(name, deletionPolicy=policy, verify="None")
    folders = {}
    for name in ("going", "staying"):
        assert "Completed" == here.await_phase(name, "Completed", "Failed")["phase"]
        folders[name] = here.folder(name)
        assert (folders[name] / "manifest.json").exists()
        here.cluster.kubectl("delete", "faunabackup", name, "-n", SPACE, "--wait=false")
        here.await_gone(name)

    assert [False, True] == [
        (folders[name] / "manifest.json").exists() for name in ("going", "staying")
    ]
    assert not list(folders["going"].glob("*"))


def test_a_store_that_refuses_fails_the_backup_and_nothing_else(here: Backed) -> None:
    """Wrong credentials: Failed with the store's words; the cluster does not notice."""
    name = here.fresh("refused")
    here.cluster.kubectl(
        *("create", "secret", "generic", name, "-n", SPACE),
        *("--from-literal=access-key-id=nobody", "--from-literal=secret-access-key=nothing"),
    )
    storage = {
        "bucket": BUCKET,
        "endpoint": here.server.endpoint,
        "forcePathStyle": True,
        "credentials": {"secretName": name},
    }
    before = {pod["metadata"]["uid"] for pod in here.database.pods()}

    here.backup(name, storage={"s3": storage}, backoffLimit=0)
    status = here.await_phase(name, "Completed", "Failed")

    assert "Failed" == status["phase"]
    assert before == {pod["metadata"]["uid"] for pod in here.database.pods()}
    print(f"\n{status['error']}")


def test_a_volume_as_store(here: Backed) -> None:
    """A backup on a volume is made, verified and deleted like one in a bucket."""
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "nas", "namespace": SPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    here.cluster.apply(claim)
    here.backup("filed", storage={"pvc": {"claimName": "nas", "subPath": "orders"}})
    status = here.await_phase("filed", "Completed", "Failed")

    assert "Completed" == status["phase"], status
    assert f"pvc://nas/orders/{status['clusterID']}/{status['backupID']}" == status["uri"]
    print(f"\non a volume: {status['size']} in {seconds(status):.0f} s")
    here.cluster.kubectl("delete", "faunabackup", "filed", "-n", SPACE, "--wait=false")
    here.await_gone("filed")


def test_backups_come_in_time_and_old_ones_go(here: Backed) -> None:
    """One at once and one a minute; two are kept, with their data; suspended, none comes."""
    spec = {"schedule": "* * * * *", "immediate": True, "retention": {"keepLast": 2}}
    here.schedule("minutely", spec)
    seen = dict[str, str]()

    def enough() -> bool:
        found = here.scheduled("minutely")
        seen.update({item["metadata"]["name"]: item["metadata"]["uid"] for item in found})
        done = [item for item in found if item.get("status", {}).get("phase") == "Completed"]
        return len(seen) >= 4 and len(done) == len(found) == 2

    await_that("four backups", enough, seconds_max=2 * HANG_SECONDS, every=EVERY_SECONDS)
    path = here.path("faunascheduledbackups", "minutely")
    here.cluster.api.merge(path, {"spec": {"suspend": True}})

    def rested() -> bool:
        status = here.cluster.api.get(path)["status"]
        return "nextScheduleTime" not in status and not status["active"]

    await_that("the schedule to rest", rested, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)
    status = here.cluster.api.get(path)["status"]
    left = [item["metadata"]["name"] for item in here.scheduled("minutely")]
    print(f"\n{sorted(seen)}; left {left}; missed {status['missedRuns']}")
    root = here.folder(left[-1]).parent
    whole = {manifest.parent.name for manifest in root.glob("minutely-*/manifest.json")}
    assert {here.status(name)["backupID"] for name in left} == whole


def test_the_log_is_archived_as_it_comes(here: Backed) -> None:
    """One pod stores committed entries; its readiness is a condition; off, it goes."""
    here.archive(enabled=True)
    incarnation = here.database.status()["incarnation"]
    before = set(here.segments(incarnation))
    fill(here.database, 1)
    stored = lambda: set(here.segments(incarnation)) - before or None  # noqa: E731
    segments = await_that("a segment", stored, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)
    print(f"\n{sorted(segments)}")
    here.archive(enabled=False)


def test_a_namespace_with_its_operator_and_backups_goes(
    kubernetes: Cluster, namespace: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Deleting everything at once is not held by a backup that asks for its data's deletion."""
    with backed(kubernetes, namespace, tmp_path_factory.mktemp("gone"), replicas=1) as found:
        found.backup("last")
        assert "Completed" == found.await_phase("last", "Completed", "Failed")["phase"]
        folder = found.folder("last")
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")
        path = f"/api/v1/namespaces/{namespace}"
        await_that(
            f"namespace {namespace} to be gone",
            lambda: not exists(kubernetes, path),
            seconds_max=HANG_SECONDS,
            every=EVERY_SECONDS,
        )
        assert (folder / "manifest.json").exists()
        kubernetes.make_namespace(namespace)  # the fixture deletes it
