"""Whole stories: the operator's loop against a small model of Kubernetes and members."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest

from fauna_operator.act import Actor
from fauna_operator.errors import Stale
from fauna_operator.events import Teller
from fauna_operator.model import (
    ChangeMembership,
    ConfigurationId,
    Desired,
    Initialize,
    Lists,
    Observed,
    Pod,
)
from fauna_operator.reconcile import Cluster
from fauna_operator.render import names
from fauna_operator_faults import Crash
from fauna_operator_world import NAME, NAMESPACE, World, conditions, fresh, settle


def cluster(world: World) -> Cluster:
    return Cluster(world, world, (NAMESPACE, NAME))


def run(world: World) -> None:
    asyncio.run(settle(world, cluster(world)))


def test_three_members_from_nothing() -> None:
    """A new FaunaCluster becomes three voters, open to clients, and says so."""
    world = fresh()

    run(world)

    assert [1, 2, 3] == sorted(world.voters)
    assert world.open
    assert ("True", "QuorumHealthy") == conditions(world)["Available"]
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]
    assert ("False", "SurvivesOneLoss") == conditions(world)["QuorumAtRisk"]


def test_the_identity_is_stored_before_any_pod() -> None:
    """Status, then the ConfigMap, then claims that carry it, then pods."""
    world = fresh()

    run(world)

    firsts = [
        next(i for i, line in enumerate(world.log) if word in line)
        for word in ("status", "ConfigMap", "PersistentVolumeClaim", "'Pod'", "/cluster/init")
    ]
    assert sorted(firsts) == firsts


def test_a_quiet_cluster_is_left_alone() -> None:
    """A settled cluster is read and never written."""
    world = fresh()
    run(world)
    written = len(world.log)

    run(world)

    assert written == len(world.log)


def test_a_killed_operator_bootstraps_once_for_every_write() -> None:
    """Killed before its n-th write, for every n, a new operator ends with one cluster of three."""
    world = fresh()
    run(world)
    writes = len(world.log)

    for n in range(writes):
        world = fresh()
        world.faults.crash_after = n
        with pytest.raises(Crash):
            run(world)
        run(world)
        assert (n, 1, [1, 2, 3], True) == (n, world.formed, sorted(world.voters), world.open)


def test_a_stale_operator_cannot_say_init() -> None:
    """Whoever read the resource before its last change fails before it speaks to a member."""
    world = fresh()
    old = world.objects[names.KIND, NAME] | {}
    read = {**old, "metadata": dict(old["metadata"])}
    world._bump(world.objects[names.KIND, NAME])
    desired = Desired.of(read)
    pods = (Pod(1, f"{NAME}-1", "p1", "1", ip="10.0.0.1"),)
    actor = Actor(world, world, desired, Observed("1", Lists(pods=pods)), read, now=1.0)

    with pytest.raises(Stale):
        asyncio.run(actor.perform(Initialize(1, "ab", 1)))

    assert [] == [line for line in world.log if "init" in line]


def test_a_lost_answer_at_every_write_does_no_harm() -> None:
    """Each write in turn happens but looks failed; the end is the same."""
    world = fresh()
    run(world)
    writes = len(world.log)

    async def lose(n: int) -> World:
        world = fresh()
        loop = cluster(world)
        for _ in range(200):
            world.faults.lose_answer = len(world.log) == n
            if len(world.log) > n:
                break
            try:
                await loop.one_pass()
            except Exception:  # noqa: BLE001 the loop's own net
                continue
            finally:
                world.kubelets()
        world.faults.lose_answer = False
        await settle(world, loop)
        return world

    for n in range(writes):
        world = asyncio.run(lose(n))
        assert (n, 1, [1, 2, 3]) == (n, world.formed, sorted(world.voters))


@pytest.mark.parametrize("victims", [[1], [2], [3], [1, 2], [1, 2, 3]])
def test_deleted_pods_come_back_on_their_volumes(victims: list[int]) -> None:
    """Whichever pods are deleted, together or alone, they come back at once with their data."""
    world = fresh()
    run(world)
    before = dict(world.voters)
    for serial in victims:
        del world.objects["Pod", f"{NAME}-{serial}"]

    run(world)

    assert before == world.voters
    assert [f"{NAME}-1", f"{NAME}-2", f"{NAME}-3"] == world.pods()
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_ended_is_made_again(phase: str) -> None:
    """An evicted pod is deleted by uid and comes back."""
    world = fresh()
    run(world)
    pod = world.objects["Pod", f"{NAME}-2"]
    pod["status"] = {"phase": phase}

    run(world)

    assert pod["metadata"]["uid"] != world.objects["Pod", f"{NAME}-2"]["metadata"]["uid"]


@pytest.mark.parametrize("also", [[], ["map"], ["map", "claims"]])
def test_a_wiped_status_is_rebuilt(also: list[str]) -> None:
    """Status gone, and even ConfigMap and annotations: live members still know who they are."""
    world = fresh()
    run(world)
    before = world.objects[names.KIND, NAME].pop("status")
    if "map" in also:
        del world.objects["ConfigMap", f"{NAME}-identity"]
    if "claims" in also:
        for serial in (1, 2, 3):
            claim = world.objects["PersistentVolumeClaim", f"data-{NAME}-{serial}"]
            del claim["metadata"]["annotations"][names.LATCH]

    run(world)

    after = world.objects[names.KIND, NAME]["status"]
    for key in ("clusterID", "incarnation", "nextMemberSerial", "bootstrapped"):
        assert before[key] == after[key]
    assert 1 == world.formed


def test_identities_that_disagree_stop_everything() -> None:
    """Two ids for one cluster: nothing is touched, and a condition names both."""
    world = fresh()
    run(world)
    latch = world.objects["ConfigMap", f"{NAME}-identity"]["data"]
    latch["latch"] = latch["latch"].replace('"clusterID":"', '"clusterID":"ff')
    del world.objects["Pod", f"{NAME}-2"]

    run(world)

    assert ("False", "IdentityDisagrees") == conditions(world)["Ready"]
    assert f"{NAME}-2" not in world.pods()


def test_volumes_of_a_former_cluster_are_not_touched() -> None:
    """A resource made again under the same name finds old volumes and stops."""
    world = fresh()
    run(world)
    world.put(world.objects[names.KIND, NAME] | {"status": {}})

    run(world)

    assert ("False", "VolumesOfFormerCluster") == conditions(world)["Ready"]
    assert 1 == world.formed


def test_serials_start_above_a_former_cluster() -> None:
    """Old pods and volumes are gone, the ConfigMap is not: no name is used twice."""
    world = fresh()
    run(world)
    for key in [k for k in world.objects if k[0] in ("Pod", "PersistentVolumeClaim")]:
        del world.objects[key]
    world.voters, world.learners, world.formed, world.open = {}, {}, 0, False
    old = world.objects[names.KIND, NAME]
    world.put({**old, "status": {}})

    run(world)

    assert [4, 5, 6] == sorted(world.voters)


def test_paused_touches_nothing_and_still_tells() -> None:
    """With `paused` a deleted pod stays away, and status says so."""
    world = fresh()
    run(world)
    world.objects[names.KIND, NAME]["spec"]["paused"] = True
    del world.objects["Pod", f"{NAME}-2"]

    run(world)

    assert [f"{NAME}-1", f"{NAME}-3"] == world.pods()
    assert ("True", "Asked") == conditions(world)["Paused"]
    assert ("True", "MemberDown") == conditions(world)["Degraded"]


@pytest.mark.parametrize("way", ["deleted", "emptied"])
def test_a_lost_volume_is_replaced_before_it_is_removed(way: str) -> None:
    """A new serial joins as learner and is swapped in; the old id is out, its name not reused."""
    world = fresh()
    run(world)
    claim = world.objects["PersistentVolumeClaim", f"data-{NAME}-2"]
    if way == "deleted":
        del world.objects["PersistentVolumeClaim", f"data-{NAME}-2"]
        del world.objects["Pod", f"{NAME}-2"]
    else:
        del world.directories[claim["metadata"]["uid"]]

    run(world)

    assert [1, 3, 4] == sorted(world.voters)
    assert [f"{NAME}-1", f"{NAME}-3", f"{NAME}-4"] == world.pods()
    assert any('"op":"swap"' in line for line in world.log)
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def test_replacement_can_be_forbidden() -> None:
    """With selfHealing off a lost volume is reported, and nothing else."""
    world = fresh(selfHealing={"enabled": False})
    run(world)
    del world.objects["PersistentVolumeClaim", f"data-{NAME}-2"]
    del world.objects["Pod", f"{NAME}-2"]

    run(world)

    assert [1, 2, 3] == sorted(world.voters)
    assert ("True", "ReplaceBlocked") == conditions(world)["Degraded"]


def test_two_lost_volumes_are_told_and_not_papered_over() -> None:
    """Without a majority nothing is replaced; status says that the quorum is lost."""
    world = fresh()
    run(world)
    for serial in (2, 3):
        del world.objects["PersistentVolumeClaim", f"data-{NAME}-{serial}"]
        del world.objects["Pod", f"{NAME}-{serial}"]
    loop = cluster(world)

    asyncio.run(settle(world, loop))

    assert [f"{NAME}-1"] == world.pods()
    assert "False" == conditions(world)["Available"][0]
    assert 1 == world.formed


def ask(world: World, **spec: object) -> None:
    """Edit the resource as a person does."""
    resource = world.objects[names.KIND, NAME]
    resource["spec"] |= spec
    resource["metadata"]["generation"] += 1
    world._bump(resource)


def shape(world: World) -> tuple[int, int, int]:
    """Return how many voters, read replicas and pods there are."""
    return len(world.voters), len(world.learners), len(world.pods())


SHAPES = {1: (1, 0, 1), 3: (3, 0, 3), 4: (3, 1, 4), 5: (5, 0, 5), 6: (5, 1, 6), 7: (5, 2, 7)}


@pytest.mark.parametrize(
    "counts", [[3, 5, 3, 1, 3, 4], [5, 4, 5], [4, 6, 5], [1, 4, 1], [3, 7, 3], [6, 4, 3]]
)
def test_scaling(counts: list[int]) -> None:
    """Editing replicas adds and removes members one by one; an odd number of them votes."""
    world = fresh()
    run(world)
    for count in counts:
        ask(world, replicas=count)
        run(world)

        assert SHAPES[count] == shape(world)
        assert ("True", "AllMembersReady") == conditions(world)["Ready"]
        assert "operation" not in world.objects[names.KIND, NAME]["status"]


@pytest.mark.parametrize(("before", "after"), [(3, 5), (5, 3), (4, 5), (5, 4), (3, 1), (1, 3)])
def test_a_change_of_mind_at_every_step(before: int, after: int) -> None:
    """The spec goes back at each write of a scale: it ends as it was, without a scar."""

    async def scale(world: World, stop_at: int) -> bool:
        """Scale until so many writes were made; tell whether it was still under way then."""
        loop = cluster(world)
        ask(world, replicas=after)
        began = len(world.log)
        for _ in range(200):
            written = len(world.log)
            await loop.one_pass()
            world.kubelets()
            if len(world.log) - began >= stop_at:
                return True
            if len(world.log) == written:
                return False
        raise AssertionError("it does not end")

    settled = fresh(replicas=before)
    run(settled)
    for writes in range(1, 200):
        world = settled.copy()
        under_way = asyncio.run(scale(world, writes))
        ask(world, replicas=before)
        run(world)
        assert (writes, SHAPES[before]) == (writes, shape(world))
        if not under_way:
            break
    assert writes > 5


def test_eleven_members_in_whatever_order_they_are_listed() -> None:
    """Five vote, six follow; every list comes in another order, and no member is mistaken."""
    world = fresh(replicas=11)
    world.shuffle = random.Random(7)
    run(world)
    assert (5, 6, 11) == shape(world)

    ask(world, replicas=3)
    run(world)

    assert [1, 2, 3] == sorted(world.voters)
    assert (3, 0, 3) == shape(world)
    aside = {
        name
        for (kind, name), item in world.objects.items()
        if kind == "PersistentVolumeClaim"
        and item["metadata"]["labels"].get(names.QUARANTINED) == "true"
    }
    assert {f"data-{NAME}-{serial}" for serial in range(4, 12)} == aside


def scaled(world: World) -> None:
    ask(world, replicas=5)


def volume_lost(world: World, serial: int = 2) -> None:
    del world.objects["PersistentVolumeClaim", f"data-{NAME}-{serial}"]
    del world.objects["Pod", f"{NAME}-{serial}"]


def image_changed(world: World) -> None:
    ask(world, image={"tag": "next"})


def image_broken(world: World) -> None:
    ask(world, image={"tag": "broken"})


@pytest.mark.parametrize("trouble", [scaled, volume_lost, image_changed, image_broken])
def test_an_operator_that_dies_after_every_write(trouble: Callable[[World], None]) -> None:
    """Killed before its n-th write, for every n: the next operator arrives at the same end."""

    settled = fresh(updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"})
    run(settled)

    def story(crash_after: int) -> World:
        world = settled.copy()
        trouble(world)
        world.faults.crash_after = crash_after
        with contextlib.suppress(Crash):
            run(world)
        run(world)
        return world

    expected = story(-1)
    for n in range(len(expected.log) - len(settled.log)):
        world = story(n)
        assert (n, shape(expected)) == (n, shape(world))
        assert (n, conditions(expected)) == (n, conditions(world))


def test_a_rollout_takes_followers_first_and_the_leader_last() -> None:
    """A new image reaches every pod; none goes before the one ahead of it is back."""
    world = fresh()
    run(world)
    world.objects[names.KIND, NAME]["spec"]["image"] = {"tag": "next"}
    before = len(world.log)

    run(world)

    gone = [line for line in world.log[before:] if line.startswith(("delete Pod", "/cluster/tr"))]
    assert [
        f"delete Pod {NAME}-2",
        f"delete Pod {NAME}-3",
        '/cluster/transfer {"to":2}',
        f"delete Pod {NAME}-1",
    ] == gone
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def images(world: World) -> list[str]:
    return [
        world.objects["Pod", name]["spec"]["containers"][0]["image"].partition(":")[2]
        for name in world.pods()
    ]


def test_a_template_that_does_not_start_is_tried_on_one_member_only() -> None:
    """It gets the last good template back; the others were never touched; status says why."""
    world = fresh(updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"})
    run(world)
    before = len(world.log)

    ask(world, image={"tag": "broken"})
    run(world)

    gone = [line for line in world.log[before:] if line.startswith("delete Pod")]
    assert [f"delete Pod {NAME}-2"] * 2 == gone
    assert ["latest"] * 3 == images(world)
    assert ("True", "RolloutStuck") == conditions(world)["Degraded"]
    assert ("True", "QuorumHealthy") == conditions(world)["Available"]
    operation = world.objects[names.KIND, NAME]["status"]["operation"]
    assert ("Rollout", "Stuck") == (operation["type"], operation["step"])
    assert f"{NAME}-template" in operation["blockedBy"]


@pytest.mark.parametrize("then", ["latest", "next"])
def test_a_rollout_that_is_stuck_goes_on_with_another_spec(then: str) -> None:
    """Correcting the spec, or taking it back, is all that it needs."""
    world = fresh(updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"})
    run(world)
    ask(world, image={"tag": "broken"})
    run(world)

    ask(world, image={"tag": then})
    run(world)

    assert [then] * 3 == images(world)
    assert ("True", "AllMembersReady") == conditions(world)["Ready"]


def test_a_failed_template_is_tried_again_on_request() -> None:
    """Without the key `failed` the same template is tried again; the registry is well by now."""
    world = fresh(updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"})
    run(world)
    ask(world, image={"tag": "broken"})
    run(world)
    world.bad_tag = ""

    del world.objects["ConfigMap", f"{NAME}-template"]["data"]["failed"]
    run(world)

    assert ["broken"] * 3 == images(world)


def test_a_single_member_gets_its_template_back_without_a_leader() -> None:
    """With one member nobody leads while its pod does not start: it goes back all the same."""
    world = fresh(replicas=1, updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"})
    run(world)

    ask(world, image={"tag": "broken"})
    run(world)

    assert ["latest"] == images(world)
    assert ("True", "QuorumHealthy") == conditions(world)["Available"]


def test_a_scale_in_the_middle_of_a_rollout() -> None:
    """Both arrive: five members, all with the new image."""
    world = fresh()
    run(world)
    ask(world, image={"tag": "next"})
    loop = cluster(world)
    for _ in range(4):
        asyncio.run(loop.one_pass())
        world.kubelets()

    ask(world, replicas=5)
    run(world)

    assert (5, 0, 5) == shape(world)
    assert ["next"] * 5 == images(world)


def test_an_api_server_that_is_away_changes_nothing() -> None:
    """Reads fail for a while; when they work again nothing was replaced."""
    world = fresh()
    run(world)
    written = len(world.log)
    world.faults.refuse_reads = 50

    run(world)

    assert written == len(world.log)


def reasons(world: World) -> list[str]:
    return [reason for reason, _ in world.events]


def test_each_change_is_told_once() -> None:
    """Events have fixed reasons, one for each change, in the order in which they happened."""
    world = fresh()
    run(world)
    assert ["MemberAdded", "MemberPromoted"] * 2 == reasons(world)

    world.events.clear()
    ask(world, replicas=4)
    run(world)
    ask(world, replicas=1)
    run(world)
    quarantined = ["MemberRemoved", "VolumeQuarantined"] * 3
    assert ["MemberAdded", *quarantined] == reasons(world)

    world.events.clear()
    ask(world, replicas=3)
    run(world)
    world.events.clear()
    volume_lost(world, serial=min(set(world.voters) - {1}))
    run(world)
    assert ["MemberAdded", "MemberReplaced"] == reasons(world)


def test_a_rollout_is_told() -> None:
    """Its beginning, its end, and that it stopped."""
    world = fresh(updateStrategy={"minReadySeconds": 0, "memberReadyTimeout": "0s"})
    run(world)
    world.events.clear()
    image_changed(world)
    run(world)
    assert ["RolloutStarted", "LeaderTransferred", "LeaderChanged", "RolloutFinished"] == reasons(
        world
    )

    world.events.clear()
    image_broken(world)
    run(world)
    assert ["RolloutStarted", "RolloutPaused", "StepBlocked"] == reasons(world)


def test_a_lost_quorum_is_told_once() -> None:
    """However many passes see it."""
    world = fresh()
    run(world)
    world.events.clear()
    for serial in (2, 3):
        del world.objects["PersistentVolumeClaim", f"data-{NAME}-{serial}"]
        del world.objects["Pod", f"{NAME}-{serial}"]
    run(world)
    run(world)

    assert ["QuorumLost"] == reasons(world)


def test_events_are_a_courtesy() -> None:
    """An API server that refuses them hinders nothing, and one reason is not told for ever."""
    world = fresh()
    teller, desired = Teller(world), Desired.of(world.objects[names.KIND, NAME])

    async def tell() -> None:
        for serial in range(50):
            change = ChangeMembership("promote", 1, serial, ConfigurationId(1, 1, 1))
            await teller.deed(desired, change)

    asyncio.run(tell())

    assert 10 == len(world.events)
