"""The asyncio driver of a member: ticks, turns, and nothing else.

Everything that happens to the member in one turn of the event loop is one batch: the first
event of a turn schedules its end with `call_soon`, so a busy loop makes bigger batches and a
single client pays no delay (RAFT.md §6).

Trap: an exception of the member is a broken invariant. It ends the process: nothing that this
member would say afterwards can be believed.
"""

import asyncio
from collections.abc import Callable, Sequence

from faunadb.node.member import TICK_S, Member
from faunadb.node.ports import Clock
from faunadb.node.query import Query, Reply
from faunadb.raft.entries import MemberId
from faunadb.raft.events import Token
from faunadb.raft.messages import Message

TICKS_AT_ONCE_MAX = 5  # a loop that was blocked does not make up for all of the time it lost


class Node:
    """Carries events to `member` on the running loop; `fatal` ends the process."""

    def __init__(
        self, member: Member, clock: Clock, fatal: Callable[[BaseException], None]
    ) -> None:
        self.member = member
        self._clock, self._fatal = clock, fatal
        self._loop = asyncio.get_running_loop()
        self._turn_scheduled = False
        self._stopped = False
        self.heartbeat_s = clock.monotonic_s()  # when the loop last ticked: liveness

    # ------------------------------------------------------------ events, each a callback

    def submit(self, query: Query, reply: Reply) -> None:
        self.act(lambda: self.member.submit(query, reply))

    def received(self, nonce: bytes, message: Message) -> None:
        self.act(lambda: self.member.received(nonce, message))

    def received_node_message(self, sender: MemberId, kind: int, body: bytes) -> None:
        self.act(lambda: self.member.received_node_message(sender, kind, body))

    def peer_lost(self, member: MemberId) -> None:
        self.act(lambda: self.member.peer_lost(member))

    def disconnected(self, member: MemberId) -> None:
        self.act(lambda: self.member.disconnected(member))

    def persisted(self, tokens: Sequence[Token]) -> None:
        """The log synced these writes; the newest says it of all."""
        self.act(lambda: self.member.persisted(tokens[-1]))

    def act(self, event: Callable[[], None]) -> None:
        """Let `event` happen to the member within this turn."""
        if self._stopped:
            return
        try:
            event()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is fatal
            self._crash(error)
            return
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._loop.call_soon(self._end_of_turn)

    # ------------------------------------------------------------ time

    async def tick_for_ever(self) -> None:
        """Tick every `TICK_S`; a loop that was blocked catches up by a few ticks only."""
        due_s = self._clock.monotonic_s()
        while not self._stopped:
            now_s = self._clock.monotonic_s()
            ticks = min(int((now_s - due_s) / TICK_S), TICKS_AT_ONCE_MAX)
            for _ in range(ticks):
                self.act(self.member.tick)
            due_s = max(due_s + ticks * TICK_S, now_s - TICK_S)
            self.heartbeat_s = now_s
            await asyncio.sleep(max(0.001, due_s + TICK_S - self._clock.monotonic_s()))

    def stop(self) -> None:
        """Take no more events."""
        self._stopped = True

    def _end_of_turn(self) -> None:
        self._turn_scheduled = False
        if self._stopped:
            return
        try:
            self.member.end_of_turn()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is fatal
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        self._stopped = True
        self._fatal(error)
