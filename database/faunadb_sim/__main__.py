"""`python -m faunadb_sim --seeds N | --seed X [--trace]`: break the database, and say how.

Exit code 1 when a promise was broken; each failing seed is named with the command that replays
it.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

from faunadb_sim.options import draw_options
from faunadb_sim.run import Result, Simulation

FIRED_ENOUGH = 100  # a fault that fired less often counts for nothing (RAFT.md 5)


def main() -> int:
    """Run the seeds that the command line asks for."""
    parser = argparse.ArgumentParser(prog="faunadb_sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=40, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--trace", action="store_true", help="say every event of --seed")
    parser.add_argument("--fail-fast", action="store_true", help="end with the first that fails")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    if asked.seed is not None:
        return _one(asked.seed, trace=asked.trace)
    seeds = range(asked.first, asked.first + asked.seeds)
    return _until_one_fails(seeds) if asked.fail_fast else _many(seeds, asked.jobs)


def _one(seed: int, *, trace: bool) -> int:
    began_s = time.monotonic()
    _say(f"seed {seed}: {draw_options(seed)}")
    try:
        result = Simulation(seed, _say if trace else None).run()
    except Exception:  # noqa: BLE001 - shown whole: this is what the run was for
        traceback.print_exc()
        _say(f"seed {seed} FAILED")
        return 1
    _say(f"digest {result.digest}")
    return _report(_shown(iter([result])), began_s)


def _many(seeds: Iterable[int], jobs: int) -> int:
    began_s = time.monotonic()
    with ProcessPoolExecutor(jobs) as pool:
        return _report(_shown(pool.map(_run, seeds)), began_s)


def _until_one_fails(seeds: Iterable[int]) -> int:
    began_s = time.monotonic()
    results: list[Result] = []
    for result in _shown(map(_run, seeds)):
        results.append(result)
        if result.violation:
            break
    return _report(results, began_s)


def _run(seed: int) -> Result:
    return Simulation(seed).run()


def _shown(results: Iterator[Result]) -> Iterator[Result]:
    for result in results:
        if result.violation:
            _say(f"seed {result.seed} FAILED: {result.violation}")
            _say(f"  options: {draw_options(result.seed)}")
            _say(f"  again:   make sim SEED={result.seed} TRACE=1")
        yield result


def _report(results: Iterable[Result], began_s: float) -> int:
    seeds = events = operations = unknown = entries = failed = 0
    virtual_s = slowest_s = 0.0
    faults: Counter[str] = Counter()
    for result in results:
        seeds += 1
        events += result.events
        operations += result.operations_ok
        unknown += result.operations_unknown
        entries += result.entries
        virtual_s += result.virtual_s
        slowest_s = max(slowest_s, result.healed_s)
        failed += bool(result.violation)
        faults.update(result.faults)
    took_s = max(time.monotonic() - began_s, 0.001)
    _say(f"seeds {seeds}, failed {failed}, {took_s:.1f} s for {virtual_s:.0f} virtual seconds")
    _say(f"events {events}, {events / took_s:.0f}/s")
    per_s = f"{operations / took_s:.0f}/s"
    _say(f"operations of clients: {operations} answered, {per_s}, {unknown} unknown")
    _say(f"entries committed {entries}, slowest recovery {slowest_s:.1f} virtual seconds")
    for kind, count in sorted(faults.items()):
        _say(f"  {kind:24} {count:7}{'' if count >= FIRED_ENOUGH else '  (too few to count)'}")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
