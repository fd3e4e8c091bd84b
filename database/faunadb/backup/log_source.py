"""Which member gives the log, and what came of asking it?

    survey     GET /cluster of everybody who is known, at once; who is known follows the leader's
               committed configuration, beginning with the addresses that we were given; a
               follower says who leads
    choose     a follower that is near the newest commit, before the leader
    read       GET /log?from=INDEX, up to so many bytes

House rules: `choose` is pure. One survey is an answer of this moment, never kept.
Trap: names of the configuration are of the peer port; every member has its admin port where the
first given address has it.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp

from faunadb.backup.segments import Incarnation
from faunadb.backup.source import address_of
from faunadb.errors import Malformed
from faunadb.net.tls import client_context, split_name
from faunadb.raft.entries import Entry
from faunadb.raft.membership import MEMBERS_MAX
from faunadb.raft.records import RecordReader

SURVEY_S = 3.0
READ_S = 30.0  # between two pieces
SESSION_S = 600.0  # then certificates are read again: they are renewed beside us
NEAR_ENTRIES = 1000  # a follower so close behind spares the leader
_CHUNK_BYTES = 256 * 1024
_GONE = 410


class MemberFailed(Exception):
    """A member did not give its log; another one may."""


class LogGone(Exception):
    """The member has the log only from entry `first` on."""

    def __init__(self, first: int) -> None:
        super().__init__(f"the log begins at {first}")
        self.first = first


class Seen(NamedTuple):
    """What one member said of itself."""

    address: str
    incarnation: Incarnation
    commit: int
    leads: bool


class Survey(NamedTuple):
    """Who answered, and who did not."""

    seen: tuple[Seen, ...]
    silent: tuple[str, ...]


class Piece(NamedTuple):
    """Entries from one member; `last` is what it knew to be committed when it began."""

    incarnation: Incarnation
    last: int
    entries: list[Entry]


def choose(seen: Iterable[Seen], incarnation: Incarnation) -> list[Seen]:
    """Return who may be asked for the log of an incarnation, best first."""
    members = [each for each in seen if each.incarnation == incarnation]
    newest = max((each.commit for each in members), default=0)

    def rank(each: Seen) -> tuple[bool, int]:
        return each.leads or each.commit < newest - NEAR_ENTRIES, -each.commit

    return sorted(members, key=rank)


class LogSource:
    """The members of a cluster, asked as the operator asks. A context manager."""

    def __init__(self, members: Sequence[str], tls_dir: Path, cluster_id: str) -> None:
        self._given = tuple(address_of(each) for each in members)
        self._port = self._given[0].rpartition(":")[2]
        self._learned: tuple[str, ...] = ()
        self._tls_dir, self._cluster_id = tls_dir, cluster_id
        self._session: aiohttp.ClientSession | None = None
        self._renew_s = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def survey(self) -> Survey:
        """Ask everybody who is known. Raises OSError for certificates that cannot be read."""
        session = await self._open()
        addresses = tuple(dict.fromkeys((*self._given, *self._learned)))
        answers = await asyncio.gather(*(self._report(session, each) for each in addresses))
        seen: list[Seen] = []
        silent: list[str] = []
        for address, report in zip(addresses, answers, strict=True):
            if report is None:
                silent.append(address)
            elif report["state"] == "member" and report["cluster_id"] == self._cluster_id:
                seen.append(_seen(address, report))
                self._learn(report)
        return Survey(tuple(seen), tuple(silent))

    async def read(self, address: str, start: int, bytes_max: int) -> Piece:
        """Return entries from `start` on, `bytes_max` of them or up to what is committed there.

        Raises `LogGone`, `MemberFailed`.
        """
        session = await self._open()
        url = f"https://{address}/log"
        try:
            async with session.get(url, params={"from": str(start)}) as answer:
                if answer.status == _GONE:
                    raise LogGone(int((await answer.json())["first"]))
                if answer.status != 200:
                    raise MemberFailed(f"{address}: {answer.status} {await answer.text()}")
                return await _piece(answer, bytes_max)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as problem:
            raise MemberFailed(f"{address}: {problem or 'no answer in time'}") from problem
        except Malformed as problem:
            raise MemberFailed(f"{address}: {problem}") from problem

    async def _report(self, session: aiohttp.ClientSession, address: str) -> dict[str, Any] | None:
        try:
            async with (
                asyncio.timeout(SURVEY_S),
                session.get(f"https://{address}/cluster") as answer,
            ):
                report = json.loads(await answer.text())
                return report if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None or time.monotonic() > self._renew_s:
            connector = aiohttp.TCPConnector(ssl=client_context(self._tls_dir))
            if self._session is not None:
                await self._session.close()
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=SURVEY_S, sock_read=READ_S)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
            self._renew_s = time.monotonic() + SESSION_S
        return self._session

    def _learn(self, report: dict[str, Any]) -> None:
        """Take over who the members are, from a leader that knows; from others, who leads them."""
        configuration, leader = report["configuration"], report["leader"]
        if configuration is not None:
            peers = (*configuration["voters"], *configuration["learners"])
            self._learned = tuple(self._address(peer) for peer in peers)
        elif leader is not None and (address := self._address(leader)) not in self._learned:
            self._learned = (*self._learned, address)[-MEMBERS_MAX:]

    def _address(self, peer: dict[str, Any]) -> str:
        return f"{split_name(peer['name'])[0]}:{self._port}"


def _seen(address: str, report: dict[str, Any]) -> Seen:
    incarnation = Incarnation(report["incarnation"], report["incarnation_salt"])
    return Seen(address, incarnation, report["commit"], report["role"] == "leader")


async def _piece(answer: aiohttp.ClientResponse, bytes_max: int) -> Piece:
    """Read until there is enough; what comes after it is asked for again."""
    headers = answer.headers
    number, salt = headers["x-fauna-incarnation"], headers["x-fauna-incarnation-salt"]
    reader, entries, size = RecordReader(), [], 0
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        entries += reader.feed(chunk)
        size += len(chunk)
        if size >= bytes_max:
            break
    incarnation = Incarnation(int(number), salt)
    return Piece(incarnation, int(headers["x-fauna-log-last"]), entries)
