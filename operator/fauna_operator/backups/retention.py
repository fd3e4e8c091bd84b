"""Which backups of a schedule may go? Never the last verified one, and never the last one.

Only what has ended is judged, and only what its schedule made.
"""

from collections.abc import Iterable

import msgspec

from fauna_operator.backups.model import COMPLETED, ENDED, FAILED
from fauna_operator.model.dates import epoch
from fauna_operator.model.desired import seconds


class Retention(msgspec.Struct, frozen=True, rename="camel"):
    """What a schedule keeps."""

    keep_last: int = 7
    max_age: str = ""  # "": for ever
    failed_history_limit: int = 3


class Child(msgspec.Struct, frozen=True):
    """A FaunaBackup that a schedule made."""

    name: str
    uid: str
    resource_version: str
    at: float  # the time for which it was made
    phase: str = "Pending"
    completed_at: str = ""
    verified_at: str = ""
    deleting: bool = False

    @property
    def active(self) -> bool:
        """Tell whether it is still being made."""
        return self.phase not in ENDED and not self.deleting


def surplus(
    children: Iterable[Child], retention: Retention, in_use: frozenset[str], now: float
) -> tuple[tuple[Child, str], ...]:
    """Return the backups that may go, with the reason; `in_use` are being restored."""
    newest_first = sorted(
        (child for child in children if not child.deleting),
        key=lambda child: (-child.at, child.name),
    )
    completed = [child for child in newest_first if child.phase == COMPLETED]
    failed = [child for child in newest_first if child.phase == FAILED]
    kept = {child.name for child in completed[:1]} | in_use
    kept |= {child.name for child in [c for c in completed if c.verified_at][:1]}
    why = [
        (child, f"{retention.keep_last} newer ones are kept")
        for child in completed[retention.keep_last :]
    ]
    if retention.max_age:
        why += [
            (child, f"it is older than {retention.max_age}")
            for child in completed[: retention.keep_last]
            if now - epoch(child.completed_at) > seconds(retention.max_age)
        ]
    why += [
        (child, f"{retention.failed_history_limit} newer failed ones are kept")
        for child in failed[retention.failed_history_limit :]
    ]
    return tuple((child, reason) for child, reason in why if child.name not in kept)
