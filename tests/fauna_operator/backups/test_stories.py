"""Whole stories of a FaunaBackup: its loop against a small model of Jobs and of a store."""

import asyncio
from typing import Any

import pytest

from fauna_operator.backups.reconcile import BackupReconciler, Turns
from fauna_operator.errors import OperatorError
from fauna_operator_faults import Broken, Crash
from fauna_operator_jobs import CLUSTER, CLUSTER_ID, PARTS, SPACE, World, backup, fresh, held

FAULTY = (OperatorError, Crash)


def loops(world: World, *wanted: str) -> dict[str, BackupReconciler]:
    turns = Turns()
    return {
        name: BackupReconciler(world, turns, (SPACE, name), lambda: world.now) for name in wanted
    }


async def settle(world: World, *wanted: str, steps: int = 120) -> None:
    """Run passes, Jobs and time until two rounds in a row change nothing."""
    reconcilers, quiet = loops(world, *(wanted or ("one",))), 0
    for _ in range(steps):
        before = (len(world.log), repr(world.objects))
        for reconciler in reconcilers.values():
            await one_pass(world, reconciler)
        world.step()
        quiet = quiet + 1 if before == (len(world.log), repr(world.objects)) else 0
        if quiet == 2:
            return
    raise Broken("it does not settle:\n" + "\n".join(world.log[-30:]))


async def one_pass(world: World, reconciler: BackupReconciler) -> None:
    try:
        await reconciler.one_pass()
    except OperatorError:
        return


def made(world: World, name: str = "one", **spec: Any) -> World:
    world.put(backup(name, **spec))
    return world


def run(world: World, *wanted: str) -> None:
    asyncio.run(settle(world, *wanted))


def conditions(world: World, name: str = "one") -> dict[str, tuple[str, str]]:
    found = world.status(name)["conditions"]
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in found}


def data(world: World, name: str = "one") -> int:
    """The parts that lie in the store for a backup; PARTS + 1 with the manifest."""
    return world.store.get(world.status(name).get("backupID", ""), -1)


def test_a_backup_from_nothing() -> None:
    """A Job makes it, its last line becomes status, and it counts as verified."""
    world = made(fresh())

    run(world)

    status = world.status("one")
    assert "Completed" == status["phase"]
    assert {"Succeeded": ("True", "Completed"), "Verified": ("True", "Checksum")} == conditions(
        world
    )
    assert (812, 3, "381.5Mi", 3376, 1) == tuple(
        status[key]
        for key in ("snapshotIndex", "snapshotTerm", "size", "documentCount", "attempts")
    )
    assert f"s3://backups/{CLUSTER_ID}/{status['backupID']}" == status["uri"]
    assert PARTS + 1 == data(world)


def test_the_record_and_the_finalizer_come_before_the_job() -> None:
    """Held, then latched, then made: a Job never exists that nobody would clean up."""
    world = made(fresh())

    run(world)

    firsts = [
        next(i for i, line in enumerate(world.log) if word in line)
        for word in ("patch FaunaBackup", "create Job one-backup")
    ]
    assert sorted(firsts) == firsts
    assert held(world)


def test_an_ended_backup_is_left_alone() -> None:
    """A completed backup is read and never written again."""
    world = made(fresh())
    run(world)
    written = len(world.log)

    run(world)

    assert written == len(world.log)


def test_an_ended_backup_needs_no_loop() -> None:
    """Its pass is one read, after which the loop ends until an event."""
    world = made(fresh())
    run(world)
    reconciler = loops(world, "one")["one"]

    assert None is asyncio.run(reconciler.one_pass())


def test_a_killed_operator_changes_nothing_for_every_write() -> None:
    """Killed before its n-th write, for every n, a new operator ends with the same backup."""
    world = made(fresh())
    run(world)
    writes = len(world.log)

    for n in range(writes):
        world = made(fresh())
        world.faults.crash_after = n
        with pytest.raises(Crash):
            run(world)
        run(world)
        assert (n, "Completed", PARTS + 1) == (n, world.status("one")["phase"], data(world))


def test_a_lost_answer_at_every_write_does_no_harm() -> None:
    """Each write in turn happens but looks failed; the end is the same."""
    world = made(fresh())
    run(world)
    writes = len(world.log)

    async def lose(n: int) -> World:
        world = made(fresh())
        reconciler = loops(world, "one")["one"]
        for _ in range(60):
            world.faults.lose_answer = len(world.log) == n
            await one_pass(world, reconciler)
            world.step()
        world.faults.lose_answer = False
        await settle(world)
        return world

    for n in range(writes):
        world = asyncio.run(lose(n))
        assert (n, "Completed", PARTS + 1) == (n, world.status("one")["phase"], data(world))


@pytest.mark.parametrize("after", range(PARTS + 2))
def test_a_pod_killed_after_each_part_is_tried_again(after: int) -> None:
    """Whenever its pod dies the backup is never Completed by half; the next try completes it."""
    world = made(fresh())

    async def story() -> None:
        reconciler = loops(world, "one")["one"]
        while data(world) < after:
            await one_pass(world, reconciler)
            world.step()
            assert "Completed" != world.status("one").get("phase")
        assert world.kill_pod()
        await settle(world)

    asyncio.run(story())

    assert ("Completed", 2) == tuple(world.status("one")[key] for key in ("phase", "attempts"))
    assert PARTS + 1 == data(world)


def test_it_fails_after_its_last_try_with_the_commands_own_words() -> None:
    """Corrupt parts at every try: Failed, with reason and detail; nothing else is touched."""
    world = made(fresh(), backoffLimit=1)
    before = repr(world.objects["FaunaCluster", CLUSTER])
    world.exits = [(78, '{"reason": "checksum", "detail": "data-00002.zst"}')] * 2

    run(world)

    assert ("Failed", "checksum: data-00002.zst", 2) == tuple(
        world.status("one")[key] for key in ("phase", "error", "attempts")
    )
    assert ("False", "Failed") == conditions(world)["Succeeded"]
    assert before == repr(world.objects["FaunaCluster", CLUSTER])


def test_a_backup_that_takes_too_long_fails() -> None:
    """At its deadline the Job is ended by Kubernetes, and the backup is Failed."""
    world = made(fresh(), timeout="1h")

    async def story() -> None:
        reconciler = loops(world, "one")["one"]
        while data(world) < 1:
            await one_pass(world, reconciler)
            world.step()
        world.now += 3700
        await settle(world)

    asyncio.run(story())

    assert "Failed" == world.status("one")["phase"]
    assert "DeadlineExceeded" in world.status("one")["error"]


@pytest.mark.parametrize(
    ("gone", "reason"),
    [
        (("FaunaCluster", CLUSTER), "NoCluster"),
        (("Secret", "s3"), "NotReachable"),
        (("Secret", f"{CLUSTER}-backup-tls"), "NotReachable"),
    ],
)
def test_it_waits_for_what_it_needs_and_says_so(gone: tuple[str, str], reason: str) -> None:
    """Without cluster, credentials or leaf it is Pending with the reason; then it goes on."""
    world = made(fresh())
    kept = world.objects.pop(gone)
    run(world)
    assert ("Pending", reason) == (world.status("one")["phase"], conditions(world)["Succeeded"][1])

    world.objects[gone] = kept
    run(world)

    assert "Completed" == world.status("one")["phase"]


def test_an_unavailable_cluster_is_not_disturbed() -> None:
    """Without a majority it waits, unless the backup says that it may try anyway."""
    world = made(made(fresh()), "bold", allowUnhealthyCluster=True)
    world.objects["FaunaCluster", CLUSTER]["status"]["conditions"] = []

    run(world, "one", "bold")

    assert ("Pending", "Completed") == tuple(world.status(n)["phase"] for n in ("one", "bold"))


def test_one_backup_of_a_cluster_at_a_time() -> None:
    """Three that are made at once run one after the other (the model holds that)."""
    world = made(made(made(fresh()), "two"), "three")

    run(world, "one", "two", "three")

    assert {"Completed"} == {world.status(name)["phase"] for name in ("one", "two", "three")}


def test_a_word_that_was_lost_is_asked_for_again() -> None:
    """The Job is complete but its pod is gone: it runs again and verifies what is there."""
    world = made(fresh())

    async def story() -> None:
        reconciler = loops(world, "one")["one"]
        while ("Job", "one-backup") not in world.objects:
            await one_pass(world, reconciler)
        while not world.objects["Job", "one-backup"].get("status", {}).get("conditions"):
            world.step()
        for key in [key for key in world.objects if key[0] == "Pod"]:
            del world.objects[key]
        await settle(world)

    asyncio.run(story())

    assert "Completed" == world.status("one")["phase"]
    assert 2 == sum(line == "create Job one-backup" for line in world.log)


def test_a_command_that_did_not_verify_is_not_believed() -> None:
    """Success without the verification that was asked for is a failure."""
    world = made(fresh(), verify="Restore")

    async def story() -> None:
        reconciler = loops(world, "one")["one"]
        while ("Job", "one-backup") not in world.objects:
            await one_pass(world, reconciler)
        backup_id = world.status("one")["backupID"]
        said = f'{{"backup_id":"{backup_id}","cluster_id":"{CLUSTER_ID}","verified":"checksum"}}'
        world.exits = [(0, said)]
        await settle(world)

    asyncio.run(story())

    assert "Failed" == world.status("one")["phase"]
    assert "Checksum, not Restore" in world.status("one")["error"]


def test_deletion_takes_the_data_along() -> None:
    """The resource stays until a Job has deleted the data, also when the cluster is gone."""
    world = made(fresh())
    run(world)
    world.remove("FaunaCluster", CLUSTER)

    world.remove("FaunaBackup", "one")
    run(world)

    assert ("FaunaBackup", "one") not in world.objects
    assert {} == world.store


def test_retained_data_stay() -> None:
    """With Retain there is no finalizer, and deletion touches no data."""
    world = made(fresh(), deletionPolicy="Retain")
    run(world)
    assert not held(world)

    world.remove("FaunaBackup", "one")
    run(world)

    assert ("FaunaBackup", "one") not in world.objects
    assert [PARTS + 1] == list(world.store.values())


def test_deletion_in_the_middle_stops_the_writer_first() -> None:
    """Data are deleted only when no pod writes them any more (the model holds that)."""
    world = made(fresh())

    async def story() -> None:
        reconciler = loops(world, "one")["one"]
        while data(world) < 2:
            await one_pass(world, reconciler)
            world.step()
        world.remove("FaunaBackup", "one")
        await settle(world)

    asyncio.run(story())

    assert ("FaunaBackup", "one") not in world.objects
    assert {} == world.store


def test_without_credentials_the_resource_still_goes() -> None:
    """The Secret of the store is gone: the resource goes at once, the data stay."""
    world = made(fresh())
    run(world)
    world.remove("Secret", "s3")

    world.remove("FaunaBackup", "one")
    run(world)

    assert ("FaunaBackup", "one") not in world.objects
    assert [PARTS + 1] == list(world.store.values())


def test_a_store_that_refuses_for_an_hour_holds_no_resource() -> None:
    """Deleting the data is tried again and again, and given up after an hour."""
    world = made(fresh())
    run(world)
    world.exits = [(74, '{"reason": "store", "detail": "refused"}')] * 1000

    async def story() -> None:
        world.remove("FaunaBackup", "one")
        reconciler = loops(world, "one")["one"]
        for _ in range(50):
            await one_pass(world, reconciler)
            world.step()
        assert held(world)
        world.now += 3700
        await settle(world)

    asyncio.run(story())

    assert ("FaunaBackup", "one") not in world.objects


@pytest.mark.parametrize("parts", [0, 2, PARTS + 2])
def test_a_namespace_that_ends_is_not_held(parts: int) -> None:
    """No Job can be made there any more: the resource goes, the data stay."""
    world = made(fresh())

    async def story() -> None:
        reconciler = loops(world, "one")["one"]
        for _ in range(40):
            if data(world) >= parts:
                break
            await one_pass(world, reconciler)
            world.step()
        world.end_namespace()
        await settle(world)

    asyncio.run(story())

    assert ("FaunaBackup", "one") not in world.objects


def test_data_that_are_being_restored_stay_for_now() -> None:
    """A FaunaRestore under way keeps the data of a deleted backup until it has ended."""
    world = made(fresh())
    run(world)
    restore = {
        "kind": "FaunaRestore",
        "metadata": {"name": "back"},
        "spec": {"source": {"backupName": "one"}},
        "status": {"phase": "Restoring"},
    }
    world.put(restore)
    world.remove("FaunaBackup", "one")
    run(world)
    assert held(world)
    assert [PARTS + 1] == list(world.store.values())

    world.objects["FaunaRestore", "back"]["status"]["phase"] = "Completed"
    run(world)

    assert {} == world.store


def events(world: World) -> list[tuple[str, str]]:
    found = [item for (kind, _), item in world.objects.items() if kind == "Event"]
    return [(item["reason"], item["regarding"]["name"]) for item in found]


def test_people_are_told_once() -> None:
    """One Event for the end of each backup, and one for data that stay."""
    world = made(made(fresh()), "two", backoffLimit=0)
    world.exits = [(74, '{"reason": "store", "detail": "full"}')]
    run(world, "one")
    run(world, "one", "two")
    assert {("BackupSucceeded", "one"), ("BackupSucceeded", "two")} == set(events(world))

    world.remove("Secret", "s3")
    world.remove("FaunaBackup", "two")
    run(world, "one", "two")

    assert ("BackupDataStay", "two") == events(world)[-1]
    assert 3 == len(events(world))
