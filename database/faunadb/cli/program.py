"""A member as a program: its directory, its log, its loop and its doors, put together.

    start     open the directory (or wait for one) → log, state, member → ticks, doors
    stop      transfer leadership, drain clients, end the log, sync, say that it was clean
    fatal     an error after which nothing may be said any more ends the process at once

Trap: whatever touches the member goes through `Node.act`, one turn at a time.
"""

import asyncio
import contextlib
import gc
import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from faunadb.cli.exits import IDENTITY_OR_CORRUPTION, IO_ERROR, fail
from faunadb.cli.opening import Opening
from faunadb.cli.settings import MemberSettings
from faunadb.cli.snapshot_keeper import SnapshotKeeper, Transfer
from faunadb.disk.directory import DataDirectory
from faunadb.disk.flusher import Flusher
from faunadb.disk.wal_thread import WalThread
from faunadb.errors import Corrupt, TooManyPending
from faunadb.net.tls import split_name
from faunadb.node.followers import Follower
from faunadb.node.language import Language
from faunadb.node.member import Member
from faunadb.node.node import Node
from faunadb.node.ports import Identity, Peers
from faunadb.node.query import Query, Reply
from faunadb.node.report import ClientCluster, ClientMember
from faunadb.node.state import AppliedState
from faunadb.node.workers import WorkerPool
from faunadb.node.world import SystemChance, SystemClock
from faunadb.raft.core import Core
from faunadb.raft.events import Role, Token
from faunadb.raft.state import CoreConfig, Restored
from faunadb.store.changes import Stretch
from faunadb.store.ports import KeyValue

TRANSFER_S = 1.0
# New containers before the collector looks: far more than all requests under way hold. They leave
# next to no cycles, and what it finds costs a fifth of a write when it looks every 700.
COLLECT_AFTER = (50_000, 20, 50)
POLL_S = 0.005


class RunningMember:
    """A member with everything around it but its doors. Made on the running loop."""

    def __init__(
        self,
        settings: MemberSettings,
        opening: Opening,
        opened: tuple[DataDirectory, Restored],
        peers: Peers,
        transfer: Transfer | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.directory, restored = opened
        identity = self.directory.identity
        clock, chance = SystemClock(), SystemChance()
        process = chance.bytes(16)
        key, incarnation = cursor_key(settings), incarnation_bytes(identity)
        self.workers = WorkerPool(
            worker_command(settings, key, incarnation),
            self._where,
            clock,
            self._act,
            ended=self._free_readers,
        )
        self.state = AppliedState(
            self.directory.engine,
            Language(key, incarnation, chance.bytes),
            self.workers,
            clock,
            process,
        )
        self._wal = WalThread(
            self.directory.wal, self._loop.call_soon_threadsafe, self._persisted, self.fatal
        )
        self._flusher = Flusher(
            lambda: self.directory.engine, self.directory.disown_state, self.fatal
        )
        self.snapshots = SnapshotKeeper(
            self.directory,
            opening.files,
            self._wal,
            self._flusher,
            transfer=transfer,
            swapped=self._swapped,
            act=self._act,
            on_fatal=self.fatal,
        )
        member = Member(
            identity=identity,
            core=Core(CoreConfig(), identity.member_id, identity.nonce, restored),
            state=self.state,
            log=self._wal,
            peers=peers,
            snapshots=self.snapshots,
            clock=clock,
            chance=chance,
            process=process,
        )
        self.node = Node(member, clock, self.fatal)

    async def run(self) -> None:
        """Tick, work and keep snapshots until cancelled."""
        gc.freeze()  # code and schema stay: no need to look at them again and again
        gc.set_threshold(*COLLECT_AFTER)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.node.tick_for_ever())
            group.create_task(self.workers.run())
            group.create_task(self.snapshots.run())

    async def hand_over(self) -> None:
        """Give leadership to another voter, if there is one, before stopping."""
        member = self.node.member
        if member.leadership is None or len(member.core.configuration[1].voters) < 2:
            return
        self.node.act(member.transfer)
        deadline = self._loop.time() + TRANSFER_S
        while member.core.role is Role.LEADER and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """End the log and the directory, and say that it was clean. Raises OSError."""
        self.node.stop()
        self._wal.close()
        self._flusher.stop()
        self.directory.close_cleanly()

    def fatal(self, problem: BaseException) -> None:
        """Crash: nothing that this process would say after it can be believed.

        A state that is corrupt is built anew at the next start.
        """
        sys.stderr.write("".join(traceback.format_exception(problem)))
        code, reason, detail = IO_ERROR, type(problem).__name__.lower(), str(problem)
        if isinstance(problem, Corrupt):
            code, reason, detail = IDENTITY_OR_CORRUPTION, problem.reason, problem.detail
            if problem.reason == "state":
                self.directory.disown_state()
        with contextlib.suppress(SystemExit):
            fail(code, reason, detail)
        sys.stderr.flush()
        os._exit(code)

    def _act(self, event: Callable[[], None]) -> None:
        self.node.act(event)

    def _persisted(self, tokens: Sequence[Token]) -> None:
        written = [token for token in tokens if token.sequence > 0 or token.term == 0]
        for token in tokens:
            if token.sequence < 0:
                self._restart_recorded(token)
        if written:
            self.node.persisted(written)

    def _restart_recorded(self, token: Token) -> None:
        self.node.act(lambda: self.snapshots.restart_recorded(token))

    def _swapped(self, kv: KeyValue) -> None:
        self.state.reopen(kv)

    def _free_readers(self) -> None:
        self.directory.engine.reader_check()

    def _where(self) -> tuple[str, int]:
        path: str = getattr(self.directory.engine, "path", "")
        return path, self.state.worker_number


class MemberDatabase:
    """Implements `api.ports.Database` for a member that may still be waiting."""

    def __init__(self, client_port: int) -> None:
        self._client_port = client_port
        self.running: RunningMember | None = None

    @property
    def node(self) -> Node | None:
        return self.running.node if self.running is not None else None

    def submit(self, query: Query, reply: Reply) -> None:
        if self.node is None:
            reply(TooManyPending("This member waits to be added to a cluster.", retry_after_s=1))
        else:
            self.node.submit(query, reply)

    def read_here(self, query: Query, reply: Reply) -> None:
        running = self.running
        assert running is not None, "a stream begins with a query"
        running.node.act(lambda: running.state.read_here(query, reply))

    def applied_ts(self) -> int:
        return self.running.state.last_ts if self.running is not None else 0

    def watch(self, stretch: Stretch, follower: Follower) -> None:
        assert self.running is not None, "a stream begins with a query"
        self.running.state.followers.add(stretch, follower)

    def unwatch(self, stretch: Stretch, follower: Follower) -> None:
        if self.running is not None:
            self.running.state.followers.remove(stretch, follower)

    def members(self) -> ClientCluster | None:
        """Return whom clients may ask; all members use the same client port."""
        running = self.running
        configuration = running.state.configuration if running is not None else None
        if running is None or configuration is None:
            return None
        leader = running.node.member.leader
        found = tuple(
            ClientMember(
                id=peer.id,
                name=peer.name,
                endpoint=f"http://{split_name(peer.name)[0]}:{self._client_port}",
                role="voter" if configuration.is_voter(peer.id) else "learner",
                leader=peer.id == leader,
            )
            for peer in configuration.everyone()
        )
        voters = len(configuration.voters)
        cluster_id = running.node.member.identity.cluster_id.hex()
        return ClientCluster(cluster_id, voters, len(found) - voters, found)

    def ping(self, scope: str) -> bool:
        if scope == "node":
            return True
        if self.node is None:
            return False
        if scope == "read":
            return self.node.member.core.commit > 0
        return bool(self.node.member.leader)


def cursor_key(settings: MemberSettings) -> bytes:
    """Return what signs cursors: the same on all members, unknown to clients."""
    secret = settings.root_secret.encode()
    return hashlib.sha256(b"fauna cursor" + settings.cluster_id + secret).digest()


def incarnation_bytes(identity: Identity) -> bytes:
    return identity.incarnation.to_bytes(8, "big") + identity.incarnation_salt


def worker_command(settings: MemberSettings, key: bytes, incarnation: bytes) -> Sequence[str]:
    return (
        sys.executable,
        "-P",
        "-m",
        "faunadb",
        "worker",
        str(settings.data_dir),
        key.hex(),
        incarnation.hex(),
        str(os.getpid()),
    )
