"""What kind of storm a seed is: how large the cluster, which faults exist at all, how often.

Swarm testing (Groce et al., 2012): a run in which a kind of fault is missing reaches states that
a run with all of them never does.
"""

from random import Random

import msgspec


class Options(msgspec.Struct, frozen=True):
    """Drawn from the seed. Rates are per second of virtual time; others are probabilities."""

    voters: int
    learner: bool  # one more member, without a vote at first
    storm_s: float

    loss: float  # of a message
    copy: float
    disorder: float
    latency_ms: float
    cuts: float  # rate; half of them go one way only

    disk_ms: float  # a usual write and sync
    stalls: float
    slow_disks: float
    disk_errors: float
    power_at_operation: float  # rate of losses of power at the n-th disk operation from now

    power_losses: float
    kills: float
    clean_stops: float
    pauses: float
    blackouts: float  # all at once
    short_restarts: bool

    skew_s: float  # of one member's wall clock
    changes: float  # of membership
    transfers: float
    snapshots: bool
    log_entries_kept: int

    clients: int
    think_ms: float
    anonymous: float  # queries that carry no request id
    long_queries: float  # over the step budget of the event loop


def draw_options(seed: int) -> Options:
    """Return the storm of a seed."""
    chance = Random(f"options {seed}")  # noqa: S311 - no secret

    def some(probability: float, low: float, high: float) -> float:
        value = chance.uniform(low, high)
        return value if chance.random() < probability else 0.0

    return Options(
        voters=chance.choice([1, 3, 3, 3, 3, 5]),
        learner=chance.random() < 0.3,
        storm_s=chance.uniform(5, 9),
        loss=some(0.6, 0.001, 0.15),
        copy=some(0.6, 0.001, 0.1),
        disorder=some(0.6, 0.001, 0.2),
        latency_ms=chance.choice([0.3, 1, 1, 5, 20]),
        cuts=some(0.6, 0.3, 2.0),
        disk_ms=chance.choice([0.2, 0.5, 2, 10]),
        stalls=some(0.4, 0.3, 1.2),
        slow_disks=some(0.4, 0.3, 1.2),
        disk_errors=some(0.5, 0.5, 3.0),
        power_at_operation=some(0.5, 0.5, 3.0),
        power_losses=some(0.6, 0.2, 1.5),
        kills=some(0.6, 0.2, 1.5),
        clean_stops=some(0.4, 0.3, 1.0),
        pauses=some(0.4, 0.5, 1.5),
        blackouts=some(0.4, 0.2, 0.8),
        short_restarts=chance.random() < 0.7,
        skew_s=chance.choice([0, 0, 0, 2, -3, 3600, -3600]),
        changes=some(0.4, 0.5, 3.0),
        transfers=some(0.4, 0.5, 2.0),
        snapshots=chance.random() < 0.7,
        log_entries_kept=chance.choice([0, 5, 50]),
        clients=chance.choice([2, 4, 6]),
        think_ms=chance.choice([2, 10, 30]),
        anonymous=some(0.5, 0.05, 0.5),
        long_queries=some(0.4, 0.01, 0.05),
    )
