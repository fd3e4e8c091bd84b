"""Is this operator still looking? A stream that dies silently looks like a quiet cluster.

A watch is alive when the API server answered a request of it within `STREAM_S`. kopf opens each
stream anew every two minutes, and after 70 s without event or bookmark; so silence for longer
means that nobody asks any more. The list of all resources, by another client, is held to
`RELIST_S`. House rule: seconds here are monotonic. The trap: a standby watches nothing and lives.
"""

from collections.abc import Iterable

STREAM_S = 180.0
RELIST_S = 900.0
RELIST = "relist"


class WatchDied(Exception):
    """A stream was not heard for too long: end the process, another one starts from nothing."""


class Pulse:
    """When each stream was last heard; empty until something is expected."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}

    def expect(self, streams: Iterable[str], now_s: float) -> None:
        """Hold these streams, by the path that they watch, and the list to their limits."""
        self._heard = dict.fromkeys((*streams, RELIST), now_s)

    def heard(self, stream: str, now_s: float) -> None:
        """Note that a stream spoke; one that nobody expects is not noted."""
        if stream in self._heard:
            self._heard[stream] = now_s

    def ages(self, now_s: float) -> dict[str, float]:
        """Return the seconds since each stream was heard."""
        return {stream: now_s - heard_s for stream, heard_s in self._heard.items()}

    def silent(self, now_s: float) -> list[str]:
        """Return a sentence for each stream that was not heard in time; [] when all is well."""
        return [
            f"{stream} was not heard for {age_s:.0f} s"
            for stream, age_s in self.ages(now_s).items()
            if age_s > (RELIST_S if stream == RELIST else STREAM_S)
        ]
