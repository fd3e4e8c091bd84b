"""Which cgroups does a cluster have, and who is in them?

Every process of a cluster, from the first instant of its life, is in the cluster's cgroup: that is
how an interrupted run is found again, with no pid file to trust. House rules: both versions of
cgroups; nothing outside the cluster's own folders is written, save the controllers that version 2
wants switched on at the root, which are remembered and switched off again. The traps: a frozen
process does not die before it is thawed (version 1), and a version 2 group with children has no
processes of its own, hence the leaf `daemons`.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kind_test_helpers.commands import await_that

ROOT = Path("/sys/fs/cgroup")
DEATH_SECONDS_MAX = 60.0
DAEMONS = "daemons"
WANTED = ("cpuset", "cpu", "io", "memory", "pids", "hugetlb")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The mounted cgroup trees; `main` is the one in which processes are found and frozen."""

    main: Path
    all: tuple[Path, ...]
    version: int

    @classmethod
    def mounted(cls, mounts: str) -> "Hierarchies":
        """Read them from the text of /proc/mounts."""
        found = [line.split()[1:4] for line in mounts.splitlines()]
        first = {Path(at): options for at, kind, options in found if kind == "cgroup"}
        second = [Path(at) for at, kind, _ in found if kind == "cgroup2"]
        for path, options in first.items():
            if "freezer" in options.split(","):
                return cls(path, (*dict.fromkeys([*first, *second]),), 1)
        return cls(second[0] if second else ROOT, tuple(second) or (ROOT,), 2)


def hierarchies() -> Hierarchies:
    """The trees of this machine."""
    return Hierarchies.mounted(Path("/proc/mounts").read_text())


def make(name: str) -> list[str]:
    """Make a cgroup in every tree, ready for processes; return controllers newly switched on."""
    trees = hierarchies()
    switched_on = _switch_on(trees.main) if trees.version == 2 else []
    for tree in trees.all:
        path = tree
        for part in Path(name).parts:
            path /= part
            path.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # version 1 leaves them empty
                file = path / setting
                if trees.version == 1 and file.exists() and not file.read_text().strip():
                    file.write_text((path.parent / setting).read_text())
            if trees.version == 2 and path.name != DAEMONS:
                _switch_on(path)
    return switched_on


def switch_off(controllers: list[str]) -> None:
    """Take back what `make` switched on at the root of version 2."""
    for name in controllers:
        with contextlib.suppress(OSError):
            (hierarchies().main / "cgroup.subtree_control").write_text(f"-{name}")


def entrance(name: str) -> Path:
    """The file into which a process writes its pid to be counted to the cluster."""
    return hierarchies().main / name / DAEMONS / "cgroup.procs"


def processes(name: str) -> list[int]:
    """The pids in a cgroup and all below it."""
    return [pid for procs in _files(name, "cgroup.procs") for pid in _pids(procs)]


def freeze(name: str, *, frozen: bool) -> None:
    """Stop every process in a cgroup and below between two instructions, or let them go on."""
    trees = hierarchies()
    path = trees.main / name
    if trees.version == 1:
        (path / "freezer.state").write_text("FROZEN" if frozen else "THAWED")
        wanted = "FROZEN" if frozen else "THAWED"
        await_that(
            f"{name} {wanted.lower()}",
            lambda: (path / "freezer.state").read_text().strip() == wanted,
            seconds_max=DEATH_SECONDS_MAX,
        )
    else:
        (path / "cgroup.freeze").write_text("1" if frozen else "0")
        line = f"frozen {int(frozen)}"
        await_that(
            f"{name} {line}",
            lambda: line in (path / "cgroup.events").read_text(),
            seconds_max=DEATH_SECONDS_MAX,
        )


def kill_all(name: str) -> None:
    """Kill every process in a cgroup and below, frozen ones too, and wait until they are gone."""
    trees = hierarchies()
    if not (trees.main / name).exists():
        return
    for state in _files(name, "freezer.state" if trees.version == 1 else "cgroup.freeze"):
        with contextlib.suppress(OSError):
            state.write_text("THAWED" if trees.version == 1 else "0")

    def none_left() -> bool:
        left = processes(name)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    await_that(f"the processes of {name} to die", none_left, seconds_max=DEATH_SECONDS_MAX)


def remove(name: str) -> None:
    """Remove a cgroup and all below it, in every tree; processes must be gone."""
    for tree in hierarchies().all:
        if (tree / name).is_dir():
            for folder, _, _ in os.walk(tree / name, topdown=False):
                await_that(
                    f"{folder} to be empty",
                    partial(_removed, Path(folder)),
                    seconds_max=DEATH_SECONDS_MAX,
                )


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # a process is still being buried
        return False
    return True


def _switch_on(path: Path) -> list[str]:
    """Give the children of a version 2 cgroup every controller that it has; return the new ones."""
    available = (path / "cgroup.controllers").read_text().split()
    before = (path / "cgroup.subtree_control").read_text().split()
    fresh = [name for name in WANTED if name in available and name not in before]
    for name in fresh:
        (path / "cgroup.subtree_control").write_text(f"+{name}")
    return fresh


def _files(name: str, file: str) -> Iterator[Path]:
    for folder, _, files in os.walk(hierarchies().main / name):
        if file in files:
            yield Path(folder) / file


def _pids(procs: Path) -> list[int]:
    try:
        return [int(line) for line in procs.read_text().split()]
    except OSError:  # the cgroup went away while it was read
        return []
