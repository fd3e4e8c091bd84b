"""Who gives a claim its volume, and a larger one later?

`python -m kind_test_helpers.local.provisioner FOLDER` runs beside a cluster. For a claim that the
scheduler has given a node, it makes a directory of mode 0777 *on that node* and a `local` volume
bound to the node, as the disks of a cloud would be. Two storage classes:

- `fauna-local`, the default: a directory, which grows by being told so.
- `fauna-local-capped`: an ext4 file system of exactly the size, mounted through a loop device: a
  disk that can be full.

House rule: level-triggered; each pass looks at everything and does what is missing, so that it may
be killed at any instant. The trap: kubelets bind-mount a volume when a pod starts, so a capped one
must be mounted inside the node's own mounts before that.
"""

import contextlib
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from kind_test_helpers.api import Api, Json, Refused
from kind_test_helpers.failures import CommandFailed
from kind_test_helpers.local.capped import image_of, make_capped
from kind_test_helpers.local.layout import Layout
from kind_test_helpers.local.machine import Machine

DRIVER = "fauna.dev/local"
CLASS = "fauna-local"
CAPPED_CLASS = "fauna-local-capped"
LOOK_AGAIN_SECONDS = 3  # a released volume is seen no later than this; claims are seen at once
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def storage_class(name: str) -> Json:
    """The class by which a claim asks for a volume of ours."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {
                "storageclass.kubernetes.io/is-default-class": str(name == CLASS).lower()
            },
        },
        "provisioner": DRIVER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
        "allowVolumeExpansion": name == CLASS,
    }


@dataclass(frozen=True, slots=True)
class Provisioner:
    """One pass looks at all claims and volumes of a cluster and does what is missing."""

    layout: Layout
    api: Api

    def pass_once(self) -> str | None:
        """Do what is missing; return None if there was something, else the version looked at."""
        claims = self.api.get(CLAIMS)
        volumes = {
            each["metadata"]["name"]: each
            for each in self.api.items(VOLUMES)
            if each["metadata"].get("labels", {}).get(DRIVER)
        }
        ours = [each for each in claims["items"] if class_of(each) in (CLASS, CAPPED_CLASS)]
        done = [self._serve(claim, volumes.get(volume_name(claim))) for claim in ours]
        done += [self._clear(volume) for volume in volumes.values()]
        return None if any(done) else str(claims["metadata"]["resourceVersion"])

    def _serve(self, claim: Json, volume: Json | None) -> bool:
        """Bring one claim one step further; tell whether there was one."""
        node = claim["metadata"].get("annotations", {}).get(SELECTED_NODE)
        if volume is None:
            if node and "volumeName" not in claim["spec"]:
                self._make(claim, node)
                return True
        elif bytes_of(asked(claim)) > bytes_of(given(volume)):
            self._grow(claim, volume)
            return True
        elif claim["status"].get("phase") == "Bound":
            return self._report(claim, volume)
        return False

    def _make(self, claim: Json, node: str) -> None:
        name, capped = volume_name(claim), claim["spec"]["storageClassName"] == CAPPED_CLASS
        folder = self.layout.folder / node / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        if capped:
            make_capped(folder, bytes_of(asked(claim)), self._machine(node))
        with contextlib.suppress(Refused):  # made by the pass before, not yet in its list
            self.api.create(VOLUMES, persistent_volume(claim, name, node, folder))
        say(f"made {name} on {node} for {claim['metadata']['name']}")

    def _grow(self, claim: Json, volume: Json) -> None:
        name, size = volume["metadata"]["name"], asked(claim)
        self.api.merge(f"{VOLUMES}/{name}", {"spec": {"capacity": {"storage": size}}})
        say(f"grew {name} to {size}")

    def _report(self, claim: Json, volume: Json) -> bool:
        """Tell the claim what its volume has, if it does not know."""
        if bytes_of(claim["status"]["capacity"]["storage"]) >= bytes_of(given(volume)):
            return False
        at = claim["metadata"]
        path = f"/api/v1/namespaces/{at['namespace']}/persistentvolumeclaims/{at['name']}/status"
        status = {"capacity": {"storage": given(volume)}, "conditions": []}
        self.api.merge(path, {"status": status})
        return True

    def _clear(self, volume: Json) -> bool:
        """Remove a volume whose claim is gone, unless it is to be kept."""
        kept = volume["spec"]["persistentVolumeReclaimPolicy"] != "Delete"
        if kept or volume["status"].get("phase") != "Released":
            return False
        folder = Path(volume["spec"]["local"]["path"])
        node = volume["metadata"]["labels"][DRIVER]
        with contextlib.suppress(LookupError):
            self._machine(node).run("sh", "-c", f"! mountpoint -q {folder} || umount {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        image_of(folder).unlink(missing_ok=True)
        with contextlib.suppress(Refused):
            self.api.delete(f"{VOLUMES}/{volume['metadata']['name']}")
        say(f"removed {volume['metadata']['name']} from {node}")
        return True

    def _machine(self, node: str) -> Machine:
        return Machine(self.layout, node, Path("/unused"))


def persistent_volume(claim: Json, name: str, node: str, folder: Path) -> Json:
    """A volume reserved for the claim and tied to the node that has its folder."""
    at = claim["metadata"]
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "labels": {DRIVER: node},
            "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER},
        },
        "spec": {
            "capacity": {"storage": asked(claim)},
            "accessModes": claim["spec"]["accessModes"],
            "storageClassName": claim["spec"]["storageClassName"],
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": at["namespace"],
                "name": at["name"],
                "uid": at["uid"],
            },
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }


def volume_name(claim: Json) -> str:
    return f"pvc-{claim['metadata']['uid']}"


def class_of(claim: Json) -> str | None:
    name: str | None = claim["spec"].get("storageClassName")
    return name


def asked(claim: Json) -> str:
    return str(claim["spec"]["resources"]["requests"]["storage"])


def given(volume: Json) -> str:
    return str(volume["spec"]["capacity"]["storage"])


def bytes_of(quantity: str) -> int:
    """A Kubernetes quantity in bytes.

    >>> bytes_of("64Mi"), bytes_of("1G"), bytes_of("7")
    (67108864, 1000000000, 7)
    """
    number = quantity.rstrip("kKMGTi")
    scale = {**DECIMAL, **BINARY}.get(quantity[len(number) :], 1)
    return int(float(number) * scale)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(layout: Layout) -> None:
    """Run passes until killed; a failed pass is said and tried again."""
    api = Api.from_file(layout.folder / "pki/admin.conf")
    provisioner = Provisioner(layout, api)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        try:
            if version := provisioner.pass_once():
                api.await_change(CLAIMS, version, LOOK_AGAIN_SECONDS)
        except (OSError, HTTPException, Refused, CommandFailed, LookupError) as failed:
            say(f"this pass failed, the next will see: {failed}")
            time.sleep(1)


if __name__ == "__main__":
    main(Layout(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
