"""Whom a backup asks, and that what it downloads is whole."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from faunadb.api.admin import AdminServer
from faunadb.api.dev_ca import write_dev_ca
from faunadb.api.ports import Administration, SnapshotStream
from faunadb.backup.progress import Progress
from faunadb.backup.source import (
    Candidate,
    MemberRefused,
    NoMember,
    Prefer,
    Source,
    address_of,
    choose,
)
from faunadb.net.tls import server_context
from faunadb.node.report import ClusterReport, DiskReport, Refused

pytestmark = pytest.mark.anyio
CLUSTER = "6f1c2b0e9a7d4f53b8e1d2c3a4f5e607"
DATA = bytes(range(256)) * 40_000  # 10 MB: more than a connection swallows at once


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ca")
    write_dev_ca(home, CLUSTER, {"m": ["127.0.0.1"]}, now=dt.datetime.now(dt.UTC))
    return home


def report(member: int, **says: Any) -> ClusterReport:
    return ClusterReport(
        **{
            "version": "0",
            "feature_level": 1,
            "state": "member",
            "cluster_id": CLUSTER,
            "incarnation": 1,
            "incarnation_salt": "00" * 16,
            "member_id": member,
            "name": f"m-{member}",
            "nonce": None,
            "role": "follower",
            "term": 2,
            "leader": None,
            "applied": 7,
            "commit": 7,
            "last": 7,
            "last_term": 2,
            "open": True,
            "txn_ts": 5,
            "ts_ceiling": 6,
            "snapshot": None,
            "disk": DiskReport(1, 1, 1),
            "configuration": None,
            "members": None,
            **says,
        }
    )


class FakeMember:
    """Gives `DATA`; each entry of `breaks` ends one download after so many bytes."""

    def __init__(self, said: ClusterReport, *, breaks: list[int] | None = None) -> None:
        self.said, self.breaks = said, breaks or []
        self.refusals: list[Refused] = []
        self.digest = "ab" * 32
        self.gone_after = 0
        self.asked: list[tuple[int, str | None, bool]] = []

    async def cluster(self) -> ClusterReport:
        return self.said

    async def snapshot(self, offset: int, digest: str | None, *, fresh: bool) -> SnapshotStream:
        self.asked.append((offset, digest, fresh))
        if self.refusals:
            raise self.refusals.pop(0)
        if digest not in {None, self.digest}:
            raise Refused("snapshot_gone", "replaced")
        until = self.breaks.pop(0) if self.breaks else len(DATA)
        return SnapshotStream(self.digest, 2, 7, len(DATA), self._chunks(offset, until))

    async def _chunks(self, offset: int, until: int) -> AsyncGenerator[bytes, None]:
        for at in range(offset, until, 1 << 16):
            yield DATA[at : min(until, at + (1 << 16))]
            await asyncio.sleep(0)
        if until < len(DATA):
            if self.gone_after:
                self.digest = "cd" * 32
            raise ConnectionError("the network is gone")

    def ready(self) -> str:
        return ""


@asynccontextmanager
async def serving(tls: Path, *members: FakeMember) -> AsyncIterator[Source]:
    """Serve each member on a port of its own; yield the source that knows them all."""
    servers, addresses = [], []
    for member in members:
        administration: Administration = member  # type: ignore[assignment]  # what is asked of it
        server = AdminServer(administration, CLUSTER)
        port = await server.start("127.0.0.1", 0, server_context(tls / "m", anonymous=True))
        servers.append(server)
        addresses.append(f"127.0.0.1:{port}")
    try:
        yield Source(tuple(addresses), tls / "backup", CLUSTER, "follower", 0.0)
    finally:
        for server in servers:
            await server.close()


@pytest.fixture
def progress() -> Iterator[Progress]:
    with Progress(lambda _event, **_facts: None) as made:
        yield made


async def test_a_broken_download_goes_on_where_it_broke(
    tls: Path, tmp_path: Path, progress: Progress
) -> None:
    """Three broken connections cost three requests for the rest; the bytes are the member's."""
    member = FakeMember(report(2), breaks=[3_000_000, 3_000_001, 9_000_000])
    async with serving(tls, member) as source:
        fetched = await source.fetch(tmp_path, progress)

    assert DATA == (tmp_path / "data.mdb").read_bytes()
    assert (2, 7, len(DATA)) == (fetched.term, fetched.index, fetched.size_bytes)
    assert (0, None, True) == member.asked[0]
    offsets = [offset for offset, _, _ in member.asked]
    assert sorted(offsets) == offsets
    assert all((member.digest, False) == (digest, fresh) for _, digest, fresh in member.asked[1:])
    assert 4 == len(member.asked)


async def test_a_snapshot_that_is_gone_begins_again(
    tls: Path, tmp_path: Path, progress: Progress
) -> None:
    """Bytes of two snapshots are never mixed: another digest starts at 0."""
    member = FakeMember(report(2), breaks=[3_000_000])
    member.gone_after = 1
    async with serving(tls, member) as source:
        await source.fetch(tmp_path, progress)

    assert DATA == (tmp_path / "data.mdb").read_bytes()
    assert (0, None, True) == member.asked[-1]


async def test_not_now_is_asked_again(tls: Path, tmp_path: Path, progress: Progress) -> None:
    """A member without a leader or without room may have both a moment later."""
    member = FakeMember(report(2))
    member.refusals = [Refused("unavailable", "no leader")] * 2
    async with serving(tls, member) as source:
        await source.fetch(tmp_path, progress)
    assert 3 == len(member.asked)


async def test_a_refusal_is_not_repeated(tls: Path, tmp_path: Path, progress: Progress) -> None:
    """What the member will say again is the answer."""
    member = FakeMember(report(2))
    member.refusals = [Refused("invalid_request", "no")]
    async with serving(tls, member) as source:
        with pytest.raises(MemberRefused) as caught:
            await source.fetch(tmp_path, progress)
    assert "invalid_request" == caught.value.code


async def test_nobody_gives_anything(tls: Path, tmp_path: Path, progress: Progress) -> None:
    """The message says what each of them said."""
    member = FakeMember(report(2, state="waiting"))
    async with serving(tls, member) as source:
        lost = msgspec.structs.replace(report(1), cluster_id="0" * 32)
        async with serving(tls, FakeMember(lost)) as other:
            both = Source(
                (*source.members, *other.members, "127.0.0.1:1"), tls / "backup", CLUSTER, "any", 0
            )
            with pytest.raises(NoMember) as caught:
                await both.fetch(tmp_path, progress)
    for word in ("waiting of cluster", f"member of cluster {'0' * 32}", "127.0.0.1:1"):
        assert word in str(caught.value)


def found(*members: tuple[str, str, int, int]) -> list[Candidate]:
    return [
        Candidate(
            name, {"state": "member", "cluster_id": CLUSTER, "role": role, "applied": applied,
                   "incarnation": incarnation}
        )
        for name, role, applied, incarnation in members
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [("follower", ["b", "a", "l"]), ("leader", ["l", "b", "a"]), ("any", ["l", "b", "a"])],
)
def test_who_is_asked_first(prefer: Prefer, expected: list[str]) -> None:
    """A follower spares the leader; of two, the one that has applied more."""
    asked = found(("l", "leader", 9, 1), ("a", "follower", 5, 1), ("b", "learner", 6, 1))
    assert expected == [each.address for each in choose(asked, CLUSTER, prefer)]


def test_only_the_latest_incarnation_counts() -> None:
    """A member that was left behind by a recovery may have applied more; it means nothing."""
    asked = found(("old", "leader", 99, 1), ("new", "follower", 5, 2))
    assert ["new"] == [each.address for each in choose(asked, CLUSTER, "follower")]
    asked[1].report["state"] = "removed"
    assert ["old"] == [each.address for each in choose(asked, CLUSTER, "follower")]
    assert [] == choose(asked, "0" * 32, "follower")


def test_addresses() -> None:
    """The admin port may be left out."""
    assert "a.b:8444" == address_of(" a.b ")
    assert "127.0.0.1:9" == address_of("127.0.0.1:9")


async def test_snapshots_that_are_replaced_for_ever_end(
    tls: Path, tmp_path: Path, progress: Progress
) -> None:
    """A member whose snapshots never live as long as a download is given up."""

    class Restless(FakeMember):
        async def snapshot(self, offset: int, digest: str | None, *, fresh: bool) -> SnapshotStream:
            stream = await super().snapshot(offset, digest, fresh=fresh)
            self.digest = f"{len(self.asked):064x}"
            return stream

    member = Restless(report(2), breaks=[100_000] * 50)
    async with serving(tls, member) as source:
        with pytest.raises(NoMember, match="replaced faster"):
            await source.fetch(tmp_path, progress)
    assert not (tmp_path / "data.mdb").exists()
