"""Where do backups lie, as a Job sees it? The block `storage` of the API as URL, volumes, mounts.

Credentials are files of a Secret, never arguments or environment. The claim of a `pvc` is mounted
whole, so that its `subPath` is part of the URL, and need not exist yet.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

Manifest = dict[str, Any]

CREDENTIALS = "/etc/faunadb/store"
BACKUPS = "/backups"


class Store(NamedTuple):
    """What a Job needs to reach an object store."""

    arguments: tuple[str, ...]
    volumes: tuple[Manifest, ...]
    mounts: tuple[Manifest, ...]


def store(storage: Mapping[str, Any], *, writes: bool) -> Store:
    """Return how a Job reaches `storage`, which the CRD has found to be exactly one of s3, pvc.

    >>> store({"pvc": {"claimName": "nas", "subPath": "a"}}, writes=False).arguments
    ('--store=file:///backups/a',)
    >>> store({"s3": {"bucket": "b", "endpoint": "http://h:9000"}}, writes=False).arguments
    ('--store=s3://b?endpoint=http%3A%2F%2Fh%3A9000',)
    """
    if "pvc" in storage:
        return _volume(storage["pvc"], writes=writes)
    return _s3(storage["s3"])


def _volume(pvc: Mapping[str, Any], *, writes: bool) -> Store:
    path = pvc.get("subPath", "").strip("/")
    url = f"file://{BACKUPS}" + (f"/{path}" if path else "")
    volume = {"name": "backups", "persistentVolumeClaim": {"claimName": pvc["claimName"]}}
    mount: Manifest = {"name": "backups", "mountPath": BACKUPS}
    if not writes:
        mount["readOnly"] = True
    return Store((f"--store={url}",), (volume,), (mount,))


def _s3(s3: Mapping[str, Any]) -> Store:
    options = {key: s3[key] for key in ("region", "endpoint") if s3.get(key)}
    if s3.get("forcePathStyle"):
        options["path_style"] = "true"
    prefix = s3.get("prefix", "").strip("/")
    url = f"s3://{s3['bucket']}" + (f"/{prefix}" if prefix else "")
    url += f"?{urlencode(options)}" if options else ""
    name = s3.get("credentials", {}).get("secretName", "")
    if not name:
        return Store((f"--store={url}",), (), ())
    secret = {"name": "store", "secret": {"secretName": name, "defaultMode": 0o440}}
    mount = {"name": "store", "mountPath": CREDENTIALS, "readOnly": True}
    return Store((f"--store={url}", f"--credentials-dir={CREDENTIALS}"), (secret,), (mount,))
