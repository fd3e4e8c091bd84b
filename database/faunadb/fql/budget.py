"""How much work one query may do, so that it never delays a heartbeat (SAFETY 1).

A step is about a call, a row that is read, or a few dozen bytes that are built: everything that
can be repeated counts itself. Who runs out is abandoned without a trace and may be evaluated
again elsewhere with more.

Trap: Python's own stack is a budget too. `deep` says that the caller provided a recursion limit
of `RECURSION_LIMIT_DEEP` on a thread with `STACK_BYTES_DEEP` of stack; without that a deeply
recursive query is over budget like a long one.
"""

RECURSION_LIMIT_DEEP = 60_000  # 2048 frames of the language, at most 20 of Python each, and slack
STACK_BYTES_DEEP = 512 * 1024 * 1024
FRAMES_MAX = 2048  # schema.md §11
STEPS_ON_LOOP = 4_000  # about 1 ms
ROW_STEPS = 20  # a row of a scan: read, decoded, its rights asked
READ_STEPS = 10  # a document by id
WRITE_STEPS = 20
STEPS_IN_WORKER = 100_000_000


class OverBudget(Exception):
    """The query needs more than it was given: "steps" or "stack". Nothing of it was applied."""

    def __init__(self, what: str = "steps") -> None:
        super().__init__(f"over the budget of {what}")
        self.what = what


class Budget:
    """What one evaluation may spend; `spent` is filled in when it ends, well or not."""

    __slots__ = ("deep", "spent", "steps_max")

    def __init__(self, steps_max: int = STEPS_ON_LOOP, *, deep: bool = False) -> None:
        self.steps_max = steps_max
        self.deep = deep
        self.spent = 0
