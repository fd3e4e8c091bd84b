"""Answers to other members that found no way: kept for a while and sent again.

Who asked waits for them until its deadline; a full queue, or a link that is being made anew, is
over long before. When the link breaks the other side asks again by itself.
"""

from collections import deque
from collections.abc import Callable

from faunadb.node.wire import NodeMessage
from faunadb.raft.entries import MemberId

KEPT_MAX = 8192  # as many as a member may have queries in flight
KEPT_S = 10.0

Send = Callable[[MemberId, NodeMessage], bool]


class Replies:
    """Sends by `send`, which says whether the message was taken."""

    def __init__(self, send: Send, now_s: Callable[[], float]) -> None:
        self._send, self._now_s = send, now_s
        self._kept: deque[tuple[MemberId, NodeMessage, float]] = deque()

    @property
    def kept_count(self) -> int:
        return len(self._kept)

    def reply(self, to: MemberId, message: NodeMessage) -> None:
        """Send `message`, now or as soon as `to` takes it."""
        if not self._send(to, message) and len(self._kept) < KEPT_MAX:
            self._kept.append((to, message, self._now_s() + KEPT_S))

    def forget(self, member: MemberId) -> None:
        """The link to or from `member` broke: it asks again."""
        self._kept = deque(kept for kept in self._kept if kept[0] != member)

    def tick(self) -> None:
        """Try again, in order; who does not take one is not asked to take the next."""
        if not self._kept:
            return
        now_s, again = self._now_s(), self._kept
        self._kept = deque()
        full: set[MemberId] = set()
        for to, message, until_s in again:
            if now_s >= until_s or (to not in full and self._send(to, message)):
                continue
            full.add(to)
            self._kept.append((to, message, until_s))
