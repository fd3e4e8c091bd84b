"""Of two operators one leads, and a Lease that is not renewed goes over."""

import asyncio

import pytest

from fauna_operator.lease import Durations, Lease, LeaseLost
from fauna_operator_world import NAMESPACE, World

FAST = Durations(lease_s=1.2, renew_s=1.0, retry_s=0.05)
HANG_S = 10.0


def candidate(world: World, name: str) -> Lease:
    return Lease(world, NAMESPACE, "fauna-operator", name, FAST)


def holder(world: World) -> str:
    return str(world.objects["Lease", "fauna-operator"]["spec"]["holderIdentity"])


def test_one_leads_and_the_other_waits() -> None:
    """While the first renews, the second does not get the Lease, for longer than its duration."""
    world = World()

    async def hold_and_wait() -> None:
        first, second = candidate(world, "first"), candidate(world, "second")
        await first.acquire()
        async with asyncio.timeout(FAST.lease_s * 2), asyncio.TaskGroup() as group:
            group.create_task(first.hold())
            group.create_task(second.acquire())

    with pytest.raises(TimeoutError):
        asyncio.run(hold_and_wait())
    assert "first" == holder(world)


def test_a_dead_leader_is_followed() -> None:
    """Who does not renew is followed, after the whole duration was seen to pass."""
    world = World()

    async def both() -> None:
        await candidate(world, "first").acquire()
        started = asyncio.get_running_loop().time()
        async with asyncio.timeout(HANG_S):
            await candidate(world, "second").acquire()
        assert asyncio.get_running_loop().time() - started >= FAST.lease_s

    asyncio.run(both())
    assert "second" == holder(world)


def test_a_lease_that_cannot_be_renewed_is_lost() -> None:
    """An API server that is away is waited for, then the leader stops by itself."""
    world = World()

    async def alone() -> None:
        mine = candidate(world, "first")
        await mine.acquire()
        world.faults.refuse_reads = world.faults.refuse_writes = 1_000_000
        async with asyncio.timeout(HANG_S):
            await mine.hold()

    with pytest.raises(LeaseLost):
        asyncio.run(alone())


def test_a_released_lease_is_free_at_once() -> None:
    """A leader that was asked to stop gives the Lease back."""
    world = World()

    async def both() -> None:
        first = candidate(world, "first")
        await first.acquire()
        await first.release()
        assert not holder(world)
        async with asyncio.timeout(HANG_S):
            await candidate(world, "second").acquire()

    asyncio.run(both())
    assert "second" == holder(world)


def test_only_the_holder_releases() -> None:
    """A candidate that never led leaves the Lease alone."""
    world = World()

    async def both() -> None:
        await candidate(world, "first").acquire()
        await candidate(world, "second").release()

    asyncio.run(both())
    assert "first" == holder(world)
