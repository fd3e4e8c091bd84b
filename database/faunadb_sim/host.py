"""One machine with its disk, and on it one life of the program after the other.

A life begins as the product's does: open the data directory, recover, restore the core, put the
member together. It ends in a kill (what was written stays), a loss of power (what was not synced
may go), a clean stop, or an error of the disk. What was to happen to a life that has ended does
not happen.

Trap: an assertion of the member is no fault of the machine; it ends the run.
"""

from collections.abc import Callable, Sequence

from faunadb.cli.opening import describe
from faunadb.disk.directory import DataDirectory, Expected, open_data_directory
from faunadb.disk.identity import create_identity
from faunadb.disk.transfers import Receiver
from faunadb.disk.wal import WalLimits, segment_path
from faunadb.node.language import Language
from faunadb.node.member import TICK_S, Member
from faunadb.node.ports import Identity
from faunadb.node.state import AppliedState
from faunadb.raft.core import Core, restore
from faunadb.raft.entries import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Index,
    MemberId,
    Peer,
    Term,
    encode_configuration,
)
from faunadb.raft.events import Token, Write
from faunadb.raft.messages import Message
from faunadb.raft.state import CoreConfig
from faunadb.store.ports import KeyValue
from faunadb_sim.books import Books
from faunadb_sim.disk import PowerLoss, SimDisk, SimEngines
from faunadb_sim.log import SimLog
from faunadb_sim.network import Network, SimPeers
from faunadb_sim.options import Options
from faunadb_sim.snapshots import SimSnapshots, Target
from faunadb_sim.watch import Watch
from faunadb_sim.workers import SimWorkers
from faunadb_sim.world import US_PER_MS, US_PER_S, SimChance, SimClock, Violation, World

CLUSTER, INCARNATION_SALT = b"c" * 16, b"s" * 16
LIMITS = WalLimits(segment_bytes=128 * 1024, start_bytes=16 * 1024)
TICK_US = int(TICK_S * US_PER_S)
TURN_US_MAX = 150  # how long a turn of the event loop gathers events
LOST_NOTICED = 0.7  # how often peers see at once that a process is gone
SYNC_EVERY_US = 3 * US_PER_S


class WatchedState(AppliedState):
    """The applied state; tells what was applied."""

    told: Callable[[int, Sequence[Entry], bytes], None]

    def apply(self, entries: tuple[Entry, ...]) -> None:
        before = self.applied
        super().apply(entries)
        self.told(before, entries, self.state_hash)

    @property
    def state_hash(self) -> bytes:
        return self._machine.record.state_hash


class Life:
    """One process: everything that a crash takes away."""

    def __init__(self, host: "Host", directory: DataDirectory) -> None:
        world, member_id = host.world, host.id
        self.directory = directory
        self._host = host
        process = world.chance.randbytes(16)
        self.state = self._open_state(process)
        self.log = SimLog(
            world,
            directory.wal,
            host.later,
            host.books,
            sync_us=host.sync_us,
            persisted=self._persisted,
        )
        self.snapshots = SimSnapshots(
            world,
            host.options,
            host.network,
            directory=directory,
            files=host.disk,
            log=self.log,
            own=member_id,
            target=host.target,
            later=host.later,
            act=host.act,
            swapped=self._swapped,
        )
        self.receiver = Receiver(
            host.disk, SimEngines(host.disk), directory.identity, directory.snapshots, describe
        )
        found = directory.recovered
        restored = restore(
            found.hard_state,
            found.snapshot,
            found.entries,
            applied=found.state_applied.index,
            joined=found.joined,
        )
        nonce = directory.identity.nonce
        self.member = Member(
            identity=directory.identity,
            core=Core(CoreConfig(), member_id, nonce, restored),
            state=self.state,
            log=self.log,
            peers=SimPeers(host.network, member_id, nonce, host.sent),
            snapshots=self.snapshots,
            clock=host.clock,
            chance=SimChance(world),
            process=process,
        )

    def _open_state(self, process: bytes) -> WatchedState:
        host = self._host
        workers = SimWorkers(
            host.world,
            host.language,
            engine=lambda: self.directory.engine,
            clock=host.clock,
            worker_number=lambda: self.state.worker_number,
            later=host.later,
            act=host.act,
        )
        state = WatchedState(self.directory.engine, host.language, workers, host.clock, process)
        state.told = lambda before, entries, state_hash: host.watch.applied(
            host.id, before, entries, state_hash
        )
        host.watch.state_at(host.id, state.applied, state.state_hash)
        return state

    def _swapped(self, kv: KeyValue) -> None:
        self.state.reopen(kv)
        self._host.watch.state_at(self._host.id, self.state.applied, self.state.state_hash)

    def _persisted(self, tokens: Sequence[Token]) -> None:
        """Tell the member what the log synced, as `cli/program.py` does."""
        written = [token for token in tokens if token.sequence > 0 or token.term == 0]
        for token in tokens:
            if token.sequence < 0:
                self._restart_recorded(token)
        if written:
            self._host.act(lambda: self.member.persisted(written[-1]))

    def _restart_recorded(self, token: Token) -> None:
        self._host.act(lambda: self.snapshots.restart_recorded(token))


class Host:
    """See the module's docstring. `life` counts the lives; `process` is None between them."""

    def __init__(
        self,
        member_id: MemberId,
        *,
        world: World,
        options: Options,
        network: Network,
        watch: Watch,
        language: Language,
        target: Callable[[MemberId], Target | None],
    ) -> None:
        self.id = member_id
        self.world, self.options, self.network, self.watch = world, options, network, watch
        self.language, self.target = language, target
        self.disk = SimDisk(world.chance)
        self.clock = SimClock(world)
        self.life = 0
        self.process: Life | None = None
        self.paused_until_us = 0
        self.stalled_until_us = 0
        self.slow_until_us = 0
        self._turn_is_open = False
        self.books = watch.books[member_id] = Books(
            member_id, watch.truncating, watch.appending, self._is_on_platter
        )
        self.identity: Identity = create_identity(
            self.disk,
            cluster_id=CLUSTER,
            member_id=member_id,
            incarnation=1,
            incarnation_salt=INCARNATION_SALT,
            created_us=0,
            draw=world.chance.randbytes,
        )

    # ------------------------------------------------------------ lives

    @property
    def is_up(self) -> bool:
        return self.process is not None

    @property
    def peer(self) -> Peer:
        """How a configuration names this directory."""
        return Peer(self.id, f"m{self.id}", self.identity.nonce)

    @property
    def member(self) -> Member:
        assert self.process is not None
        return self.process.member

    @property
    def receiver(self) -> Receiver:
        assert self.process is not None
        return self.process.receiver

    def found(self, configuration: Configuration) -> None:
        """Put the first entry of the cluster into the empty log, durably."""
        directory = self._open()
        payload = encode_configuration(configuration)
        first = Entry.make(Term(1), Index(1), EntryKind.CONFIGURATION, payload)
        hard_state = HardState(Term(1), MemberId(0), Index(1))
        batch = [Write(Token(Term(1), 0), hard_state, None, (first,))]
        self.books.submitted(batch[0])
        directory.wal.write(batch)
        directory.wal.sync()
        self.books.hard_state = hard_state
        self.books.durable.take(batch[0])
        directory.close()
        self.disk.crash_process()

    def start(self) -> None:
        """Begin a life, if there is none; a disk that fails at it ends it at once."""
        if self.process is None:
            self._guarded(self._start)

    def _start(self) -> None:
        self.watch.started(self.id)
        self.life += 1
        self._turn_is_open = False
        directory = self._open()
        self.books.recovered(directory.recovered)
        for note in directory.notes:
            self.world.say(f"m{self.id} {note}")
        self.process = Life(self, directory)
        self.world.say(f"m{self.id} starts life {self.life}")
        self.later(self.world.between(0, TICK_US), f"m{self.id} tick", self._tick)
        self.later(self.world.between(0, SYNC_EVERY_US), "state sync", self._sync_state)
        self._look()

    def _open(self) -> DataDirectory:
        directory = open_data_directory(
            self.disk,
            SimEngines(self.disk),
            Expected(CLUSTER, self.id, 1),
            boot=self.disk.boot,
            describe=describe,
            draw=self.world.chance.randbytes,
            pause=lambda: None,
            limits=LIMITS,
        )
        assert directory is not None, "IDENTITY was written"
        return directory

    def kill(self) -> None:
        """End the process; the page cache stays."""
        self.disk.crash_process()
        self._end()

    def lose_power(self) -> None:
        """End the machine: what was not synced may be lost."""
        self.disk.lose_power()
        self._end()

    def stop_cleanly(self) -> None:
        """Sync, say that it was clean, and end."""
        if self.process is not None:
            self._guarded(self._close)
            if self.process is not None:
                self._end()

    def _close(self) -> None:
        assert self.process is not None
        self.process.member.end_of_turn()
        self.process.log.close()
        self.process.directory.close_cleanly()

    def _end(self) -> None:
        if self.process is None:
            return
        self.process = None
        self.life += 1
        for other in self.network.members.values():
            if other is not self and isinstance(other, Host) and other.is_up:
                self._be_missed_by(other)

    def _be_missed_by(self, other: "Host") -> None:
        def missed() -> None:
            if not self.is_up and self.network.reaches(other.id, self.id) is False:
                other.act(lambda: other.member.peer_lost(self.id))

        if (self.id, other.id) not in self.network.cut and self.world.chosen(LOST_NOTICED):
            delay_us = self.world.between(US_PER_MS, 50 * US_PER_MS)
            other.later(delay_us, f"m{other.id} misses m{self.id}", missed)

    # ------------------------------------------------------------ events

    def later(self, delay_us: float, label: str, event: Callable[[], None]) -> None:
        """Let something happen to this life; not while the process is paused."""
        life = self.life

        def happen() -> None:
            if self.life != life:
                return
            paused_us = self.paused_until_us - self.world.now_us
            if paused_us > 0:
                self.world.after(paused_us, label, happen)
            else:
                self._guarded(event)

        self.world.after(delay_us, label, happen)

    def act(self, event: Callable[[], None]) -> None:
        """Let something happen to the member within a turn."""
        event()
        if not self._turn_is_open:
            self._turn_is_open = True
            self.later(self.world.between(0, TURN_US_MAX), f"m{self.id} turn", self._end_turn)

    def came(self, nonce: bytes, message: Message) -> None:
        self._when_awake(f"m{self.id} late", lambda: self.member.received(nonce, message))

    def node_came(self, sender: MemberId, kind: int, body: bytes) -> None:
        self._when_awake(
            f"m{self.id} late", lambda: self.member.received_node_message(sender, kind, body)
        )

    def do(self, event: Callable[[], None]) -> None:
        """Let something happen to the member now, if there is one, as a caller outside does."""
        if self.process is not None:
            self._when_awake(f"m{self.id} late", event)

    def _when_awake(self, label: str, event: Callable[[], None]) -> None:
        if self.paused_until_us > self.world.now_us:
            self.later(self.paused_until_us - self.world.now_us, label, lambda: self.act(event))
        else:
            self._guarded(lambda: self.act(event))

    def _end_turn(self) -> None:
        self._turn_is_open = False
        self.member.end_of_turn()

    def _tick(self) -> None:
        self.later(TICK_US, f"m{self.id} tick", self._tick)
        self.act(self.member.tick)

    def _guarded(self, event: Callable[[], None]) -> None:
        """Let it happen; what the disk does to it is part of the game."""
        try:
            event()
        except OSError as problem:
            self.world.say(f"m{self.id} ends: {problem}")
            self.kill()
        except PowerLoss:
            self.world.say(f"m{self.id} loses power within an operation")
            self.lose_power()
        else:
            self._look()

    def _look(self) -> None:
        if self.process is not None:
            member = self.process.member
            self.watch.look(self.id, member.core, member.gateway.pending_count)

    # ------------------------------------------------------------ the disk

    def sync_us(self) -> int:
        """Draw how long the disk takes to write and sync."""
        usual_us = self.options.disk_ms * US_PER_MS
        slow = self.slow_until_us > self.world.now_us
        took_us = self.world.between(usual_us / 2, usual_us * 2) * (20 if slow else 1)
        return max(took_us, self.stalled_until_us - self.world.now_us)

    def _sync_state(self) -> None:
        """Do what the flusher does: an error takes the marks of the state back."""
        assert self.process is not None
        try:
            self.process.directory.engine.force_sync()
        except OSError:
            self.process.directory.disown_state()
            raise
        self.later(SYNC_EVERY_US, "state sync", self._sync_state)

    def _is_on_platter(self) -> bool:
        assert self.process is not None
        return self.disk.is_durable(segment_path(self.process.log.segment))

    def sent(self, to: MemberId, message: Message) -> None:
        """Judge a message before it leaves."""
        self.watch.sent(self.id, to, message)


def check_same_states(hosts: Sequence[Host]) -> None:
    """Raise `Violation` when members that applied the same differ."""
    by_applied: dict[int, bytes] = {}
    for host in hosts:
        if host.process is not None:
            state = host.process.state
            if by_applied.setdefault(state.applied, state.state_hash) != state.state_hash:
                raise Violation(f"member {host.id} has another state at {state.applied}")
