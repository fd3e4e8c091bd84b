"""Links that lose, copy, delay, reorder, and are cut, one way or both.

Messages of consensus may suffer all of that. Messages of the node run over a connection in the
product: they come in order and once, or not at all.

Trap: a cut loses what is under way, too.
"""

from collections.abc import Callable
from typing import Protocol

from faunadb.node.ports import Configuration
from faunadb.raft.entries import MemberId
from faunadb.raft.messages import Message, decode_message, encode_message
from faunadb_sim.options import Options
from faunadb_sim.world import US_PER_MS, World

UNDER_WAY_MAX = 5_000  # messages of one link; a queue that is full drops
CUT_NOTICED = 0.5  # how often a sender on a cut link knows that it is not connected


class Inbox(Protocol):
    """The member at the end of a link."""

    @property
    def id(self) -> MemberId: ...

    @property
    def is_up(self) -> bool: ...

    def came(self, nonce: bytes, message: Message) -> None: ...

    def node_came(self, sender: MemberId, kind: int, body: bytes) -> None: ...


class Network:
    """All directed links."""

    def __init__(self, world: World, options: Options) -> None:
        self._world, self._options = world, options
        self.members: dict[MemberId, Inbox] = {}
        self.cut: set[tuple[MemberId, MemberId]] = set()
        self.is_calm = True
        self._under_way: dict[tuple[MemberId, MemberId], int] = {}
        self._in_order_until: dict[tuple[MemberId, MemberId], int] = {}

    def send(self, sender: MemberId, nonce: bytes, to: MemberId, message: Message) -> None:
        """Send a message of consensus, as bytes."""
        if to not in self.members or self._lost(sender, to):
            return
        data = encode_message(message)
        name = f"{sender}>{to} {type(message).__name__}"
        storm = not self.is_calm
        copies = 2 if storm and self._world.chosen(self._options.copy) else 1
        if copies == 2:
            self._world.fault("copy", name)
        for _ in range(copies):
            delay_us = self._latency_us()
            if storm and self._world.chosen(self._options.disorder):
                self._world.fault("disorder", name)
                delay_us += self._world.between(0, 60 * US_PER_MS)
            self._deliver(
                sender,
                to,
                delay_us,
                name,
                lambda inbox: inbox.came(nonce, decode_message(data)),
            )

    def send_node(self, sender: MemberId, to: MemberId, kind: int, body: bytes) -> bool:
        """Send a message of the node, behind all earlier ones; False when not connected."""
        there = self.members.get(to)
        broken = (sender, to) in self.cut or (to, sender) in self.cut
        if there is None or not there.is_up or (broken and self._world.chosen(CUT_NOTICED)):
            return False
        if self._lost(sender, to):
            return True
        earliest = self._in_order_until.get((sender, to), 0)
        delay_us = max(self._latency_us(), earliest - self._world.now_us)
        self._in_order_until[sender, to] = self._world.now_us + delay_us
        name = f"{sender}>{to} node"
        self._deliver(sender, to, delay_us, name, lambda i: i.node_came(sender, kind, body))
        return True

    def reaches(self, sender: MemberId, to: MemberId) -> bool:
        """Say whether something sent now would arrive."""
        there = self.members.get(to)
        return there is not None and there.is_up and (sender, to) not in self.cut

    def _lost(self, sender: MemberId, to: MemberId) -> bool:
        if (sender, to) in self.cut:
            return True
        if not self.is_calm and self._world.chosen(self._options.loss):
            self._world.fault("loss", f"{sender}>{to}")
            return True
        return False

    def _latency_us(self) -> int:
        base_us = self._options.latency_ms * US_PER_MS
        return self._world.between(base_us / 2, base_us * 1.5)

    def _deliver(
        self,
        sender: MemberId,
        to: MemberId,
        delay_us: int,
        name: str,
        act: Callable[[Inbox], None],
    ) -> None:
        link = (sender, to)
        if self._under_way.get(link, 0) >= UNDER_WAY_MAX:
            return
        self._under_way[link] = self._under_way.get(link, 0) + 1

        def arrive() -> None:
            self._under_way[link] -= 1
            if self.reaches(sender, to):
                act(self.members[to])

        self._world.after(delay_us, name, arrive)


class SimPeers:
    """`ports.Peers` of one member; `sent` sees every message of consensus before it leaves."""

    def __init__(
        self,
        network: Network,
        own: MemberId,
        nonce: bytes,
        sent: Callable[[MemberId, Message], None],
    ) -> None:
        self._network, self._own, self._nonce, self._sent = network, own, nonce, sent

    def set_peers(self, configuration: Configuration) -> None:
        """Every member can reach every other."""

    def send(self, to: MemberId, message: Message) -> None:
        self._sent(to, message)
        self._network.send(self._own, self._nonce, to, message)

    def send_node(self, to: MemberId, kind: int, body: bytes) -> bool:
        return self._network.send_node(self._own, to, kind, body)
