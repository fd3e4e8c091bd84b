"""`faunadb serve`: a member of a cluster, from an empty directory to the end of the process.

    empty     the client and admin ports answer; the peer port waits to be added (net/waiting.py)
              or `POST /cluster/init` founds the cluster here
    member    everything runs
    removed   an applied configuration holds this id no more; it answers admin only

SIGTERM: leadership is handed over, clients are drained, the log ends, CLEAN is written.
"""

import asyncio
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from faunadb.api.admin import AdminServer
from faunadb.api.auth import Authenticator
from faunadb.api.front import Front
from faunadb.api.ports import LogStream, SnapshotStream
from faunadb.cli.exits import IDENTITY_OR_CORRUPTION, USAGE, fail, halt
from faunadb.cli.log_stream import open_log
from faunadb.cli.logs import Logger, log_changes
from faunadb.cli.metrics import render_metrics
from faunadb.cli.opening import Opening, describe
from faunadb.cli.program import MemberDatabase, RunningMember
from faunadb.cli.settings import MemberSettings, RecoverSingle
from faunadb.cli.transfers import IncomingSnapshots, OutgoingSnapshot
from faunadb.disk.crashes import report_crashes
from faunadb.disk.directory import DataDirectory
from faunadb.disk.engine import LmdbEngines
from faunadb.disk.snapshots import Snapshot
from faunadb.disk.transfers import Receiver
from faunadb.net.frames import Reason, Refusal
from faunadb.net.peers import PeerNetwork
from faunadb.net.tls import Credentials
from faunadb.net.waiting import WaitingRoom
from faunadb.node.administration import Founding, Heard, Reports
from faunadb.node.ports import Identity
from faunadb.node.report import DiskReport, InitAsked, RefusalReport, Refused
from faunadb.raft.entries import MemberId, SnapshotMeta, Term
from faunadb.raft.messages import InstallSnapshot, Message
from faunadb.raft.state import Restored

DRAIN_S = 5.0
POLL_S = 0.01
RELOAD_S = 60.0


class MemberServer(Reports):
    """One `faunadb serve`; implements `api.ports.Administration` and the network's `Inbox`."""

    def __init__(self, settings: MemberSettings, credentials: Credentials) -> None:
        founding = Founding(
            settings.cluster_id,
            settings.incarnation,
            settings.member_id,
            settings.name,
            version("faunadb-kubernetes"),
        )
        super().__init__(founding, self)
        self._settings, self._credentials, self._version = settings, credentials, founding.version
        self._log = Logger(settings.log_format, settings.name)
        self._opening = Opening(settings)
        self._threads = ThreadPoolExecutor(1, "transfers")
        self._database = MemberDatabase(settings.client_listen.port)
        self._front = Front(self._database, Authenticator(settings.root_secret))
        self._admin = AdminServer(self, settings.cluster_id.hex())
        self._running: RunningMember | None = None
        self._network: PeerNetwork | None = None
        self._stopped = asyncio.Event()
        self._joined: tuple[DataDirectory, Restored] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        listen, admin = self._settings.client_listen, self._settings.admin_listen
        assert admin is not None
        self._log.line("start", version=self._version, data=str(self._settings.data_dir))
        report_crashes(self._opening.path)
        opened = self._opening.open()
        await self._admin.start(admin.host, admin.port, self._credentials.admin_server)
        await self._front.start(listen.host, listen.port)
        async with asyncio.TaskGroup() as group:
            reload = group.create_task(self._reload_certificates())
            if opened is None:
                self._log.line("waiting", reason="empty directory: to be founded or added")
                opened = await self._wait_until_told()
            if opened is not None:
                await self._serve(opened, group)
            reload.cancel()
        await self._front.close()
        await self._admin.close()
        if self._running is not None:
            self._running.close()
        self._log.line("stopped", clean=self._running is not None)
        self._threads.shutdown()

    async def _wait_until_told(self) -> tuple[DataDirectory, Restored] | None:
        """Be founded, be added, or be stopped (None)."""
        settings, peers = self._settings, self._settings.peer_listen
        assert peers is not None
        room = WaitingRoom(
            settings.cluster_id, settings.incarnation, settings.member_id, self._credentials
        )
        await room.start(peers.host, peers.port)
        while not (room.salt or self._joined or self._stopped.is_set()):  # noqa: ASYNC110 - once
            await asyncio.sleep(POLL_S)
        room.close()
        if self._joined is None and room.salt:
            self._opening.become(room.salt)
            return self._opening.open()
        return self._joined

    async def _serve(
        self, opened: tuple[DataDirectory, Restored], group: asyncio.TaskGroup
    ) -> None:
        directory, _ = opened
        peers = self._settings.peer_listen
        assert peers is not None
        receiver = Receiver(
            self._opening.files,
            LmdbEngines(self._opening.path),
            directory.identity,
            directory.snapshots,
            describe,
        )
        network = self._network = PeerNetwork(
            identity=directory.identity,
            name=self._settings.name,
            version=self._version,
            credentials=self._credentials,
            inbox=self,
            sink=IncomingSnapshots(receiver, self._threads, self._received_snapshot),
        )
        running = self._running = RunningMember(
            self._settings, self._opening, opened, network, self._send_snapshot
        )
        self.node, self._database.running = running.node, running
        await network.start(peers.host, peers.port)
        links = group.create_task(network.run())
        work = group.create_task(running.run())
        watch = group.create_task(log_changes(running.node.member, self._log))
        for note in directory.notes:
            self._log.line("recovery", note=note)
        await self._stopped.wait()
        self._log.line("stopping")
        watch.cancel()
        await running.hand_over()
        await self._front.drain(DRAIN_S)
        network.close()
        await links
        work.cancel()

    async def _reload_certificates(self) -> None:
        """Take renewed certificates without a restart."""
        while True:
            await asyncio.sleep(RELOAD_S)
            self._credentials.reload()

    # ------------------------------------------------------------ net.peers.Inbox

    def on_message(self, sender: MemberId, nonce: bytes, message: Message) -> None:  # noqa: ARG002
        if self.node is not None:
            self.node.received(nonce, message)

    def on_node_message(self, sender: MemberId, kind: int, body: bytes) -> None:
        if self.node is not None:
            self.node.received_node_message(sender, kind, body)

    def on_lost(self, member: MemberId) -> None:
        if self.node is not None:
            self.node.peer_lost(member)

    def on_disconnected(self, member: MemberId) -> None:
        if self.node is not None:
            self.node.disconnected(member)

    def on_refused(self, member: MemberId, refusal: Refusal) -> None:
        self._log.line("refused", by=member, reason=refusal.reason.value, detail=refusal.detail)
        if refusal.reason is Reason.REMOVED:
            self.removed = True
            if self.node is not None:
                self.node.stop()
            self._front.hub.streams.cut_all()
        elif refusal.reason is Reason.WRONG_NONCE:
            halt(IDENTITY_OR_CORRUPTION, "wrong-nonce", f"member {member}: {refusal.detail}")

    def is_removed(self, member: MemberId) -> bool:
        configuration = self._running.state.configuration if self._running else None
        if configuration is None or member > configuration.highest_member_id:
            return False
        return configuration.peer(member) is None

    # ------------------------------------------------------------ administration.Surroundings

    def heard(self, member: MemberId) -> Heard | None:
        hello = self._network.heard(member) if self._network is not None else None
        return Heard(hello.nonce, hello.version, hello.feature_level) if hello else None

    def disk(self) -> DiskReport:
        state = self._running.directory.engine.data_bytes() if self._running else 0
        wal = sum(file.stat().st_size for file in self._opening.path.glob("wal/*.wal"))
        return DiskReport(self._opening.files.free_bytes(), state, wal)

    def newest_snapshot(self) -> SnapshotMeta | None:
        return self._running.snapshots.newest() if self._running is not None else None

    def refused_by(self) -> tuple[RefusalReport, ...]:
        refused = self._network.refused if self._network is not None else {}
        return tuple(
            RefusalReport(member, refusal.reason.value, refusal.detail)
            for member, refusal in sorted(refused.items())
        )

    async def found(self, asked: InitAsked) -> Identity:  # noqa: ARG002 - the caller compared it
        if self._joined is not None:
            raise Refused("unavailable", "the member is being started; ask again")
        self._joined = self._opening.found()
        return self._joined[0].identity

    def receiving_snapshot(self, member: MemberId) -> bool:
        return self._running is not None and self._running.snapshots.sending == member

    # ------------------------------------------------------------ api.ports.Administration

    async def snapshot(self, offset: int, digest: str | None, *, fresh: bool) -> SnapshotStream:
        """Open the newest verified snapshot, or exactly `digest`, at `offset` bytes."""
        running = self._running
        if fresh and running is not None:
            await self.catch_up()
            if not await running.snapshots.take_now():
                raise Refused("unavailable", "no room on the disk, or too many writes: ask again")
        kept = running.directory.snapshots.all() if running is not None else ()
        if not kept:
            raise Refused("unavailable", "there is no snapshot yet")
        wanted = [each for each in kept if digest in {None, each.meta.digest.hex()}]
        if not wanted:
            raise Refused("snapshot_gone", "the snapshot was replaced")
        found = wanted[-1]
        source = OutgoingSnapshot(self._opening.files, found, self._threads)
        return SnapshotStream(
            digest=source.digest.hex(),
            term=found.id.term,
            index=found.id.index,
            size_bytes=source.data_bytes,
            chunks=source.chunks(offset),
        )

    async def log(self, start: int) -> LogStream:
        return await open_log(self.node, self._opening.files, start)

    def metrics(self) -> bytes:
        return render_metrics(self._running, self._front.hub, self.disk())

    # ------------------------------------------------------------ snapshots between members

    async def _send_snapshot(self, to: MemberId, snapshot: Snapshot) -> bool:
        assert self._network is not None
        source = OutgoingSnapshot(self._opening.files, snapshot, self._threads)
        try:
            return await self._network.send_snapshot(to, source)
        finally:
            source.close()

    def _received_snapshot(self, sender: MemberId, snapshot: Snapshot) -> None:
        node, network = self.node, self._network
        assert node is not None
        assert network is not None
        hello = network.heard(sender)
        if hello is not None:
            message = InstallSnapshot(sender, Term(snapshot.id.term), snapshot.meta)
            node.received(hello.nonce, message)


def settings_of(options: dict[str, Any]) -> MemberSettings:
    """Read the options of `faunadb serve`; ends the program when one of them is nonsense."""
    recovery = _recovery_of(options)
    try:
        cluster_id = uuid.UUID(options["cluster_id"]).bytes
    except ValueError:
        fail(USAGE, "usage", f"--cluster-id {options['cluster_id']!r} is not 32 hex digits")
    secret = options["root_secret_file"].read_text().strip()
    if not secret:
        fail(USAGE, "usage", f"{options['root_secret_file']} is empty")
    return MemberSettings(
        data_dir=options["data_dir"],
        cluster_id=cluster_id,
        incarnation=options["incarnation"],
        member_id=MemberId(options["member_id"]),
        name=options["name"],
        root_secret=secret,
        client_listen=options["api_listen"],
        admin_listen=options["admin_listen"],
        peer_listen=options["peer_listen"],
        tls_dir=options["tls_dir"],
        seeds=tuple(name for name in options["seeds"].split(",") if name),
        pod_uid=os.environ.get("POD_UID"),
        log_format=options["log_format"],
        recovery=recovery,
    )


def _recovery_of(options: dict[str, Any]) -> RecoverSingle | None:
    source, target = options["from_incarnation"], options["to_incarnation"]
    floor_us = options["floor_ts"]
    if not options["recover_single"]:
        if source is not None or target is not None or floor_us is not None:
            fail(USAGE, "usage", "--from-incarnation and its like belong to --recover-single")
        return None
    if source is None or target is None or source >= target:
        fail(USAGE, "usage", "--recover-single goes --from-incarnation to a later one")
    if target != options["incarnation"]:
        fail(USAGE, "usage", "--to-incarnation is what --incarnation says")
    return RecoverSingle(source, floor_us or 0)


async def serve_member(settings: MemberSettings) -> None:
    """Run a member until it is told to stop."""
    assert settings.tls_dir is not None
    await MemberServer(settings, Credentials(settings.tls_dir)).run()
