"""Where do backups lie? The block `storage` of several kinds, with its defaults filled in.

The API server lets in only what names exactly one store; `location` is the word for people.
"""

from typing import Any

import msgspec


class StoreCredentials(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The Secret with `access-key-id`, `secret-access-key`, [`session-token`], [`ca.crt`]."""

    secret_name: str = ""  # "": the identity that the pod's surroundings give it


class S3Store(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A bucket of a server that speaks S3."""

    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    endpoint: str = ""
    force_path_style: bool = False
    credentials: StoreCredentials = StoreCredentials()


class VolumeStore(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A volume claim that is there already, and can be mounted where Jobs run."""

    claim_name: str
    sub_path: str = ""


class BackupStore(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Exactly one of the two is there."""

    s3: S3Store | None = None
    pvc: VolumeStore | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """Return it as Kubernetes writes it, without what is as by default."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @property
    def location(self) -> str:
        """Return where that is, for people.

        >>> BackupStore(s3=S3Store("b", prefix="/orders/")).location
        's3://b/orders'
        >>> BackupStore(pvc=VolumeStore("nas")).location
        'pvc://nas'
        """
        if self.pvc is not None:
            return _joined(f"pvc://{self.pvc.claim_name}", self.pvc.sub_path)
        assert self.s3 is not None, "the CRD asks for exactly one"
        return _joined(f"s3://{self.s3.bucket}", self.s3.prefix)

    @property
    def secret(self) -> str:
        """Return the name of the Secret that a Job needs, "" when it needs none."""
        return self.s3.credentials.secret_name if self.s3 is not None else ""

    @property
    def claim(self) -> str:
        """Return the name of the volume claim that a Job needs, "" when it needs none."""
        return self.pvc.claim_name if self.pvc is not None else ""


class Archive(msgspec.Struct, frozen=True, rename="camel"):
    """Whether committed entries are stored beside the backups, as they come."""

    enabled: bool = False


class Backups(msgspec.Struct, frozen=True, rename="camel"):
    """`spec.backup` of a FaunaCluster."""

    storage: BackupStore | None = None  # for every backup that names none
    archive: Archive = Archive()


def _joined(root: str, path: str) -> str:
    inner = path.strip("/")
    return f"{root}/{inner}" if inner else root
