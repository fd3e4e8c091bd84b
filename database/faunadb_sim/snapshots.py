"""Copies of the state, taken, sent and installed in virtual time, by the product's own disk code.

    take      copy, sync, verify, prune: one event of a thread that nobody waits for
    send      manifest, chunks, verdict: events of both ends; a cut or a crash ends it
    install   the log records a restart, then the state is swapped, then the core is told

Trap: whatever ends a transfer, the core that asked for it is answered once.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from faunadb.disk.directory import Built, DataDirectory
from faunadb.disk.ports import CopyAborted
from faunadb.disk.transfers import Receiver, Source
from faunadb.errors import Corrupt, Malformed
from faunadb.node.ports import Files, LogRestart
from faunadb.raft.entries import Index, MemberId, SnapshotMeta, Term
from faunadb.raft.events import SendSnapshot, Token
from faunadb.raft.messages import InstallSnapshot, Message
from faunadb.store.ports import KeyValue
from faunadb_sim.log import Later, SimLog
from faunadb_sim.network import Network
from faunadb_sim.options import Options
from faunadb_sim.world import US_PER_MS, World

DUE_BYTES = 20_000  # written since the last copy: some seconds of our clients
SENDS_WAITING_MAX = 64


class Target(Protocol):
    """The process that receives a snapshot."""

    @property
    def id(self) -> MemberId: ...

    @property
    def life(self) -> int: ...

    @property
    def receiver(self) -> Receiver: ...

    def came(self, nonce: bytes, message: Message) -> None: ...

    def later(self, delay_us: float, label: str, event: Callable[[], None]) -> None: ...


class SimSnapshots:
    """Implements `member.SnapshotService` for one life of a process."""

    def __init__(
        self,
        world: World,
        options: Options,
        network: Network,
        *,
        directory: DataDirectory,
        files: Files,
        log: SimLog,
        own: MemberId,
        target: Callable[[MemberId], Target | None],
        later: Later,
        act: Callable[[Callable[[], None]], None],
        swapped: Callable[[KeyValue], None],
    ) -> None:
        self._world, self._options, self._network = world, options, network
        self._directory, self._files, self._log = directory, files, log
        self._own, self._target, self._later = own, target, later
        self._act, self._swapped = act, swapped
        self._installs: dict[int, tuple[SnapshotMeta, Callable[[], None]]] = {}
        self._restarts = 0
        self._copied_bytes = 0
        self._is_taking = False
        self._sends: deque[tuple[SendSnapshot, Callable[[bool], None]]] = deque()
        self._is_sending = False

    # ------------------------------------------------------------ what the member asks

    def send(self, wanted: SendSnapshot, done: Callable[[bool], None]) -> None:
        if len(self._sends) >= SENDS_WAITING_MAX:
            done(False)  # noqa: FBT003 - the shape of the port
            return
        self._sends.append((wanted, done))
        if not self._is_sending:
            self._is_sending = True
            self._later(US_PER_MS, "snapshot send", self._send_next)

    def install(self, meta: SnapshotMeta, done: Callable[[], None]) -> None:
        self._restarts += 1
        token = Token(meta.id.term, -self._restarts)
        self._installs[token.sequence] = (meta, done)
        self._log.submit(LogRestart(token, meta.id))

    def restart_recorded(self, token: Token) -> None:
        """The log recorded the restart that `install` asked for: build and swap, on a thread."""
        meta, done = self._installs.pop(token.sequence)

        def build() -> None:
            built = self._directory.build_state(meta.id)
            delay_us = self._world.between(0, 20 * US_PER_MS)
            self._later(delay_us, "snapshot swap", lambda: self._act(lambda: swap(built)))

        def swap(built: Built) -> None:
            self._world.say(f"m{self._own} installs a snapshot")
            self._swapped(self._directory.swap_state(built))
            done()
            self._later(US_PER_MS, "snapshot old", self._directory.remove_old)

        self._later(self._world.between(0, 100 * US_PER_MS), "snapshot build", build)

    def tick(self, applied: Index) -> Index:
        written = self._directory.engine.written_bytes() - self._copied_bytes
        if self._options.snapshots and written >= DUE_BYTES and not self._is_taking:
            self._is_taking = True
            delay_us = self._world.between(0, 300 * US_PER_MS)
            self._later(delay_us, "snapshot take", self._take_due)
        cut = self._directory.snapshots.cut_index()
        if cut:
            self._log.cut(cut)
        newest = self._directory.snapshots.newest()
        if newest is None:
            return Index(0)
        return Index(max(0, min(newest.id.index, applied - self._options.log_entries_kept)))

    def may_write(self, *, only_deletes: bool) -> bool:  # noqa: ARG002 - the shape of the port
        """Return True: a full disk is a fault of its own here."""
        return True

    # ------------------------------------------------------------ taking and sending

    def _take_due(self) -> None:
        self._is_taking = False
        self._take()

    def _take(self) -> None:
        snapshots, engine = self._directory.snapshots, self._directory.engine
        written = engine.written_bytes()
        try:
            taken = snapshots.take(engine)
        except CopyAborted:
            return
        self._copied_bytes = written
        self._world.say(f"m{self._own} took {taken.path if taken else 'nothing'}")
        problems = snapshots.verify_all()
        assert not problems, problems
        snapshots.prune()

    def _send_next(self) -> None:
        wanted, done = self._sends.popleft()
        snapshot = self._directory.snapshots.find(wanted.index_min)
        if snapshot is None:
            self._take()
            snapshot = self._directory.snapshots.find(wanted.index_min)
        target = self._target(wanted.to)
        if snapshot is None or target is None or not self._connected(wanted.to):
            self._finished(done, ok=False)
            return
        source = Source(self._files, snapshot)
        transfer = _Transfer(self._own, self._directory.identity.nonce, source, target)
        self._carry(transfer, done)

    def _carry(self, transfer: "_Transfer", done: Callable[[bool], None]) -> None:
        """Do one step of a transfer after the other while both ends live and are connected."""
        target = transfer.target
        if transfer.verdict is not None or not self._connected(target.id) or transfer.is_stale:
            transfer.source.close()
            self._finished(done, ok=transfer.verdict is True)
            return
        target.later(self._world.between(200, 3_000), "snapshot step", transfer.step)
        self._later(5 * US_PER_MS, "snapshot next", lambda: self._carry(transfer, done))

    def _connected(self, to: MemberId) -> bool:
        return self._network.reaches(self._own, to) and self._network.reaches(to, self._own)

    def _finished(self, done: Callable[[bool], None], *, ok: bool) -> None:
        self._world.say(f"m{self._own} sent a snapshot: {ok}")
        self._act(lambda: done(ok))
        self._is_sending = bool(self._sends)
        if self._sends:
            self._later(US_PER_MS, "snapshot send", self._send_next)


class _Transfer:
    """One snapshot on its way; each `step` is one message that arrived at the target."""

    def __init__(self, sender: MemberId, nonce: bytes, source: Source, target: Target) -> None:
        self.source, self.target = source, target
        self._sender, self._nonce, self._life = sender, nonce, target.life
        self._offset: int | None = None
        self.verdict: bool | None = None

    @property
    def is_stale(self) -> bool:
        """Say whether the process that it went to has ended."""
        return self.target.life != self._life

    def step(self) -> None:
        """Let the next message arrive; another sender may have come between."""
        if self.verdict is not None or self.is_stale:
            return
        try:
            self._take_next()
        except (Malformed, Corrupt):
            self.verdict = False

    def _take_next(self) -> None:
        receiver, source = self.target.receiver, self.source
        if self._offset is None:
            self._offset = receiver.begin(source.manifest_block, source.digest)
        elif self._offset < source.data_bytes:
            self._offset = receiver.add(self._offset, source.chunk(self._offset))
        else:
            meta = receiver.finish().meta
            self.verdict = True
            message = InstallSnapshot(self._sender, Term(meta.id.term), meta)
            self.target.came(self._nonce, message)
