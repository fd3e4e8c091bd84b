"""What waits until this leader has proven that it still leads: read points and held answers.

Everything that came in one turn shares one ReadIndex round (dissertation 6.4) and is released
when the round is confirmed *and* the log is applied up to the last index of its view, in the
leader's own term (SAFETY 4, 8). When leadership ends first, all are told so.

Trap: a round serves only what arrived before its first message left.
"""

from collections.abc import Callable

import msgspec

from faunadb.raft.entries import Index

Released = Callable[[bool], None]  # True: proven; False: no longer leader, nothing was said


class _Round(msgspec.Struct):
    index: Index  # the last index of the views of this round
    waiting: list[Released]
    confirmed: bool = False


class Rounds:
    """The rounds of one leadership."""

    def __init__(self) -> None:
        self._gathering: list[Released] = []
        self._rounds: dict[int, _Round] = {}

    def join(self, released: Released) -> None:
        """Wait for the round that begins at the end of this turn."""
        self._gathering.append(released)

    def has_gathered(self) -> bool:
        return bool(self._gathering)

    def begin(self, token: int, last: Index) -> None:
        """Begin the round `token` for all that gathered; their views end at `last`."""
        self._rounds[token] = _Round(last, self._gathering)
        self._gathering = []

    def confirmed(self, token: int, applied: Index) -> None:
        """The round is confirmed by a quorum."""
        if token in self._rounds:
            self._rounds[token].confirmed = True
            self.applied(applied)

    def failed(self, token: int) -> None:
        """The core could not confirm the round."""
        found = self._rounds.pop(token, None)
        for released in found.waiting if found else ():
            released(False)  # noqa: FBT003

    def applied(self, applied: Index) -> None:
        """Release what was confirmed and is covered by `applied`."""
        ready = [t for t, r in self._rounds.items() if r.confirmed and r.index <= applied]
        for token in ready:
            for released in self._rounds.pop(token).waiting:
                released(True)  # noqa: FBT003

    def resign(self) -> None:
        """Tell everything that waits that leadership is lost."""
        waiting, self._gathering = self._gathering, []
        for found in self._rounds.values():
            waiting.extend(found.waiting)
        self._rounds.clear()
        for released in waiting:
            released(False)  # noqa: FBT003
