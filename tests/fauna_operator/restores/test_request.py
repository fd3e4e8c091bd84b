"""What a FaunaRestore does before a cluster's own loop takes over, as a table and as a contract."""

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
import yaml

from fauna_operator.backups.model import Backup
from fauna_operator.model import Desired, Job, Latch, Origin, Request
from fauna_operator.model.restores import External, RestoreSpec
from fauna_operator.model.stores import BackupStore, S3Store, StoreCredentials
from fauna_operator.render import pod
from fauna_operator.render.restores import Filling, restore_job, trial_job
from fauna_operator.restores.plan import Facts, Step, Target, decide
from faunadb.cli.main import commands as faunadb

ROOT = Path(__file__).parents[3]
ID = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
STORED = {"pvc": {"claimName": "nas"}}
EXTERNAL = {"external": {"storage": STORED, "clusterID": ID, "backupID": "b1"}}
NAMED = {"backupName": "nightly"}
IN_PLACE = {"inPlace": {"clusterName": "orders"}}
COPY = {"newCluster": {"name": "copy", "spec": {"storage": {"size": "1Gi"}}}}
CONFIRM = {"clusterUID": "u1", "acceptDataLoss": True}
MADE = {
    "restore": {"storage": STORED, "clusterID": ID, "backupID": "b1", "timeout": "12h"},
}


def request(source: Any, target: Any, status: Any = None, **spec: Any) -> Request:
    wanted = {"source": source, "target": target, "confirm": CONFIRM, **spec}
    metadata = {"name": "back", "namespace": "shop", "uid": "r1", "resourceVersion": "1"}
    return Request.of({"metadata": metadata, "spec": wanted, "status": status or {}})


def target(name: str = "orders", bootstrap: Any = None, **status: Any) -> Target:
    spec = {"storage": {"size": "1Gi"}, **({"bootstrap": bootstrap} if bootstrap else {})}
    metadata = {"name": name, "namespace": "shop", "uid": "u1"}
    desired = Desired.of({"metadata": metadata, "spec": {"storage": {"size": "1Gi"}}})
    return Target(desired, status, spec)


def backup(**record: Any) -> Backup:
    made = {"startedAt": "2026-01-01T00:00:00Z", **record}
    status = {"storage": STORED, "clusterID": ID, "backupID": "b1", **made}
    return Backup.of(
        {
            "metadata": {
                "name": "nightly",
                "namespace": "shop",
                "uid": "b",
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"clusterRef": {"name": "orders"}},
            "status": status,
        }
    )


DONE = backup(completedAt="2026-01-01T01:00:00Z")
BROKEN = backup(completedAt="2026-01-01T01:00:00Z", error="disk full")


def said(step: Step) -> str:
    made = f"{step.create['kind']} {step.create['metadata']['name']}" if step.create else ""
    return made or (f"{step.status.phase}: {step.status.message}" if step.status else "")


ACCEPTED = "Accepted: handed to the cluster"
SAVING = {
    "phase": "SafetyBackup",
    "safetyBackupName": "back-safety",
    "source": EXTERNAL["external"],
}
TRYING = {"phase": "Trying", "source": EXTERNAL["external"]}
CREATING = {"phase": "Creating", "source": EXTERNAL["external"]}
READY = [{"type": "Ready", "status": "True"}]
STUCK = [{"type": "Ready", "status": "False", "reason": "RestoreFailed", "message": "Job: bad"}]
TRIED = Job("back-trial", "j", "1", state="Complete", result={"index": 7, "txn_ts": 1_000_000})


@pytest.mark.parametrize(
    ("asked", "facts", "expected"),
    [
        (request(EXTERNAL, IN_PLACE), Facts(), "Pending: there is no FaunaCluster orders"),
        (
            request(EXTERNAL, IN_PLACE, confirm={"clusterUID": "u2", "acceptDataLoss": True}),
            Facts(target()),
            "Failed: confirm.clusterUID is not that of FaunaCluster orders",
        ),
        (
            request(EXTERNAL, IN_PLACE, confirm={"clusterUID": "u1"}),
            Facts(target()),
            "Failed: confirm.acceptDataLoss is not true",
        ),
        (
            request(EXTERNAL, IN_PLACE),
            Facts(target(), others=("other",)),
            "Pending: other is under way",
        ),
        (request(NAMED, IN_PLACE), Facts(target()), "Pending: there is no FaunaBackup nightly"),
        (
            request(NAMED, IN_PLACE),
            Facts(target(), backup()),
            "Pending: FaunaBackup nightly is Running",
        ),
        (
            request(NAMED, IN_PLACE),
            Facts(target(), BROKEN),
            "Failed: FaunaBackup nightly failed",
        ),
        (
            request(NAMED, IN_PLACE),
            Facts(target(), DONE),
            "SafetyBackup: making FaunaBackup back-safety",
        ),
        (
            request(NAMED, {"inPlace": {"clusterName": "orders", "safetyBackup": False}}),
            Facts(target(), DONE),
            ACCEPTED,
        ),
        (request({"survivingMember": {"auto": True}}, IN_PLACE), Facts(target()), ACCEPTED),
        (request(EXTERNAL, IN_PLACE, SAVING), Facts(target()), "FaunaBackup back-safety"),
        (
            request(EXTERNAL, IN_PLACE, SAVING),
            Facts(target(), safety=BROKEN),
            "Failed: FaunaBackup back-safety failed: disk full; safetyBackup: false leaves it out",
        ),
        (request(EXTERNAL, IN_PLACE, SAVING), Facts(target(), safety=DONE), ACCEPTED),
        (
            request(EXTERNAL, IN_PLACE, {"phase": "Restoring"}),
            Facts(),
            "Failed: FaunaCluster orders was deleted",
        ),
        (request(EXTERNAL, IN_PLACE, {"phase": "Restoring"}), Facts(target()), ""),
        (
            request(EXTERNAL, IN_PLACE, dryRun=True),
            Facts(target()),
            "Trying: reading the backup",
        ),
        (request(EXTERNAL, IN_PLACE, TRYING), Facts(target()), "Job back-trial"),
        (
            request(EXTERNAL, IN_PLACE, TRYING),
            Facts(target(seen=[{"memberID": "1", "index": 9, "observedAt": "x"}]), trial=TRIED),
            "Completed: entry 7 would be restored; at least 2 entries would be lost",
        ),
        (request(EXTERNAL, COPY), Facts(), "Creating: making the cluster"),
        (
            request(EXTERNAL, COPY),
            Facts(target("copy")),
            "Failed: FaunaCluster copy exists already",
        ),
        (request(EXTERNAL, COPY, CREATING), Facts(), "FaunaCluster copy"),
        (
            request(EXTERNAL, COPY, CREATING),
            Facts(target("copy", MADE, conditions=STUCK)),
            "Failed: Job: bad",
        ),
        (
            request(EXTERNAL, COPY, CREATING),
            Facts(target("copy", MADE, conditions=READY, restored={"index": 7})),
            "Completed: the cluster is ready",
        ),
        (
            request(
                EXTERNAL,
                {"newCluster": {"name": "copy", "spec": {"bootstrap": {}}}},
            ),
            Facts(),
            "Failed: target.newCluster.spec.bootstrap is filled in by the restore",
        ),
    ],
)
def test_step(asked: Request, facts: Facts, expected: str) -> None:
    """The facts lead to exactly this status or object."""
    assert expected == said(decide(asked, facts, 1_000.0))


def test_its_own_cluster_is_known_with_the_defaults_of_the_server() -> None:
    """The API server fills in what we left out; that makes it nobody else's cluster."""
    bucket = {"bucket": "b", "endpoint": "http://h:1"}
    source = {"storage": {"s3": bucket}, "clusterID": ID, "backupID": "b1"}
    filled = {"prefix": "", "region": "us-east-1", "forcePathStyle": False, "credentials": {}}
    stored = {"restore": {**source, "storage": {"s3": {**bucket, **filled}}, "timeout": "12h"}}
    asked = request({"external": source}, COPY, {"phase": "Creating", "source": source})

    step = decide(asked, Facts(target("copy", stored, conditions=READY)), 1_000.0)

    assert "Completed: the cluster is ready" == said(step)


def test_what_ended_stays() -> None:
    """A restore that completed or failed does nothing more, whatever becomes of its cluster."""
    for phase in ("Completed", "Failed"):
        assert Step() == decide(request(EXTERNAL, IN_PLACE, {"phase": phase}), Facts(), 1.0)


def filling(**more: Any) -> Filling:
    store = BackupStore(
        s3=S3Store("b", "p", endpoint="http://h:1", credentials=StoreCredentials("s"))
    )
    return msgspec.structs.replace(
        Filling("x-restore", "c4", 4, ID, 2, External(store, ID, "b1"), None, "", 77, "1h", None),
        **more,
    )


def test_the_command_understands_what_jobs_and_survivors_say() -> None:
    """Every argument that we render is one of the server's command line."""
    desired = target().desired
    latch = Latch(ID, 2, 1, 4, bootstrapped=True, origin=Origin("r", "u", 1, 1, recovers=True))
    jobs = (
        restore_job(desired, filling()),
        restore_job(desired, filling(target_index=9)),
        trial_job(desired, filling(target_time="2026-11-22T10:00:00Z")),
    )
    pods = [job["spec"]["template"]["spec"] for job in jobs] + [pod(desired, latch, 1)["spec"]]
    for spec in pods:
        verb, *words = spec["containers"][0]["args"]
        command = faunadb.commands[verb]
        known = {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)}
        assert set() == {word.partition("=")[0] for word in words} - known, verb
        given = {word.partition("=")[0] for word in words}
        required = [each for each in command.params if isinstance(each, click.Option)]
        assert all(given & set(each.opts) for each in required if each.required), verb


def test_a_job_is_no_member_and_holds_no_secret_in_words() -> None:
    """Its pod is restricted, has no token, is selected by no Service, and reads files only."""
    job = restore_job(target().desired, filling())
    template = job["spec"]["template"]
    spec = template["spec"]

    assert "restore" == template["metadata"]["labels"]["fauna.dev/component"]
    assert "fauna.dev/serial" not in template["metadata"]["labels"]
    assert not spec["automountServiceAccountToken"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    assert "--credentials-dir=/etc/faunadb/store" in spec["containers"][0]["args"]
    assert {"secretName": "s", "defaultMode": 0o440} in [v.get("secret") for v in spec["volumes"]]


def test_the_crd_and_the_model_say_the_same() -> None:
    """A spec with the defaults of the CRD is the spec with the model's; the example is one."""
    crd = yaml.safe_load((ROOT / "crds/faunarestores.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    minimal = {"source": {"backupName": "a"}, "target": IN_PLACE}
    spec = schema["spec"]["properties"]
    filled = {
        **minimal,
        **{key: inner["default"] for key, inner in spec.items() if "default" in inner},
    }

    assert msgspec.convert(minimal, RestoreSpec) == msgspec.convert(filled, RestoreSpec)
    fields = {each.encode_name for each in msgspec.structs.fields(RestoreSpec)}
    assert fields == set(spec)
    for document in yaml.safe_load_all((ROOT / "examples/restore.yaml").read_text()):
        assert msgspec.convert(document["spec"], RestoreSpec, strict=True).target


def test_every_field_of_status_is_in_the_crd() -> None:
    """What the operator writes is not pruned away."""
    crd = yaml.safe_load((ROOT / "crds/faunarestores.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    step = decide(request(EXTERNAL, IN_PLACE), Facts(target()), 1_000.0)
    assert step.status is not None

    names = {each.encode_name for each in msgspec.structs.fields(type(step.status))}
    assert names == set(schema["status"]["properties"])
