"""Members in one process over maps in memory: nothing happens but what a test lets happen.

`pump` delivers, syncs and ends turns until nothing is left to do; `tick` lets 10 ms pass first.
A link that is cut loses what is on its way and says so to both ends, as TCP does.
"""

import json
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faunadb.codec import Answer, RequestId
from faunadb.errors import FaunaError
from faunadb.fql.budget import STEPS_IN_WORKER, Budget
from faunadb.node.language import At, Language, fill
from faunadb.node.leader import Evaluated
from faunadb.node.member import TICK_S, Member
from faunadb.node.ports import Identity, LogRestart
from faunadb.node.query import Outcome, Query
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
    SnapshotMeta,
    Term,
    encode_configuration,
)
from faunadb.raft.events import SendSnapshot, Token, Write
from faunadb.raft.messages import Message
from faunadb.raft.state import CoreConfig
from faunadb.store.bookkeeping import read_bookkeeping
from faunadb.store.effects import Effects
from faunadb.store.ids import IdSource
from faunadb.store.ports import KeyValue
from faunadb.store.schema import SchemaCache
from store_test_helpers import MemoryKeyValue

BEGAN_US = 1_800_000_000_000_000
LEAD_TICKS_MAX = 400
TURNS_MAX = 10_000  # a pump that does not come to rest loops
Came = Callable[[tuple[Answer, Effects] | FaunaError], None]


class Clock:
    """One machine's clocks; `off_us` is what the wall clock is wrong by."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.off_us = 0

    def monotonic_s(self) -> float:
        return self._now_s()

    def wall_us(self) -> int:
        return BEGAN_US + int(self._now_s() * 1_000_000) + self.off_us


class Chance:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


class HeldLog:
    """Keeps what was submitted until it is `sync`ed."""

    def __init__(self) -> None:
        self.unsynced: deque[Token] = deque()
        self.hangs = False

    def submit(self, write: Write | LogRestart) -> None:
        assert isinstance(write, Write)
        self.unsynced.append(write.token)

    def cut(self, through: Index) -> None:
        """Nothing is on a disk."""

    def oldest_sync_age_s(self) -> float:
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


class HeldWorkers:
    """Long queries wait until the test evaluates them, against the state of that moment."""

    def __init__(self, kv: KeyValue, language: Language) -> None:
        self._kv, self._language = kv, language
        self.jobs: deque[tuple[Query, int, int, Came]] = deque()
        self._ids = IdSource(1000)

    def write(
        self,
        query: Query,
        ts: int,
        term: int,
        deadline_s: float,
        done: Callable[[Evaluated | FaunaError], None],
    ) -> None:
        def came(outcome: tuple[Answer, Effects] | FaunaError) -> None:
            done(outcome if isinstance(outcome, FaunaError) else Evaluated(*outcome))

        self.jobs.append((query, ts, term, came))

    def read(
        self,
        query: Query,
        ts: int,
        deadline_s: float,
        done: Callable[[Answer | FaunaError], None],
    ) -> None:
        def came(outcome: tuple[Answer, Effects] | FaunaError) -> None:
            done(outcome if isinstance(outcome, FaunaError) else fill(outcome[0], ts))

        self.jobs.append((query, ts, 0, came))

    def evaluate(self) -> Callable[[], None]:
        """Evaluate the oldest job now; the result reaches the member when it is called."""
        query, ts, term, came = self.jobs.popleft()
        with self._kv.read() as reader:
            base = read_bookkeeping(reader).applied
            schema = SchemaCache().at(reader, query.caller.scope, ts)
            view = self._language.view(reader, schema, ts, self._ids.draw)
            budget = Budget(STEPS_IN_WORKER)
            if query.feed is None:
                answer = self._language.answer(query, view, budget)
            else:
                at = At(ts, budget, lambda: False)
                answer = self._language.feed(query, schema, reader, at)
            found = answer, view.effects(base, term)
        return lambda: came(found)


class Snapshots:
    """There are none; the disk has as much space as the test says."""

    def __init__(self) -> None:
        self.takes_writes = self.takes_deletes = True

    def may_write(self, *, only_deletes: bool) -> bool:
        return self.takes_deletes if only_deletes else self.takes_writes

    def send(self, wanted: SendSnapshot, done: Callable[[bool], None]) -> None:
        raise AssertionError("no log is ever cut")

    def install(self, meta: SnapshotMeta, done: Callable[[], None]) -> None:
        raise AssertionError("no log is ever cut")

    def tick(self, applied: Index) -> Index:
        return Index(0)


class Host:
    """One member and what it stands on."""

    def __init__(self, cluster: "Cluster", peer: Peer, first: Entry, kv: KeyValue) -> None:
        self.id, self.cluster, self.kv = peer.id, cluster, kv
        self.clock = Clock(lambda: cluster.now_s)
        self.log = HeldLog()
        self.inbox: deque[tuple[MemberId, Message | tuple[int, bytes]]] = deque()
        self.sent: list[Message | tuple[int, bytes]] = []
        chance = Chance(peer.id)
        process = chance.bytes(16)
        self.language = Language(b"k" * 32, b"i" * 24, chance.bytes)
        self.workers = HeldWorkers(kv, self.language)
        self.snapshots = Snapshots()
        self.state = AppliedState(kv, self.language, self.workers, self.clock, process)
        nonce = peer.nonce
        restored = restore(
            HardState(Term(1), MemberId(0), Index(1)), None, (first,), applied=Index(0), joined=True
        )
        self.member = Member(
            identity=Identity(b"c" * 16, peer.id, nonce, 1, b"s" * 16),
            core=Core(CoreConfig(), peer.id, nonce, restored),
            state=self.state,
            log=self.log,
            peers=self,
            snapshots=self.snapshots,
            clock=self.clock,
            chance=chance,
            process=process,
        )

    # the port `Peers`

    def set_peers(self, configuration: Configuration) -> None:
        """Everybody is connected to everybody."""

    def send(self, to: MemberId, message: Message) -> None:
        self._send(to, message)

    def send_node(self, to: MemberId, kind: int, body: bytes) -> bool:
        return self._send(to, (kind, body))

    def _send(self, to: MemberId, message: Message | tuple[int, bytes]) -> bool:
        if frozenset((self.id, to)) in self.cluster.cut_links:
            return False
        self.cluster.hosts[to - 1].inbox.append((self.id, message))
        return True

    # what a test does

    def submit(self, query: Query) -> list[Outcome]:
        answers: list[Outcome] = []
        self.member.submit(query, answers.append)
        return answers

    def ask(self, text: str, **options: Any) -> Outcome:
        """Ask, pump and return the answer (assertion: there is one)."""
        answers = self.submit(query(text, **options))
        self.cluster.pump()
        (answer,) = answers
        return answer

    def data(self, text: str, **options: Any) -> Any:
        """Return the value of a query that succeeds."""
        answer = self.ask(text, **options)
        assert isinstance(answer, Answer), answer
        assert 200 == answer.http_status, answer
        return json.loads(answer.data)

    @property
    def is_busy(self) -> bool:
        return bool(self.inbox) or bool(self.log.unsynced and not self.log.hangs)

    def deliver(self) -> None:
        """Take in what has come."""
        while self.inbox:
            sender, message = self.inbox.popleft()
            if isinstance(message, tuple):
                self.member.received_node_message(sender, *message)
            else:
                self.member.received(self.cluster.nonce(sender), message)

    def sync(self) -> None:
        """Let the log be durable, unless it hangs."""
        if self.log.unsynced and not self.log.hangs:
            newest = self.log.unsynced[-1]
            self.log.unsynced.clear()
            self.member.persisted(newest)


@dataclass
class Cluster:
    """`size` voters, in memory; `elect` before anything else."""

    size: int = 1
    now_s: float = 0.0
    cut_links: set[frozenset[MemberId]] = field(default_factory=set)
    make_kv: Callable[[int], KeyValue] = lambda _: MemoryKeyValue()

    def __post_init__(self) -> None:
        peers = [Peer(MemberId(n + 1), f"m{n + 1}", self.nonce(n + 1)) for n in range(self.size)]
        configuration = Configuration(voters=tuple(peers), highest_member_id=MemberId(self.size))
        payload = encode_configuration(configuration)
        first = Entry.make(Term(1), Index(1), EntryKind.CONFIGURATION, payload)
        self.hosts = [Host(self, peer, first, self.make_kv(peer.id)) for peer in peers]

    @staticmethod
    def nonce(member: int) -> bytes:
        return bytes([member]) * 16

    def pump(self) -> None:
        """Let everything happen that does not need time."""
        for _ in range(TURNS_MAX):
            for host in self.hosts:
                host.deliver()
                host.sync()
                host.member.end_of_turn()
            if not any(host.is_busy for host in self.hosts):
                return
        raise AssertionError("the members never come to rest")

    def tick(self, ticks: int = 1) -> None:
        for _ in range(ticks):
            self.now_s += TICK_S
            for host in self.hosts:
                host.member.tick()
            self.pump()

    def elect(self, *, after: Host | None = None, open_for_clients: bool = True) -> Host:
        """Wait for a leader, another than `after`, let clients write, and return it."""
        for _ in range(LEAD_TICKS_MAX):
            self.tick()
            leading = [host for host in self.leaders() if host is not after]
            if leading:
                leader = leading[-1]
                if open_for_clients and not leader.state.is_open:
                    leader.member.open()
                self.tick(10)
                return leader
        raise AssertionError("nobody leads")

    def leaders(self) -> list[Host]:
        """Return who leads, the newest last; who is cut off may not know better."""
        found = [host for host in self.hosts if host.member.leadership is not None]
        return sorted(found, key=lambda host: host.member.core.term)

    def others(self, host: Host) -> list[Host]:
        return [other for other in self.hosts if other is not host]

    def isolate(self, host: Host) -> None:
        """Cut all links of a member; what is on its way is lost."""
        for other in self.others(host):
            self.cut_links.add(frozenset((host.id, other.id)))
            host.inbox = deque(i for i in host.inbox if i[0] != other.id)
            other.inbox = deque(i for i in other.inbox if i[0] != host.id)
            host.member.disconnected(other.id)
            other.member.disconnected(host.id)

    def heal(self) -> None:
        self.cut_links.clear()


def query(text: str, *, request: RequestId | None = None, **options: Any) -> Query:
    return Query(json.dumps({"query": text}).encode(), format="simple", request=request, **options)
