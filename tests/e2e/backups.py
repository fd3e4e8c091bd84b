"""A FaunaCluster with a hundred megabytes of documents, and a real S3 server for its backups.

The server runs beside the cluster and keeps a folder, so that a test sees and damages objects.
House rule: a wait says what the resource says of itself.
"""

import base64
import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fauna_client import Client
from kind_test_helpers import product
from kind_test_helpers.api import Json, Refused
from kind_test_helpers.cluster import Cluster
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import API_PATH, Database, condition, exists
from kind_test_helpers.s3 import S3Server, s3_server

HANG_SECONDS = 600.0
EVERY_SECONDS = 0.1
BUCKET = "fauna"
TEXT_BYTES = 150_000  # of one document, of random letters that do not shrink
LANES = 4


@dataclass(frozen=True)
class Backed:
    """A database, and where its backups lie."""

    database: Database
    server: S3Server

    @property
    def cluster(self) -> Cluster:
        return self.database.cluster

    @property
    def space(self) -> str:
        return self.database.namespace

    def fresh(self, stem: str) -> str:
        """Return a name that nothing of this namespace has had."""
        return f"{stem}-{secrets.token_hex(3)}"

    def path(self, plural: str, name: str = "") -> str:
        return f"{API_PATH}/namespaces/{self.space}/{plural}" + (f"/{name}" if name else "")

    def backup(self, name: str, **spec: Any) -> None:
        """Ask for a backup, as a person does."""
        self.cluster.api.create(
            self.path("faunabackups"),
            {
                "apiVersion": "fauna.dev/v1alpha1",
                "kind": "FaunaBackup",
                "metadata": {"name": name},
                "spec": {"clusterRef": {"name": self.database.name}, **spec},
            },
        )

    def schedule(self, name: str, spec: Json, **template: Any) -> None:
        """Ask for backups in time, as a person does."""
        wanted = {"clusterRef": {"name": self.database.name}, **template}
        self.cluster.api.create(
            self.path("faunascheduledbackups"),
            {
                "apiVersion": "fauna.dev/v1alpha1",
                "kind": "FaunaScheduledBackup",
                "metadata": {"name": name},
                "spec": {**spec, "template": {"spec": wanted}},
            },
        )

    def scheduled(self, schedule: str) -> list[Json]:
        """The backups of a schedule, by time."""
        selector = f"labelSelector=fauna.dev/schedule={schedule}"
        found = self.cluster.api.items(f"{self.path('faunabackups')}?{selector}")
        return sorted(found, key=lambda item: str(item["metadata"]["name"]))

    def status(self, name: str) -> Json:
        found: Json = self.cluster.api.get(self.path("faunabackups", name)).get("status", {})
        return found

    def await_phase(self, name: str, *phases: str) -> Json:
        """Wait until a backup is in one of these phases; return its status."""

        def there() -> Json | None:
            status = self.status(name)
            return status if status.get("phase") in phases else None

        try:
            what = f"FaunaBackup {name} to be {' or '.join(phases)}"
            return await_that(what, there, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)
        except Exception as late:
            late.add_note(json.dumps(self.status(name)))
            raise

    def await_gone(self, name: str) -> None:
        path = self.path("faunabackups", name)
        what = f"FaunaBackup {name} to be gone"
        gone = lambda: not exists(self.cluster, path)  # noqa: E731
        await_that(what, gone, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)

    def folder(self, name: str) -> Path:
        """Where the objects of a backup lie on this machine."""
        status = self.status(name)
        return Path(self.server.data, BUCKET, status["clusterID"], status["backupID"])

    def objects(self, name: str) -> list[str]:
        """The names of the objects of a backup; [] before it has begun."""
        if "backupID" not in self.status(name):
            return []
        folder = self.folder(name)
        return sorted(path.name for path in folder.glob("*")) if folder.exists() else []

    def archive(self, enabled: bool) -> None:
        """Ask for the archive of the log, or for its end; wait until it is so."""
        spec = {"backup": {"archive": {"enabled": enabled}}}
        self.cluster.api.merge(self.database.path, {"spec": spec})
        path = f"/apis/apps/v1/namespaces/{self.space}/deployments/{self.database.name}-archive"

        def there() -> bool:
            said = condition(self.database.status(), "ArchiveHealthy")
            return said == "True" if enabled else not said and not exists(self.cluster, path)

        what = f"the archive to be {'healthy' if enabled else 'gone'}"
        await_that(what, there, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)

    def archived(self) -> Json:
        """What the archive says of itself; {} while nobody answers."""
        labels = f"fauna.dev/cluster={self.database.name},fauna.dev/component=archive"
        pods = f"/api/v1/namespaces/{self.space}/pods"
        for pod in self.cluster.api.items(f"{pods}?labelSelector={labels}"):
            with contextlib.suppress(Refused):
                name = pod["metadata"]["name"]
                found: Json = self.cluster.api.get(f"{pods}/{name}:8080/proxy/status")
                return found
        return {}

    def segments(self, incarnation: int) -> list[str]:
        """The archived pieces of the log of an incarnation, by their first entry."""
        log = Path(self.server.data, BUCKET, self.database.status()["clusterID"], "log")
        return sorted(path.name for path in log.glob(f"{incarnation:010d}-*/*.zst"))

    def pods(self, backup: str) -> list[Json]:
        selector = f"labelSelector=fauna.dev/backup={backup}"
        return self.cluster.api.items(f"/api/v1/namespaces/{self.space}/pods?{selector}")

    def cli(self, verb: str, name: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Run the command beside the cluster on a backup's data."""
        status = self.status(name)
        return subprocess.run(
            [
                *(sys.executable, "-m", "faunadb", verb, f"--store={self.server.url(BUCKET)}"),
                *(f"--credentials-dir={self.server.credentials}", *more),
                *(f"--cluster-id={status['clusterID']}", f"--backup-id={status['backupID']}"),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_SECONDS,
            env=os.environ,
        )


@contextlib.contextmanager
def backed(kubernetes: Cluster, namespace: str, folder: Path, **spec: Any) -> Iterator[Backed]:
    """Give a namespace an operator, a database, and a store that its pods reach."""
    product.install_operator(kubernetes, namespace, replicas=1)
    with s3_server(folder, host=this_machine(kubernetes)) as server:
        server.url(BUCKET)
        data = {
            path.name: base64.b64encode(path.read_bytes()).decode()
            for path in server.credentials.iterdir()
        }
        metadata = {"name": "s3", "namespace": namespace}
        kubernetes.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        database = Database(kubernetes, namespace)
        storage = {
            "bucket": BUCKET,
            "endpoint": server.endpoint,
            "forcePathStyle": True,
            "credentials": {"secretName": "s3"},
        }
        resource = product.manifest(kubernetes, backup={"storage": {"s3": storage}}, **spec)
        database.create(resource)
        database.await_ready()
        yield Backed(database, server)


def this_machine(kubernetes: Cluster) -> str:
    """The address under which pods reach this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((kubernetes.node_address, 9))
        found: str = probe.getsockname()[0]
        return found


def fill(database: Database, megabytes: int) -> float:
    """Write so many megabytes of documents; return the seconds it took."""
    began, count = time.monotonic(), megabytes * 1_000_000 // TEXT_BYTES
    with (
        Client(endpoint=database.endpoint(), secret=database.secret(), query_timeout=60) as client,
        ThreadPoolExecutor(LANES) as lanes,
    ):
        client.query('if (Collection.byName("Load") == null) Collection.create({name: "Load"})')

        def write(_: int) -> None:
            text = secrets.token_urlsafe(TEXT_BYTES * 3 // 4)
            client.query("Load.create({text: text}).id", text=text)

        list(lanes.map(write, range(count)))
    return time.monotonic() - began
