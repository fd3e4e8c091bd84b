"""What clients asked and what came of it: the evidence that a checker judges.

    ok        the answer came; `result` is what it said
    failed    it surely had no effect
    unknown   it may have had its effect at any time after `start`, or never

Times are integers of one clock of one machine that never goes back. A history is written as JSON
lines, one operation each, so that a failed run can be judged again.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Literal

import msgspec


class Outcome(StrEnum):
    """How an operation ended for the client that asked."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


Kind = Literal["read", "write", "cas", "insert", "append", "transfer"]


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One operation on one key.

        read       result: the value, None when there is none, a list for lists, balances for banks
        write      argument: the value
        cas        argument: [expected, new]     result: whether it took effect
        insert     argument: the value           result: whether the key was free
        append     argument: the element
        transfer   argument: [from, to, amount]  result: whether there was enough

    `start` and `end` are nanoseconds; `end` counts only when the outcome is ok.
    """

    key: str
    kind: Kind
    argument: Any
    result: Any
    outcome: Outcome
    start: int
    end: int
    client: str = ""
    ts: int = 0  # microseconds: the transaction's time, 0 when not known

    def __post_init__(self) -> None:
        assert self.start <= self.end, "an answer does not come before its question"

    def __str__(self) -> str:
        said = f" -> {self.result!r}" if self.outcome is Outcome.OK else f" {self.outcome}"
        asked = "" if self.argument is None else f" {self.argument!r}"
        return f"[{self.start}..{self.end}] {self.client} {self.key}: {self.kind}{asked}{said}"


def to_lines(operations: Iterable[Operation]) -> Iterator[bytes]:
    """Yield one line of JSON for each operation, with its newline."""
    for operation in operations:
        yield msgspec.json.encode(operation) + b"\n"


def from_lines(lines: Iterable[bytes]) -> list[Operation]:
    """Read what `to_lines` wrote. Raises `msgspec.DecodeError`."""
    decoder = msgspec.json.Decoder(Operation)
    return [decoder.decode(line) for line in lines if line.strip()]
