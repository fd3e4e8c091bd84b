"""The thread that syncs the state now and then: to hear of I/O errors, and to bound dirty pages.

Durability does not need it; the log has everything (SAFETY 18).

Trap: after an error the state's marks go first, then the process ends: the kernel has forgotten
which pages never reached the disk, so the page cache is not to be believed either.
"""

import threading
from collections.abc import Callable

from faunadb.disk.ports import Engine

INTERVAL_S = 10.0
DIRTY_BYTES_MAX = 64 * 1024 * 1024
LOOK_EVERY_S = 0.5
STOP_TIMEOUT_S = 60.0


class Flusher:
    """Syncs `engine()` every `interval_s` when something was written, or after 64 MiB.

    `disown` takes the state's marks back, `on_fatal` must end the process; both are called on
    this thread.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        disown: Callable[[], None],
        on_fatal: Callable[[BaseException], None],
        *,
        interval_s: float = INTERVAL_S,
        dirty_bytes_max: int = DIRTY_BYTES_MAX,
    ) -> None:
        self._engine, self._disown, self._on_fatal = engine, disown, on_fatal
        self._interval_s, self._dirty_bytes_max = interval_s, dirty_bytes_max
        self._look_every_s = min(LOOK_EVERY_S, interval_s)
        self._stop = threading.Event()
        self._pause = threading.Lock()
        self._syncs = 0
        self._thread = threading.Thread(target=self._run, name="state-flusher", daemon=True)
        self._thread.start()

    @property
    def syncs(self) -> int:
        """How often the state was synced."""
        return self._syncs

    def paused(self) -> threading.Lock:
        """Return the lock that keeps the engine from being synced while it is swapped."""
        return self._pause

    def stop(self) -> None:
        """End the thread; a sync that runs is waited for."""
        self._stop.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        synced_bytes = 0
        waited_s = 0.0
        synced: Engine | None = None
        while not self._stop.wait(self._look_every_s):
            waited_s += self._look_every_s
            with self._pause:
                engine = self._engine()
                written = engine.written_bytes()
                if engine is not synced:
                    synced, synced_bytes = engine, 0
                dirty = written - synced_bytes
                if dirty == 0 or (waited_s < self._interval_s and dirty < self._dirty_bytes_max):
                    continue
                if not self._sync(engine):
                    return
            synced_bytes, waited_s = written, 0.0
            self._syncs += 1

    def _sync(self, engine: Engine) -> bool:
        try:
            engine.force_sync()
        except BaseException as problem:  # noqa: BLE001 - nothing may end this thread silently
            self._disown()
            self._on_fatal(problem)
            return False
        return True
