"""An operator process whose API server lies, forgets and refuses, beside one whose does not.

The API server is real, the operator a process, the members the model of `fauna_operator_world`
behind TLS; that model breaks when anything is done that must not be.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bare_kubernetes import Bare, bare_kubernetes, free_ports, process
from fake_clusters import FakeClusters, fake_clusters
from faulty_door import FaultyDoor, faulty_door
from fauna_operator.render import names
from fauna_operator_world import NAME, World, conditions, resource

pytestmark = [pytest.mark.process, pytest.mark.new]

HANG_S = 900.0
OPERATOR = Path(__file__).parent.parent.parent / "operator"
SCALES = (5, 3)
SPACE = "shop"
PATH = f"/apis/fauna.dev/v1alpha1/namespaces/{SPACE}/faunaclusters"


async def until(world: Callable[[], World | None], holds: Callable[[World], bool]) -> None:
    async with asyncio.timeout(HANG_S):
        while (now := world()) is None or not holds(now):  # noqa: ASYNC110 they tell nobody
            await asyncio.sleep(0.2)


def has_arrived(world: World, replicas: int) -> bool:
    """Tell whether everything is as asked, by the members and by the status."""
    found = world.objects[names.KIND, NAME]
    said = found.get("status", {})
    if found["spec"]["replicas"] != replicas or not said.get("conditions"):
        return False
    pods = {item["metadata"]["name"] for (kind, _), item in world.objects.items() if kind == "Pod"}
    return (
        len(world.voters) == replicas
        and not world.learners
        and pods == {f"{NAME}-{serial}" for serial in world.voters}
        and said.get("replicas") == replicas
        and ("True", "AllMembersReady") == conditions(world)["Ready"]
    )


async def life(bare: Bare, fakes: FakeClusters) -> dict[str, Any]:
    """Create a cluster of three, scale it to five and back; return what came of it."""
    script = asyncio.to_thread
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
    await script(bare.call, "POST", "/api/v1/namespaces", namespace)
    wanted = resource(replicas=3)
    wanted["metadata"] = {"name": NAME, "namespace": SPACE}
    await script(bare.call, "POST", PATH, wanted)

    def world() -> World | None:
        found = fakes.worlds.get(SPACE)
        return found if found and (names.KIND, NAME) in found.objects else None

    await until(world, lambda now: has_arrived(now, 3))
    for replicas in SCALES:
        wanted["spec"]["replicas"] = replicas
        question = f"{PATH}/{NAME}?fieldManager=person&force=true"
        await script(bare.call, "PATCH", question, wanted)
        await until(world, lambda now, asked=replicas: has_arrived(now, asked))  # type: ignore[misc]
    made = fakes.worlds[SPACE]
    return {"formed": made.formed, "open": made.open, "voters": len(made.voters)}


@pytest.mark.parametrize("seed", [1])
def test_the_outcome_is_the_same(tmp_path: Path, seed: int) -> None:
    """Stale lists, lost events, 409, 429, 500 and silence change how long it takes, and no more."""

    async def live(bare: Bare) -> tuple[dict[str, Any], FaultyDoor, list[str]]:
        async with (
            fake_clusters(bare.kubeconfig("script")) as fakes,
            faulty_door(bare, seed) as (door, address),
        ):
            (port,) = free_ports(1)
            command = [
                *(sys.executable, "-m", "fauna_operator", "run", f"--health-port={port}"),
                f"--kubeconfig={bare.kubeconfig('program', address)}",
            ]
            with process(command, tmp_path / "operator.log", PYTHONPATH=str(OPERATOR)) as running:
                came = await life(bare, fakes)
                assert running.poll() is None
            return came, door, fakes.broken

    with bare_kubernetes(tmp_path) as bare:
        came, door, broken = asyncio.run(live(bare))

    assert [] == broken
    assert {"formed": 1, "open": True, "voters": 3} == came
    assert {"409", "429", "500", "500 but done", "old", "cut", "event lost"} <= set(door.happened)
