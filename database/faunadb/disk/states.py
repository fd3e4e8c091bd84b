"""The directories `state-{n}`: which one holds the state, and whether it is believed.

The state is never synced in the ordinary course, so after a crash its bytes mean nothing unless
one of two marks says so (SAFETY 16):

    VALID   written and synced before the first write: the page cache of this boot and pod still
            holds all that was committed
    CLEAN   written after a forced sync at a clean stop, removed before the first write after it;
            it also says where the log ended

A state that is not believed is never opened: it is built anew as `state-{n+1}`.

Trap: the order of the marks. VALID of the new life first, then CLEAN is removed, then a write.
"""

import contextlib
import re
from typing import TypeVar

import msgspec

from faunadb.disk.boot import Boot
from faunadb.disk.ports import Engine, Engines
from faunadb.disk.seals import read_whole, replace, seal, unseal
from faunadb.disk.wal import Position
from faunadb.errors import Malformed
from faunadb.node.ports import Files

_NAME = re.compile(r"state-([1-9][0-9]{0,17})")
_VALID, _CLEAN = "VALID", "CLEAN"
_VALID_MAGIC, _CLEAN_MAGIC = b"FaunaVAL", b"FaunaCLN"


class Valid(msgspec.Struct, frozen=True):
    boot: Boot
    number: int


class Clean(msgspec.Struct, frozen=True):
    """`log`: where the log ended when the member stopped; nothing of it may be missing."""

    number: int
    log: Position


Mark = TypeVar("Mark", Valid, Clean)


def state_path(number: int) -> str:
    """Return where a state lies."""
    return f"state-{number}"


class States:
    """The state directories of one data directory."""

    def __init__(self, files: Files, engines: Engines, boot: Boot) -> None:
        self._files, self._engines, self._boot = files, engines, boot

    def newest(self) -> int:
        """Return the highest number in use, 0 for none."""
        return max(self._numbers(), default=0)

    def clean(self, number: int) -> Clean | None:
        """Return the mark of a clean stop when it stands."""
        mark = self._read(number, _CLEAN, _CLEAN_MAGIC, Clean)
        return mark if mark is not None and mark.number == number else None

    def is_believed(self, number: int) -> bool:
        """Say whether what the state's files hold is what was committed to it."""
        if number == 0:
            return False
        if self.clean(number) is not None:
            return True
        mark = self._read(number, _VALID, _VALID_MAGIC, Valid)
        return mark == Valid(self._boot, number)

    def open(self, number: int) -> Engine:
        """Open a state that is believed."""
        return self._engines.open(state_path(number))

    def prepare(self) -> tuple[int, str]:
        """Make the directory of the next state; return its number and path."""
        number = self.newest() + 1
        path = state_path(number)
        self._files.make_directory(path)
        return number, path

    def take_over(self, number: int) -> None:
        """Let a state be written from now on, and remove every other one."""
        self.believe(number)
        self.remove_others(number)

    def believe(self, number: int) -> None:
        """Let a state be written from now on.

        VALID is durable before CLEAN goes, and both before the caller writes.
        """
        path = state_path(number)
        replace(self._files, path, _VALID, seal(_VALID_MAGIC, Valid(self._boot, number)))
        if _CLEAN in self._files.list(path):
            self._files.remove(f"{path}/{_CLEAN}")
            self._files.fsync_directory(path)
        self._files.fsync_directory("")

    def remove_others(self, number: int) -> None:
        """Remove every state but one; a large file takes a while to go."""
        for other in self._numbers():
            if other != number:
                self._files.remove(state_path(other))
        self._files.fsync_directory("")

    def mark_clean(self, number: int, log: Position) -> None:
        """Say that state and log are whole and synced; nothing is written after it."""
        path = state_path(number)
        replace(self._files, path, _CLEAN, seal(_CLEAN_MAGIC, Clean(number, log)))

    def disown(self, number: int) -> None:
        """Take back VALID because a sync failed; does what it can, the caller crashes anyway."""
        path = state_path(number)
        for name in (_VALID, _CLEAN):
            with contextlib.suppress(OSError):
                self._files.remove(f"{path}/{name}")
        with contextlib.suppress(OSError):
            self._files.fsync_directory(path)

    def _numbers(self) -> list[int]:
        names = self._files.list("")
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def _read(self, number: int, name: str, magic: bytes, type_: type[Mark]) -> Mark | None:
        try:
            return unseal(magic, type_, read_whole(self._files, f"{state_path(number)}/{name}"))
        except (FileNotFoundError, Malformed):
            return None
