"""Who may change a part of the cache?

House rule: a lock is an flock on a file of its own under `locks/`; the kernel gives it back when
its holder dies, so that there is never a stale one.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from kind_test_helpers.places import cache
from kind_test_helpers.progress import stage


@contextmanager
def held(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock of one cache entry, saying so when somebody else has it."""
    locks = cache() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(locks / name, os.O_CREAT | os.O_RDWR, 0o644)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            with stage(f"{name} is in use by another process: waiting for it"):
                fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
