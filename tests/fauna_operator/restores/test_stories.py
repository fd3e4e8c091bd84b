"""Whole restores: both loops of the operator against a world that can lose a majority."""

import asyncio
import os
from collections.abc import Callable

import pytest

from fauna_operator.errors import Stale
from fauna_operator_faults import Crash
from fauna_operator_restore_world import (
    AUTO,
    EXTERNAL,
    RESTORED_LAST,
    Operator,
    RestoreWorld,
    begun,
    recovery,
    settle,
    voters,
)
from fauna_operator_world import conditions


def run(world: RestoreWorld) -> None:
    asyncio.run(settle(world, Operator(world)))


def formed(replicas: int = 3) -> RestoreWorld:
    world = begun(replicas=replicas)
    run(world)
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]
    return world


def volumes(world: RestoreWorld) -> set[str]:
    return {name for kind, name in world.objects if kind == "PersistentVolumeClaim"}


def lost() -> RestoreWorld:
    """A majority of volumes is gone for ever; member 2 is left."""
    world = formed()
    for serial in (1, 3):
        world.destroy(serial)
    run(world)
    return world


def test_one_survivor_grows_to_three() -> None:
    """Two of three volumes gone: one FaunaRestore, and three members vote in incarnation 2."""
    world = lost()
    assert ("False", "QuorumLost") == conditions(world)["Available"]
    last = world.groups[1].last

    world.ask_for(AUTO, "again")
    run(world)

    assert {"again": "Completed"} == world.restores()
    assert [2, 4, 5] == voters(world)
    assert world.groups[2].open
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]
    told = recovery(world, "again")
    assert ("orders-2", 1, 2, last) == (
        told["survivor"],
        told["oldIncarnation"],
        told["newIncarnation"],
        told["restoredIndex"],
    )


def test_what_the_lost_were_seen_to_have_is_told() -> None:
    """`lostAtLeast` counts what the others were once seen to have beyond the survivor."""
    world = formed()
    operator = Operator(world)
    asyncio.run(operator.look())
    behind = world.running(2)
    assert behind is not None
    for serial in (1, 3):
        world.destroy(serial)
    behind.last -= 4
    asyncio.run(settle(world, operator))

    world.ask_for(AUTO, "again")
    asyncio.run(settle(world, operator))

    told = recovery(world, "again")
    assert "Completed" == told["phase"]
    assert 3 <= told["lostAtLeast"]["entries"] <= 4
    assert told["restoredIndex"] + 1 == told["lostFromIndex"]


def test_a_living_leader_refuses_it() -> None:
    """While a majority lives nothing is recovered, and nobody is stopped."""
    world = formed()

    world.ask_for(AUTO, "again")
    run(world)

    assert {"again": "Failed"} == world.restores()
    assert [1, 2, 3] == voters(world)
    assert 1 == world.latched()


def test_unseen_members_are_not_stopped() -> None:
    """Two members serve where the operator cannot see them: it waits, and they go on."""
    world = formed()
    world.unseen = {1, 2}

    world.ask_for(AUTO, "again")
    run(world)

    assert {"again": "Accepted"} == world.restores()
    assert world.led_by(1) in (1, 2)
    assert ["orders-1", "orders-2", "orders-3"] == world.pods()


def test_a_stuck_pod_is_waited_for() -> None:
    """A member whose node is not heard of may serve: nothing begins until it has surely ended."""
    world = formed(replicas=5)
    for serial in (1, 2, 3):
        world.destroy(serial)
    world.stuck = {5}
    world.ask_for(AUTO, "again")
    run(world)
    assert {"again": "Fencing"} == world.restores()
    assert 1 == world.latched()

    world.stuck = set()
    run(world)

    assert {"again": "Completed"} == world.restores()
    assert 5 == len(voters(world))


def test_in_place() -> None:
    """Every member is stopped, a fresh volume is filled, and three grow from it."""
    world = formed()
    before = volumes(world)

    world.ask_for(EXTERNAL, "back")
    run(world)

    assert {"back": "Completed"} == world.restores()
    assert [4, 5, 6] == voters(world)
    assert ("FaunaBackup", "back-safety") in world.objects
    told = recovery(world, "back")
    assert (RESTORED_LAST, 2) == (told["restoredIndex"], told["newIncarnation"])
    assert before <= volumes(world)
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def test_a_failed_job_changes_nothing() -> None:
    """When the backup cannot be read the cluster goes on as it was, and its volumes with it."""
    world = formed()
    world.job_fails = True

    world.ask_for(EXTERNAL, "back", safetyBackup=False)
    run(world)

    assert {"back": "Failed"} == world.restores()
    assert [1, 2, 3] == voters(world)
    assert 1 == world.latched()
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def test_a_deleted_request_is_called_off() -> None:
    """A FaunaRestore that is deleted before the latch leaves the cluster as it was."""
    world = formed()
    world.ask_for(EXTERNAL, "back", safetyBackup=False)
    operator = Operator(world)
    while "Restoring" != world.restores()["back"]:
        asyncio.run(operator.look())
    del world.objects["FaunaRestore", "back"]

    run(world)

    assert [1, 2, 3] == voters(world)
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def test_a_late_operator_starts_nobody() -> None:
    """Who decided to start pods before a restore, and wakes after it, must not start them."""
    world = formed()
    for name in world.pods():
        del world.objects["Pod", name]
    world.faults.crash_after = 1  # status says that pods are missing, and none is made yet
    with pytest.raises(Crash):
        asyncio.run(Operator(world).look())
    world.remember()
    world.ask_for(EXTERNAL, "back", safetyBackup=False)
    run(world)
    assert [4, 5, 6] == voters(world)

    world.faults.stale = True
    with pytest.raises(Stale):
        asyncio.run(Operator(world).cluster.one_pass())
    world.faults.stale = False

    assert ["orders-4", "orders-5", "orders-6"] == world.pods()
    world.kubelets()


def test_one_restore_after_another() -> None:
    """A second restore, and then a recovery, raise the incarnation once each."""
    world = formed()
    world.ask_for(EXTERNAL, "one", safetyBackup=False)
    world.ask_for(EXTERNAL, "two", safetyBackup=False)
    run(world)
    assert {"one": "Completed", "two": "Completed"} == world.restores()
    assert 3 == world.latched()
    for serial in voters(world)[:2]:
        world.destroy(serial)
    run(world)

    world.ask_for(AUTO, "three")
    run(world)

    assert "Completed" == world.restores()["three"]
    assert 4 == world.latched()
    assert 3 == len(voters(world))


STRIDE = int(os.environ.get("FAUNA_OPERATOR_STRIDE", "4"))  # 1 is every write
STORIES: dict[str, Callable[[], RestoreWorld]] = {"recovery": lost, "in place": formed}


def asked(story: str) -> RestoreWorld:
    world = STORIES[story]()
    world.ask_for(AUTO if story == "recovery" else EXTERNAL, "it")
    world.log.clear()
    return world


@pytest.mark.parametrize("story", STORIES)
def test_killed_at_every_write(story: str) -> None:
    """Killed before its n-th write, a new operator brings the same outcome."""
    template = asked(story)
    world = template.copy()
    run(world)
    writes, outcome = len(world.log), (world.restores(), voters(world), world.latched())

    for n in range(0, writes, STRIDE):
        world = template.copy()
        world.faults.crash_after = n
        with pytest.raises(Crash):
            run(world)
        run(world)
        assert (n, outcome) == (n, (world.restores(), voters(world), world.latched()))


@pytest.mark.parametrize("story", STORIES)
def test_a_lost_answer_at_every_write(story: str) -> None:
    """Each write in turn happens but looks failed; the outcome is the same."""
    template = asked(story)
    world = template.copy()
    run(world)
    writes, outcome = len(world.log), (world.restores(), voters(world), world.latched())

    async def lose(n: int) -> RestoreWorld:
        world = template.copy()
        operator = Operator(world)
        while len(world.log) <= n:
            world.faults.lose_answer = len(world.log) == n
            await operator.look()
        world.faults.lose_answer = False
        await settle(world, operator)
        return world

    for n in range(0, writes, STRIDE):
        world = asyncio.run(lose(n))
        assert (n, outcome) == (n, (world.restores(), voters(world), world.latched()))


def test_a_majority_lost_again_while_it_grows_back() -> None:
    """The first restore hinders no second one: it says who goes on, and that one does."""
    world = lost()
    world.ask_for(AUTO, "first")
    operator = Operator(world)

    async def grow() -> None:
        for _ in range(200):
            await operator.look()
            world.kubelets()
            if len(voters(world)) == 2:
                return
        raise AssertionError(f"it does not grow: {world.restores()}")

    asyncio.run(grow())
    assert {"first": "Regrowing"} == world.restores()
    world.destroy(voters(world)[0])
    run(world)
    assert {"first": "Regrowing"} == world.restores()

    world.ask_for(AUTO, "second")
    run(world)

    assert {"first": "Failed", "second": "Completed"} == world.restores()
    assert "FaunaRestore second goes on from here" in recovery(world, "first")["message"]
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]
    assert 3 == len(voters(world))
