"""Bugs to plant in a copy of the product, and the test that must notice each (RAFT.md 5).

    make planted                       all of them; one that survives fails
    PYTHONPATH=tests python -m planted NAME ...     those whose name contains one of the words

`BUGS` is the whole catalogue; one module an area. The simulator plants the same bugs again:
those that have `says` (tests/faunadb_sim/test_planted.py).
"""

from planted.bug import Bug
from planted.disk import BUGS as DISK
from planted.node import BUGS as NODE
from planted.raft import BUGS as RAFT
from planted.state import BUGS as STATE
from planted.transactions import BUGS as TRANSACTIONS

BUGS: tuple[Bug, ...] = (*RAFT, *DISK, *NODE, *STATE, *TRANSACTIONS)

__all__ = ["BUGS", "Bug"]
