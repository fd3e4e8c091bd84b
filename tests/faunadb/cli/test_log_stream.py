"""`GET /log` gives one log, wherever its entries are: on disk, in memory, or gone."""

from collections.abc import Sequence
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from disk_test_helpers.member import CONFIGURATION, Storage
from faunadb.cli.log_stream import open_log
from faunadb.node.node import Node
from faunadb.node.report import Refused
from faunadb.raft.core import Core
from faunadb.raft.entries import NOTHING, Entry, EntryId, HardState, Index, MemberId, Term
from faunadb.raft.events import Applied, LogCut, Tick
from faunadb.raft.records import decode_records
from faunadb.raft.state import CoreConfig, Restored
from faunadb_sim.disk import SimDisk

pytestmark = pytest.mark.anyio
NONCE = b"n" * 16


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def storage() -> Storage:
    """A log of 60 entries over several segments, all committed."""
    storage = Storage(SimDisk(Random(3)), Random(3))
    storage.open()
    for _ in range(6):
        storage.append(10, commit=storage.reported.last_index + 10)
    return storage


def member(storage: Storage, *, cut: int, commit: int = 60) -> Node:
    """Return a node whose memory begins behind `cut`."""
    storage.stop()
    entries = storage.open().recovered.entries
    base = NOTHING if entries[0].index == 1 else EntryId(Term(1), Index(entries[0].index - 1))
    found = Restored(
        hard_state=HardState(Term(1), MemberId(0), Index(commit)),
        base=base,
        applied=base.index,
        entries=tuple(entries),
        configuration=CONFIGURATION,
        configuration_id=EntryId(Term(1), Index(0)),
    )
    core = Core(CoreConfig(), MemberId(1), NONCE, found)
    applied = core.step(Tick(0.5)).committed
    assert applied[-1].index == commit
    core.step(Applied(Index(commit)))
    core.step(LogCut(Index(cut)))
    assert cut == core.base.index
    whole = SimpleNamespace(core=core, identity=storage.identity())
    return cast(Node, SimpleNamespace(member=whole))


async def sent(node: Node, storage: Storage, start: int) -> list[Entry]:
    stream = await open_log(node, storage.disk, start)
    assert (1, storage.identity().incarnation_salt.hex()) == (
        stream.incarnation,
        stream.incarnation_salt,
    )
    return decode_records(b"".join([chunk async for chunk in stream.chunks]))


def indexes(entries: Sequence[Entry]) -> list[int]:
    return [entry.index for entry in entries]


@pytest.mark.parametrize("cut", [0, 1, 30, 59, 60])
async def test_the_log_is_one(storage: Storage, cut: int) -> None:
    """From any entry, up to what is committed, whatever has left memory."""
    node = member(storage, cut=cut)
    for start in (1, 2, cut, cut + 1, cut + 2, 60, 61, 99):
        if start:
            assert [*range(start, 61)] == indexes(await sent(node, storage, start))


async def test_no_more_than_is_committed_is_sent(storage: Storage) -> None:
    """What the log on disk holds beyond it may be truncated yet."""
    assert [*range(5, 21)] == indexes(await sent(member(storage, cut=9, commit=20), storage, 5))


async def test_what_was_cut_everywhere_is_gone(storage: Storage) -> None:
    """The refusal names the first entry that is left, on disk or in memory."""
    storage.apply(40)
    storage.snapshot()
    storage.apply(60)
    storage.snapshot()
    storage.cut()
    node = member(storage, cut=55)
    with pytest.raises(Refused) as caught:
        await open_log(node, storage.disk, 1)
    first = caught.value.first
    assert ("log_gone", True) == (caught.value.code, first is not None and 1 < first <= 41)
    assert first is not None
    assert [*range(first, 61)] == indexes(await sent(node, storage, first))
    for name in storage.disk.list("wal"):
        storage.disk.remove(f"wal/{name}")
    with pytest.raises(Refused) as caught:
        await open_log(node, storage.disk, 50)
    assert 56 == caught.value.first


async def test_a_member_that_waits_has_no_log(storage: Storage) -> None:
    """It says so."""
    with pytest.raises(Refused, match="the directory is empty"):
        await open_log(None, storage.disk, 1)
