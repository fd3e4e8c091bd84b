"""Links between members over real sockets and real certificates."""

import asyncio
import dataclasses
import datetime as dt
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from faunadb.api.dev_ca import write_dev_ca
from faunadb.errors import Malformed
from faunadb.net.frames import Kind, Reason, Refusal, encode_frame
from faunadb.net.peers import PeerNetwork, PeerSettings
from faunadb.net.tls import Credentials, client_context
from faunadb.node.ports import Identity
from faunadb.raft.entries import Configuration, EntryId, Index, MemberId, Peer, Term
from faunadb.raft.messages import Message, PreVoteRequest

pytestmark = pytest.mark.anyio
CLUSTER = "0f" * 16
NOW = dt.datetime.now(dt.UTC)
HANG_S = 15.0
FAST = PeerSettings(retry_s=0.02, keepalive_s=0.05, silent_s=1.0, hello_s=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of three members, and of a stranger's cluster."""
    home = tmp_path_factory.mktemp("ca")
    hosts = ["localhost", "127.0.0.1"]
    write_dev_ca(home / "ours", CLUSTER, {f"m-{n}": hosts for n in (1, 2, 3)}, now=NOW)
    write_dev_ca(home / "theirs", CLUSTER, {"m-1": hosts}, now=NOW)
    write_dev_ca(home / "other", "ee" * 16, {"m-1": hosts}, now=NOW)
    return home


class Ears:
    """Keeps what the network says."""

    def __init__(self) -> None:
        self.messages: list[tuple[MemberId, bytes, Message]] = []
        self.node_messages: list[tuple[MemberId, int, bytes]] = []
        self.lost: list[MemberId] = []
        self.disconnected: list[MemberId] = []
        self.refused: list[Refusal] = []
        self.removed: set[MemberId] = set()

    def on_message(self, sender: MemberId, nonce: bytes, message: Message) -> None:
        self.messages.append((sender, nonce, message))

    def on_node_message(self, sender: MemberId, kind: int, body: bytes) -> None:
        self.node_messages.append((sender, kind, body))

    def on_disconnected(self, member: MemberId) -> None:
        self.disconnected.append(member)

    def on_lost(self, member: MemberId) -> None:
        self.lost.append(member)

    def on_refused(self, member: MemberId, refusal: Refusal) -> None:
        self.refused.append(refusal)

    def is_removed(self, member: MemberId) -> bool:
        return member in self.removed


class Host:
    """One member's network, with everything that it heard."""

    def __init__(
        self,
        folder: Path,
        number: int,
        *,
        salt: bytes = b"s" * 16,
        nonce: bytes | None = None,
        cluster: str = CLUSTER,
        sink: "MemorySink | None" = None,
    ) -> None:
        self.ears = Ears()
        self.id = MemberId(number)
        nonce = nonce or bytes([number]) * 16
        self.identity = Identity(bytes.fromhex(cluster), self.id, nonce, 1, salt)
        self.network = PeerNetwork(
            identity=self.identity,
            name="localhost:0",
            version="0.1",
            credentials=Credentials(folder),
            inbox=self.ears,
            sink=sink,
            settings=FAST,
        )
        self.port = 0

    async def start(self, group: asyncio.TaskGroup, port: int = 0) -> None:
        self.port = await self.network.start("127.0.0.1", port)
        self.network.name = f"localhost:{self.port}"
        self.task = group.create_task(self.network.run())

    async def stop(self) -> None:
        self.network.close()
        await self.task

    @property
    def peer(self) -> Peer:
        return Peer(self.id, f"localhost:{self.port}", self.identity.nonce)


@asynccontextmanager
async def started(*hosts: Host) -> AsyncIterator[asyncio.TaskGroup]:
    async with asyncio.timeout(HANG_S), asyncio.TaskGroup() as group:
        for host in hosts:
            await host.start(group)
        know_each_other(*hosts)
        yield group
        for host in hosts:
            host.network.close()


def know_each_other(*hosts: Host) -> None:
    configuration = Configuration(voters=tuple(host.peer for host in hosts))
    for host in hosts:
        host.network.set_peers(configuration)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(HANG_S):
        while not holds():  # noqa: ASYNC110 - what is waited for is in callbacks
            await asyncio.sleep(0.005)


def pre_vote(sender: int) -> PreVoteRequest:
    return PreVoteRequest(MemberId(sender), Term(1), EntryId(Term(1), Index(1)))


async def test_messages_arrive_with_their_sender(folder: Path) -> None:
    """What one sends the other hears, in order, with the nonce of the hello."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    async with started(a, b):
        await until(lambda: a.network.is_connected(b.id) and b.network.is_connected(a.id))
        for n in range(100):
            a.network.send(b.id, pre_vote(1))
            assert a.network.send_node(b.id, 1, bytes([n]))
        await until(lambda: len(b.ears.node_messages) == 100)
        assert [(1, 1, bytes([n])) for n in range(100)] == b.ears.node_messages
        assert [(1, a.identity.nonce, pre_vote(1))] * 100 == b.ears.messages
        heard = b.network.heard(a.id)
        assert heard is not None
        assert (a.identity.nonce, "0.1") == (heard.nonce, heard.version)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"salt": b"x" * 16}, Reason.WRONG_INCARNATION),
        ({"nonce": b"x" * 16}, Reason.WRONG_NONCE),
    ],
)
async def test_a_wrong_identity_is_refused_with_its_reason(
    folder: Path, changes: dict[str, bytes], reason: Reason
) -> None:
    """Another incarnation or another directory hears why, and none of its messages count."""
    a = Host(folder / "ours/m-1", 1)
    b = Host(folder / "ours/m-2", 2, **changes)  # type: ignore[arg-type]
    async with started(a, b):
        right = Peer(b.id, b.peer.name, b"\2" * 16)
        a.network.set_peers(Configuration(voters=(a.peer, right)))
        await until(lambda: reason in {refusal.reason for refusal in b.ears.refused})
        assert not a.network.is_connected(b.id)
        assert not b.network.is_connected(a.id)
        assert reason == b.network.refused[a.id].reason


async def test_a_refusal_is_forgotten_when_it_is_over(folder: Path) -> None:
    """`GET /cluster` shows what is, not what was."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    a.ears.removed.add(b.id)
    async with started(a, b):
        await until(lambda: a.id in b.network.refused)
        a.ears.removed.clear()
        await until(lambda: b.network.is_connected(a.id))
        assert {} == b.network.refused
        b.network.refused[a.id] = Refusal(Reason.BUSY, "")
        b.network.set_peers(Configuration(voters=(b.peer,)))
        assert {} == b.network.refused


async def test_a_removed_member_is_told(folder: Path) -> None:
    """Who was removed hears it when it calls."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    a.ears.removed.add(b.id)
    async with started(a, b):
        await until(lambda: Reason.REMOVED in {refusal.reason for refusal in b.ears.refused})


@pytest.mark.parametrize("stranger", ["theirs", "other"])
async def test_another_authority_is_nobody(folder: Path, stranger: str) -> None:
    """A leaf of another authority, or for another cluster, makes no connection."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / stranger / "m-1", 2)
    async with started(a, b):
        await asyncio.sleep(0.3)
        assert not a.network.is_connected(b.id)
        assert not b.network.is_connected(a.id)
        assert [] == a.ears.messages


async def test_a_dead_process_is_reported_once_and_found_again(folder: Path) -> None:
    """Reset and refused means lost; a restart under the same name is connected again."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    async with started(a, b) as group:
        await until(lambda: a.network.is_connected(b.id))
        await b.stop()
        await until(lambda: a.ears.lost == [b.id])
        await asyncio.sleep(0.2)
        assert [b.id] == a.ears.lost
        again = Host(folder / "ours/m-2", 2)
        await again.start(group, b.port)
        know_each_other(a, again)
        await until(lambda: a.network.is_connected(b.id))
        again.network.close()


async def test_a_process_that_resets_before_it_refuses_is_soon_lost(folder: Path) -> None:
    """The kernel ends a dying process's links before its port: that costs no retry pause."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    slow = dataclasses.replace(FAST, retry_s=10 * HANG_S)
    a.network.settings = slow
    async with started(a, b):
        await until(lambda: a.network.is_connected(b.id))
        resets = 0

        def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal resets
            resets += 1
            writer.transport.abort()

        assert b.network._server is not None
        b.network._server.close()
        dying = await asyncio.start_server(reset, "127.0.0.1", b.port)
        await b.stop()
        await until(lambda: resets >= 2)
        dying.close()
        await until(lambda: a.ears.lost == [b.id])


async def test_random_bytes_at_the_peer_port_are_harmless(folder: Path) -> None:
    """Neither strangers nor a member that stammers disturb the others."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    chance = random.Random(1)
    starts = [b"", encode_frame(Kind.PING, b""), encode_frame(Kind.HELLO, b"\x90")]
    async with started(a, b):
        for nth in range(30):
            context = client_context(folder / "ours/m-3") if nth % 2 else None
            name = "localhost" if context else None
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", a.port, ssl=context, server_hostname=name
            )
            writer.write(starts[nth % 3] + chance.randbytes(300))
            try:
                await asyncio.wait_for(reader.read(), HANG_S)
            except (OSError, ssl.SSLError):
                continue
            finally:
                writer.transport.abort()
        await until(lambda: a.network.is_connected(b.id) and b.network.is_connected(a.id))


class MemorySource:
    digest = b"d" * 32
    manifest_block = b"manifest"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.data_bytes = len(data)
        self.asked: list[int] = []

    async def chunk(self, offset: int) -> bytes:
        self.asked.append(offset)
        return self.data[offset : offset + 1000]


class MemorySink:
    def __init__(self, have: bytes = b"", *, fail_at: int | None = None) -> None:
        self.data = bytearray(have)
        self.fail_at = fail_at

    async def begin(self, sender: MemberId, digest: bytes, manifest_block: bytes) -> int:
        assert (1, b"d" * 32, b"manifest") == (sender, digest, manifest_block)
        return len(self.data)

    async def add(self, offset: int, data: bytes) -> int:
        if self.fail_at is not None and offset >= self.fail_at:
            raise Malformed("not what the manifest says")
        assert len(self.data) == offset
        self.data += data
        return len(self.data)

    async def finish(self) -> bool:
        return True


async def test_a_snapshot_travels_and_resumes(folder: Path) -> None:
    """A transfer that broke goes on where the receiver says."""
    data = bytes(range(256)) * 40
    sink = MemorySink(fail_at=3000)
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2, sink=sink)
    async with started(a, b):
        assert not await a.network.send_snapshot(b.id, MemorySource(data))
        sink.fail_at = None
        source = MemorySource(data)
        assert await a.network.send_snapshot(b.id, source)
    assert data == bytes(sink.data)
    assert 3000 == source.asked[0]


async def test_a_snapshot_to_nobody_fails(folder: Path) -> None:
    """Without a sink, or without the member, a transfer says that it failed."""
    a, b = Host(folder / "ours/m-1", 1), Host(folder / "ours/m-2", 2)
    async with started(a, b):
        assert not await a.network.send_snapshot(b.id, MemorySource(b"x"))
        assert not await a.network.send_snapshot(MemberId(9), MemorySource(b"x"))
