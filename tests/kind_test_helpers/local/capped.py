"""How is a disk made that can be full?

A file of exactly the size, an ext4 file system in it, mounted through a loop device inside the
node's own mounts: it goes with the node. The trap: it must be mounted before a pod that uses it
starts, and again after the node was off. It does not grow: ext4 grows only for a process with
CAP_SYS_RESOURCE, which not every machine gives.
"""

from pathlib import Path

from kind_test_helpers.commands import run
from kind_test_helpers.local.machine import Machine


def make_capped(folder: Path, size: int, machine: Machine) -> None:
    """Make a file system of a size in a file, and mount it inside the node."""
    image = image_of(folder)
    if not image.exists():
        unfinished = image.with_suffix(".tmp")
        with unfinished.open("wb") as file:
            file.truncate(size)
        run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "root_owner=0:0", unfinished)
        unfinished.rename(image)
    mount_capped(folder, machine)


def mount_capped(folder: Path, machine: Machine) -> None:
    """Mount a capped volume inside its node, unless it is."""
    script = f"mountpoint -q {folder} || mount -o loop {image_of(folder)} {folder}"
    machine.run("sh", "-c", f"{script}; chmod 0777 {folder}; rm -rf {folder}/lost+found")


def image_of(folder: Path) -> Path:
    """The file behind a capped volume."""
    return folder.with_name(f"{folder.name}.ext4")
