"""The one place that does what the core decided, in the order of the fields of `Update`.

Effects may lead to further events (an answer frees a queue, an applied entry starts a read):
those wait in line until the present update is done to its end.

The core hears what was applied with the next event from outside, and then may have more to
apply: a member that starts far behind stays responsive.

Trap: `messages_after_sync` wait for the write of their own update *and* for every earlier one;
the log syncs in order, so one token says both.
"""

from collections import deque
from typing import Protocol

from faunadb.node.ports import Log, Peers
from faunadb.raft.core import Core
from faunadb.raft.entries import Configuration, Entry, SnapshotMeta
from faunadb.raft.events import (
    EMPTY,
    Applied,
    ChangeAnswer,
    Event,
    Outgoing,
    Persisted,
    Proposed,
    ReadReady,
    RoleChange,
    SendSnapshot,
    Token,
    Update,
)

EVENTS_WAITING_MAX = 100_000  # far more than one turn can cause; beyond it something loops


class Host(Protocol):
    """What the core's decisions mean to the member around it."""

    def take_payloads(self) -> list[bytes]:
        """Return what was evaluated since the last call: proposed before the next event."""
        ...

    def apply(self, entries: tuple[Entry, ...]) -> None: ...

    def read_ready(self, ready: ReadReady) -> None: ...

    def install_snapshot(self, meta: SnapshotMeta) -> None: ...

    def send_snapshot(self, wanted: SendSnapshot) -> None: ...

    def role_changed(self, change: RoleChange) -> None: ...

    def configuration_changed(self, configuration: Configuration) -> None: ...

    def change_answered(self, answer: ChangeAnswer) -> None: ...

    def proposals_refused(self) -> None: ...


class Performer:
    """Steps the core and acts."""

    def __init__(self, core: Core, log: Log, peers: Peers, host: Host) -> None:
        self._core, self._log, self._peers, self._host = core, log, peers, host
        self._events: deque[Event] = deque()
        self._running = False
        self._submitted: Token | None = None  # the newest write that is not synced yet
        self._held: deque[tuple[Token, tuple[Outgoing, ...]]] = deque()
        self._applied: Applied | None = None

    def step(self, event: Event) -> None:
        """Give the core an event and do all that follows from it."""
        self._events.append(event)
        if self._running:
            assert len(self._events) <= EVENTS_WAITING_MAX
            return
        if self._applied is not None:
            self._events.appendleft(self._applied)
            self._applied = None
        self._running = True
        try:
            while self._events:
                event = self._events.popleft()
                self._propose()
                self._act(self._core.step(event))
        finally:
            self._running = False

    def flush(self) -> None:
        """Propose what was evaluated since the last event."""
        assert not self._running
        self._running = True
        try:
            self._propose()
        finally:
            self._running = False
        if self._events:
            self.step(self._events.popleft())

    def _propose(self) -> None:
        payloads = self._host.take_payloads()
        if payloads:
            self._act(self._core.step(Proposed(payloads)))

    def persisted(self, token: Token) -> None:
        """A write, and with it all before it, is synced."""
        if self._submitted is not None and token.sequence >= self._submitted.sequence:
            self._submitted = None
        while self._held and self._held[0][0].sequence <= token.sequence:
            self._send(self._held.popleft()[1])
        self.step(Persisted(token))

    def _act(self, update: Update) -> None:
        if update is EMPTY:
            return
        self._write_and_send(update)
        host = self._host
        if update.committed:
            host.apply(update.committed)
            self._applied = Applied(update.committed[-1].index)
        for ready in update.reads_ready:
            host.read_ready(ready)
        if update.install_snapshot is not None:
            host.install_snapshot(update.install_snapshot)
        for wanted in update.send_snapshot:
            host.send_snapshot(wanted)
        self._tell(update)

    def _write_and_send(self, update: Update) -> None:
        if update.write is not None:
            self._log.submit(update.write)
            self._submitted = update.write.token
        self._send(update.messages)
        if update.messages_after_sync:
            if self._submitted is None:
                self._send(update.messages_after_sync)
            else:
                self._held.append((self._submitted, update.messages_after_sync))

    def _tell(self, update: Update) -> None:
        host = self._host
        if update.role is not None:
            host.role_changed(update.role)
        if update.configuration is not None:
            host.configuration_changed(update.configuration[1])
        for answer in update.changes:
            host.change_answered(answer)
        if update.refused:
            host.proposals_refused()

    def _send(self, messages: tuple[Outgoing, ...]) -> None:
        for outgoing in messages:
            self._peers.send(outgoing.to, outgoing.message)
