"""How does the disk of one program become slow, or fail, where the kernel has no device-mapper?

A library (`bad_disk.c`), compiled here and preloaded into the program, obeys a file while it is
there: `slow` and `failing` say what stands in it. `Faults.shimmed` preloads it into a member's pod
and `Faults.bad_disk` writes the file into its volume. House rule: whoever writes an order takes it
away. The trap: what was written before an order and not synced is still in the page cache.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kind_test_helpers.commands import run
from kind_test_helpers.places import PACKAGE

Call = Literal["sync", "write", "read"]
SOURCE = PACKAGE / "bad_disk.c"


def slow(seconds: float, part: str = "/") -> str:
    """An order: syncs of files whose path holds `part` take so much longer.

    >>> slow(0.5, "/wal/")
    'sync-slow 500 /wal/'
    """
    return f"sync-slow {round(seconds * 1000)} {part}"


def failing(call: Call, part: str = "/", code: int = errno.EIO, nth: int = 1) -> str:
    """An order: such calls on files whose path holds `part` fail with an errno, from the n-th on.

    >>> failing("sync")
    'sync-fails 5 / 1'
    """
    return f"{call}-fails {code} {part} {nth}"


def compile_shim(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "bad_disk.so"
    flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-pthread")
    run("gcc", *flags, "-o", library, SOURCE, "-ldl")
    return library


@dataclass(frozen=True, slots=True)
class BadDisk:
    """The library for programs of this machine, and the file that it obeys."""

    library: Path
    order: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to be hurt."""
        return {"LD_PRELOAD": str(self.library), "BAD_DISK": str(self.order)}

    @contextlib.contextmanager
    def obeys(self, order: str) -> Iterator[None]:
        """Give an order while the block runs; it is read whole or not at all."""
        fresh = self.order.with_suffix(".tmp")
        fresh.write_text(order)
        fresh.rename(self.order)
        try:
            yield
        finally:
            self.order.unlink()
