"""Connections to the other members: mutual TLS, one for each direction, names resolved anew.

`PeerNetwork` implements `node.ports.Peers`. A caller only sends and an arrival only receives, so
that two members have two connections and no question of who is right. Snapshots travel on
connections of their own (`transfer`).

    lost   the connection to a member was reset *and* a new one refused: its process is gone

House rules: callbacks carry messages; tasks (dialling, transfers) live in the group of `run`.
Trap: a name is resolved at every attempt. A pod comes back under its name with a new address.
"""

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from faunadb.errors import Malformed
from faunadb.net import transfer
from faunadb.net.channel import Channel
from faunadb.net.frames import (
    Frame,
    Hello,
    Kind,
    Purpose,
    Reason,
    Refusal,
    decode_hello,
    decode_refusal,
    encode_body,
    hello_of,
    judge,
)
from faunadb.net.tls import Credentials, carries_name, clusters_of, split_name
from faunadb.node.ports import Identity
from faunadb.raft.entries import Configuration, MemberId, Peer
from faunadb.raft.messages import Heartbeat, Message, decode_message, encode_message

_GOODBYE_S = 1.0


@dataclass(frozen=True)
class PeerSettings:
    """Times of the peer links, in seconds, and their bounds."""

    retry_s: float = 0.25
    dying_s: float = 0.02  # after a reset: a process that dies resets before it refuses
    dying_tries_max: int = 10
    connect_s: float = 1.0
    hello_s: float = 5.0
    keepalive_s: float = 0.5
    silent_s: float = 3.0  # without a sign of life the connection is given up
    arrivals_max: int = 64
    snapshot_bytes_per_s: float = 64 * 1024 * 1024


class Inbox(Protocol):
    """What the network tells the node; all on the event loop."""

    def on_message(self, sender: MemberId, nonce: bytes, message: Message) -> None: ...

    def on_node_message(self, sender: MemberId, kind: int, body: bytes) -> None: ...

    def on_lost(self, member: MemberId) -> None:
        """The connection was reset and a new one refused."""
        ...

    def on_disconnected(self, member: MemberId) -> None:
        """One of the two connections ended: what was on its way may be lost."""
        ...

    def on_refused(self, member: MemberId, refusal: Refusal) -> None:
        """`member` will not talk to us; `Reason.REMOVED` means that we may stop."""
        ...

    def is_removed(self, member: MemberId) -> bool:
        """Return whether an *applied* configuration that knew `member` holds it no more."""
        ...


class PeerNetwork:
    """All links of one member. `start`, `run` as a task, then `close`."""

    def __init__(
        self,
        *,
        identity: Identity,
        name: str,
        version: str,
        credentials: Credentials,
        inbox: Inbox,
        sink: transfer.Sink | None = None,
        settings: PeerSettings | None = None,
    ) -> None:
        self.identity, self.name, self.version = identity, name, version
        self.credentials, self.inbox, self.sink = credentials, inbox, sink
        self.settings = settings or PeerSettings()
        self.configuration: Configuration | None = None
        self.refused: dict[MemberId, Refusal] = {}  # by whom we were not welcomed, and why
        self._loop = asyncio.get_running_loop()
        self._group: asyncio.TaskGroup | None = None
        self._server: asyncio.Server | None = None
        self._callers: dict[MemberId, _Caller] = {}
        self._heard: dict[MemberId, Hello] = {}
        self._arrivals: set[_Arrival] = set()
        self._stopped = asyncio.Event()

    async def start(self, host: str, port: int) -> int:
        """Listen for peers and return the port. Raises OSError."""
        self._server = await self._loop.create_server(
            lambda: Channel(_Arrival(self)),
            host,
            port,
            ssl=self.credentials.peer_server,
            ssl_handshake_timeout=self.settings.hello_s,
            reuse_address=True,
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def run(self) -> None:
        """Keep the links until `close`."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for caller in self._callers.values():
                caller.task = group.create_task(caller.keep())
            while not self._stopped.is_set():
                self._look_after()
                try:
                    async with asyncio.timeout(self.settings.keepalive_s):
                        await self._stopped.wait()
                except TimeoutError:
                    continue
            self._end()
        give_up_s = self._loop.time() + _GOODBYE_S
        while self._arrivals and self._loop.time() < give_up_s:  # noqa: ASYNC110 - only once
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)  # aborted transports close their sockets in the next turn

    def close(self) -> None:
        """End every link; `run` returns."""
        self._stopped.set()

    def heard(self, member: MemberId) -> Hello | None:
        """Return what `member` said of itself last."""
        return self._heard.get(member)

    def is_connected(self, member: MemberId) -> bool:
        caller = self._callers.get(member)
        return caller is not None and caller.welcomed

    async def send_snapshot(self, to: MemberId, source: transfer.Source) -> bool:
        """Send a snapshot over a connection of its own; whether it is there, whole and durable."""
        peer = self.configuration.peer(to) if self.configuration is not None else None
        if peer is None:
            return False
        caller = _Caller(self, peer, Purpose.SNAPSHOT)
        try:
            if not await caller.dial():
                return False
            assert caller.channel is not None
            return await transfer.send(
                caller.channel, caller.frames, source, self.settings.snapshot_bytes_per_s
            )
        except (OSError, TimeoutError, Malformed):
            return False
        finally:
            caller.drop()

    # ------------------------------------------------------------ node.ports.Peers

    def set_peers(self, configuration: Configuration) -> None:
        self.configuration = configuration
        wanted = {p.id: p for p in configuration.everyone() if p.id != self.identity.member_id}
        for member, caller in list(self._callers.items()):
            if wanted.get(member) != caller.peer:
                del self._callers[member]
                self.refused.pop(member, None)
                caller.drop()
        for member, peer in wanted.items():
            if member not in self._callers:
                self._callers[member] = caller = _Caller(self, peer, Purpose.MESSAGES)
                if self._group is not None:
                    caller.task = self._group.create_task(caller.keep())

    def send(self, to: MemberId, message: Message) -> None:
        caller = self._callers.get(to)
        if caller is not None and caller.welcomed and caller.channel is not None:
            # A client that waits for this answer writes again soon: the note goes with the append.
            is_note = isinstance(message, Heartbeat) and message.round == 0
            caller.channel.send(Kind.MESSAGE, encode_message(message), urgent=not is_note)

    def send_node(self, to: MemberId, kind: int, body: bytes) -> bool:
        caller = self._callers.get(to)
        if caller is None or not caller.welcomed or caller.channel is None:
            return False
        return caller.channel.send(Kind.NODE, bytes((kind,)) + body)

    # ------------------------------------------------------------ for callers and arrivals

    def remember(self, hello: Hello) -> None:
        self._heard[hello.member_id] = hello

    def call_back(self, hello: Hello) -> None:
        """Connect to a caller that our configuration does not know (yet).

        A member that was just added, or was away for long, could not answer its leader else. The
        next configuration decides who stays connected.
        """
        configuration = self.configuration
        known = configuration is not None and configuration.peer(hello.member_id) is not None
        if not known and hello.member_id not in self._callers:
            peer = Peer(hello.member_id, hello.name, hello.nonce)
            self._callers[peer.id] = caller = _Caller(self, peer, Purpose.MESSAGES)
            if self._group is not None:
                caller.task = self._group.create_task(caller.keep())

    def judge(self, hello: Hello, certificate: dict[str, Any] | None) -> Refusal | None:
        """Return why a caller or a called member is not who it should be."""
        if hello.cluster_id.hex() not in clusters_of(certificate):
            return Refusal(Reason.WRONG_CLUSTER, "the certificate is of another cluster")
        if not carries_name(certificate, hello.name):
            return Refusal(Reason.WRONG_NAME, f"the certificate does not say {hello.name}")
        removed = self.inbox.is_removed(hello.member_id)
        return judge(hello, self.identity, self.configuration, removed=removed)

    def arrived(self, arrival: "_Arrival") -> bool:
        if len(self._arrivals) >= self.settings.arrivals_max or self._stopped.is_set():
            return False
        self._arrivals.add(arrival)
        return True

    def departed(self, arrival: "_Arrival") -> None:
        self._arrivals.discard(arrival)

    def spawn(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run a transfer as a task of ours; False when we are not running."""
        if self._group is None or self._stopped.is_set():
            work.close()
            return False
        self._group.create_task(work)
        return True

    def _look_after(self) -> None:
        """Twice a second: say that we live, give up whom we do not hear."""
        now_s = self._loop.time()
        for caller in self._callers.values():
            caller.look_after(now_s)
        for arrival in list(self._arrivals):
            arrival.look_after(now_s)

    def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for caller in self._callers.values():
            caller.drop()
        for arrival in list(self._arrivals):
            arrival.drop()


class _Caller:
    """Our side of a connection that we began."""

    def __init__(self, network: PeerNetwork, peer: Peer, purpose: Purpose) -> None:
        self._network, self.peer, self._purpose = network, peer, purpose
        self._loop = asyncio.get_running_loop()
        self.channel: Channel | None = None
        self.frames = transfer.Frames()  # of a snapshot's connection
        self.task: asyncio.Task[None] | None = None
        self.welcomed = False
        self._answer: asyncio.Future[bool] | None = None
        self._gone = asyncio.Event()
        self._dropped = False

    async def keep(self) -> None:
        """Be connected, for ever: dial, wait for the end, dial again."""
        settings, was_reset, tries = self._network.settings, False, 0
        while not self._dropped:
            try:
                connected = await self.dial()
            except ConnectionRefusedError:
                connected = False
                if was_reset:
                    self._network.inbox.on_lost(self.peer.id)
                was_reset = False
            except (OSError, TimeoutError, Malformed):
                connected = False
            if connected:
                await self._gone.wait()
                was_reset, tries = True, 0
                continue  # at once: a refusal now tells that the process is gone
            tries += 1
            is_dying = was_reset and tries <= settings.dying_tries_max
            await asyncio.sleep(settings.dying_s if is_dying else settings.retry_s)

    async def dial(self) -> bool:
        """Connect and be welcomed; False when refused by a member.

        Raises ConnectionRefusedError when nobody listens at any address, OSError, TimeoutError.
        """
        self._gone.clear()
        settings = self._network.settings
        host, port = split_name(self.peer.name)
        async with asyncio.timeout(settings.connect_s):
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        refused: OSError = ConnectionRefusedError(f"{host} has no address")
        for address in dict.fromkeys(info[4][0] for info in found):
            self._answer = self._loop.create_future()
            try:
                async with asyncio.timeout(settings.connect_s):
                    await self._connect(str(address), port, host)
                    return await self._answer
            except ConnectionRefusedError:
                continue
            except (OSError, TimeoutError) as error:
                refused = error
                self._abort()
        raise refused

    async def _connect(self, address: str, port: int, host: str) -> None:
        context: ssl.SSLContext = self._network.credentials.client
        await self._loop.create_connection(
            lambda: Channel(self), address, port, ssl=context, server_hostname=host
        )

    def drop(self) -> None:
        """End it and do not begin again."""
        self._dropped = True
        self._abort()
        if self.task is not None:
            self.task.cancel()

    def _abort(self) -> None:
        if self.channel is not None:
            self.channel.abort()

    def look_after(self, now_s: float) -> None:
        if self.channel is not None and self.welcomed:
            if now_s - self.channel.heard_s > self._network.settings.silent_s:
                self.channel.abort()
            else:
                self.channel.send(Kind.PING, b"")

    # ------------------------------------------------------------ channel.Owner

    def opened(self, channel: Channel) -> None:
        network = self._network
        self.channel = channel
        hello = hello_of(
            network.identity, network.name, network.version, self.peer.id, self._purpose
        )
        channel.send(Kind.HELLO, encode_body(hello))

    def came(self, channel: Channel, frame: Frame) -> None:
        if frame.kind is Kind.WELCOME and not self.welcomed:
            self._welcome(channel, decode_hello(frame.body))
        elif frame.kind is Kind.REFUSAL and not self.welcomed:
            refusal = decode_refusal(frame.body)
            self._network.refused[self.peer.id] = refusal
            self._network.inbox.on_refused(self.peer.id, refusal)
            self._settle(answer=False)
        elif frame.kind is Kind.PONG:
            return
        elif self.welcomed and self._purpose is Purpose.SNAPSHOT:
            self.frames.put(frame)
        else:
            raise Malformed("a called member only answers")

    def _welcome(self, channel: Channel, hello: Hello) -> None:
        """The other side says who it is: it must be whom we called."""
        refusal = self._network.judge(hello, channel.certificate)
        if refusal is not None or hello.member_id != self.peer.id:
            self._settle(answer=False)
            channel.abort()
            return
        self._network.remember(hello)
        self._network.refused.pop(self.peer.id, None)
        channel.trust()
        self.welcomed = True
        self._settle(answer=True)

    def _settle(self, *, answer: bool) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def lost(self, channel: Channel) -> None:
        if channel is not self.channel:
            return
        if self.welcomed and self._purpose is Purpose.MESSAGES:
            self._network.inbox.on_disconnected(self.peer.id)
        self.welcomed = False
        self.channel = None
        self.frames.put(None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed before an answer"))
        self._gone.set()


class _Arrival:
    """Our side of a connection that another member began."""

    def __init__(self, network: PeerNetwork) -> None:
        self._network = network
        self._channel: Channel | None = None
        self._hello: Hello | None = None
        self._frames = transfer.Frames()
        self._began_s = asyncio.get_running_loop().time()

    def opened(self, channel: Channel) -> None:
        self._channel = channel
        if not self._network.arrived(self):
            channel.abort()

    def came(self, channel: Channel, frame: Frame) -> None:
        hello = self._hello
        if hello is None:
            self._greet(channel, frame)
        elif frame.kind is Kind.PING:
            channel.send(Kind.PONG, b"")
        elif hello.purpose is Purpose.SNAPSHOT:
            self._frames.put(frame)
        elif frame.kind is Kind.MESSAGE:
            message = decode_message(frame.body)
            if message.sender != hello.member_id:
                raise Malformed(f"member {hello.member_id} speaks for {message.sender}")
            self._network.inbox.on_message(hello.member_id, hello.nonce, message)
        elif frame.kind is Kind.NODE and frame.body:
            self._network.inbox.on_node_message(hello.member_id, frame.body[0], frame.body[1:])
        else:
            raise Malformed(f"{frame.kind.name} from a member that sends messages")

    def _greet(self, channel: Channel, frame: Frame) -> None:
        if frame.kind is not Kind.HELLO:
            raise Malformed("a connection begins with a hello")
        hello = decode_hello(frame.body)
        network = self._network
        refusal = network.judge(hello, channel.certificate)
        if refusal is None and hello.purpose is Purpose.SNAPSHOT and network.sink is None:
            refusal = Refusal(Reason.BUSY, "no snapshot is taken here")
        if refusal is not None:
            channel.send(Kind.REFUSAL, encode_body(refusal))
            channel.close()
            return
        self._hello = hello
        network.remember(hello)
        network.call_back(hello)
        channel.trust()
        own = hello_of(network.identity, network.name, network.version)
        channel.send(Kind.WELCOME, encode_body(own))
        if hello.purpose is Purpose.SNAPSHOT and network.sink is not None:
            work = transfer.receive(channel, self._frames, hello.member_id, network.sink)
            if not network.spawn(work):
                channel.abort()

    def lost(self, channel: Channel) -> None:  # noqa: ARG002 - it has only the one
        self._network.departed(self)
        if self._hello is not None and self._hello.purpose is Purpose.MESSAGES:
            self._network.inbox.on_disconnected(self._hello.member_id)
        self._frames.put(None)

    def look_after(self, now_s: float) -> None:
        settings = self._network.settings
        assert self._channel is not None
        if self._hello is None:
            late = now_s - self._began_s > settings.hello_s
        else:
            silent = now_s - self._channel.heard_s > 3 * settings.silent_s
            late = silent and self._hello.purpose is Purpose.MESSAGES
        if late:
            self.drop()

    def drop(self) -> None:
        if self._channel is not None:
            self._channel.abort()
