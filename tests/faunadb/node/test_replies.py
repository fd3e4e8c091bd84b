"""Answers to other members that found no way."""

from faunadb.node.replies import KEPT_MAX, KEPT_S, Replies
from faunadb.node.wire import NodeMessage, ReadPoint
from faunadb.raft.entries import MemberId

TWO, THREE = MemberId(2), MemberId(3)


class Peers:
    """Takes messages for some members; counts what it was asked to take."""

    def __init__(self) -> None:
        self.now_s, self.tries = 0.0, 0
        self.open: set[MemberId] = set()
        self.got: list[tuple[MemberId, int]] = []
        self.replies = Replies(self._send, lambda: self.now_s)

    def _send(self, to: MemberId, message: NodeMessage) -> bool:
        self.tries += 1
        if to not in self.open:
            return False
        assert isinstance(message, ReadPoint)
        self.got.append((to, message.call))
        return True

    def reply(self, to: MemberId, *calls: int) -> None:
        for call in calls:
            self.replies.reply(to, ReadPoint(call, 1, 1))


def test_a_reply_that_finds_a_full_queue_is_sent_later() -> None:
    """Who asked would wait for it until its deadline."""
    peers = Peers()
    peers.reply(TWO, 1, 2)
    peers.replies.tick()
    peers.open = {TWO}
    peers.replies.tick()
    peers.replies.tick()

    assert [(TWO, 1), (TWO, 2)] == peers.got
    assert 0 == peers.replies.kept_count


def test_who_is_full_is_tried_once_and_delays_nobody() -> None:
    """In each round; the order of one member's replies stays."""
    peers = Peers()
    peers.reply(TWO, 1, 2, 3)
    peers.reply(THREE, 4)
    peers.tries, peers.open = 0, {THREE}
    peers.replies.tick()

    assert 2 == peers.tries
    assert [(THREE, 4)] == peers.got
    assert 3 == peers.replies.kept_count


def test_nothing_is_kept_for_ever() -> None:
    """A link that breaks makes the other ask again; so many fit, and so long."""
    peers = Peers()
    peers.reply(TWO, 1)
    peers.reply(THREE, 2)
    peers.replies.forget(TWO)
    assert 1 == peers.replies.kept_count
    peers.now_s, peers.open = KEPT_S, {TWO, THREE}
    peers.replies.tick()
    assert [] == peers.got
    peers.open = set()
    peers.reply(TWO, *range(KEPT_MAX + 1))

    assert KEPT_MAX == peers.replies.kept_count
