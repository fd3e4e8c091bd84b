"""How is a document named that nobody named? By time, a sequence, and who drew it.

    43 bits milliseconds since 1336258850000 | 10 bits sequence | 10 bits worker

Ids of one source grow strictly; those of different workers differ (FQL.md, section 1).

Trap: a restarted worker may meet an id of its former life. Whoever creates a document looks
whether it exists and draws again (SAFETY 27).
"""

EPOCH_MS = 1_336_258_850_000
WORKERS_MAX = 1024
_SEQUENCES = 1024
_MS_MAX = 2**43 - 1


class IdSource:
    """Draws ids for one leased worker number."""

    def __init__(self, worker: int) -> None:
        assert 0 <= worker < WORKERS_MAX
        self._worker = worker
        self._last = -1  # milliseconds and sequence together

    def draw(self, now_us: int) -> int:
        """Return the next id at `now_us`; runs ahead of the clock beyond 1,024 a millisecond."""
        milliseconds = max(now_us // 1000 - EPOCH_MS, 0)
        assert milliseconds <= _MS_MAX
        self._last = max(self._last + 1, milliseconds * _SEQUENCES)
        return self._last * WORKERS_MAX + self._worker
