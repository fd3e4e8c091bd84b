"""The real file system under one data directory, behind the port `Files`.

One process at a time: `DirectoryFiles` holds an exclusive lock on `LOCK` for its life, because
two writers would each believe their own log.

Trap: a lock of `flock` ends with the process, also by kill -9; the file LOCK stays and says
nothing by itself.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from pathlib import Path

from faunadb.errors import Unavailable

ZEROS = bytes(1024 * 1024)
_WRITE_OUT = 1 | 2 | 4  # SYNC_FILE_RANGE: WAIT_BEFORE, WRITE, WAIT_AFTER


class DirectoryInUse(Unavailable):
    """Another process has the data directory open."""

    code = "directory_in_use"
    http_status = 503


class DirectoryFile:
    """An open file; see `node.ports.File`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def pread(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes; fewer only at the end of the file."""
        parts: list[bytes] = []
        while length > 0:
            part = os.pread(self.fd, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            if written == 0:
                raise OSError(errno.EIO, "wrote nothing")
            offset += written
            view = view[written:]

    def fdatasync(self) -> None:
        os.fdatasync(self.fd)

    def write_out(self, length: int, offset: int) -> None:
        """Wait until a range was handed to the device: paces a later fdatasync, promises nothing.

        Does nothing where the system cannot.
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(libc, "sync_file_range"):
            return
        libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_int]
        if libc.sync_file_range(self.fd, offset, length, _WRITE_OUT) != 0:
            code = ctypes.get_errno()
            if code not in {errno.ENOSYS, errno.EINVAL, errno.ESPIPE, errno.EPERM}:
                raise OSError(code, os.strerror(code))

    def allocate(self, length: int) -> None:
        at = self.size()
        while at < length:
            part = memoryview(ZEROS)[: min(len(ZEROS), length - at)]
            self.pwrite(part, at)
            at += len(part)

    def truncate(self, length: int) -> None:
        os.ftruncate(self.fd, length)

    def size(self) -> int:
        return os.fstat(self.fd).st_size

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class DirectoryFiles:
    """See `node.ports.Files`. Creates the directory; raises `DirectoryInUse` when it is taken.

    `read_only` creates nothing, and takes the lock only where a member left the file.
    """

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root, self._read_only = root, read_only
        self._lock = -1
        if read_only:
            if not (root / "LOCK").exists():
                return
            self._lock = os.open(root / "LOCK", os.O_RDONLY | os.O_CLOEXEC)
        else:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(root / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise DirectoryInUse(f"another process has {root} open") from None

    def open(self, path: str, *, create: bool = False) -> DirectoryFile:
        access = os.O_RDONLY if self._read_only else os.O_RDWR
        flags = access | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        return DirectoryFile(os.open(self.root / path, flags, 0o600))

    def rename(self, old: str, new: str) -> None:
        (self.root / old).rename(self.root / new)

    def remove(self, path: str) -> None:
        target = self.root / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink()

    def make_directory(self, path: str) -> None:
        (self.root / path).mkdir(exist_ok=True)

    def list(self, path: str) -> list[str]:
        try:
            return sorted(found.name for found in (self.root / path).iterdir())
        except FileNotFoundError:
            return []

    def fsync_directory(self, path: str) -> None:
        fd = os.open(self.root / path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def free_bytes(self) -> int:
        stat = os.statvfs(self.root)
        return stat.f_bavail * stat.f_frsize

    def close(self) -> None:
        """Give the directory back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
