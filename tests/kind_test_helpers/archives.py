"""How does a folder's tar become an image that containerd and buildah load?

The format is docker-archive: a tar of layers, a configuration and a manifest. It is written here
because both readers need nothing more, and no registry and no daemon takes part. House rule: the
same content gives the same bytes, times and owners included. The trap: references must be
complete (`docker.io/…`), or containerd files them under another name.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PLATFORMS = {"x86_64": "amd64", "aarch64": "arm64"}
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file added to a layer."""

    path: str
    content: bytes
    mode: int = 0o644


def layer_of(entries: Iterable[Entry]) -> bytes:
    """Make a layer that holds only these files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for entry in entries:
            _add(tar, entry.path, entry.content, entry.mode)
    return packed.getvalue()


def rewrite_layer(
    source: Path,
    keep: Callable[[tarfile.TarInfo], bool],
    added: Iterable[Entry],
) -> bytes:
    """Copy the members of a tar that are to be kept, without their times, and add files."""
    packed = io.BytesIO()
    with (
        tarfile.open(source) as old,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=_directories_then_links):
            if keep(member):
                member.mtime = 0
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
        for entry in added:
            _add(new, entry.path, entry.content, entry.mode)
    return packed.getvalue()


def write_image(
    path: Path, *, name: str, layer: bytes, machine: str, settings: dict[str, object]
) -> None:
    """Write a docker-archive with one layer."""
    digest = hashlib.sha256(layer).hexdigest()
    configuration = json.dumps(
        {
            "architecture": PLATFORMS.get(machine, machine),
            "os": "linux",
            "created": EPOCH,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            "history": [{"created": EPOCH}],
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(configuration).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, config_name, configuration, 0o644)
        _add(tar, f"{digest}.tar", layer, 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(path)
    member.size = len(content)
    member.mode = mode
    tar.addfile(member, io.BytesIO(content))


def _directories_then_links(member: tarfile.TarInfo) -> tuple[bool, bool, str]:
    """A hard link must follow the file that it names, a file its directory."""
    return (not member.isdir(), member.islnk(), member.name)
