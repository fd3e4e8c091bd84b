"""The product's clock and chance."""

import os
import random
import time


class SystemClock:
    """Implements `ports.Clock`."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_us(self) -> int:
        return time.time_ns() // 1000


class SystemChance:
    """Implements `ports.Chance`; `bytes` are fit for secrets."""

    def __init__(self) -> None:
        self._random = random.SystemRandom().random

    def random(self) -> float:
        return self._random()

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)
