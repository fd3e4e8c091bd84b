"""One seed is one run, and a run is a storm that is survived."""

import msgspec

from faunadb_sim.options import draw_options
from faunadb_sim.run import Simulation


def test_a_seed_is_a_run() -> None:
    """The same seed gives the same events, another seed others."""
    first, again, other = Simulation(3).run(), Simulation(3).run(), Simulation(4).run()

    assert first == again
    assert first.digest != other.digest


def test_a_calm_cluster_answers_everything() -> None:
    """Without faults no operation is unknown, and three members are equal at once."""
    nothing = {
        field: 0.0
        for field, value in msgspec.structs.asdict(draw_options(1)).items()
        if isinstance(value, float)
        and field not in {"storm_s", "latency_ms", "disk_ms", "think_ms"}
    }
    options = msgspec.structs.replace(
        draw_options(1), **nothing, voters=3, storm_s=2.0, latency_ms=1, disk_ms=0.5
    )
    result = Simulation(1, options=options).run()

    assert "" == result.violation
    assert {} == result.faults
    assert 0 == result.operations_unknown
    assert result.operations_ok > 50
