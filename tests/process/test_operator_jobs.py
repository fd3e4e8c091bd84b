"""What the operator puts into its Jobs works on real members: words, leaf, last line."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fauna_operator import pki
from fauna_operator.backups.model import FINALIZER, Backup, Record, Seen, Source, Store
from fauna_operator.backups.observe import run_of
from fauna_operator.backups.plan import plan
from fauna_operator.backups.render import backup_job, discard_job
from fauna_operator.model.stores import BackupStore, VolumeStore
from process.cluster import Cluster, run_program

pytestmark = pytest.mark.process
UID = "12345678-9abc-def0"
NOW = 1_800_000_000.0


@pytest.fixture
def begun(three: Cluster) -> tuple[Backup, Source]:
    """A backup of the three members that has begun, and what the operator saw of the cluster."""
    source = Source("orders", three.cluster_id, 1, hosts=("stands for its members",))
    backup = Backup.of(
        {
            "metadata": {
                "name": "first",
                "namespace": "shop",
                "uid": UID,
                "resourceVersion": "1",
                "creationTimestamp": "2027-01-15T08:00:00Z",
                "finalizers": [FINALIZER],
            },
            "spec": {"clusterRef": {"name": "orders"}, "verify": "Restore"},
        }
    )
    record = Record(
        backup_id=backup.backup_id,
        cluster_id=three.cluster_id,
        image="faunadb",
        storage=BackupStore(pvc=VolumeStore("nas", "orders")),
        started_at="2027-01-15T08:00:01Z",
    )
    return msgspec.structs.replace(backup, record=record), source


def leaf(three: Cluster, folder: Path) -> Path:
    """Issue what the Secret `{cluster}-backup-tls` holds, by the cluster's own authority."""
    tls = three.folder / "tls"
    authority = pki.KeyPair((tls / "ca.crt").read_bytes(), (tls / "ca.key").read_bytes())
    issued = pki.issue(
        authority, cluster_id=three.cluster_id, names=(), now=time.time(), role="backup"
    )
    made = folder / "leaf"
    made.mkdir()
    (made / "ca.crt").write_bytes(authority.certificate)
    (made / "tls.crt").write_bytes(issued.certificate)
    (made / "tls.key").write_bytes(issued.key)
    return made


def run(
    job: dict[str, Any], three: Cluster, folder: Path, tls: Path
) -> subprocess.CompletedProcess[str]:
    """Run the words of a Job here, where its mounts are folders."""
    addresses = ",".join(f"{m.place.host}:{m.place.admin_port}" for m in three.members)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    words = []
    for word in container["args"]:
        if word.startswith("--members="):
            words.append(f"--members={addresses}")
        else:
            there = word.replace("file:///backups", f"file://{folder}/backups")
            there = there.replace("=/etc/faunadb/tls", f"={tls}")
            words.append(there.replace("=/scratch", f"={folder}/scratch"))
    return run_program(*words, check=False)


def ended(job: dict[str, Any], done: subprocess.CompletedProcess[str]) -> Any:
    """Return what the operator reads of a Job that ended like this command."""
    said = (done.stdout or done.stderr).rstrip().rpartition("\n")[2]
    state = {"terminated": {"exitCode": done.returncode, "message": said}}
    metadata = {**job["metadata"], "uid": "job", "resourceVersion": "2"}
    pod = {
        "metadata": {"name": "pod", "ownerReferences": [{"uid": "job"}]},
        "status": {"phase": "Succeeded", "containerStatuses": [{"state": state}]},
    }
    kind = "Failed" if done.returncode else "Complete"
    status = {"conditions": [{"type": kind, "status": "True"}]}
    return run_of({**job, "metadata": metadata, "status": status}, [pod], UID)


def test_a_jobs_words_make_a_backup_that_the_operator_believes(
    three: Cluster, begun: tuple[Backup, Source], tmp_path: Path
) -> None:
    """Made with a leaf that may only read, verified as asked, and gone by the other words."""
    backup, source = begun
    assert three.leader().query('Collection.create({name: "Thing"})').status == 200
    tls = leaf(three, tmp_path)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "backups").mkdir()
    made = backup_job(backup, source, 60)

    done = run(made, three, tmp_path, tls)
    assert 0 == done.returncode, done.stderr
    [action] = plan(backup, Seen(cluster=source, run=ended(made, done)), NOW).actions

    assert isinstance(action, Store)
    assert ("Completed", "Restore") == (action.record.phase, action.record.verified)
    assert action.record.snapshot_index > 0
    assert json.loads(done.stdout.splitlines()[-1])["state_hash"] == action.record.state_hash
    folder = tmp_path / "backups/orders" / three.cluster_id / backup.backup_id
    assert (folder / "manifest.json").exists()

    gone = run(discard_job(backup), three, tmp_path, tls)
    assert 0 == gone.returncode, gone.stderr
    assert not folder.exists() or not list(folder.iterdir())


def test_a_job_that_cannot_reach_its_store_fails_in_its_own_words(
    three: Cluster, begun: tuple[Backup, Source], tmp_path: Path
) -> None:
    """The operator shows reason and detail of the last line."""
    backup, source = begun
    tls = leaf(three, tmp_path)
    (tmp_path / "backups").write_text("no folder")
    (tmp_path / "scratch").mkdir()
    made = backup_job(backup, source, 60)

    done = run(made, three, tmp_path, tls)
    [action] = plan(backup, Seen(cluster=source, run=ended(made, done)), NOW).actions

    assert isinstance(action, Store)
    assert "Failed" == action.record.phase
    said = json.loads(done.stderr.rstrip().rpartition("\n")[2])
    assert f"{said['reason']}: {said['detail']}" == action.record.error
