"""Bugs of the catalogue that a seed of the simulator must notice: those that have `says`.

A copy of the database is changed, never the checkout.
"""

import os
import subprocess
import sys
from pathlib import Path

from planted import BUGS as ALL
from planted.bug import Bug, copy_database
from planted.bug import plant as plant_in

CHECKOUT = Path(__file__).parent.parent.parent
DATABASE = CHECKOUT / "database"
RUN_S_MAX = 120
SEEDS = 48
BUGS = tuple(bug for bug in ALL if bug.says)


def plant(bug: Bug, into: Path) -> Path:
    """Copy the database with the bug in it; return the folder for PYTHONPATH."""
    copy = copy_database(CHECKOUT, into)
    plant_in(bug, copy)
    return copy


def simulate(database: Path, *arguments: str, hash_seed: str = "0") -> tuple[int, str]:
    """Run the simulator of a folder; return its exit code and what it said."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(database),
        "PYTHONHASHSEED": hash_seed,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "faunadb_sim", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
