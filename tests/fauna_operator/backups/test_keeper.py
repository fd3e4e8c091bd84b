"""What a cluster keeps for its backups: a leaf that may only read, and what status says of them."""

import asyncio
from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography import x509

from fauna_operator import pki
from fauna_operator.backups.farewell import let_go_where_all_ends
from fauna_operator.backups.keep import RENEW_BEFORE_S
from fauna_operator.backups.keeper import Keeper
from fauna_operator.backups.model import FINALIZER
from fauna_operator.model.dates import iso
from fauna_operator_jobs import CLUSTER, CLUSTER_ID, SPACE, World, backup, fresh, held

DAY = 86_400.0


def with_authority(world: World) -> World:
    """Give the cluster its CA, and take the leaf that the model begins with."""
    pair = pki.make_authority(CLUSTER, world.now)
    data = {
        key: b64encode(value).decode()
        for key, value in (("tls.crt", pair.certificate), ("tls.key", pair.key))
    }
    world.put({"kind": "Secret", "metadata": {"name": f"{CLUSTER}-ca"}, "data": data})
    world.remove("Secret", f"{CLUSTER}-backup-tls")
    return world


def one_pass(world: World) -> None:
    asyncio.run(Keeper(world, (SPACE, CLUSTER), lambda: world.now).one_pass())


def leaf(world: World) -> x509.Certificate:
    data = world.objects["Secret", f"{CLUSTER}-backup-tls"]["data"]
    return x509.load_pem_x509_certificate(b64decode(data["tls.crt"]))


def ended(world: World, name: str, **status: Any) -> None:
    world.put({**backup(name), "status": {"startedAt": iso(world.now), **status}})


def test_the_leaf_names_cluster_and_role() -> None:
    """Members tell by the role that its bearer may only read."""
    world = with_authority(fresh())

    one_pass(world)

    names = leaf(world).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [f"fauna://cluster/{CLUSTER_ID}", "fauna://role/backup"] == names.get_values_for_type(
        x509.UniformResourceIdentifier
    )
    assert [] == names.get_values_for_type(x509.DNSName)


def test_a_leaf_is_kept_until_it_is_due() -> None:
    """It is written once, and again when its last third begins or the authority is another."""
    world = with_authority(fresh())
    for _ in range(2):
        one_pass(world)
    first = leaf(world).serial_number
    assert 1 == sum("backup-tls" in line for line in world.log)

    world.now = leaf(world).not_valid_after_utc.timestamp() - RENEW_BEFORE_S + 60
    one_pass(world)
    second = leaf(world).serial_number
    world.remove("Secret", f"{CLUSTER}-ca")
    with_authority(world)
    one_pass(world)

    assert 3 == len({first, second, leaf(world).serial_number})


@pytest.mark.parametrize("why", ["no backups", "no authority", "paused", "deleted"])
def test_nothing_is_made_for_nobody(why: str) -> None:
    """A cluster without store and backups gets nothing, nor one that is paused or goes."""
    world = with_authority(fresh())
    resource = world.objects["FaunaCluster", CLUSTER]
    match why:
        case "no backups":
            resource["spec"].pop("backup")
        case "no authority":
            world.remove("Secret", f"{CLUSTER}-ca")
        case "paused":
            resource["spec"]["paused"] = True
        case _:
            resource["metadata"]["deletionTimestamp"] = iso(world.now)

    one_pass(world)

    assert ("Secret", f"{CLUSTER}-backup-tls") not in world.objects


def test_status_tells_the_last_of_each_kind() -> None:
    """The last success, failure and verification; other words of status stay as they were."""
    world = with_authority(fresh())
    status = world.objects["FaunaCluster", CLUSTER]["status"]
    times = [iso(world.now + number * 60) for number in range(4)]
    ended(world, "one", completedAt=times[0], verifiedAt=times[0])
    ended(world, "two", completedAt=times[1])
    ended(world, "three", completedAt=times[2], error="full")
    ended(world, "four")

    for _ in range(2):
        one_pass(world)

    after = world.objects["FaunaCluster", CLUSTER]["status"]
    assert {
        "lastSuccessfulName": "two",
        "lastSuccessfulTime": times[1],
        "lastFailedName": "three",
        "lastFailedTime": times[2],
        "lastVerifiedTime": times[0],
    } == after["backup"]
    conditions = {entry["type"]: entry for entry in after["conditions"]}
    assert ("False", "LastFailed") == tuple(
        conditions["BackupHealthy"][key] for key in ("status", "reason")
    )
    assert status["conditions"][0] == conditions["Available"]
    assert status["members"] == after["members"]
    assert 1 == world.log.count(f"status {CLUSTER}")


def test_what_was_said_of_backups_outlives_them() -> None:
    """The last success is told also after its FaunaBackup was deleted."""
    world = with_authority(fresh())
    ended(world, "one", completedAt=iso(world.now), verifiedAt=iso(world.now))
    one_pass(world)
    world.remove("FaunaBackup", "one")

    one_pass(world)

    status = world.objects["FaunaCluster", CLUSTER]["status"]
    assert "one" == status["backup"]["lastSuccessfulName"]


@pytest.mark.parametrize("ending", [False, True])
def test_an_operator_that_ends_with_its_namespace_lets_go(ending: bool) -> None:
    """The last deed: no finalizer of ours is left where everything ends, all of them else."""
    world = fresh()
    world.put({**backup(), "metadata": {"name": "one", "finalizers": [FINALIZER, "other"]}})
    if ending:
        world.end_namespace()

    asyncio.run(let_go_where_all_ends(world, ("",)))

    assert ending is not held(world)
    assert ("FaunaBackup", "one") in world.objects


def test_the_archive_comes_and_goes_with_its_field() -> None:
    """One pod, told anew when the members change; its readiness is a condition."""
    world = with_authority(fresh())
    resource = world.objects["FaunaCluster", CLUSTER]
    resource["spec"]["backup"]["archive"] = {"enabled": True}

    for _ in range(3):
        one_pass(world)

    made = world.objects["Deployment", f"{CLUSTER}-archive"]
    assert 1 == sum("Deployment" in line for line in world.log)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert "archive" == container["args"][0]
    assert "serial" not in str(made["spec"]["template"]["metadata"]["labels"])
    assert "False" == condition(world, "ArchiveHealthy")

    made["status"] = {"readyReplicas": 1}
    one_pass(world)
    assert "True" == condition(world, "ArchiveHealthy")

    world.objects["FaunaCluster", CLUSTER]["status"]["members"].pop()
    one_pass(world)
    assert 2 == sum("patch Deployment" in line for line in world.log)

    world.objects["FaunaCluster", CLUSTER]["spec"]["backup"]["archive"] = {"enabled": False}
    for _ in range(2):
        one_pass(world)
    assert ("Deployment", f"{CLUSTER}-archive") not in world.objects
    assert "" == condition(world, "ArchiveHealthy")


def condition(world: World, kind: str) -> str:
    entries = world.objects["FaunaCluster", CLUSTER]["status"]["conditions"]
    return next((entry["status"] for entry in entries if entry["type"] == kind), "")
