"""Are the two images of the present source there, and if not, who builds them?

`python -m kind_test_helpers.images` builds what is missing and prints references and archives. The
tag is a digest of everything that decides the content: the files that the build may read, the
Dockerfile, the bases. So an old image is never tested, and a tag that is there is never built
again. House rule: buildah runs in mounts of its own and keeps its storage in the cache, so that
nothing of it stays on the machine. The trap: `.dockerignore` and `sources()` must agree; a test
holds them together.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.builders import (
    BASE_IMAGE,
    BUILD_SECONDS_MAX,
    WORKSHOP_IMAGE,
    environment,
)
from kind_test_helpers.commands import run, succeeds
from kind_test_helpers.debian import install_missing
from kind_test_helpers.failures import CommandFailed, Unavailable
from kind_test_helpers.locks import held
from kind_test_helpers.places import REPOSITORY, cache
from kind_test_helpers.progress import stage
from kind_test_helpers.recipes import BASE, WORKSHOP
from kind_test_helpers.tools import ensure

TARGETS = ("faunadb", "fauna-operator")
ARCHIVES_KEPT = 6  # three states of the source, 100 MB each
STORAGE_BYTES_MAX = 6 * 2**30  # then it is thrown away; a cold build takes a minute
TAG_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Image:
    """One of our images for one state of the source."""

    target: str
    tag: str

    @property
    def reference(self) -> str:
        """The complete name, as a pod names it."""
        return f"docker.io/fauna-local/{self.target}:{self.tag}"

    @property
    def archive(self) -> Path:
        """The docker-archive that nodes load."""
        return cache() / "images" / f"{self.target}-{self.tag}.tar"


def images() -> tuple[Image, ...]:
    """The images that belong to the source as it stands."""
    tag = tag_of(REPOSITORY)
    return tuple(Image(target, tag) for target in TARGETS)


def ensure_images() -> tuple[Image, ...]:
    """Return the images of the present source, with their archives, building what is missing."""
    wanted = images()
    if not all(image.archive.exists() for image in wanted):
        with held("images"):
            missing = [image for image in wanted if not image.archive.exists()]
            if missing:
                _build(missing)
                _forget_old(wanted)
    for image in wanted:
        image.archive.touch()
    return wanted


def ensure_images_in_docker() -> tuple[Image, ...]:
    """The same with Docker, for a cluster of kind; the bases come from Docker's registry."""
    wanted = images()
    for image in wanted:
        if not succeeds("docker", "image", "inspect", image.reference):
            with stage(f"docker build {image.reference}"):
                run(
                    *("docker", "build", "--target", image.target, "--tag", image.reference),
                    str(REPOSITORY),
                    seconds_max=BUILD_SECONDS_MAX,
                )
    return wanted


def tag_of(repository: Path) -> str:
    """A digest of everything that decides what is in the images."""
    hashed = hashlib.sha256(f"{BASE.digest} {WORKSHOP.digest}".encode())
    for path in sources(repository):
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(repository)} {len(content)}\0".encode() + content)
    return hashed.hexdigest()[:TAG_CHARACTERS]


def sources(repository: Path) -> Iterator[Path]:
    """Every file that a build reads, sorted: the Dockerfile and what `.dockerignore` lets in."""
    names = {"Dockerfile"}
    for line in (repository / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            names.add(line.removeprefix("!"))
    for name in sorted(names):
        path = repository / name
        if path.is_dir():
            yield from sorted(
                each
                for each in path.rglob("*")
                if each.is_file() and "__pycache__" not in each.parts
            )
        elif path.exists():
            yield path


def _build(missing: Iterable[Image]) -> None:
    install_missing()
    bases = [ensure(BASE), ensure(WORKSHOP)]
    if _bytes_in(_storage()) > STORAGE_BYTES_MAX:
        shutil.rmtree(_storage(), ignore_errors=True)
    for base in bases:
        with stage(f"buildah pull {base.parent.name}"):
            _buildah("pull", "--quiet", f"docker-archive:{base}")
    for image in missing:
        with stage(f"building {image.reference}"):
            _buildah(
                *("bud", "--quiet", "--layers", "--isolation", "chroot", "--network", "host"),
                *("--pull-never", "--target", image.target, "--tag", image.reference),
                *("--build-arg", f"WORKSHOP_IMAGE={WORKSHOP_IMAGE}"),
                *("--build-arg", f"BASE_IMAGE={BASE_IMAGE}"),
                *_pip_settings(),
                str(REPOSITORY),
            )
        with stage(f"writing {image.archive.name}"):
            image.archive.parent.mkdir(parents=True, exist_ok=True)
            unfinished = image.archive.with_suffix(".tmp")
            unfinished.unlink(missing_ok=True)
            target = f"docker-archive:{unfinished}:{image.reference}"
            _buildah("push", "--quiet", image.reference, target)
            unfinished.rename(image.archive)


def _pip_settings() -> list[str]:
    """How pip inside reaches the index that pip outside does; nothing of it stays in the images."""
    settings: list[str] = []
    certificates = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    if certificates and Path(certificates).is_file():
        inside = "/etc/fauna-build-certificates.crt"
        settings += ["--volume", f"{Path(certificates).resolve()}:{inside}:ro"]
        settings += ["--build-arg", f"PIP_CERT={inside}"]
    if index := os.environ.get("PIP_INDEX_URL"):
        settings += ["--build-arg", f"PIP_INDEX_URL={index}"]
    return settings


def _buildah(*arguments: str) -> None:
    """Run buildah in mounts of its own, with its storage in the cache."""
    storage = _storage()
    storage.mkdir(parents=True, exist_ok=True)
    run(
        *("unshare", "--mount", "--propagation", "slave", "buildah"),
        *("--root", storage / "layers", "--runroot", storage / "run"),
        *("--storage-driver", "overlay"),
        *arguments,
        environment=environment(),
        seconds_max=BUILD_SECONDS_MAX,
    )


def _forget_old(wanted: Iterable[Image]) -> None:
    """Remove the archives used longest ago."""
    kept = {image.archive for image in wanted}
    archives = sorted((cache() / "images").glob("*.tar"), key=lambda path: path.stat().st_mtime)
    for path in archives[: -ARCHIVES_KEPT or None]:
        if path not in kept:
            path.unlink(missing_ok=True)


def _storage() -> Path:
    return cache() / "buildah"


def _bytes_in(folder: Path) -> int:
    return sum(Path(at, name).lstat().st_size for at, _, names in os.walk(folder) for name in names)


def main() -> int:
    """Build what is missing and say where it is."""
    try:
        for image in ensure_images():
            size = image.archive.stat().st_size / 1e6
            print(f"{image.reference}  {image.archive}  {size:.0f} MB")
    except (Unavailable, CommandFailed) as failed:
        print(f"The images could not be built.\n{failed}", file=sys.stderr)
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main())
