"""Which life of the machine this is: while it lasts, the page cache keeps what a process wrote.

Two answers must agree before a state that was never synced is believed (SAFETY 16): the
kernel's boot id, and the pod's UID or a nonce in memory that only this boot knows. The volume
of a pod may have been on another node meanwhile and have come back.

Trap: where no shared memory is writable every start is a new life; that costs a rebuild, never
data.
"""

import os
import secrets
import stat
from pathlib import Path

import msgspec

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a tmpfs is what is wanted: it ends with the boot
NONCE_BYTES = 16


class Boot(msgspec.Struct, frozen=True, array_like=True):
    """One life of the machine (and pod), as far as the page cache goes."""

    boot_id: str
    pod: str


def this_boot(
    pod_uid: str | None, *, boot_id: Path = BOOT_ID, memory: Path = SHARED_MEMORY
) -> Boot:
    """Return the present life; `pod_uid` comes from the downward API, None outside a pod."""
    try:
        boot = boot_id.read_text().strip()
    except OSError:
        boot = secrets.token_hex(NONCE_BYTES)
    return Boot(boot, pod_uid or _nonce(memory))


def _nonce(memory: Path) -> str:
    """Return the nonce of this boot, drawn by whoever comes first."""
    path = memory / f"faunadb-boot-{os.geteuid()}"
    try:
        return _read(path) or _draw(path)
    except OSError:
        return secrets.token_hex(NONCE_BYTES)


def _read(path: Path) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(f"{path} is not ours")
        text = os.read(fd, 2 * NONCE_BYTES + 1).decode("ascii", "replace")
    finally:
        os.close(fd)
    return text if len(text) == 2 * NONCE_BYTES else ""


def _draw(path: Path) -> str:
    nonce = secrets.token_hex(NONCE_BYTES)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, nonce.encode())
    finally:
        os.close(fd)
    temporary.rename(path)
    return nonce
