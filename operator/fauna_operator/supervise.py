"""When is the next pass? One supervised task per object; each pass starts from nothing.

An event only wakes the task. What a pass is, and how long it wants to rest after it, is the
business of its `Reconciler`; an error is told to it, and becomes a condition in its next pass.
Kinds do not know each other: a FaunaBackup and a FaunaCluster of one name are two objects.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from fauna_operator.errors import OperatorError, Stale
from fauna_operator.model import Blocked

log = logging.getLogger(__name__)

BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)

Key = tuple[str, str]  # namespace, name


class Reconciler(Protocol):
    """Brings one object to what is asked, pass by pass."""

    async def one_pass(self) -> float | None:
        """Look, decide, report, act. Returns seconds to the next look.

        None ends the loop, until the next event: the object is gone, or needs nothing any more.
        """
        ...

    def troubled(self, trouble: Blocked) -> None:
        """Hear why the last pass failed, to say so in status."""
        ...

    def passed(self, seconds: float, error: str) -> None:
        """Hear how long a pass took, and the kind of its error ("" when it went well)."""
        ...

    async def close(self) -> None:
        """Let go of everything: the object is gone, or the operator ends."""
        ...


class Loop:
    """The passes of one object."""

    def __init__(self, reconciler: Reconciler, name: str) -> None:
        self._reconciler = reconciler
        self._name = name
        self._dirty = asyncio.Event()
        self._failures = 0

    def wake(self) -> None:
        """Look again soon: something changed."""
        self._dirty.set()

    @property
    def awake(self) -> bool:
        """Tell whether something happened since the last pass began."""
        return self._dirty.is_set()

    async def run(self) -> None:
        """Run passes until the object is gone, or needs none."""
        try:
            while True:
                self._dirty.clear()
                pause_s = await self._guarded_pass()
                if pause_s is None:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._dirty.wait()
        finally:
            await self._reconciler.close()

    async def _guarded_pass(self) -> float | None:
        """Run one pass; return the pause after it, None when the object is gone."""
        began, wrong = time.monotonic(), ""
        try:
            pause_s = await self._reconciler.one_pass()
        except Stale as error:
            wrong = "Stale"
            log.info("%s: stale: %s", self._name, error)
        except OperatorError as error:
            wrong = type(error).__name__
            log.warning("%s: %s", self._name, error)
            self._reconciler.troubled(Blocked("ReconcileFailed", str(error)))
        except Exception as error:
            wrong = type(error).__name__
            log.exception("%s: a pass failed", self._name)
            self._reconciler.troubled(Blocked("ReconcileFailed", f"{wrong}: {error}"))
        self._reconciler.passed(time.monotonic() - began, wrong)
        if wrong:
            _forget_requests_to_end()
            self._failures += 1
            return BACKOFF_S[min(self._failures, len(BACKOFF_S)) - 1]
        self._failures = 0
        return pause_s


def _forget_requests_to_end() -> None:
    """Undo what a task group that failed leaves in its task.

    Python 3.11 interrupts the task that waits for a group, and does not take that back; the next
    timeout in the same task would then end the task, in silence (fixed in 3.13: gh-125859).
    """
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


class Supervisor:
    """Runs the loops of all objects; a loop that ends is started again by the next event."""

    def __init__(self, kinds: Mapping[str, Callable[[Key], Reconciler]]) -> None:
        self._kinds = kinds
        self._loops: dict[tuple[str, Key], Loop] = {}
        self._wanted: asyncio.Queue[tuple[str, Key]] = asyncio.Queue()

    def wake(self, kind: str, namespace: str, name: str) -> None:
        """Look at an object soon, whether or not it is known."""
        known = self._loops.get((kind, (namespace, name)))
        if known is not None:
            known.wake()
        else:
            self._wanted.put_nowait((kind, (namespace, name)))

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                kind, key = await self._wanted.get()
                if (kind, key) not in self._loops:
                    loop = Loop(self._kinds[kind](key), f"{kind} {'/'.join(key)}")
                    self._loops[kind, key] = loop
                    group.create_task(self._supervise(kind, key))

    async def _supervise(self, kind: str, key: Key) -> None:
        loop = self._loops[kind, key]
        try:
            await loop.run()
        finally:
            del self._loops[kind, key]
        if loop.awake:  # made again under the same name while we let go of the old one
            self.wake(kind, *key)
