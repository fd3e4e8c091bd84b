"""What happens next: a heap of (time, sequence, event), one clock, one source of chance.

Time is microseconds since the world began. Everything random of a run is drawn from `chance`,
in the order of events, so that a seed is a whole run.

House rules: nothing here or above it looks at a real clock, an address or the order of a set.
Trap: the digest covers what every event said of itself; an event that says too little hides
that two runs of one seed went different ways.
"""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from random import Random

US_PER_MS = 1_000
US_PER_S = 1_000_000
EVENTS_WAITING_MAX = 200_000  # far more than the network and the clocks of five members hold
EPOCH_US = 1_700_000_000 * US_PER_S  # what a true wall clock shows at the beginning


class Violation(Exception):
    """A promise was broken."""


class World:
    """One run's time and chance. `trace` gets a line for each event, if there is one."""

    def __init__(self, seed: int, trace: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.chance = Random(seed)  # noqa: S311 - a run must be repeatable
        self.now_us = 0
        self.event_count = 0
        self.faults: Counter[str] = Counter()
        self._heap: list[tuple[int, int, str, Callable[[], None]]] = []
        self._sequence = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._trace = trace

    @property
    def is_traced(self) -> bool:
        """Say whether a person reads along, and wants to see where it broke."""
        return self._trace is not None

    def after(self, delay_us: float, label: str, event: Callable[[], None]) -> None:
        """Let `event` happen `delay_us` from now."""
        self._sequence += 1
        at_us = self.now_us + max(0, int(delay_us))
        heapq.heappush(self._heap, (at_us, self._sequence, label, event))

    def run(self, until_us: int, stop: Callable[[], bool] = lambda: False) -> None:
        """Let events happen until a time, or until `stop()`, which is asked after each."""
        while self._heap and self._heap[0][0] <= until_us:
            at_us, _, label, event = heapq.heappop(self._heap)
            assert len(self._heap) <= EVENTS_WAITING_MAX
            self.now_us = at_us
            self.event_count += 1
            self.say(label)
            event()
            if stop():
                return
        self.now_us = max(self.now_us, until_us)

    def say(self, what: str) -> None:
        """Make `what` part of the run's digest and of its trace."""
        self._digest.update(b"%d %s\n" % (self.now_us, what.encode()))
        if self._trace is not None:
            self._trace(f"{self.now_us / US_PER_S:10.6f} {what}")

    def fault(self, kind: str, what: str = "") -> None:
        """Count a fault that was fired."""
        self.faults[kind] += 1
        self.say(f"FAULT {kind} {what}")

    def chosen(self, probability: float) -> bool:
        """Draw whether something of this probability happens."""
        return self.chance.random() < probability

    def between(self, low_us: float, high_us: float) -> int:
        """Draw a duration."""
        return int(low_us + (high_us - low_us) * self.chance.random())

    def digest(self) -> str:
        """Return what two runs of one seed have in common."""
        return self._digest.hexdigest()


class SimClock:
    """`ports.Clock` of one member; its wall clock may be wrong by `skew_us`."""

    def __init__(self, world: World, skew_us: int = 0) -> None:
        self._world, self.skew_us = world, skew_us

    def monotonic_s(self) -> float:
        return self._world.now_us / US_PER_S

    def wall_us(self) -> int:
        return EPOCH_US + self._world.now_us + self.skew_us


class SimChance:
    """`ports.Chance` over the chance of the run."""

    def __init__(self, world: World) -> None:
        self._chance = world.chance

    def random(self) -> float:
        return self._chance.random()

    def bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)
