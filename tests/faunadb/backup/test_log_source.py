"""Asking members for their log, over the admin API as it is served."""

import datetime as dt
import json
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faunadb.api.admin import AdminServer
from faunadb.api.dev_ca import write_dev_ca
from faunadb.api.ports import LogStream, SnapshotStream
from faunadb.backup.log_source import LogGone, LogSource, MemberFailed
from faunadb.backup.segments import Incarnation
from faunadb.net.tls import server_context
from faunadb.node.report import (
    ClusterReport,
    ConfigurationReport,
    InitAsked,
    InitReport,
    MemberName,
    MembershipAsked,
    OpenAsked,
    PeerReport,
    Refused,
    TransferAsked,
)
from faunadb.raft.entries import Entry, EntryKind, Index, Term
from faunadb.raft.records import encode_records

pytestmark = pytest.mark.anyio
CLUSTER, SALT = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607", "5a" * 16
PAGE = (Path(__file__).parents[3] / "docs/admin-api.md").read_text()
REPORT: dict[str, Any] = json.loads(
    re.findall(r"<!-- example: cluster leader -->\n```json\n(.*?)```", PAGE, re.DOTALL)[0]
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ca")
    hosts = ["127.0.0.1", "127.0.0.2"]
    write_dev_ca(home / "tls", CLUSTER, {"m": hosts}, now=dt.datetime.now(dt.UTC))
    return home / "tls"


def entries(first: int, last: int) -> list[Entry]:
    return [
        Entry.make(Term(1), Index(at), EntryKind.DATA, b"x" * 1000) for at in range(first, last + 1)
    ]


class Member:
    """An administration that has a log; `block` is what it sends instead."""

    def __init__(self) -> None:
        self.commit, self.first = 40, 1
        self.block: bytes | None = None
        self.refuse: Refused | None = None
        self.report = {**REPORT, "cluster_id": CLUSTER, "incarnation": 3, "incarnation_salt": SALT}
        self.configuration: ConfigurationReport | None = None

    async def cluster(self) -> ClusterReport:
        report = msgspec.convert(self.report, ClusterReport)
        return msgspec.structs.replace(
            report, commit=self.commit, role="leader", configuration=self.configuration
        )

    async def log(self, start: int) -> LogStream:
        if self.refuse is not None:
            raise self.refuse
        if start < self.first:
            raise Refused("log_gone", "cut", first=self.first)

        async def chunks() -> AsyncGenerator[bytes, None]:
            if self.block is not None:
                yield self.block
                return
            for at in range(start, self.commit + 1):
                yield encode_records(entries(at, at))

        return LogStream(3, SALT, self.commit, chunks())

    async def init(self, asked: InitAsked) -> InitReport:
        raise AssertionError(asked)

    async def open(self, asked: OpenAsked) -> None:
        raise AssertionError(asked)

    async def membership(self, asked: MembershipAsked) -> ConfigurationReport:
        raise AssertionError(asked)

    async def transfer(self, asked: TransferAsked) -> MemberName:
        raise AssertionError(asked)

    async def snapshot(self, offset: int, digest: str | None, *, fresh: bool) -> SnapshotStream:
        raise AssertionError(offset, digest, fresh)

    def metrics(self) -> bytes:
        return b""

    def ready(self) -> str:
        return ""


Start = Callable[..., Any]


@pytest.fixture
async def start(tls: Path) -> AsyncIterator[Start]:
    """Start a member's admin port on a host; return its port."""
    async with AsyncExitStack() as stack:

        async def one(member: Member, host: str = "127.0.0.1", port: int = 0) -> int:
            server = AdminServer(member, CLUSTER)
            context = server_context(tls / "m", anonymous=True)
            bound = await server.start(host, port, context)
            stack.push_async_callback(server.close)
            return bound

        yield one


async def test_the_log_is_read_in_pieces(start: Start, tls: Path) -> None:
    """As much as was asked, at least, and of which incarnation."""
    member = Member()
    address = f"127.0.0.1:{await start(member)}"
    async with LogSource([address], tls / "backup", CLUSTER) as source:
        whole = await source.read(address, 7, 1 << 30)
        part = await source.read(address, 7, 5000)
        none = await source.read(address, 41, 5000)

    assert (Incarnation(3, SALT), 40, entries(7, 40)) == tuple(whole)
    assert 5 <= len(part.entries)
    assert part.entries == entries(7, 40)[: len(part.entries)]
    assert (40, []) == (none.last, none.entries)


async def test_what_a_member_cannot_give_is_said(start: Start, tls: Path) -> None:
    """Cut, refused, not reached, or not what a log is: another member may have it."""
    member = Member()
    address = f"127.0.0.1:{await start(member)}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    async with LogSource([address], tls / "backup", CLUSTER) as source:
        member.first = 30
        with pytest.raises(LogGone) as caught:
            await source.read(address, 7, 1 << 20)
        assert 30 == caught.value.first
        member.block = b"\xff" * 100
        with pytest.raises(MemberFailed, match="record"):
            await source.read(address, 30, 1 << 20)
        member.refuse = Refused("waiting", "the directory is empty")
        with pytest.raises(MemberFailed, match="the directory is empty"):
            await source.read(address, 30, 1 << 20)
        with pytest.raises(MemberFailed):
            await source.read(nobody, 30, 1 << 20)


async def test_a_follower_tells_who_leads(start: Start, tls: Path) -> None:
    """Who was given followers only finds the leader, before the followers are gone."""
    follower, leader = Member(), Member()
    port = await start(follower)
    assert port == await start(leader, "127.0.0.2", port)
    follower.report["leader"] = {"id": 2, "name": "127.0.0.2:7500"}
    async with LogSource([f"127.0.0.1:{port}"], tls / "backup", CLUSTER) as source:
        first = await source.survey()
        second = await source.survey()

    assert [f"127.0.0.1:{port}"] == [seen.address for seen in first.seen]
    both = [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
    assert both == [seen.address for seen in second.seen]


async def test_members_are_learned_from_the_leader(start: Start, tls: Path) -> None:
    """The configuration names hosts; all have their admin port where the first one has it."""
    leader, other = Member(), Member()
    port = await start(leader)
    assert port == await start(other, "127.0.0.2", port)
    named = msgspec.convert(REPORT["configuration"], ConfigurationReport)
    peers = tuple(PeerReport(at, f"127.0.0.{at}:7500", None) for at in (1, 2, 3))
    leader.configuration = msgspec.structs.replace(named, voters=peers[:2], learners=peers[2:])
    async with LogSource(["127.0.0.1"], tls / "backup", CLUSTER) as source:
        first = await source.survey()
    async with LogSource([f"127.0.0.1:{port}"], tls / "backup", CLUSTER) as source:
        second = await source.survey()
        third = await source.survey()
        other.report["cluster_id"] = "0" * 32
        fourth = await source.survey()

    assert ((), ("127.0.0.1:8444",)) == first
    assert [f"127.0.0.1:{port}"] == [seen.address for seen in second.seen]
    both = [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]
    assert both == [seen.address for seen in third.seen]
    assert (f"127.0.0.3:{port}",) == third.silent
    assert (Incarnation(3, SALT), 40, True) == third.seen[0][1:]
    assert both[:1] == [seen.address for seen in fourth.seen]
