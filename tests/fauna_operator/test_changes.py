"""What costs a look: only what changed, and never a write on anything but a fresh look."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from fauna_operator.backups.keeper import Keeper
from fauna_operator.changes import FRESH_S_MAX, Changes
from fauna_operator.reconcile import IDLE_S, LOOK_S, Cluster
from fauna_operator.render import names
from fauna_operator.supervise import Supervisor
from fauna_operator.wiring import EVERYBODY, Bell
from fauna_operator_world import NAME, NAMESPACE, World, conditions, resource, settle

KEY = (NAMESPACE, NAME)
POD = ("Pod", NAMESPACE, "orders-1")


@dataclass
class Counting(World):
    """A world that counts what is read of its API server."""

    reads: int = 0

    def _may_read(self) -> None:
        self.reads += 1
        super()._may_read()


class Clock:
    """Seconds that pass when a test says so."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes(clock: Clock) -> Changes:
    made = Changes(clock)
    made.expect([("Pod", "")])
    made.listed("Pod", "", ())
    return made


@pytest.fixture
def world() -> Counting:
    made = Counting()
    made.put(resource())
    asyncio.run(settle(made, Cluster(made, made, KEY)))
    return made


def settled(world: World, changes: Changes, clock: Clock) -> Cluster:
    """Return a loop that has looked, and found nothing to do."""
    cluster = Cluster(world, world, KEY, changes=changes, clock=clock)
    assert IDLE_S == asyncio.run(cluster.one_pass())
    return cluster


def reads(world: Counting, cluster: Cluster) -> int:
    """Return what one pass reads of the API server."""
    before = world.reads
    asyncio.run(cluster.one_pass())
    return world.reads - before


def test_an_idle_cluster_asks_the_api_server_nothing(
    world: Counting, changes: Changes, clock: Clock
) -> None:
    """One look, then none, until something of it changes; then one again."""
    cluster = settled(world, changes, clock)

    idle = reads(world, cluster)
    changes.note(POD, "2", KEY)

    assert (0, True, 0) == (idle, reads(world, cluster) > 5, reads(world, cluster))


@pytest.mark.parametrize("whose", [("default", "other"), EVERYBODY])
def test_whose_change_it_is_counts(
    world: Counting, changes: Changes, clock: Clock, whose: tuple[str, str]
) -> None:
    """The change of another cluster costs nothing; that of a node concerns everybody."""
    cluster = settled(world, changes, clock)

    changes.note(("Node", "", "n1"), "1", whose)

    assert (whose == EVERYBODY) == (reads(world, cluster) > 0)


def test_what_members_say_is_noticed_without_an_event(
    world: Counting, changes: Changes, clock: Clock
) -> None:
    """A majority is cut while every pod is Ready: the next pass says that it is not available."""
    cluster = settled(world, changes, clock)
    for serial in (1, 2):
        claim = world.objects["PersistentVolumeClaim", f"data-{NAME}-{serial}"]
        world.directories.pop(claim["metadata"]["uid"])

    assert reads(world, cluster) > 0
    clock.now_s += 16  # longer than an election
    asyncio.run(cluster.one_pass())
    assert "True" != conditions(world)["Available"][0]


def test_what_would_be_done_is_looked_at_first(
    world: Counting, changes: Changes, clock: Clock
) -> None:
    """An event was lost, and the operator does not write on what it remembers."""
    cluster = settled(world, changes, clock)
    resource = world.objects[names.KIND, NAME]
    resource["spec"]["paused"] = True  # nobody told us
    world._bump(resource)
    written = len(world.log)
    world.voters.pop(3)

    asyncio.run(cluster.one_pass())

    assert {"status"} >= set(world.log[written:])


def test_after_hours_it_is_looked_at_anyway(
    world: Counting, changes: Changes, clock: Clock
) -> None:
    """What no watch shows is seen in the end."""
    cluster = settled(world, changes, clock)

    clock.now_s += LOOK_S
    changes.listed("Pod", "", ())

    assert reads(world, cluster) > 0


def test_who_hears_nothing_looks(world: Counting, changes: Changes, clock: Clock) -> None:
    """With the lists of the second client missing, every pass looks itself."""
    cluster = settled(world, changes, clock)

    clock.now_s += FRESH_S_MAX + 1

    assert [True, True] == [reads(world, cluster) > 0 for _ in range(2)]


def test_the_keeper_rests_too(world: Counting, changes: Changes, clock: Clock) -> None:
    """What a cluster keeps for its backups is looked at again when something changed."""
    keeper, found = Keeper(world, KEY, clock, changes), []
    for note in (False, False, True, False):
        if note:
            changes.note(("Secret", NAMESPACE, "orders-ca"), "2", KEY)
        before = world.reads
        asyncio.run(keeper.one_pass())
        found.append(world.reads > before)

    assert [True, False, True, False] == found


def test_what_is_gone_from_a_list_is_a_change(changes: Changes) -> None:
    """Who vanished while a watch was down is missed by the list; others are not touched."""
    changes.note(POD, "1", KEY)
    changes.note(("Pod", "elsewhere", "orders-1"), "1", ("elsewhere", NAME))
    before = changes.count(KEY)

    lost = changes.listed("Pod", NAMESPACE, set())

    assert ({KEY}, 1) == (lost, (changes.count(KEY) or 0) - (before or 0))
    assert 1 == changes.count(("elsewhere", NAME))


def test_a_version_counts_once_and_an_older_one_too(changes: Changes) -> None:
    """A watch shows again what it has shown; a restored etcd counts from an earlier version."""
    noted = [changes.note(POD, version, KEY) for version in ("7", "7", "3", "", "", "3")]
    assert [True, False, True, True, False, True] == noted


class Woken(Supervisor):
    """Remembers who was woken."""

    def __init__(self) -> None:
        super().__init__({})
        self.names: list[str] = []

    def wake(self, kind: str, namespace: str, name: str) -> None:
        self.names.append(f"{kind} {namespace}/{name}")


def item(name: str, spec: dict[str, Any] | None = None, **labels: str) -> dict[str, Any]:
    metadata = {"namespace": "default", "name": name, "resourceVersion": "1"}
    labelled = {f"fauna.dev/{key}": value for key, value in labels.items()}
    return {"metadata": {**metadata, "labels": labelled}, "spec": spec or {}}


@pytest.mark.parametrize(
    ("kind", "what", "expected"),
    [
        ("FaunaCluster", item("a"), ["FaunaCluster default/a", "BackupKeeper default/a"]),
        ("Pod", item("a-1", cluster="a"), ["FaunaCluster default/a"]),
        ("Service", item("a", cluster="a"), ["FaunaCluster default/a"]),
        ("Secret", item("a", cluster="a"), ["FaunaCluster default/a", "BackupKeeper default/a"]),
        (
            "Job",
            item("b-backup", cluster="a", backup="b"),
            ["FaunaCluster default/a", "FaunaBackup default/b"],
        ),
        (
            "FaunaBackup",
            item("b", {"clusterRef": {"name": "a"}}, schedule="s"),
            ["FaunaBackup default/b", "FaunaScheduledBackup default/s", "BackupKeeper default/a"],
        ),
        (
            "FaunaRestore",
            item("r", {"target": {"inPlace": {"clusterName": "a"}}}),
            ["FaunaRestore default/r"],
        ),
        (
            "FaunaScheduledBackup",
            item("s", {"template": {"spec": {"clusterRef": {"name": "a"}}}}),
            ["FaunaScheduledBackup default/s"],
        ),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_the_bell_wakes_whom_it_concerns(
    kind: str, what: dict[str, Any], expected: list[str]
) -> None:
    """Each object wakes its own loop and those that its labels name, once for each version."""
    woken = Woken()
    bell = Bell(woken, Changes())

    for _ in range(2):
        bell.ring(kind, what)

    assert expected == woken.names


def test_who_lost_something_is_woken() -> None:
    """A pod that a list does not show any more wakes its cluster."""
    woken = Woken()
    bell = Bell(woken, Changes())
    bell.listed("Pod", "", [item("a-1", cluster="a")])
    woken.names.clear()

    bell.listed("Pod", "", [])

    assert ["FaunaCluster default/a"] == woken.names
